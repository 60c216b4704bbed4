"""Settings of the learned optimizers that JAX and PyTorch both run, and what follows from them.

A class here has the arguments of the constructor of that name, with the same hints, so that JAX and
PyTorch refuse the same files in the same words. `shapes` are those of the weights by their names in
a file. Standard library only.
"""

import dataclasses
import itertools
import math
import os
from typing import Annotated, Literal, TypeVar, get_type_hints

from ..core.expression import LENGTH
from ..store.fit import as_saved, check_fit, specs
from ..store.manifest import (
    SAVED,
    CheckpointError,
    Header,
    described,
    verify,
)
from ..store.untrusted import Between, Length, Real, Source, built, checked_table
from .formulas import ADAM, canonical
from .proofs import check_claims

Width = Annotated[int, Between(0, 2**16)]  # units of a layer
Widths = Annotated[tuple[Width, ...], Length(64)]
Units = Annotated[int, Between(1, 2**10)]  # of a layer of a small network
Block = Annotated[int, Between(1, 2**31)]
Scales = Annotated[int, Between(1, 32)]
TimeScales = Annotated[tuple[Real, ...], Length(64)]  # in steps
Horizon = Annotated[int, Between(1, 2**31)] | None  # steps of a training; None: not told
Shapes = dict[str, tuple[int, ...]]
Settings = TypeVar("Settings", "DM", "RNNProp", "Scale", "SmallMLP", "Symbolic")

