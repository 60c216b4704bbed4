"""Settings of the study of the Jacobian regularizer. Standard library only."""

import dataclasses

from ...core.settings import check, setting

OPTIMIZERS = ("rnnprop", "l2o-scale")
WEIGHTS = (0.0, 1e-3, 1e-2)  # λ; 0: without


@dataclasses.dataclass(frozen=True, kw_only=True)
class Jacobian:
    """Sizes of the study."""

    optimizers: tuple[str, ...] = setting(
        OPTIMIZERS, "optimizers that are meta-trained", choices=OPTIMIZERS
    )
    weights: tuple[float, ...] = setting(WEIGHTS, "weights of the regularizer", least=0)
    seeds: int = setting(3, "meta-seeds of each", least=1)
    updates: int = setting(120, "meta-steps", least=10)
    horizon: int = setting(100, "inner steps, in meta-training and in judging", least=20)
    runs: int = setting(8, "trainings that an optimizer is judged on", least=2)

    def __post_init__(self):
        check(self)


SCALES = {
    "tiny": Jacobian(
        optimizers=("rnnprop",), weights=(0.0, 1e-2), seeds=1, updates=10, runs=2
    ),
    "small": Jacobian(),
    "paper": Jacobian(seeds=10, updates=2000, runs=32),
}  # fmt: skip
