"""Fit of a parameter, its state and a rule.

    state[p] = {"step": …, "problem_step": …, name: (features, coordinates or 1), …}

Names and sizes are those of the rule (`AbstractRule.shapes`), and the same is asked of a state that
a user has changed and of one that is loaded. Errors name the parameter and say what to do.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from .groups import words
from .rules import AbstractRule


def begun(states: Mapping[Any, Any], key: Any) -> Any:
    """The state of a parameter, or None before its first step."""
    own = states.get(key)
    return None if isinstance(own, Mapping) and not own else own


def working_dtype(p: Tensor, rule: AbstractRule) -> torch.dtype:
    """The dtype of a step on p: float32, or wider if p or the weights are."""
    weight = next((w.dtype for w in rule.weights.values()), torch.float32)
    return torch.promote_types(torch.promote_types(p.dtype, weight), torch.float32)


def check_parameter(p: Tensor, place: Callable[[Tensor], str], seen: set[int]) -> None:
    """Refuse a parameter that stands twice or has no real numbers here. `seen`: ids so far."""
    if id(p) in seen:
        raise ValueError(
            f"LearnedOptimizer: {place(p)} stands in the groups more than once; name each "
            "parameter once."
        )
    seen.add(id(p))
    if hasattr(p, "device_mesh"):
        raise ValueError(
            f"LearnedOptimizer: {place(p)} is a DTensor, spread over devices by FSDP or tensor "
            "parallelism, but parameters must be whole; use DistributedDataParallel."
        )
    if p.is_meta or not p.dtype.is_floating_point or p.dtype.itemsize < 2:
        kind = "on the meta device, without numbers" if p.is_meta else f"of {p.dtype}"
        raise ValueError(
            f"LearnedOptimizer: {place(p)} is {kind}, but parameters must be real floating-point "
            "numbers of 16 bits or more; convert it, or take it out of its group."
        )


def check_state(own: Any, rule: AbstractRule, p: Tensor, where: str) -> None:
    """Refuse the state of a parameter, named `where`, that lacks an entry or has one that is off.

    Its dtype may be any of floating point.
    """
    owner = f"LearnedOptimizer: {where}"
    shapes = rule.shapes(p.numel())
    afresh = "restore it, or take the whole state of the parameter away to begin afresh"
    if not isinstance(own, dict):
        raise ValueError(f"{owner}: its state is a {type(own).__name__}, not a dict; {afresh}.")
    lacking = [name for name in (*rule.counts, *shapes) if name not in own]
    if lacking:
        raise ValueError(f"{owner}: its state lacks {', '.join(lacking)}; {afresh}.")
    for name, shape in shapes.items():
        value = own[name]
        if not isinstance(value, Tensor):
            found = f"a {type(value).__name__}"
        elif value.is_meta or value.layout is not torch.strided:
            found = "a tensor without numbers of its own"
        elif not value.dtype.is_floating_point:
            found = f"of {value.dtype}"
        elif tuple(value.shape) != shape:
            found = f"of shape {tuple(value.shape)}"
        else:
            continue
        raise ValueError(
            f"{owner}: {name} in its state is {found}, expected floating-point numbers of shape "
            f"{shape} for a parameter of shape {tuple(p.shape)}; {afresh}."
        )
    for name in rule.counts:
        if not is_count(own[name]):
            raise ValueError(
                f"{owner}: {name} in its state is {words(own[name])}, expected a whole number ≥ 0; "
                f"{afresh}."
            )


def is_sound(own: Any, rule: AbstractRule, p: Tensor) -> bool:
    """True for a state that `check_state` passes."""
    try:
        check_state(own, rule, p, "")
    except ValueError:
        return False
    return True


def is_count(value: Any) -> bool:
    """True for one whole number ≥ 0, also in a tensor."""
    if isinstance(value, Tensor):
        return value.numel() == 1 and not value.is_meta and is_count(value.item())
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value >= 0 and value % 1 == 0


def shared(
    states: Iterable[tuple[Tensor, Any]], rule: AbstractRule, place: Callable[[Tensor], str]
) -> dict[str, Any]:
    """The newest of what parameters share, with its age; empty if none has a state.

    Refuse parameters that hold different ones of the same age.
    """
    begun = [(p, own) for p, own in states if own is not None]
    if not rule.problem or not begun:
        return {}
    first, newest = max(begun, key=lambda pair: float(pair[1]["problem_step"]))
    for p, own in begun:
        if float(own["problem_step"]) < float(newest["problem_step"]):
            continue
        for name in rule.problem:
            if not torch.equal(own[name].cpu().double(), newest[name].cpu().double()):
                raise ValueError(
                    f"LearnedOptimizer: {name} is shared by all parameters, but {place(first)} and "
                    f"{place(p)} hold different ones in their states; give both the same."
                )
    return {name: newest[name] for name in ("problem_step", *rule.problem)}
