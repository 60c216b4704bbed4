"""Parameter groups: their options, checked where they come in, and names for their parameters.

`lr` is judged where a user gives it, when an optimizer is built, a group added or a state loaded,
and not where a scheduler sets it: warming up from small values is no mistake.
"""

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..core.arguments import told

OPTIONS = ("lr", "weight_decay", "maximize")
RULE = "rule"  # the key of a group that names the rule and its weights
FOREIGN = ("fused", "capturable", "differentiable", "amsgrad", "momentum", "betas", "eps")
WHOLE = (RULE, "state_dtype", "block")  # options of the optimizer, not of a group
GIVEN_LR = ("lr", "initial_lr", "max_lr")  # what schedulers start from and rise to

# A trained rule is used within some times its trained rate, 1. The usual rates of Adam, 1e-5 to
# 1e-2, and of SGD, up to 0.1, lie below this range or on its edge.
NEAR = 0.1, 10.0


def check_names(group: Mapping[str, Any]) -> None:
    """Refuse what means nothing to a learned rule, or nothing in a single group."""
    for name in group:
        if name in FOREIGN:
            raise ValueError(
                f"LearnedOptimizer: {name} means nothing to a learned rule; leave it out."
            )
        if name in WHOLE:
            raise ValueError(
                f"LearnedOptimizer: {name} is an option of the whole optimizer, not of one group; "
                "give it beside the groups, or build one optimizer for each."
            )


def check_options(group: Mapping[str, Any], owner: str = "LearnedOptimizer: ") -> None:
    """Refuse a group that lacks an option, or has one that is out of range."""
    for name in OPTIONS:
        if name not in group:
            raise ValueError(f"{owner}{name} is missing; add groups by opt.add_param_group(…).")
    for name in ("lr", "weight_decay"):
        if not admissible(group[name]):
            raise ValueError(
                f"{owner}{name} must be at least 0, got {words(group[name])}; give one finite "
                "number."
            )
    if not (isinstance(group["maximize"], int) and group["maximize"] in (True, False)):
        raise ValueError(
            f"{owner}maximize must be True or False, got {words(group['maximize'])}; give one "
            "of them."
        )


def admissible(value: object) -> bool:
    """True for one finite real number ≥ 0, or a tensor of one."""
    if isinstance(value, Tensor):
        return value.numel() == 1 and not value.is_meta and admissible(value.item())
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    try:
        return 0 <= float(value) < math.inf
    except OverflowError:
        return False


def words(value: object) -> str:
    """A value in a few words on one line, whatever it is."""
    if isinstance(value, Tensor) and value.ndim:
        return f"a tensor of shape {tuple(value.shape)}"
    return " ".join(told(value).split())


def check_step(group: Mapping[str, Any], place: int) -> None:
    """Check the options of a group before a step, at the cost of a few comparisons.

    Rates that are tensors are not looked at, for that would wait for their device.
    """
    try:
        numbers_ = (group["lr"], group["weight_decay"])
        fine = all(isinstance(x, Tensor) or 0 <= x < math.inf for x in numbers_)
        fine = fine and "maximize" in group
    except (KeyError, TypeError, ValueError):
        fine = False
    if not fine:
        check_options(group, f"LearnedOptimizer: group {place}: ")


def check_gradient(p: Tensor, groups: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a sparse gradient, and one of another shape than its parameter."""
    grad: Any = p.grad
    if grad.layout is not torch.strided:
        raise ValueError(
            f"LearnedOptimizer: gradients must be dense, but that of {place(groups, p)} is of "
            f"{grad.layout}; build an embedding with sparse=False."
        )
    if grad.shape != p.shape:
        raise ValueError(
            f"LearnedOptimizer: the gradient of {place(groups, p)} has shape {tuple(grad.shape)}, "
            f"the parameter {tuple(p.shape)}; compute it again after a change of the parameter."
        )


def named(given: object, identity: str) -> bool:
    """True if a group names this rule."""
    return isinstance(given, str) and given == identity


def check_rules(groups: Sequence[dict[str, Any]], identity: str) -> None:
    """Refuse groups that name another rule; those that users made name it from now on."""
    for k, group in enumerate(groups):
        if not named(group.setdefault(RULE, identity), identity):
            raise ValueError(
                f"LearnedOptimizer: group {k} is of the rule {words(group[RULE])}, but the "
                f"optimizer has {identity}; build another optimizer for another rule."
            )


def far_rate(groups: Sequence[Mapping[str, Any]]) -> str | None:
    """A warning about the first group whose rate, and whatever a scheduler makes of it, is far
    from 1. A rate of 0 is none: its parameters are meant to stand still.
    """
    low, high = NEAR
    for group in groups:
        given = [float(group[name]) for name in GIVEN_LR if admissible(group.get(name))]
        lr = max(given)
        if lr and not low <= lr <= high:
            times = f"{1 / lr:.3g} times too little" if lr < 1 else f"{lr:.3g} times too far"
            return (
                f"LearnedOptimizer: lr={lr:g} multiplies the learned update, whose trained value "
                f"is 1, so that parameters move {times}; a rate of Adam or SGD does not carry "
                "over: leave lr out, or give one near 1."
            )
    return None


def place(groups: Sequence[Mapping[str, Any]], p: Tensor) -> str:
    """The name of a parameter in a sentence: its place, and its name if it has one."""
    for k, group in enumerate(groups):
        for j, own in enumerate(group["params"]):
            if own is p:
                names = group.get("param_names") or ()
                name = f" ({names[j]!r})" if j < len(names) else ""
                return f"parameter {j} of group {k}{name}"
    return "a parameter of no group"