SHARPEST = 80.0  # p from which e^p is close to the largest float32
FLOOR = -33.0  # of L2O-Scale's log learning rates (published code)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DM:
    """Settings of `optimizers.learned.dm`."""

    hidden: Widths = (20, 20)
    preprocess: Literal["log_and_sign", "none"] = "log_and_sign"
    p: Real = 5.0
    scale: Real = 0.01
    block: Block = 1024
    zero_head: bool = False
    time_scales: TimeScales = ()
    horizon: Horizon = None
    weight_decay: Real = 0.0

    def __post_init__(self):
        check_extras("DM", self)
        if self.preprocess not in ("log_and_sign", "none"):
            raise ValueError(
                f"DM: preprocess is {self.preprocess!r}, expected 'log_and_sign' or 'none'."
            )
        if not 0 < self.p <= SHARPEST:
            raise ValueError(f"DM: p must be positive, and {SHARPEST} at most, got {self.p}.")

    @property
    def features(self) -> int:
        """Numbers that the network sees of a coordinate, and of time."""
        return (2 if self.preprocess == "log_and_sign" else 1) + times(self)

    @property
    def shapes(self) -> Shapes:
        return lstm(self.features, self.hidden) | decay_shapes(self, self.features)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RNNProp:
    """Settings of `optimizers.learned.rnnprop`."""

    hidden: Widths = (20, 20)
    features: Width = 20
    beta1: Real = 0.95
    beta2: Real = 0.95
    scale: Real = 0.01
    block: Block = 1024
    time_scales: TimeScales = ()
    horizon: Horizon = None
    weight_decay: Real = 0.0

    def __post_init__(self):
        check_extras("RNNProp", self)
        for name, beta in (("beta1", self.beta1), ("beta2", self.beta2)):
            if not 0 <= beta < 1:
                raise ValueError(f"RNNProp: {name} must be in [0, 1), got {beta}.")

    @property
    def shapes(self) -> Shapes:
        inputs = {".inputs.w": (2 + times(self), self.features), ".inputs.b": (self.features,)}
        return inputs | lstm(self.features, self.hidden) | decay_shapes(self, self.features)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale:
    """Settings of `optimizers.learned.scale`."""

    levels: Widths = (10, 20, 20)
    scales: Scales = 4
    lr_range: tuple[Real, Real] = (1e-6, 1e-2)
    max_log_lr: Real = 33.0
    dynamic: bool = True
    products: bool = True
    log_squares: bool = True
    relative_lr: bool = True
    problem_mean: bool = True
    extreme: bool = False
    lr_shortcut: bool = False
    gradient_shortcut: bool = True
    decay_scales: bool = False
    learn_decay: bool = True
    learn_input_decay: bool = True
    learn_start: bool = True
    attention: bool = False
    pool: Literal["mean", "last"] = "mean"
    cell_scale: Real = 0.5
    gate_bias: Real = 2.2
    affine_scale: Real = 0.5
    readout_scale: Real = 0.5
    decay_bias: Real = 3.2
    input_decay_bias: Real = 2.2
    momentum: Real = 3.2
    offset: Real = -1.0
    zero_lr: bool = True

    def __post_init__(self):
        if not 1 <= len(self.levels) <= 3 or min(self.levels) < 1:
            raise ValueError(
                f"Scale: levels is {self.levels}, expected one to three positive numbers: the "
                "units of a coordinate, of a tensor and of the problem, such as (10, 20, 20)."
            )
        if not self.scales >= 1:
            raise ValueError(f"Scale: scales must be at least 1, got {self.scales}.")
        low, high = self.lr_range
        if not 0 < low <= high < math.inf:
            raise ValueError(
                f"Scale: lr_range is {self.lr_range}, expected two learning rates, the lower one "
                "positive and first, such as (1e-6, 1e-2)."
            )
        if not self.max_log_lr > FLOOR:
            raise ValueError(f"Scale: max_log_lr must be above {FLOOR}, got {self.max_log_lr}.")
        wanting = [
            name for name in ("relative_lr", "extreme", "lr_shortcut") if getattr(self, name)
        ]
        if wanting and not self.dynamic:
            raise ValueError(
                f"Scale: {' and '.join(wanting)} looks at learning rates, but dynamic=False has "
                f"none. Give {', '.join(name + '=False' for name in wanting)}."
            )
        if self.pool not in ("mean", "last"):
            raise ValueError(f"Scale: pool must be 'mean' or 'last', got {self.pool!r}.")

    @property
    def inputs(self) -> int:
        """Features of a coordinate."""
        count = self.scales * (1 + self.log_squares) + (self.scales - 1) * self.products
        return count + self.relative_lr + self.extreme + self.lr_shortcut

    @property
    def seen(self) -> int:
        """Features of a coordinate that the level of tensors sees: of [h, x]."""
        return self.levels[0] + (self.inputs if self.inputs > self.scales else 0)

    @property
    def shapes(self) -> Shapes:
        m, *upper = self.levels
        inputs = (self.inputs, self.seen, *upper[:1])
        found: Shapes = {}
        for k, (q, n) in enumerate(zip(inputs, self.levels, strict=False)):
            cell = f".cells[{k}]"
            found |= {f"{cell}.w_gates": (q + n, 2 * n), f"{cell}.b_gates": (2 * n,)}
            found |= {f"{cell}.w_candidate": (q + n, n), f"{cell}.b_candidate": (n,)}
        maps = {"bias_tensor": (0, m), "bias_problem": (1, m), "bias_upper": (1, (*upper, 0)[0])}
        for name, (level, n) in maps.items():
            if level < len(upper):
                found |= {f".{name}.w": (upper[level], 3 * n), f".{name}.b": (3 * n,)}
        reads = {
            "decay": self.learn_decay,
            "input_decay": self.learn_decay and self.learn_input_decay and self.scales > 1,
            "lr": self.dynamic,
        }
        for name in (name for name, there in reads.items() if there):
            found |= {f".read_{name}.w": (m,), f".read_{name}.b": ()}
        found |= {".read_step": (m,)} | ({".read_ahead": (m,)} if self.attention else {})
        starts = {f".starts[{k}]": (n,) for k, n in enumerate(self.levels)}
        found |= starts if self.learn_start else {}
        found |= {".shortcut": (self.scales,)} if self.gradient_shortcut else {}
        return found | ({".lr_momentum": (), ".log_step": ()} if self.dynamic else {})


