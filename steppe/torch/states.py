"""States of a LearnedOptimizer as they leave it, and as they come in.

Inside, the state of a parameter is a view of one matrix (`matrix.py`). What leaves are copies that
own their memory. What comes in is a state dict, of this rule or of anything else: it is compared
with the rule and the parameters before the optimizer is touched.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .fit import begun, check_parameter, check_state, is_count, shared, working_dtype
from .groups import OPTIONS, RULE, check_options, named, place, words
from .rules import AbstractRule

Groups = Sequence[Mapping[str, Any]]

# Options that groups have besides the optimizer's own: torch's, and those of its schedulers.
USUAL = {"params", "param_names", "differentiable", "initial_lr", "min_lr", "max_lr", "swa_lr"}
FORM = "a dict of `state`, a dict, and `param_groups`, a list of dicts"
PROBLEM = "problem"  # steppe 0.1 kept here what all parameters share


class Admitted(NamedTuple):
    """The contents of a state dict that fits."""

    groups: list[dict[str, Any]]
    states: dict[Tensor, dict[str, Tensor]]
    named: bool  # False if it does not name its rule, as those of steppe 0.1


def standalone(states: Mapping[Any, Any]) -> dict[Any, Any]:
    """Copies of all states, each tensor in memory of its own."""
    return {
        key: {name: alone(value) for name, value in own.items()} if isinstance(own, dict) else own
        for key, own in states.items()
    }


def alone(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.detach().clone(memory_format=torch.contiguous_format)


def admitted(
    given: Any, groups: Groups, rule: AbstractRule, state_dtype: torch.dtype | None
) -> Admitted:
    """The contents of a state dict, copied. Raises ValueError by one sentence if it does not fit.

    - `groups`: the groups of the optimizer that is to load it
    - `state_dtype`: the dtype of its state; None: that of a step
    """
    saved, states = formed(given)
    named = check_rule(saved, groups, rule)
    check_places(saved, groups)
    for k, group in enumerate(saved):
        check_options(group, f"LearnedOptimizer: the state to load: group {k}: ")
    keys = [key for group in saved for key in group["params"]]
    own = dict(zip(keys, (p for group in groups for p in group["params"]), strict=True))
    if not named:
        states = from_0_1(states, own, rule)
    for key in states:
        if key not in own:
            raise refused(f"a state of {words(key)}, which no group names", "states of parameters")
    found = {}
    for key, p in own.items():
        if begun(states, key) is not None:
            found[p] = entered(states[key], p, rule, state_dtype, groups)
    shared(found.items(), rule, functools.partial(place, groups))
    return Admitted([{**group, RULE: rule.identity} for group in saved], found, named)


def refused(found: str, expected: str, todo: str = "load what this optimizer saved") -> ValueError:
    """The one sentence about a state dict that does not fit."""
    return ValueError(
        f"LearnedOptimizer: the state to load has {found}, expected {expected}; nothing was "
        f"changed: {todo}."
    )


def mapping(given: Any) -> dict[str, Any]:
    """A copy of what should be a state dict."""
    if not isinstance(given, Mapping):
        raise refused(f"the form of a {type(given).__name__}", FORM)
    return dict(given)


def formed(given: dict[str, Any]) -> tuple[list[Mapping[str, Any]], Mapping[Any, Any]]:
    """The groups and the states of a state dict."""
    saved, states = given.get("param_groups"), given.get("state")
    if not isinstance(saved, list | tuple) or not isinstance(states, Mapping):
        raise refused("another form", FORM)
    for group in saved:
        if not isinstance(group, Mapping) or not isinstance(group.get("params"), list | tuple):
            raise refused("a group without its list `params`", FORM)
    return list(saved), states


def check_rule(saved: Groups, groups: Groups, rule: AbstractRule) -> bool:
    """Refuse the state of another rule or optimizer; False if the state names none."""
    names = [group[RULE] for group in saved if RULE in group]
    expected = f"those of the rule {rule.identity} (its kind, and a digest of its weights)"
    for name in names:
        if not named(name, rule.identity):
            raise refused(
                f"groups of the rule {words(name)}",
                expected,
                "load it into an optimizer with the rule and the weights it was saved with",
            )
    known = USUAL.union(OPTIONS, *groups)
    for group in saved:
        foreign = [words(name) for name in group if name not in known][:9]
        if foreign and not names:
            raise refused(
                f"groups with {', '.join(foreign)}, as another optimizer has them",
                expected,
                "begin without it, for what it remembers and its lr mean nothing here",
            )
    return bool(names)


def check_places(saved: Groups, groups: Groups) -> None:
    """Refuse groups of other numbers of parameters, or parameters that stand twice."""
    sizes, own = ([len(group["params"]) for group in every] for every in (saved, groups))
    if sizes != own:
        raise refused(f"groups of {sizes} parameters", f"groups of {own}")
    seen = set()
    for key in (key for group in saved for key in group["params"]):
        try:
            twice = key in seen
        except TypeError:
            raise refused(f"a parameter named by a {type(key).__name__}", "numbers") from None
        if twice:
            raise refused(f"parameter {words(key)} twice", "each parameter once")
        seen.add(key)


def from_0_1(states: Mapping, own: Mapping, rule: AbstractRule) -> dict[Any, Any]:
    """The states as they are now: what is shared lies with each, none before a first step."""
    common: dict[str, Any] = {}
    if isinstance(states.get(PROBLEM), Mapping) and rule.problem and PROBLEM not in own:
        ages = [x["step"] for x in states.values() if isinstance(x, Mapping) and "step" in x]
        age = max((float(x) for x in ages if is_count(x)), default=0)
        common = {**states[PROBLEM], "problem_step": age}
    found = {key: x for key, x in states.items() if not (common and key == PROBLEM)}
    for key, x in list(found.items()):
        if isinstance(x, Mapping):
            if is_count(x.get("step")) and float(x["step"]) == 0:
                del found[key]
            else:
                found[key] = {**common, **x}
    return found


def entered(
    entries: Any, p: Tensor, rule: AbstractRule, state_dtype: torch.dtype | None, groups: Groups
) -> dict[str, Tensor]:
    """The state of one parameter, checked and copied to its device, in the dtype it is kept in."""
    where = place(groups, p)
    check_parameter(p, lambda _: where, set())
    check_state(entries, rule, p, f"the state to load: {where}")
    names = *rule.counts, *rule.shapes(0)
    other = [words(name) for name in entries if name not in names][:9]
    if other:
        raise refused(f"{', '.join(other)} for {where}", f"only {', '.join(names)}")
    kept = state_dtype or working_dtype(p, rule)
    found = {name: torch.tensor(float(entries[name]), dtype=torch.float32) for name in rule.counts}
    for name in rule.shapes(0):
        value = alone(entries[name]).to(p.device, kept)
        if not bool(torch.isfinite(value).all()):
            raise refused(
                f"{name} of {where} with NaN or infinite numbers",
                f"finite ones in {kept}",
                "load a state from before the training diverged",
            )
        found[name] = value
    return found
