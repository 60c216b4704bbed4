"""LearnedOptimizer: a meta-trained update rule as a `torch.optim.Optimizer`.

    θ ← θ − lr · weight_decay · θ + lr · u,      u = rule(∇f, state)

A rule that decides a weight decay λ of its own is handed θ too, and its u has −λ θ in it: `lr`
multiplies that decay like the rest, as in JAX, and it shrinks θ whether f falls or climbs.

All parameters of one device and dtype are one matrix of coordinates (`matrix.py`), so that a step
costs the same for one large tensor and for many small ones; `state[p]` shows the part of each
parameter. Parameters, groups and states belong to the user: every step compares them with those of
the last one. What is saved and loaded passes through `states.py`.

A file of weights is read as in JAX: checked, nothing in it executed.
"""

import dataclasses
import functools
import operator
import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..core.messages import at_least
from ..optimizers.settings import settings_in
from ..store.manifest import (
    DTYPES,
    Header,
    complaint,
    described,
    read,
    warn_of,
)
from ..store.untrusted import shown
from ..zoo.resolve import resolve
from .groups import (
    FOREIGN,
    RULE,
    check_gradient,
    check_names,
    check_options,
    check_rules,
    check_step,
    far_rate,
    place,
    words,
)
from .matrix import Matrix, bind, places, stands
from .rules import BLOCK, AbstractRule, DMRule, RNNPropRule
from .scale import ScaleRule
from .small_mlp import SmallMLPRule
from .states import Admitted, admitted, mapping, standalone
from .symbolic import SymbolicRule

RULES: dict[str, type] = {
    "DM": DMRule,
    "RNNProp": RNNPropRule,
    "Scale": ScaleRule,
    "SmallMLP": SmallMLPRule,
    "Symbolic": SymbolicRule,
}


