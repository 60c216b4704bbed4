"""LearnedOptimizer: a meta-trained update rule as a `torch.optim.Optimizer`.

    θ ← θ − lr · weight_decay · θ + lr · u,      u = rule(∇f, state)

All parameters of one device and dtype are one matrix of coordinates (`rules.py`), so that a step
costs the same for one large tensor and for many small ones. The state of the rule lies in one
buffer a name, (features, coordinates); `state[p]` holds the part of each parameter as a view, and
`state_dict` sees these. If a copy, a loaded state or a new parameter takes the views away, the next
step notices and puts the buffers together again.

A file of weights is read as in JAX: checked, nothing in it executed.
"""

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, get_type_hints

import torch
from torch import Tensor

from ..core.messages import at_least
from ..optimizers.settings import DM, RNNProp, Scale
from ..store.manifest import (
    DTYPES,
    SAVED,
    CheckpointError,
    Header,
    as_saved,
    check_fit,
    complaint,
    described,
    read,
    specs,
    warn_of,
)
from ..store.untrusted import Source, built, checked_table, shown
from ..zoo.resolve import resolve
from .rules import BLOCK, AbstractRule, DMRule, RNNPropRule
from .scale import ScaleRule

RULES: dict[str, type] = {"DM": DMRule, "RNNProp": RNNPropRule, "Scale": ScaleRule}
SETTINGS = {"DM": DM, "RNNProp": RNNProp, "Scale": Scale}
PROBLEM = "problem"  # the key in `state` of the state that all parameters share
REFUSED = ("fused", "capturable", "differentiable", "amsgrad", "momentum", "betas", "eps")


class LearnedOptimizer(torch.optim.Optimizer):
    """Train the parameters of a model with a learned rule.

    - `rule`: the name of a pretrained optimizer, a file of steppe's, or an `AbstractRule`
    - `lr`: factor of the learned update, ≥ 0; the rule was trained for 1. Schedulers set it
    - `weight_decay`: decoupled, as in AdamW: parameters shrink by lr · weight_decay a step
    - `maximize`: climb instead of descend
    - `state_dtype`: precision of the state; None: float32, or float64 for float64 parameters.
      bfloat16 halves the memory at a cost in accuracy
    - `block`: coordinates worked on at once; for speed, the result is the same

    `foreach` is accepted and changes nothing: all parameters always go together. Sparse and complex
    gradients are refused. Raises ValueError for options out of range or of other optimizers.
    """

    def __init__(
        self,
        params: Iterable,
        rule: str | os.PathLike | AbstractRule,
        lr: float | Tensor = 1.0,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        state_dtype: torch.dtype | None = None,
        block: int = BLOCK,
        **other: Any,
    ):
        for name in other:
            why = "means nothing to a learned rule" if name in REFUSED else "is not an option"
            raise ValueError(
                f"LearnedOptimizer: {name} {why}; the options are lr, weight_decay, maximize, "
                "foreach, state_dtype and block."
            )
        if not float(lr) >= 0:
            raise ValueError(f"LearnedOptimizer: lr must be at least 0, got {lr}.")
        if not weight_decay >= 0:
            raise ValueError(
                f"LearnedOptimizer: weight_decay must be at least 0, got {weight_decay}."
            )
        if state_dtype is not None and not state_dtype.is_floating_point:
            raise ValueError(
                f"LearnedOptimizer: state_dtype must be a floating dtype, got {state_dtype}."
            )
        at_least(1, "LearnedOptimizer", block=block)
        self.rule = rule if isinstance(rule, AbstractRule) else read_rule(rule)
        self.state_dtype, self.block = state_dtype, block
        self._matrices: list[Matrix] | None = None
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "maximize": maximize})

    def add_param_group(self, param_group: dict) -> None:
        super().add_param_group(param_group)
        for p in self.param_groups[-1]["params"]:
            if p.is_complex():
                raise ValueError("LearnedOptimizer: parameters must be real, got a complex one.")
        self._matrices = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; return the loss of `closure` if one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for matrix in self._bound():
            matrix.step(self)
        return loss

    def load_state_dict(self, state_dict: dict) -> None:
        """Load a state as every optimizer does; that of the rule keeps its saved dtype."""
        given: dict = {}
        handle = self.register_load_state_dict_pre_hook(lambda _, state: given.update(state))
        try:
            super().load_state_dict(state_dict)
        finally:
            handle.remove()
        saved = itertools.chain.from_iterable(group["params"] for group in given["param_groups"])
        own = itertools.chain.from_iterable(group["params"] for group in self.param_groups)
        for place, p in zip(saved, own, strict=True):
            for name, value in given["state"].get(place, {}).items():
                there = value.device if name == "step" else p.device
                self.state[p][name] = value.detach().clone().to(there)
        memory = everything(self)
        if PROBLEM in memory:
            kept = memory[PROBLEM].items()
            memory[PROBLEM] = {name: value.detach().clone() for name, value in kept}
        self._matrices = None

    def __getstate__(self) -> dict[str, Any]:
        own = {"rule": self.rule, "state_dtype": self.state_dtype, "block": self.block}
        return {**super().__getstate__(), **own, "_matrices": None}

    def _bound(self) -> "list[Matrix]":
        """The matrices, with `state` as it is now."""
        if self._matrices is None or not all(m.intact(self) for m in self._matrices):
            kinds: dict[tuple, list[Tensor]] = {}
            for group in self.param_groups:
                for p in group["params"]:
                    if p.numel():
                        kinds.setdefault((p.device, working_dtype(p, self.rule)), []).append(p)
            if len(kinds) > 1 and self.rule.problem:
                raise ValueError(
                    "LearnedOptimizer: this rule looks at all parameters together, but they are on "
                    f"or of {', '.join(f'{d} in {t}' for d, t in kinds)}; put them on one device "
                    "in one precision, or take a coordinatewise rule (dm, rnnprop)."
                )
            self._matrices = [
                Matrix(self, device, dtype, params) for (device, dtype), params in kinds.items()
            ]
        return self._matrices


