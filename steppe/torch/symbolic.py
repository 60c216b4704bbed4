"""An update rule that is a formula on flat coordinates, see `rules.py`.

Equations and source are those of `steppe.optimizers.learned.symbolic`, and so are the numbers, to
rounding. The formula is read by the same grammar, and nothing of it is executed.
"""

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from ..core.expression import evaluate, functions
from ..optimizers.formulas import canonical, inputs, plan
from .rules import AbstractRule, State, blocks, check_sizes, runs

OPERATIONS = functions(torch)


class SymbolicRule(AbstractRule):
    """Zheng et al. 2022. State: the averages, and the earlier inputs of the formula."""

    tensors: Mapping[str, int] = MappingProxyType({})
    problem: Mapping[str, int] = MappingProxyType({})
    first: Mapping[str, float | Tensor] = MappingProxyType({})

    def __init__(self, weights: Mapping[str, Tensor], hyper: Mapping):
        formula, self.coefficients = canonical(hyper["formula"], hyper["coefficients"])
        self.plan = plan(formula)
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
            for a, b in blocks(start, stop, block):
                part = {name: s[:, a:b].to(g.dtype) for name, s in state.items()}
                g[a:b] = self.advance(g[a:b], part, count, c)
                for name, s in state.items():
                    if s.dtype != g.dtype:
                        s[:, a:b] = part[name]
        return g

    def advance(self, g: Tensor, state: State, count: int, c: Sequence[Tensor]) -> Tensor:
        """The updates of some coordinates, whose `state` (features, rows) is changed in place."""
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
        u = evaluate(self.plan.expression, variables, c, OPERATIONS, number)
        u = u.clone() if self.plan.lags else u  # it may be a part of what is written now
        for name, _ in self.plan.lags:
            old = state[past(name)]
            old.copy_(torch.cat([now[name][None], old[:-1]]))
        return u


def past(name: str) -> str:
    """The name, in a state, of what an input was in earlier steps."""
    return f"{name}_past"