class LearnedOptimizer(torch.optim.Optimizer):
    """Train the parameters of a model with a learned rule.

    - `rule`: the name of a pretrained optimizer, a file of steppe's, or an `AbstractRule`
    - `lr`: factor of the learned update, ≥ 0; the rule was trained for 1. Schedulers set it. One
      below 0.1 or above 10 is warned of, once; 0 is not
    - `weight_decay`: decoupled, as in AdamW: parameters shrink by lr · weight_decay a step, besides
      the decay that a rule decides
    - `maximize`: climb instead of descend
    - `state_dtype`: precision of the state; None: float32, or float64 for float64 parameters.
      bfloat16 halves the memory at a cost in accuracy
    - `block`: coordinates worked on at once; for speed, the result is the same

    `foreach` is accepted and changes nothing: all parameters always go together. Sparse and complex
    gradients are refused. Raises ValueError for options out of range or of other optimizers.

    Parameters, groups and `state` may be changed between two steps, as those of `torch.optim.Adam`
    (docs/torch.md). An entry of `state[p]` is a view of all that the rule remembers: what is
    written there counts, and to keep one take `.clone()` of it. `state_dict`, pickles and deep
    copies hold copies.
    """

    source: str | None = None  # name or file of the rule, if it was given by one
    _warned = False  # of a rate far from 1

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
            why = "means nothing to a learned rule" if name in FOREIGN else "is not an option"
            raise ValueError(
                f"LearnedOptimizer: {name} {why}; the options are lr, weight_decay, maximize, "
                "foreach, state_dtype and block."
            )
        defaults = {"lr": lr, "weight_decay": weight_decay, "maximize": maximize}
        check_options(defaults)
        floating = isinstance(state_dtype, torch.dtype) and state_dtype.is_floating_point
        if state_dtype is not None and not floating:
            raise ValueError(
                "LearnedOptimizer: state_dtype must be a floating dtype, as torch.bfloat16, got "
                f"{words(state_dtype)}."
            )
        at_least(1, "LearnedOptimizer", block=block)
        if isinstance(rule, AbstractRule):
            self.rule = rule
        elif isinstance(rule, str | os.PathLike):
            self.rule, self.source = read_rule(rule), os.fspath(rule)
        else:
            raise ValueError(
                "LearnedOptimizer: rule must be a name, a file or an AbstractRule, got "
                f"{words(rule)}; it comes second, as in "
                'LearnedOptimizer(model.parameters(), "rnnprop-v1").'
            )
        self.state_dtype, self.block = state_dtype, block
        self._forget()
        self._warned = True  # until all groups are there
        super().__init__(params, {**defaults, RULE: self.rule.identity})
        self._warned = False
        self._warn()

    def __repr__(self) -> str:
        source = "" if self.source is None else f"{self.source}: "
        return super().__repr__().replace("(", f"({source}{self.rule.identity}", 1)

    def add_param_group(self, param_group: dict) -> None:
        """Add a group, as every optimizer does. Nothing is added if it is refused."""
        if isinstance(param_group, dict):
            check_names(param_group)
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            check_options(group)
            for p in group["params"]:
                if p.is_complex():
                    raise ValueError(
                        f"LearnedOptimizer: parameters must be real, but {place([group], p)} that "
                        "was to be added is complex; give torch.view_as_real of it."
                    )
        except ValueError:
            self.param_groups.pop()
            raise
        self._warn()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; return the loss of `closure` if one is given.

        Raises ValueError, before anything is changed, for a parameter that no longer fits its
        state and for a group or gradient that the rule cannot take.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = self._bind()
        for matrix in self._matrices:
            matrix.step(groups, self.block)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The state as every optimizer gives it, in tensors that own their memory.

        Each group names the rule and a digest of its weights under `rule`.
        """
        states: list[Any] = []

        def copy(_: torch.optim.Optimizer) -> None:
            states.append(self.state)
            own = {id(p) for group in self.param_groups for p in group["params"]}
            inside = lambda key: not isinstance(key, Tensor) or id(key) in own
            kept = {key: state for key, state in self.state.items() if inside(key)}
            self.state = defaultdict(dict, standalone(kept))

        handle = self.register_state_dict_pre_hook(copy)
        try:
            return super().state_dict()
        finally:
            handle.remove()
            self.state = states[0] if states else self.state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load what `state_dict` gave for the same rule and parameters of the same sizes.

        Raises ValueError, before anything is changed, for the state of another rule, of the same
        with other weights, or of another optimizer, and for one whose names, shapes or numbers do
        not fit. One of steppe 0.1, which names no rule, is known by names and shapes, with a
        warning.
        """
        found: list[Admitted] = []

        def check(_: torch.optim.Optimizer, given: dict) -> dict:
            found.append(admitted(given, self.param_groups, self.rule, self.state_dtype))
            return {"state": {}, "param_groups": found[0].groups}

        def enter(_: torch.optim.Optimizer) -> None:
            self.state.update(found[0].states)
            self._forget()

        before = self.register_load_state_dict_pre_hook(check)
        after = self.register_load_state_dict_post_hook(enter, prepend=True)
        try:
            super().load_state_dict(mapping(state_dict))
        finally:
            before.remove()
            after.remove()
        if not found[0].named:
            warnings.warn(
                "LearnedOptimizer: the loaded state names no rule, as those of steppe 0.1; it fits "
                f"{self.rule.identity} in names and shapes, so see to it that the weights are the "
                "same, and save it again.",
                stacklevel=2,
            )
        self._warn()

    def __getstate__(self) -> dict[str, Any]:
        names = ("rule", "source", "state_dtype", "block", "_warned")
        own = {name: getattr(self, name) for name in names}
        copies = {"state": defaultdict(dict, standalone(self.state))}
        unbound = {"_matrices": [], "_bound": {}, "_params": [], "_made_of": None}
        return {**super().__getstate__(), **own, **copies, **unbound}

    def _forget(self) -> None:
        """Make the matrices anew at the next step, whatever there is then."""
        self._matrices: list[Matrix] = []
        self._bound: dict[int, tuple[Matrix, int]] = {}
        self._params: list[Tensor] = []
        self._made_of: tuple | None = None

    def _warn(self) -> None:
        said = None if self._warned else far_rate(self.param_groups)
        if said is not None:
            self._warned = True
            warnings.warn(said, stacklevel=3)

    def _bind(self) -> dict[int, dict[str, Any]]:
        """See to it that the matrices are those of now; the group of each parameter, by id."""
        groups: dict[int, dict[str, Any]] = {}
        params: list[Tensor] = []
        others: list[Tensor] = []
        for k, group in enumerate(self.param_groups):
            check_step(group, k)
            for p in group["params"]:
                if p.grad is not None:
                    check_gradient(p, self.param_groups)
                elif not stands(p, self.state, self._bound):
                    others.append(p)
                    continue
                groups[id(p)] = group
                params.append(p)
        made_of = self.rule, self.state_dtype, len(params)
        if not (
            made_of == self._made_of
            and all(map(operator.is_, params, self._params))
            and all(matrix.intact(self.state) for matrix in self._matrices)
        ):
            check_rules(self.param_groups, self.rule.identity)
            where = functools.partial(place, self.param_groups)
            self._matrices = bind(
                self.rule, params, others, self.state, self.state_dtype, self._matrices, where
            )
            self._bound, self._params, self._made_of = places(self._matrices), params, made_of
        return groups


def read_rule(source: str | os.PathLike) -> AbstractRule:
    """Read the rule of a trained optimizer: a file, a run, a shipped name or hub://….

    Raises CheckpointError if there is no such file, if it is damaged or holds no optimizer, and for
    an optimizer that has no form in PyTorch.
    """
    path, found = resolve(source), []

    def expect(header: Header) -> None:
        """Check what the header says, before memory is taken for the weights."""
        about, settings = described(header, path), settings_in(header, path)
        kind, inside = about["kind"], innermost(about)
        if settings is None:
            words, known = f"an optimizer of kind {shown(kind)}", f"one of {', '.join(RULES)}"
            instead = f"save the {inside} inside it, its `base`, or " if inside in RULES else ""
            raise complaint(path, words, known, f"{instead}run it in JAX")
        found.append((RULES[kind], dataclasses.asdict(settings)))

    weights = tensors(*read(path, expect))
    warn_of(path, [name for name, w in weights.items() if not bool(w.isfinite().all())])
    rule, hyper = found[0]
    return rule(weights, hyper)


def innermost(described: dict[str, Any]) -> str:
    """The kind of the optimizer at the bottom of the wrappers of a file, nothing checked."""
    base = described
    while isinstance(hyper := base.get("hyper"), dict) and isinstance(hyper.get("base"), dict):
        base = hyper["base"]
    return str(base.get("kind"))


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
