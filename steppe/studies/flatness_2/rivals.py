"""Optimizers by hand that the learned ones are compared with, and what is tuned of them.

With two trainings a setting, every rival that is tuned on a task has 20 trials: 10 rates, or 5
rates at each of two other settings. The learned optimizer has 5 factors of its updates, with and
without a cosine.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from ...core.optimizer import AbstractOptimizer
from ...optimizers.classic.cosine import adam_cosine, adamw_cosine, momentum_cosine, sam_cosine
from ...optimizers.classic.from_optax import adam
from ...optimizers.scheduled import Scheduled

DECADES = tuple(float(f"{10 ** (k / 2):.3g}") for k in range(-8, 2))  # 1e-4 … 3.16
OF_ADAM = (1e-3, 3.16e-3, 1e-2, 3.16e-2, 1e-1)
OF_MOMENTUM = (1e-2, 3.16e-2, 1e-1, 3.16e-1, 1.0)


class Rival(NamedTuple):
    """An optimizer by hand.

    - `make`: rate, other setting, steps → optimizer
    - `usual`: the other setting where none is tuned; `settings`: those that are tried
    - `rates`: tried at each of `settings`; where none is tuned, `DECADES`
    """

    make: Callable[[Any, float, int], AbstractOptimizer]
    usual: float
    settings: tuple[float, ...]
    rates: tuple[float, ...]


RIVALS = {
    "adam": Rival(lambda lr, _, steps: adam(lr), 0.0, (0.0,), DECADES),
    "adam-cosine": Rival(lambda lr, _, steps: adam_cosine(lr, steps), 0.0, (0.0,), DECADES),
    "adamw-cosine": Rival(
        lambda lr, decay, steps: adamw_cosine(lr, steps, decay), 0.01, (0.01, 0.1), OF_ADAM
    ),
    "momentum-cosine": Rival(
        lambda lr, decay, steps: momentum_cosine(lr, steps, decay), 5e-4, (5e-4, 5e-3), OF_MOMENTUM
    ),
    "sam-cosine": Rival(
        lambda lr, rho, steps: sam_cosine(lr, steps, rho), 0.05, (0.05, 0.1), OF_MOMENTUM
    ),
}


def scaled(opt: AbstractOptimizer, steps: int) -> dict[str, Callable[[Any], AbstractOptimizer]]:
    """Schedule → factor → the learned optimizer with both."""
    return {
        "constant": lambda factor: Scheduled(opt, factor),
        "cosine": lambda factor: Scheduled(opt, factor, steps),
    }
