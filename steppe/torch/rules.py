"""Update rules of learned optimizers on flat coordinates: DM and RNNProp.

All coordinates of all tensors stand side by side, features first:

    g : (n,)      state[name] : (features, n)      →      u : (n,), to be added to the parameters

A rule that decides a weight decay is handed the parameters too, θ : (n,), and has the decay in u.
A coordinatewise rule goes through them in blocks that fit the cache, and writes their state in
place: besides the state, a step needs the memory of a few blocks. Equations and sources are those
of the modules of the same names in `steppe.optimizers.learned`, and so are the numbers, to
rounding.
"""

import abc
import copy
import functools
import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Self

import torch
from torch import Tensor

BLOCK = 16384  # coordinates at once
MANY = 32  # tensors at once, where sums go over each
EPSILON = 1.1920929e-07  # in DM's logarithm (published code)
EPS = 1e-8  # in RNNProp's roots (published code)

State = dict[str, Tensor]


class AbstractRule(abc.ABC):
    """The update rule of a learned optimizer, without its state.

    - `weights`: tensors by their names in the file, at least float32
    - `rows`: number of floats of state for each coordinate, by name
    - `tensors`: number of floats of state for each tensor, by name
    - `problem`: number of floats of state shared by all, by name
    - `first`: values before the first step, by name, if not 0: a number, or one a float of state
    - `needs_params`: the rule looks at the parameters, and is handed them
    """

    weights: Mapping[str, Tensor]
    rows: Mapping[str, int]
    tensors: Mapping[str, int] = MappingProxyType({})
    problem: Mapping[str, int] = MappingProxyType({})
    first: Mapping[str, float | Tensor] = MappingProxyType({})
    needs_params: bool = False

    @abc.abstractmethod
    def update(
        self,
        g: Tensor,
        state: State,
        sizes: Sequence[int],
        counts: Sequence[int],
        block: int,
        params: Tensor | None = None,
    ) -> Tensor:
        """The updates u, (n,), of one step; `state` is changed in place.

        - `g`: gradients of all tensors side by side, (n,); may be overwritten
        - `state`: tensors (features, …) by name
        - `sizes`: number of coordinates of each tensor
        - `counts`: number of this step for each tensor, from 1; a tensor may come later
        - `block`: coordinates worked on at once
        - `params`: θ, (n,), of the dtype of g, to be read only; given where `needs_params`
        """

    @property
    def floats(self) -> int:
        """Number of floats of state for each coordinate."""
        return sum(self.rows.values())

    @functools.cached_property
    def identity(self) -> str:
        """The kind of the rule and a digest of its weights, whatever their dtype and source."""
        digest = hashlib.sha256()
        for name, w in sorted(self.weights.items()):
            digest.update(f"{name}{list(w.shape)}".encode())
            numbers = w.detach().cpu().double().reshape(-1).view(torch.uint8)
            digest.update(bytes(numbers.tolist()))
        return f"{type(self).__name__.removesuffix('Rule')} {digest.hexdigest()[:16]}"

    @property
    def counts(self) -> tuple[str, ...]:
        """Names of the whole numbers in the state of a tensor.

        `step` counts its own steps. `problem_step` is the number of steps of all together when it
        last took one: the shared state that it holds is of that age.
        """
        return ("step", "problem_step") if self.problem else ("step",)

    def shapes(self, size: int) -> dict[str, tuple[int, int]]:
        """The shape of each entry in the state of a tensor of `size` coordinates."""
        wide = {name: (features, size) for name, features in self.rows.items()}
        return wide | {name: (n, 1) for name, n in {**self.tensors, **self.problem}.items()}

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """The same rule with its weights on this device and in this dtype."""
        rule = copy.copy(self)
        rule.weights = {name: w.to(device, dtype) for name, w in self.weights.items()}
        return rule


