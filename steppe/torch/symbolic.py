"""An update rule that is a formula on flat coordinates, see `rules.py`.

Equations and source are those of `steppe.optimizers.learned.symbolic`, and so are the numbers, to
rounding. The formula is read by the same grammar, and nothing of it is executed.
"""

import collections
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from ..core.expression import Apply, Coefficient, Expression, Number, Variable, functions, walk
from ..optimizers.formulas import canonical, inputs, is_kept, plan
from .rules import AbstractRule, State, blocks, check_sizes, runs

OPERATIONS = functions(torch)
BLOCKS = 8  # of the usual ones at once: a formula keeps few numbers of a coordinate


def _aq(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    return torch.div(a, torch.mul(b, b).add_(1).sqrt_(), out=out)


OUT: dict[str, Callable] = {  # the same operations, into a tensor that is there
    "+": torch.add, "-": torch.sub, "*": torch.mul, "/": torch.div, "neg": torch.neg,
    "^": torch.pow, "abs": torch.abs, "sqrt": torch.sqrt, "square": torch.square,
    "tanh": torch.tanh, "exp": torch.exp, "log": torch.log, "sign": torch.sign,
    "asinh": torch.asinh, "max": torch.maximum, "min": torch.minimum, "aq": _aq,
}  # fmt: skip


class SymbolicRule(AbstractRule):
    """Zheng et al. 2022. State: the averages, and the earlier inputs of the formula."""

    tensors: Mapping[str, int] = MappingProxyType({})
    problem: Mapping[str, int] = MappingProxyType({})
    first: Mapping[str, float | Tensor] = MappingProxyType({})

    def __init__(self, weights: Mapping[str, Tensor], hyper: Mapping):
        formula, self.coefficients = canonical(hyper["formula"], hyper["coefficients"])
        self.plan = plan(formula)
        # Inputs that may be written over: used once, and no part of the state.
        uses = collections.Counter(node for node, _ in walk(self.plan.expression))
        keep = {name for name in self.plan.names if is_kept(name)} | dict(self.plan.lags).keys()
        names = set(self.plan.names) - keep
        self.spare = {name for name in names if uses[Variable(name)] == 1}
        # The identity of a rule goes by names and weights: here the formula is a part of it.
        self.name = f"{formula} from {self.coefficients}"
        self.weights = {self.name: weights[".theta"]}
        self.rows = {average.name: 1 for average in self.plan.averages}
        self.rows |= {past(name): lags for name, lags in self.plan.lags}

    def update(
        self, g: Tensor, state: State, sizes: Sequence[int], counts: Sequence[int], block: int
    ) -> Tensor:
        check_sizes(g, sizes)
        start, theta = g.new_tensor(self.coefficients), self.weights[self.name].to(g)
        c = torch.where(start == 0, theta, start * (1 + theta)).unbind()
        for start, stop, count in runs(sizes, counts):
            for a, b in blocks(start, stop, BLOCKS * block):
                part = {name: s[:, a:b].to(g.dtype) for name, s in state.items()}
                self.advance(g[a:b], part, count, c)
                for name, s in state.items():
                    if s.dtype != g.dtype:
                        s[:, a:b] = part[name]
        return g

    def advance(self, g: Tensor, state: State, count: int, c: Sequence[Tensor]) -> None:
        """Write the updates of some coordinates over their gradients.

        Their `state` (features, rows) is changed in place.
        """
        number = functools.partial(torch.tensor, dtype=g.dtype, device=g.device)
        averages = [state[average.name][0] for average in self.plan.averages]
        for (_, power, beta), mean in zip(self.plan.averages, averages, strict=True):
            if power == 1:
                mean.lerp_(g, 1 - beta)
            else:
                mean.mul_(beta).addcmul_(g, g, value=1 - beta)
        now = inputs(self.plan, g, averages, float(count), OPERATIONS, number)
        variables = {(name, 0): x for name, x in now.items()}
        for name, lags in self.plan.lags:
            variables |= {(name, k + 1): state[past(name)][k] for k in range(lags)}
        newest = {name: now[name].clone() for name, _ in self.plan.lags if now[name] is g}
        u = value(self.plan.expression, variables, c, number, self.spare, g)
        if u is not g:
            g.copy_(u)
        for name, _ in self.plan.lags:
            old = state[past(name)]
            old.copy_(torch.cat([newest.get(name, now[name])[None], old[:-1]]))


def value(
    e: Expression,
    variables: Mapping[tuple[str, int], Tensor],
    coefficients: Sequence[Tensor],
    number: Callable[[float], Tensor],
    spare: Collection[str],
    out: Tensor,
) -> Tensor:
    """The value of a formula, in `out` if it is of its shape and was computed here.

    An operation writes over what another one has made, or over a variable that is `spare`.
    """

    def of(e: Expression, into: Tensor | None = None) -> tuple[Tensor, bool]:
        """The value, and True if it may be written over."""
        match e:
            case Number():
                return number(e.value), False
            case Coefficient():
                return coefficients[e.index], False
            case Variable():
                return variables[e.name, e.lag], e.lag == 0 and e.name in spare
            case Apply("^", (base, Number() as power)):
                found = [of(base), (int(power.value), False)]
            case _:
                found = [of(a) for a in e.arguments]
        free = [x for x, may in found if may]
        into = into if any(isinstance(x, Tensor) and x.ndim for x, _ in found) else None
        y = OUT[e.operation](
            *(x for x, _ in found), out=(free or [None])[0] if into is None else into
        )
        return y, y.ndim > 0

    return of(e, out)[0]


def past(name: str) -> str:
    """The name, in a state, of what an input was in earlier steps."""
    return f"{name}_past"
