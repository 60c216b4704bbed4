"""The coordinates of all parameters of one device and dtype as one matrix, with their state.

    buffers[name]   (features, all coordinates)         what a rule works on, in place
    state[p][name]  (features, coordinates of p)        its columns, as a view

Parameters, groups and states belong to the user, who may replace, resize, move, clear or reorder
them between two steps. `intact` compares all of them with what the matrix was made of, and `bind`
makes the matrices anew: it keeps every state that still fits its parameter, begins one for a
parameter without, and refuses the others before anything is changed. As in `torch.optim.Adam` a
parameter is looked at when it has a gradient; until then it only keeps the place it has.
"""

import functools
import itertools
import operator
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .fit import begun, check_parameter, check_state, is_count, is_sound, shared, working_dtype
from .rules import AbstractElementwiseRule, AbstractRule, blocks

LONG = 16  # blocks at once of an elementwise rule, which keeps few numbers of a coordinate
States = MutableMapping[Any, dict[str, Any]]


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
        self.states: list[dict[str, Any]] = own_dicts(states, params)
        self.parts: list[dict[str, Tensor]] = [{} for _ in params]  # what they were handed
        new = functools.partial(torch.zeros, dtype=kept, device=params[0].device)
        self.buffers = {
            name: self._hand_out(name, new(n, sum(self.sizes))) for name, n in rule.rows.items()
        }
        for name, n in rule.tensors.items():
            self.buffers[name] = self._hand_out(name, new(n, len(params)))
        self.shown: dict[str, Tensor] = {}
        for name, n in rule.problem.items():
            self.buffers[name] = new(n, 1)
            fill(self.buffers[name], newest.get(name), rule, name)
            self.shown[name] = self._hand_out(name, new(n, len(params)))
        self.counts = {name: [count(own, name) for own in self.states] for name in rule.counts}
        self.age = int(newest.get("problem_step", 0))
        self.versions = self._versions()
        self.owners = [own for own, part in zip(self.states, self.parts, strict=True) for _ in part]
        self.names = [name for part in self.parts for name in part]
        self.views = [view for part in self.parts for view in part.values()]
        self.marks = marks(self.views)
        self.room = torch.empty(0, dtype=dtype, device=params[0].device)

    def _hand_out(self, name: str, whole: Tensor) -> Tensor:
        """Show the columns of `whole` in the states, with the numbers that these held."""
        views = whole.split(self.sizes if name in self.rule.rows else 1, 1)
        for own, view, part in zip(self.states, views, self.parts, strict=True):
            fill(view, own.get(name), self.rule, name)
            own[name] = part[name] = view
        return whole

    def intact(self, states: States) -> bool:
        """True if parameters and states are as they were when the matrix was made."""
        return (
            all(map(operator.is_, map(states.get, self.params), self.states))
            and all(map(operator.is_, map(dict.get, self.owners, self.names), self.views))
            and list(map(look, self.params)) == self.looks
            and marks(self.views) == self.marks
            and self.versions == self._versions()
            and all(
                own.get(name) is count and is_count(count.tolist())
                for name, counts in self.counts.items()
                for own, count in zip(self.states, counts, strict=True)
            )
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
        if isinstance(self.rule, AbstractElementwiseRule) and all(
            map(Tensor.is_contiguous, params)
        ):
            self._in_chunks(self.rule, moving, counts, groups, LONG * block)
            return
        g = torch.cat([self._gradient(p, group) for p, group in zip(params, of, strict=True)])
        state, put_back = self._of(moving)
        flat = [p.reshape(-1).to(self.dtype) for p in params] if self.rule.needs_params else []
        further = {"params": torch.cat(flat)} if flat else {}
        sizes = [self.sizes[k] for k in moving]
        u = self.rule.update(g, state, sizes, counts, block, **further)
        put_back()
        self._show(called)
        parts = u.split([p.numel() for p in params])
        for p, group, part in zip(params, of, parts, strict=True):
            move(p, part.view_as(p), group)

    def _in_chunks(
        self,
        rule: AbstractElementwiseRule,
        moving: Sequence[int],
        counts: Sequence[int],
        groups: Mapping[int, dict[str, Any]],
        most: int,
    ) -> None:
        """A step in which updates pass through one buffer, which stays in the cache."""
        if len(self.room) < (size := min(most, sum(self.sizes))):
            self.room = torch.empty(size, dtype=self.dtype, device=self.params[0].device)
        starts = list(itertools.accumulate(self.sizes, initial=0))
        of = {k: groups[id(self.params[k])] for k in moving}
        flat = {k: self._gradient(self.params[k], of[k]) for k in moving}  # views, as a rule
        for count, chunk in chunks(self.sizes, moving, counts, most):
            found = [flat[k][a:b] for k, a, b in chunk]
            g = found[0] if len(found) == 1 else torch.cat(found)
            first, n = starts[chunk[0][0]] + chunk[0][1], len(g)
            state = {name: x[:, first : first + n] for name, x in self.buffers.items()}
            rule.some(g, state, count, self.room[:n])
            for (k, a, b), u in zip(chunk, self.room[:n].split(list(map(len, found))), strict=True):
                move(self.params[k].view(-1)[a:b], u, of[k])

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
        device = self.params[0].device
        columns = torch.cat([torch.arange(starts[k], starts[k + 1], device=device) for k in moving])
        at = dict.fromkeys(self.rule.rows, columns)
        at |= dict.fromkeys(self.rule.tensors, torch.tensor(moving, device=device))
        part = {name: x[:, at[name]] if name in at else x for name, x in self.buffers.items()}

        def put_back() -> None:
            for name, index in at.items():
                self.buffers[name][:, index] = part[name]

        return part, put_back


def move(p: Tensor, u: Tensor, group: Mapping[str, Any]) -> None:
    """Add an update to a parameter, or to a part of it, as its group says."""
    lr = group["lr"]
    if group["weight_decay"]:
        p.mul_(1 - lr * group["weight_decay"])
    p.add_(u if isinstance(lr, float) and lr == 1 else lr * u)


def chunks(
    sizes: Sequence[int], moving: Sequence[int], counts: Sequence[int], most: int
) -> Iterator[tuple[int, list[tuple[int, int, int]]]]:
    """(count, [(tensor, start, stop), …]) of coordinates side by side, at most so many at once."""
    chunk: list[tuple[int, int, int]] = []
    held, age = 0, 0
    for k, count in zip(moving, counts, strict=True):
        n = sizes[k]
        if chunk and (held + n > most or count != age or k != chunk[-1][0] + 1):
            yield age, chunk
            chunk, held = [], 0
        if n >= most:
            for a, b in blocks(0, n, most):
                yield count, [(k, a, b)]
        else:
            chunk, held, age = [*chunk, (k, 0, n)], held + n, count
    if chunk:
        yield age, chunk


def bind(
    rule: AbstractRule,
    params: Sequence[Tensor],
    others: Sequence[Tensor],
    states: States,
    state_dtype: torch.dtype | None,
    old: Sequence[Matrix],
    place: Callable[[Tensor], str],
) -> list[Matrix]:
    """The matrices of `params`. Raises ValueError, with nothing changed, if one cannot go on.

    - `others`: parameters in the groups that are no part of them
    - `old`: the matrices of the last step
    - `place`: names a parameter in a sentence
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
    before = places(old)
    for p in params:
        own = begun(states, p)
        if own is not None:
            if id(p) in before:
                check_shape(p, own, *before[id(p)], place)
            check_state(own, rule, p, place(p))
    sound = [p for p in others if rule.problem and is_sound(begun(states, p), rule, p)]
    newest = shared([(p, begun(states, p)) for p in (*params, *sound)], rule, place)
    release(states, old, seen)
    return [
        Matrix(rule, group, states, dtype, state_dtype or dtype, newest)
        for (_, dtype), group in kinds.items()
    ]


def places(matrices: Sequence[Matrix]) -> dict[int, tuple[Matrix, int]]:
    """The matrix of each parameter and its place there, by the parameter's id."""
    return {id(p): (matrix, k) for matrix in matrices for k, p in enumerate(matrix.params)}


def stands(p: Tensor, states: States, bound: Mapping[int, tuple[Matrix, int]]) -> bool:
    """True for a parameter of the last step that is as it was then, with the state of then."""
    if id(p) not in bound:
        return False
    matrix, k = bound[id(p)]
    own = states.get(p)
    if own is None or own is not matrix.states[k] or look(p) != matrix.looks[k]:
        return False
    return all(own.get(name) is view for name, view in matrix.parts[k].items())


def own_dicts(states: States, params: Sequence[Tensor]) -> list[dict[str, Any]]:
    """The dict of each parameter, made where there is none and copied where two hold one."""
    taken: set[int] = set()
    for p in params:
        own = states.get(p)
        if own is None or id(own) in taken:
            states[p] = dict(own or {})
        taken.add(id(states[p]))
    return [states[p] for p in params]


def count(own: dict[str, Any], name: str) -> Tensor:
    """A count of a state as a tensor of its own, put in its place."""
    own[name] = torch.tensor(float(own.get(name, 0)), dtype=torch.float32)
    return own[name]


def marks(views: Sequence[Tensor]) -> tuple[list[int], list[torch.Size]]:
    """Addresses and shapes of tensors, which `x.data = …` changes in place."""
    return [view.data_ptr() for view in views], [view.shape for view in views]


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
    if p.shape != was and any(own.get(n) is view for n, view in matrix.parts[k].items()):
        raise ValueError(
            f"LearnedOptimizer: {place(p)} went from shape {tuple(was)} to {tuple(p.shape)}, and "
            "its state stayed; `opt.state.pop(p)` to begin it afresh, or give it a state of "
            f"{p.numel()} columns."
        )


def release(states: States, old: Sequence[Matrix], bound: set[int]) -> None:
    """Let states that are left behind stand alone: a view would keep its whole matrix alive."""
    for matrix in old:
        for p, own, part in zip(matrix.params, matrix.states, matrix.parts, strict=True):
            if id(p) not in bound and states.get(p) is own:
                for name, view in part.items():
                    if own.get(name) is view:
                        own[name] = view.clone(memory_format=torch.contiguous_format)