class AbstractCoordinatewiseRule(AbstractRule):
    """A rule that treats every coordinate alike and alone: features, an LSTM, a linear head.

    A final class declares `features` (the number of inputs of the LSTM), `begin` and `end`, and
    `weight_decay`: the bound of λ in `optimizers/learned/extras.py`, with which a rule needs the
    parameters; 0: no decay.
    """

    hidden: Sequence[int]
    features: int
    weight_decay: float

    @abc.abstractmethod
    def begin(self, g: Tensor, state: State, count: int, x: Tensor) -> None:
        """Write the input of the LSTM into x; `state` is changed in place.

        - `g`: gradients, (rows,)
        - `state`: tensors (features, rows) by name
        - `count`: number of this step, from 1
        - `x`: (features, rows)
        """

    @abc.abstractmethod
    def end(self, y: Tensor) -> Tensor:
        """The updates (rows,) from the output y (rows,) of the head; y may be overwritten."""

    def update(
        self,
        g: Tensor,
        state: State,
        sizes: Sequence[int],
        counts: Sequence[int],
        block: int,
        params: Tensor | None = None,
    ) -> Tensor:
        check_sizes(g, sizes)
        theta = check_params(params, len(g)) if self.weight_decay else None
        heads = (".head",) if theta is None else (".head", ".decay_head")
        lstm = LSTM(self.weights, heads, self.features, self.hidden, min(block, len(g)), g)
        for start, stop, count in runs(sizes, counts):
            for a, b in blocks(start, stop, block):
                part = {name: s[:, a:b].to(g.dtype) for name, s in state.items()}
                self.begin(g[a:b], part, count, lstm.x[:, : b - a])
                y = lstm.advance(part, b - a)
                g[a:b] = self.end(y[0])  # u in place of what is read
                if theta is not None:
                    g[a:b].addcmul_(y[1].sigmoid_(), theta[a:b], value=-self.weight_decay)
                for name, s in state.items():
                    if s.dtype != g.dtype:
                        s[:, a:b] = part[name]
        return g


class AbstractElementwiseRule(AbstractRule):
    """A rule of a few operations on each coordinate: the gradients need not be put side by side.

    It looks at nothing else.
    """

    @abc.abstractmethod
    def advance(self, g: Tensor, state: State, count: int, out: Tensor) -> None:
        """Write the updates (rows,) of some coordinates into `out`; `state` is changed in place.

        - `g`: gradients, (rows,); they stay, unless `out` is the same tensor
        - `state`: tensors (features, rows) by name, of the dtype of g
        - `count`: number of this step, from 1
        """

    def some(self, g: Tensor, state: State, count: int, out: Tensor) -> None:
        """`advance` with a state of any dtype."""
        part = {name: s.to(g.dtype) for name, s in state.items()}
        self.advance(g, part, count, out)
        for name, s in state.items():
            if s.dtype != g.dtype:
                s.copy_(part[name])

    def update(
        self,
        g: Tensor,
        state: State,
        sizes: Sequence[int],
        counts: Sequence[int],
        block: int,
        params: Tensor | None = None,
    ) -> Tensor:
        check_sizes(g, sizes)
        for start, stop, count in runs(sizes, counts):
            for a, b in blocks(start, stop, block):
                part = {name: s[:, a:b] for name, s in state.items()}
                self.some(g[a:b], part, count, g[a:b])  # u in place of what is read
        return g


class DMRule(AbstractCoordinatewiseRule):
    """Andrychowicz et al. 2016."""

    def __init__(self, weights: Mapping[str, Tensor], hyper: Mapping):
        self.weights = weights
        self.preprocess, self.p, self.scale = hyper["preprocess"], hyper["p"], hyper["scale"]
        self.hidden, self.weight_decay = hyper["hidden"], hyper["weight_decay"]
        self.needs_params = self.weight_decay > 0
        self.time = Time(hyper)
        self.seen = 2 if self.preprocess == "log_and_sign" else 1
        self.features = self.seen + self.time.features
        self.rows = lstm_rows(self.hidden)

    def begin(self, g: Tensor, state: State, count: int, x: Tensor) -> None:
        if self.preprocess == "log_and_sign":
            x[0] = ((g.abs() + EPSILON).log() / self.p).clamp(min=-1.0)
            x[1] = (g * math.exp(self.p)).clamp(-1.0, 1.0)
        else:
            x[0] = g
        if self.time.features:
            x[self.seen :] = self.time(count, g)[:, None]

    def end(self, y: Tensor) -> Tensor:
        return y.mul_(self.scale)


