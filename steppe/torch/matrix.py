"""The coordinates of all parameters of one device and dtype as one matrix, with their state.

    buffers[name]   (features, all coordinates)         what a rule works on, in place
    state[p][name]  (features, coordinates of p)        its columns, as a view

Parameters, groups and states belong to the user, who may replace, resize, move, clear or reorder
them between two steps. `intact` compares all of them with what the matrix was made of, and `bind`
makes the matrices anew: it keeps every state that still fits its parameter, begins one for a
parameter without, and refuses the others before anything is changed.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .groups import words
from .rules import AbstractRule

States = MutableMapping[Any, dict[str, Any]]


class Part(NamedTuple):
    """One entry in the state of a parameter, and how it was when it was handed out."""

    name: str
    view: Tensor
    address: int
    shape: torch.Size


class Matrix:
    """The matrix of `params`, whose states it takes over. They must have passed `bind`.

    What all parameters share is one column of `buffers`. Each parameter shows the one of its own
    last step, so that any of them can be taken away.
    """

    def __init__(
        self,
        rule: AbstractRule,
        params: Sequence[Tensor],
        states: States,
        dtype: torch.dtype,
        kept: torch.dtype,
        newest: Mapping[str, Any],
    ):
        self.rule, self.params, self.dtype = rule.to(params[0].device, dtype), params, dtype
        self.looks = [look(p) for p in params]
        self.sizes = [p.numel() for p in params]
        for p in params:
            if states.get(p) is None:
                states[p] = {}
        self.states: list[dict[str, Any]] = [states[p] for p in params]
        new = functools.partial(torch.zeros, dtype=kept, device=params[0].device)
        self.parts: list[list[Part]] = [[] for _ in params]
        self.buffers = {
            name: self._entry(name, new(n, sum(self.sizes))) for name, n in rule.rows.items()
        }
        for name, n in rule.tensors.items():
            self.buffers[name] = self._entry(name, new(n, len(params)))
        self.shown: dict[str, Tensor] = {}
        for name, n in rule.problem.items():
            self.buffers[name] = new(n, 1)
            fill(self.buffers[name], newest.get(name), rule, name)
            self.shown[name] = self._entry(name, new(n, len(params)))
        self.counts = {
            name: [self._count(own, name) for own in self.states] for name in rule.counts
        }
        self.age = int(newest.get("problem_step", 0))
        self.versions = self._versions()

    def _entry(self, name: str, whole: Tensor) -> Tensor:
        """Show the columns of `whole` in the states, with the numbers that these held."""
        rows = name in self.rule.rows
        views = whole.split(self.sizes if rows else 1, 1)
        for own, view, parts in zip(self.states, views, self.parts, strict=True):
            fill(view, own.get(name), self.rule, name)
            own[name] = view
            parts.append(Part(name, view, view.data_ptr(), view.shape))
        return whole

    def _count(self, own: dict[str, Any], name: str) -> Tensor:
        own[name] = torch.tensor(float(own.get(name, 0)), dtype=torch.float32)
        return own[name]

    def intact(self, states: States) -> bool:
        """True if parameters and states are as they were when the matrix was made."""
        for p, seen, own, parts in zip(
            self.params, self.looks, self.states, self.parts, strict=True
        ):
            if look(p) != seen or states.get(p) is not own:
                return False
            for name, view, address, shape in parts:
                if own.get(name) is not view:
                    return False
                if view.data_ptr() != address or view.shape != shape:
                    return False
        return self.versions == self._versions() and all(
            own.get(name) is count and is_count(count)
            for name, counts in self.counts.items()
            for own, count in zip(self.states, counts, strict=True)
        )

    def step(self, groups: Mapping[int, dict[str, Any]], block: int) -> None:
        """One step of all that have a gradient; `groups`: the group of each parameter's id."""
        called = [k for k, p in enumerate(self.params) if p.grad is not None]
        for k in called:
            self.counts["step"][k] += 1
        moving = [k for k in called if self.sizes[k]]
        if not moving:
            return
        params = [self.params[k] for k in moving]
        counts = [int(self.counts["step"][k]) for k in moving]
        of = [groups[id(p)] for p in params]
        g = torch.cat([self._gradient(p, group) for p, group in zip(params, of, strict=True)])
        state, put_back = self._of(moving)
        u = self.rule.update(g, state, [self.sizes[k] for k in moving], counts, block)
        put_back()
        self._show(called)
        parts = u.split([p.numel() for p in params])
        for p, group, part in zip(params, of, parts, strict=True):
            lr = group["lr"]
            if group["weight_decay"]:
                p.mul_(1 - lr * group["weight_decay"])
            p.add_(lr * part.view_as(p))

    def _show(self, called: Sequence[int]) -> None:
        """Let these parameters show what is shared as it is now."""
        if not self.shown:
            return
        self.age += 1
        for name, whole in self.shown.items():
            whole[:, torch.tensor(called, device=whole.device)] = self.buffers[name]
        for k in called:
            self.counts["problem_step"][k].fill_(self.age)
        self.versions = self._versions()

    def _versions(self) -> list[int]:
        """Numbers that go up with every writing: what is shown is not what a rule works on."""
        return [whole._version for whole in self.shown.values()]

    def _gradient(self, p: Tensor, group: dict[str, Any]) -> Tensor:
        grad: Any = p.grad
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


