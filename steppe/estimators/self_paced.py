"""SelfPaced: learn from the easiest episodes first, then from all.

    r_n = first + (1 − first) n / calls, at most 1        share of the episodes at call n = 0, 1, …

At each call all episodes advance, and the meta-gradient is the mean over the ⌊r_n E⌋ of them that
are easiest: with least Σ ‖∇f‖² over the points that they have come to, where the objective tells it
(its part "visited", of `Merit` and `Reward`), else with least loss in this window.

Shen, Chen, Heaton, Chen, Wang & Yin, "Learning a minimax optimizer: a pilot study", ICLR 2021, for
the games of one formula, and by a schedule in epochs: 0.2 at first, all after 80. Departure: any
game, any task.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from ..core.arguments import real
from ..core.estimator import AbstractEstimator, Stats
from ..core.messages import at_least
from ..core.objective import AbstractObjective
from ..core.optimizer import AbstractOptimizer
from ..core.task import AbstractTask
from ..core.types import Key
from ..core.window import Window
from .bptt import BPTT

FIRST = 0.2  # share of the first call, as published


Paced = tuple[Window, Int[Array, ""]]  # the episodes, and calls so far


class SelfPaced(AbstractEstimator):
    """`base` on a growing share of its episodes, the easiest ones.

    - `first`: share at the first call, above 0, at most 1; one episode at least is taken
    - `calls`: after so many calls all episodes are taken

    `Stats` are of the episodes taken, but for those that were not finite and the steps, which are
    of all.
    """

    base: BPTT
    first: float = eqx.field(static=True)
    calls: int = eqx.field(static=True)

    def __init__(self, base: BPTT, first: float = FIRST, calls: int = 400):
        self.base, self.first, self.calls = base, real("SelfPaced: first", first), calls

    def __check_init__(self):
        at_least(1, "SelfPaced", calls=self.calls)
        if not isinstance(self.base, BPTT):
            raise ValueError(
                f"SelfPaced: base is a {type(self.base).__name__}, expected BPTT, whose episodes "
                "have a meta-gradient each; give SelfPaced(BPTT(…))."
            )
        if not 0 < self.first <= 1:
            raise ValueError(f"SelfPaced: first must lie above 0 and at most 1, got {self.first}.")

    @property
    def horizon(self) -> Int[Array, ""]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.base.horizon

    def init(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        objective: AbstractObjective,
        *,
        key: Key,
    ) -> Paced:
        return self.base.init(task, opt, objective, key=key), jnp.zeros((), jnp.int32)

    def __call__(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        state: Paced,
        objective: AbstractObjective,
        *,
        key: Key,
    ) -> tuple[PyTree, Paced, Stats]:
        window, calls = state
        shared = (self.base, task, opt, objective)
        grads, after, stats = self.base.windows.run(
            type(self.base).lane, shared, window, key=key, easiest=self.taken(calls)
        )
        return grads, (after, calls + 1), stats

    def taken(self, calls: Int[Array, ""]) -> Int[Array, ""]:
        """Episodes that count at the next call, after so many."""
        share = self.first + (1 - self.first) * calls / self.calls
        taken = jnp.floor(jnp.minimum(share, 1) * self.base.windows.episodes)
        return jnp.maximum(taken, 1).astype(jnp.int32)