class RNNPropRule(AbstractCoordinatewiseRule):
    """Lv, Jiang & Li 2017."""

    def __init__(self, weights: Mapping[str, Tensor], hyper: Mapping):
        self.weights = weights
        self.beta1, self.beta2, self.scale = hyper["beta1"], hyper["beta2"], hyper["scale"]
        self.hidden, self.weight_decay = hyper["hidden"], hyper["weight_decay"]
        self.needs_params = self.weight_decay > 0
        self.time = Time(hyper)
        self.features = len(weights[".inputs.b"])
        self.rows = {"m": 1, "v": 1} | lstm_rows(self.hidden)

    def begin(self, g: Tensor, state: State, count: int, x: Tensor) -> None:
        m, v = state["m"][0], state["v"][0]
        m.lerp_(g, 1 - self.beta1)
        v.mul_(self.beta2).addcmul_(g, g, value=1 - self.beta2)
        root = v.sqrt().mul_((1 - self.beta2**count) ** -0.5).add_(EPS)
        pair = torch.stack([m, g]).div_(root)
        pair[0] /= 1 - self.beta1**count
        w, b = self.weights[".inputs.w"], self.weights[".inputs.b"]
        if self.time.features:
            b = torch.addmv(b, w[2:].T, self.time(count, g))
        elu(torch.addmm(b[:, None], w[:2].T, pair), out=x)

    def end(self, y: Tensor) -> Tensor:
        return y.tanh_().mul_(self.scale)


class Time:
    """Features of time, alike for all coordinates; see `optimizers/learned/extras.py`."""

    def __init__(self, hyper: Mapping):
        self.time_scales, self.horizon = hyper["time_scales"], hyper["horizon"]
        self.features = len(self.time_scales) + (self.horizon is not None)

    def __call__(self, count: int, like: Tensor) -> Tensor:
        """Those of step number `count`, from 1."""
        found = [math.tanh((count - 1) / tau - 1) for tau in self.time_scales]
        if self.horizon is not None:
            found.append(min((count - 1) / self.horizon, 1.0))
        return like.new_tensor(found)


class LSTM:
    """LSTM layers one on the other, and linear heads, with room for one block of coordinates.

    A layer is one product, with the gates in the order i, f, o, j: one call takes all sigmoids.

        z (4·hidden, rows) = [b, W, U] · [1; x; h]    c ← σ(f) c + σ(i) tanh(j)    h ← σ(o) tanh(c)

    The forget bias +1 is part of b. The input is written into `x` (features, rows).
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        heads: Sequence[str],
        features: int,
        hidden: Sequence[int],
        rows: int,
        like: Tensor,
    ):
        widths = (features, *hidden)
        self.layers = []
        for k, (inputs, width) in enumerate(itertools.pairwise(widths)):
            w, b = (weights[f".lstm.layers[{k}].{name}_gates"] for name in "wb")
            i, j, f, o = torch.cat([b[None], w]).chunk(4, 1)
            whole = torch.cat([i, f, o, j], 1).T.contiguous()
            whole[width : 2 * width, 0] += 1.0
            seen = like.new_ones(1 + inputs + width, rows)
            gates = like.new_empty(4 * width, rows)  # torch.mm writes it before it is read
            self.layers.append((whole, seen, gates))
        self.widths = widths
        w, b = (torch.cat([weights[f"{head}.{name}"] for head in heads], -1) for name in "wb")
        self.heads = w.T, b[:, None]
        self.x = self.layers[0][1][1 : 1 + features] if hidden else like.new_zeros(features, rows)

    def advance(self, state: State, rows: int) -> Tensor:
        """Output (heads, rows) for the first `rows` of `x`; `state` is changed in place."""
        x = self.x[:, :rows]
        for k, (whole, seen, z) in enumerate(self.layers):
            inputs, width = self.widths[k : k + 2]
            seen, z = seen[:, :rows], z[:, :rows]
            h, c = state[f"h{k}"], state[f"c{k}"]
            if k:
                seen[1 : 1 + inputs] = x
            seen[1 + inputs :] = h
            torch.mm(whole, seen, out=z)
            i, f, o = z[: 3 * width].sigmoid_().chunk(3)
            j = z[3 * width :].tanh_()
            c.mul_(f).addcmul_(i, j)
            x = torch.mul(o, torch.tanh(c, out=j), out=h)
        w, b = self.heads
        return torch.mm(w, x).add_(b)


def lstm_rows(hidden: Sequence[int]) -> dict[str, int]:
    return {f"{kind}{k}": width for k, width in enumerate(hidden) for kind in "hc"}


def elu(x: Tensor, out: Tensor) -> None:
    """max(x, e^min(x, 0) − 1): half the time of torch's, and as exact against values near 1."""
    torch.clamp(x, max=0.0, out=out)
    torch.maximum(out.exp_().sub_(1.0), x, out=out)