@dataclasses.dataclass(frozen=True, kw_only=True)
class SmallMLP:
    """Settings of `optimizers.learned.small_mlp`."""

    hidden: tuple[Units, Units] = (8, 8)
    betas: Annotated[tuple[Real, ...], Length(16)] = (0.9, 0.99, 0.999)
    beta: Real = 0.999
    time_scales: TimeScales = (10.0, 100.0, 1000.0, 10000.0)
    scale: Real = 0.01
    weight_decay: Real = 0.0

    def __post_init__(self):
        if not self.betas:
            raise ValueError("SmallMLP: betas must be some numbers in [0, 1), got none.")
        for name, betas in (("betas", self.betas), ("beta", (self.beta,))):
            for beta in betas:
                if not 0 <= beta < 1:
                    raise ValueError(f"SmallMLP: {name} must be in [0, 1), got {beta}.")
        for tau in self.time_scales:
            if not 0 < tau < math.inf:
                raise ValueError(f"SmallMLP: time_scales must be positive, got {tau}.")
        if not 0 < self.scale < math.inf:
            raise ValueError(f"SmallMLP: scale must be positive, got {self.scale}.")
        if not 0 <= self.weight_decay < 1:
            raise ValueError(f"SmallMLP: weight_decay must be in [0, 1), got {self.weight_decay}.")

    @property
    def features(self) -> int:
        """Numbers that the network sees of a coordinate."""
        return 2 * (1 + len(self.betas)) + 1

    @property
    def tensor_features(self) -> int:
        """Numbers that it sees of a tensor."""
        return len(self.time_scales) + len(self.betas) + 3

    @property
    def shapes(self) -> Shapes:
        seen, about, (first, second) = self.features, self.tensor_features, self.hidden
        linear = lambda name, *shape: {f".{name}.w": shape, f".{name}.b": shape[1:]}
        found = {".shortcut": (seen,)} | linear("first", seen, first)
        found |= {".of_tensor": (about, first)} | linear("second", first, second)
        found |= linear("head", second, 1) | linear("read_rate", about, 1)
        return found | (linear("read_decay", about, 1) if self.weight_decay else {})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Symbolic:
    """Settings of `optimizers.learned.symbolic`."""

    formula: Annotated[str, Length(LENGTH)] = ADAM
    coefficients: Annotated[tuple[Real, ...], Length(1000)] | None = None

    def __post_init__(self):
        canonical(self.formula, self.coefficients)  # raises for what is no rule

    @property
    def shapes(self) -> Shapes:
        return {".theta": (len(canonical(self.formula, self.coefficients)[1]),)}


KINDS = {
    "DM": DM,
    "RNNProp": RNNProp,
    "Scale": Scale,
    "SmallMLP": SmallMLP,
    "Symbolic": Symbolic,
}


def settings_in(
    header: Header, path: str | os.PathLike
) -> DM | RNNProp | Scale | SmallMLP | Symbolic | None:
    """The settings of the optimizer in a file, and the check that its weights are as they imply.

    None for an optimizer of another kind. Raises CheckpointError where there is no optimizer, for
    settings of a wrong type or out of range, and for weights of other names, dtypes or shapes.
    """
    kind, hyper = described(header, path).values()
    check_claims(header, path)
    if kind not in KINDS:
        return None
    cls, source = KINDS[kind], Source(os.fspath(path), SAVED, CheckpointError)
    hints = get_type_hints(cls, include_extras=True)
    settings = built(cls, checked_table(hyper, hints, source, kind), source, kind)
    check_fit(path, specs(header), as_saved(header, settings.shapes))
    return settings


def verified(path: str | os.PathLike) -> Header:
    """The header of a checkpoint, with every bit of the file checked.

    The settings of an optimizer come first, so that a large file that cannot be right is refused
    at once.
    """
    return verify(path, lambda header: "kind" in header.manifest and settings_in(header, path))


def of(kind: type[Settings], optimizer: object) -> Settings:
    """The settings that an optimizer keeps as its fields. ValueError for one out of range."""
    names = [field.name for field in dataclasses.fields(kind)]
    return kind(**{name: getattr(optimizer, name) for name in names})


def check_extras(owner: str, settings: DM | RNNProp) -> None:
    """Refuse features of time, or a weight decay, that cannot be."""
    for tau in settings.time_scales:
        if not 0 < tau < math.inf:
            raise ValueError(f"{owner}: time_scales must be positive numbers of steps, got {tau}.")
    if not 0 <= settings.weight_decay < 1:
        raise ValueError(
            f"{owner}: weight_decay must be a share from 0 to below 1, the largest that a step "
            f"takes away, got {settings.weight_decay}."
        )


def times(settings: DM | RNNProp) -> int:
    """Number of features of time."""
    return len(settings.time_scales) + (settings.horizon is not None)


def decay_shapes(settings: DM | RNNProp, inputs: int) -> Shapes:
    """Shapes of the layer that decides the weight decay, where there is one."""
    width = (inputs, *settings.hidden)[-1]
    there = {".decay_head.w": (width, 1), ".decay_head.b": (1,)}
    return there if settings.weight_decay else {}


def lstm(inputs: int, hidden: tuple[int, ...]) -> Shapes:
    """Shapes of LSTM layers one on the other, and of the linear head after them."""
    widths, found = (inputs, *hidden), {}
    for k, (before, width) in enumerate(itertools.pairwise(widths)):
        layer = f".lstm.layers[{k}]"
        found |= {f"{layer}.w_gates": (before + width, 4 * width), f"{layer}.b_gates": (4 * width,)}
    return found | {".head.w": (widths[-1], 1), ".head.b": (1,)}