def bind(
    rule: AbstractRule,
    params: Sequence[Tensor],
    states: States,
    state_dtype: torch.dtype | None,
    old: Sequence[Matrix],
    place: Callable[[Tensor], str],
) -> list[Matrix]:
    """The matrices of `params`; `old` are those of the last step, `place` names a parameter.

    Raises ValueError, with nothing changed, for a parameter or a state that cannot go on.
    """
    kinds: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    seen: set[int] = set()
    for p in params:
        check_parameter(p, place, seen)
        kinds.setdefault((p.device, working_dtype(p, rule)), []).append(p)
    if len(kinds) > 1 and rule.problem:
        raise ValueError(
            "LearnedOptimizer: this rule looks at all parameters together, but they are on "
            f"or of {', '.join(f'{d} in {t}' for d, t in kinds)}; put them on one device "
            "in one precision, or take a coordinatewise rule (dm, rnnprop)."
        )
    before = {id(p): (matrix, k) for matrix in old for k, p in enumerate(matrix.params)}
    for p in params:
        own = begun(states, p)
        if own is not None:
            if id(p) in before:
                check_shape(p, own, *before[id(p)], place)
            check_state(own, rule, p, place(p))
    newest = shared([(p, begun(states, p)) for p in params], rule, place)
    release(states, old, seen)
    return [
        Matrix(rule, group, states, dtype, state_dtype or dtype, newest)
        for (_, dtype), group in kinds.items()
    ]


def begun(states: Mapping[Any, Any], key: Any) -> Any:
    """The state of a parameter, or None before its first step."""
    own = states.get(key)
    return None if isinstance(own, Mapping) and not own else own


def look(p: Tensor) -> tuple[torch.Size, torch.dtype, torch.device]:
    """The part of a parameter that a matrix depends on and a user may change."""
    return p.shape, p.dtype, p.device


def fill(view: Tensor, value: Tensor | None, rule: AbstractRule, name: str) -> None:
    """Write a state that is there, or the value before the first step."""
    first = rule.first.get(name, 0.0) if value is None else value
    if isinstance(first, Tensor):
        view.copy_(first.reshape(len(view), -1).expand_as(view))
    else:
        view.fill_(first)


def working_dtype(p: Tensor, rule: AbstractRule) -> torch.dtype:
    """The dtype of a step on p: float32, or wider if p or the weights are."""
    weight = next((w.dtype for w in rule.weights.values()), torch.float32)
    return torch.promote_types(torch.promote_types(p.dtype, weight), torch.float32)


def check_parameter(p: Tensor, place: Callable[[Tensor], str], seen: set[int]) -> None:
    """Refuse a parameter that stands twice, or has no real numbers. `seen`: ids so far."""
    if id(p) in seen:
        raise ValueError(
            f"LearnedOptimizer: {place(p)} stands in the groups more than once; name each "
            "parameter once."
        )
    seen.add(id(p))
    if p.is_meta or not p.dtype.is_floating_point:
        kind = "on the meta device, without numbers" if p.is_meta else f"of {p.dtype}"
        raise ValueError(
            f"LearnedOptimizer: {place(p)} is {kind}, but parameters must be real floating-point "
            "numbers; convert it, or take it out of its group."
        )


def check_shape(
    p: Tensor,
    own: Mapping[str, Any],
    matrix: Matrix,
    k: int,
    place: Callable[[Tensor], str],
) -> None:
    """Refuse a parameter that has another shape than when its state was made.

    Numbers of them may agree: of a transposed matrix the state would go to the wrong places.
    """
    was = matrix.looks[k][0]
    if p.shape != was and any(own.get(name) is view for name, view, *_ in matrix.parts[k]):
        raise ValueError(
            f"LearnedOptimizer: {place(p)} went from shape {tuple(was)} to {tuple(p.shape)}, and "
            "its state stayed; `opt.state.pop(p)` to begin it afresh, or give it a state of "
            f"{p.numel()} columns."
        )


def check_state(own: Any, rule: AbstractRule, p: Tensor, where: str) -> None:
    """Refuse the state of a parameter, named `where`, that lacks an entry or has one that is off.

    Its dtype may be any of floating point.
    """
    owner = f"LearnedOptimizer: {where}"
    shapes = rule.shapes(p.numel())
    afresh = "restore it, or take the whole state of the parameter away to begin afresh"
    if not isinstance(own, Mapping):
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


def release(states: States, old: Sequence[Matrix], bound: set[int]) -> None:
    """Let states that are left behind stand alone: a view would keep its whole matrix alive."""
    for matrix in old:
        for p, own, parts in zip(matrix.params, matrix.states, matrix.parts, strict=True):
            if id(p) not in bound and states.get(p) is own:
                for name, view, *_ in parts:
                    if own.get(name) is view:
                        own[name] = view.clone(memory_format=torch.contiguous_format)
