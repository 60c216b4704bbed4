"""Update rules of learned optimizers on flat coordinates: DM and RNNProp.

All coordinates of all tensors stand side by side, features first:

    g : (n,)      state[name] : (features, n)      →      u : (n,), to be added to the parameters

A rule of coordinates goes through them in blocks that fit the cache, and writes their state in
place: what a step needs besides is a few blocks. Equations and sources are those of the modules
of the same names in `steppe.optimizers.learned`, and so are the numbers, to rounding.
"""

import abc
import copy
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Self

import torch
from torch import Tensor

BLOCK = 4096  # coordinates at once
EPSILON = 1.1920929e-07  # in DM's logarithm (published code)
EPS = 1e-8  # in RNNProp's roots (published code)

State = dict[str, Tensor]


class AbstractRule(abc.ABC):
    """What a learned optimizer does, without its state.

    - `weights`: by their names in the file, at least float32
    - `rows`: floats that it remembers for a coordinate, by name; `tensors`: for a tensor;
      `problem`: once
    - `first`: their values before the first step where that is not 0
    """

    weights: Mapping[str, Tensor]
    rows: Mapping[str, int]
    tensors: Mapping[str, int]
    problem: Mapping[str, int]
    first: Mapping[str, float]

    @abc.abstractmethod
    def update(
        self, g: Tensor, state: State, sizes: Sequence[int], counts: Sequence[int], block: int
    ) -> Tensor:
        """u (n,) for the gradients g (n,) of tensors of `sizes`; `state` is changed in place.

        `counts`: the number of this step, from 1, for each tensor: a tensor may come later.
        """

    @property
    def floats(self) -> int:
        """Of state, for a coordinate."""
        return sum(self.rows.values())

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """The same rule with its weights there."""
        moved = copy.copy(self)
        moved.weights = {name: w.to(device, dtype) for name, w in self.weights.items()}
        return moved


class AbstractCoordinatewiseRule(AbstractRule):
    """A rule that treats every coordinate alike and alone."""

    tensors: Mapping[str, int] = MappingProxyType({})
    problem: Mapping[str, int] = MappingProxyType({})
    first: Mapping[str, float] = MappingProxyType({})

    @abc.abstractmethod
    def advance(self, g: Tensor, state: State, count: int) -> Tensor:
        """u (rows,) of one block, its `state` changed in place."""

    def update(
        self, g: Tensor, state: State, sizes: Sequence[int], counts: Sequence[int], block: int
    ) -> Tensor:
        u = torch.empty_like(g)
        for start, stop, count in runs(sizes, counts):
            for a, b in blocks(start, stop, block):
                part = {name: s[:, a:b].to(g.dtype) for name, s in state.items()}
                u[a:b] = self.advance(g[a:b], part, count)
                for name, s in state.items():
                    if s.dtype != g.dtype:
                        s[:, a:b] = part[name]
        return u


class DMRule(AbstractCoordinatewiseRule):
    """Andrychowicz et al. 2016."""

    def __init__(self, weights: Mapping[str, Tensor], hyper: Mapping):
        self.weights = weights
        self.preprocess, self.p, self.scale = hyper["preprocess"], hyper["p"], hyper["scale"]
        self.depth = len(hyper["hidden"])
        self.rows = lstm_rows(hyper["hidden"])

    def advance(self, g: Tensor, state: State, count: int) -> Tensor:
        x = g[None]
        if self.preprocess == "log_and_sign":
            size = ((g.abs() + EPSILON).log() / self.p).clamp(min=-1.0)
            x = torch.stack([size, (g * math.exp(self.p)).clamp(-1.0, 1.0)])
        return self.scale * head(self.weights, lstm(self.weights, x, state, self.depth))


class RNNPropRule(AbstractCoordinatewiseRule):
    """Lv, Jiang & Li 2017."""

    def __init__(self, weights: Mapping[str, Tensor], hyper: Mapping):
        self.weights = weights
        self.beta1, self.beta2, self.scale = hyper["beta1"], hyper["beta2"], hyper["scale"]
        self.depth = len(hyper["hidden"])
        self.rows = {"m": 1, "v": 1} | lstm_rows(hyper["hidden"])

    def advance(self, g: Tensor, state: State, count: int) -> Tensor:
        m, v = state["m"][0], state["v"][0]
        m.mul_(self.beta1).add_(g, alpha=1 - self.beta1)
        v.mul_(self.beta2).addcmul_(g, g, value=1 - self.beta2)
        root = (v / (1 - self.beta2**count)).sqrt_().add_(EPS)
        x = torch.stack([m / (1 - self.beta1**count) / root, g / root])
        w = self.weights
        x = torch.nn.functional.elu(torch.addmm(w[".inputs.b"][:, None], w[".inputs.w"].T, x))
        return self.scale * head(w, lstm(w, x, state, self.depth)).tanh_()


def lstm_rows(hidden: Sequence[int]) -> dict[str, int]:
    return {f"{kind}{k}": width for k, width in enumerate(hidden) for kind in "hc"}


def lstm(weights: Mapping[str, Tensor], x: Tensor, state: State, depth: int) -> Tensor:
    """LSTM layers one on the other; gates i, j, f, o, forget bias +1 added here."""
    for k in range(depth):
        w, b = (weights[f".lstm.layers[{k}].{name}_gates"] for name in "wb")
        h, c = state[f"h{k}"], state[f"c{k}"]
        z = torch.addmm(b[:, None], w[: len(x)].T, x).addmm_(w[len(x) :].T, h)
        i, j, f, o = z.chunk(4)
        c.mul_(f.add_(1.0).sigmoid_()).addcmul_(i.sigmoid_(), j.tanh_())
        x = torch.mul(o.sigmoid_(), c.tanh(), out=h)
    return x


def head(weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    return torch.addmv(weights[".head.b"], x.T, weights[".head.w"][:, 0])


def runs(sizes: Sequence[int], counts: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(start, stop, count) of coordinates side by side whose tensors are as old."""
    stop = 0
    for count, group in itertools.groupby(zip(sizes, counts, strict=True), key=lambda x: x[1]):
        start, stop = stop, stop + sum(size for size, _ in group)
        yield start, stop, count


def blocks(start: int, stop: int, block: int) -> Iterator[tuple[int, int]]:
    for a in range(start, stop, block):
        yield a, min(a + block, stop)