class Matrix:
    """The coordinates of all parameters of one device and dtype, and the state of their rule."""

    def __init__(
        self, opt: LearnedOptimizer, device: torch.device, dtype: torch.dtype, params: list[Tensor]
    ):
        self.rule, self.params, self.dtype = opt.rule.to(device, dtype), params, dtype
        self.sizes = [p.numel() for p in params]
        kept = opt.state_dtype or dtype
        own = [opt.state[p] for p in params]
        owners = {"rows": own, "tensors": own}
        if self.rule.problem:
            owners["problem"] = [everything(opt)[PROBLEM]]
        widths = {"rows": self.sizes, "tensors": [1] * len(params), "problem": [1]}
        self.buffers: dict[str, Tensor] = {}
        self.views: list[tuple[dict, str, Tensor]] = []
        for kind, states in owners.items():
            for name, features in getattr(self.rule, kind).items():
                whole = torch.full(
                    (features, sum(widths[kind])),
                    self.rule.first.get(name, 0.0),
                    dtype=kept,
                    device=device,
                )
                for state, part in zip(states, whole.split(widths[kind], 1), strict=True):
                    if name in state:
                        part.copy_(state[name])
                    state[name] = part
                    self.views.append((state, name, part))
                self.buffers[name] = whole
        for state in own:
            state.setdefault("step", torch.tensor(0.0))

    def intact(self, opt: LearnedOptimizer) -> bool:
        """True if `state` still is a view of the buffers."""
        return all(state.get(name) is part for state, name, part in self.views)

    def step(self, opt: LearnedOptimizer) -> None:
        moving = [k for k, p in enumerate(self.params) if p.grad is not None]
        if not moving:
            return
        groups = {id(p): group for group in opt.param_groups for p in group["params"]}
        params = [self.params[k] for k in moving]
        of = [groups[id(p)] for p in params]
        for p in params:
            opt.state[p]["step"] += 1
        counts = [int(opt.state[p]["step"]) for p in params]
        g = torch.cat([self._gradient(p, group) for p, group in zip(params, of, strict=True)])
        state, put_back = self._of(moving)
        u = self.rule.update(g, state, [self.sizes[k] for k in moving], counts, opt.block)
        put_back()
        parts = u.split([p.numel() for p in params])
        for p, group, part in zip(params, of, parts, strict=True):
            lr = group["lr"]
            if group["weight_decay"]:
                p.mul_(1 - lr * group["weight_decay"])
            p.add_(lr * part.view_as(p))

    def _gradient(self, p: Tensor, group: dict) -> Tensor:
        grad: Any = p.grad
        if grad.is_sparse:
            raise ValueError(
                "LearnedOptimizer: gradients must be dense, got a sparse one; build the embedding "
                "with sparse=False."
            )
        g = grad.reshape(-1).to(self.dtype)
        return -g if group["maximize"] else g

    def _of(self, moving: Sequence[int]) -> tuple[dict[str, Tensor], Callable[[], None]]:
        """The state of these parameters, and a function that writes it back."""
        if len(moving) == len(self.params):
            return self.buffers, lambda: None
        starts = list(itertools.accumulate(self.sizes, initial=0))
        device = next(iter(self.buffers.values())).device
        columns = torch.cat([torch.arange(starts[k], starts[k + 1], device=device) for k in moving])
        at = dict.fromkeys(self.rule.rows, columns)
        at |= dict.fromkeys(self.rule.tensors, torch.tensor(moving, device=device))
        part = {name: x[:, at[name]] if name in at else x for name, x in self.buffers.items()}

        def put_back() -> None:
            for name, index in at.items():
                self.buffers[name][:, index] = part[name]

        return part, put_back


