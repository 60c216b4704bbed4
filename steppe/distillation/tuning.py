"""Tune the numbers of a formula by the losses it comes to: ordinary meta-training."""

import optax

from ..core.objective import AbstractObjective
from ..core.task import AbstractTask
from ..core.types import Key
from ..estimators.bptt import BPTT
from ..objectives.trajectory import Trajectory
from ..optimizers.learned.symbolic import Symbolic
from ..train.loop import meta_train
from ..train.validate import Validation

RATE = 0.02  # of Adam: a share of each number
EPISODES, LENGTH, HORIZON = 8, 20, 200
LOOKS = 5  # validations


def tuned(
    rule: Symbolic,
    task: AbstractTask,
    steps: int,
    *,
    key: Key,
    objective: AbstractObjective | None = None,
) -> Symbolic:
    """The formula with the numbers that did best on problems of validation along the way."""
    found, _ = meta_train(
        task,
        rule,
        estimator=BPTT(EPISODES, LENGTH, HORIZON),
        objective=Trajectory() if objective is None else objective,
        meta_tx=optax.adam(optax.cosine_decay_schedule(RATE, steps)),
        steps=steps,
        key=key,
        validation=Validation(every=max(1, steps // LOOKS), horizon=HORIZON, episodes=8),
    )
    assert isinstance(found, Symbolic)
    return Symbolic(found.formula, tuple(found.numbers.tolist()))
