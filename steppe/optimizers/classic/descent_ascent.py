"""Any optimizer that descends, made to play a game.

    F = (∇ₓf, −∇ᵧf),    updates = base(F)

To the rule inside both players seem to descend, each along its own part of F: what everybody does
who trains a GAN with Adam. With gradient descent inside it is `GDA`. What the rule asks of the
problem (its value, its structure) is still that of f, so that rules which look at either, such as
line searches, are not for games.
"""

from ...core.optimizer import AbstractOptimizer
from ...core.task import Problem
from ...core.types import Key, OptState, Params, Updates
from .games import game, operator


class DescentAscent(AbstractOptimizer):
    """`base`, handed F = (∇ₓf, −∇ᵧf) of a game with the params {"min": x, "max": y}."""

    base: AbstractOptimizer

    def __check_init__(self):
        if not isinstance(self.base, AbstractOptimizer):
            raise ValueError(
                f"DescentAscent: base is a {type(self.base).__name__}, expected a steppe optimizer "
                'such as steppe.zoo.build("adam", lr=1e-3).'
            )

    def init(self, params: Params, *, key: Key | None = None) -> OptState:
        return self.base.init(params, key=key)

    def update(
        self,
        grads: Updates,
        state: OptState,
        params: Params,
        *,
        problem: Problem | None = None,
        **extra,
    ) -> tuple[Updates, OptState]:
        game("DescentAscent", problem)
        return self.base.update(operator(grads, params), state, params, problem=problem, **extra)