def check_sizes(g: Tensor, sizes: Sequence[int]) -> None:
    """Refuse gradients that are not those of tensors of these sizes."""
    if len(g) != sum(sizes):
        raise ValueError(
            f"This rule was given {len(g)} gradients for tensors of {sum(sizes)} coordinates "
            "together; give one a coordinate."
        )


def check_params(params: Tensor | None, n: int) -> Tensor:
    """The parameters, of n coordinates, of a rule that needs them; ValueError without them."""
    if params is None or params.shape != (n,):
        found = "none" if params is None else f"some of shape {tuple(params.shape)}"
        raise ValueError(
            f"This rule looks at the parameters, but update was given {found}; give "
            f"params=…, those of the {n} gradients side by side."
        )
    return params


def runs(sizes: Sequence[int], counts: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(start, stop, count) of coordinates side by side whose tensors are as old."""
    stop = 0
    for count, group in itertools.groupby(zip(sizes, counts, strict=True), key=lambda x: x[1]):
        start, stop = stop, stop + sum(size for size, _ in group)
        yield start, stop, count


def blocks(start: int, stop: int, block: int) -> Iterator[tuple[int, int]]:
    for a in range(start, stop, block):
        yield a, min(a + block, stop)


class Piece:
    """Coordinates start … stop − 1, which belong to few tensors, and sums over each of these.

    - `owner`: [tensor owns coordinate], (tensors, coordinates); None for one tensor
    """

    def __init__(self, start: int, stop: int, tensors: slice, owner: Tensor | None):
        self.at, self.tensors, self.owner = slice(start, stop), tensors, owner

    def sums(self, x: Tensor) -> Tensor:
        """Σ x (features, coordinates) over the coordinates here of each tensor."""
        return x.sum(1, keepdim=True) if self.owner is None else x @ self.owner.T

    def spread(self, y: Tensor) -> Tensor:
        """y (features, all tensors) for the coordinates here; (features, 1) where all have one."""
        own = y[:, self.tensors]
        return own if self.owner is None else own @ self.owner


def pieces(sizes: Sequence[int], block: int, like: Tensor) -> Iterator[Piece]:
    """All coordinates of tensors of these sizes, at most `block`, and MANY tensors, at once."""
    ends = list(itertools.accumulate(sizes))
    start = k = 0
    while start < sum(sizes):
        while ends[k] <= start:
            k += 1
        alone = ends[k] - start > block // 4
        stop = min(start + block, ends[k if alone else min(k + MANY, len(ends)) - 1])
        last = k
        while ends[last] < stop:
            last += 1
        cuts = [start, *ends[k:last], stop]
        rows = [like.new_ones(1, b - a) for a, b in itertools.pairwise(cuts)]
        owner = torch.block_diag(*rows) if last > k else None
        yield Piece(start, stop, slice(k, last + 1), owner)
        start = stop