def everything(opt: LearnedOptimizer) -> dict[Any, dict[str, Tensor]]:
    """The state of an optimizer, whose keys need not be parameters."""
    return opt.state


def working_dtype(p: Tensor, rule: AbstractRule) -> torch.dtype:
    """The dtype of a step on p: float32, or wider if p or the weights are."""
    weight = next(iter(rule.weights.values()))
    return torch.promote_types(torch.promote_types(p.dtype, weight.dtype), torch.float32)


def read_rule(source: str | os.PathLike) -> AbstractRule:
    """Read the rule of a trained optimizer: a file, a run, a shipped name or hub://….

    Raises CheckpointError if there is no such file, if it is damaged or holds no optimizer, and for
    an optimizer that has no form in PyTorch.
    """
    path, rule = resolve(source), {}
    said = Source(os.fspath(path), SAVED, CheckpointError)

    def expect(header: Header) -> None:
        """Check what the header says, before memory is taken for the weights."""
        kind, hyper = described(header, path).values()
        if kind not in RULES:
            found, known = f"an optimizer of kind {shown(kind)}", f"one of {', '.join(RULES)}"
            raise complaint(path, found, known, "run it in JAX")
        cls = SETTINGS[kind]
        hints = get_type_hints(cls, include_extras=True)
        settings = built(cls, checked_table(hyper, hints, said, kind), said, kind)
        check_fit(path, specs(header), as_saved(header, settings.shapes))
        rule.update(kind=kind, hyper=dataclasses.asdict(settings))

    weights = tensors(*read(path, expect))
    warn_of(path, [name for name, w in weights.items() if not bool(w.isfinite().all())])
    return RULES[rule["kind"]](weights, rule["hyper"])


def tensors(header: Header, body: dict[str, bytearray]) -> dict[str, torch.Tensor]:
    """Every array of a checkpoint, float32 at least."""
    names = {name: getattr(torch, name) for name, _ in DTYPES.values() if hasattr(torch, name)}
    found = {}
    for name, tensor in header.tensors.items():
        dtype, empty = names[tensor.dtype], 0 in tensor.shape
        raw = torch.empty(0, dtype=dtype) if empty else torch.frombuffer(body[name], dtype=dtype)
        value = raw.reshape(tensor.shape)
        wide = (
            torch.promote_types(value.dtype, torch.float32) if value.is_floating_point() else None
        )
        found[name] = value if wide is None else value.to(wide)
    return found
