"""Settings of the study of LASSO. Standard library only."""

import dataclasses

from ...core.settings import check, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class LassoSizes:
    """Sizes of the study."""

    rows: tuple[int, ...] = setting((5, 25), "measurements of a problem; twice as many unknowns")
    layers: int = setting(16, "layers of the networks", least=1)
    stages: tuple[int, ...] = setting((200, 200, 100), "meta-steps of the three stages of a layer")
    updates: int = setting(500, "meta-steps of RNNProp, DM and Math-L2O", least=5)
    optimizers: tuple[str, ...] = setting(
        ("rnnprop-v1", "rnnprop-flat-v1"), "trained optimizers that run as they are, by source"
    )
    problems: int = setting(256, "test problems of a matrix", least=8)
    steps: int = setting(1000, "iterations of a run", least=16)
    seeds: int = setting(2, "matrices, each with trainings and problems of its own", least=1)

    def __post_init__(self):
        check(self)
        if len(self.stages) != 3 or min(self.stages) < 1:
            raise ValueError("stages: expected three numbers of meta-steps, each at least 1.")
        if not self.rows or min(self.rows) < 2 or len(set(self.rows)) < len(self.rows):
            raise ValueError("rows: expected different numbers of measurements, each at least 2.")


SCALES = {
    "tiny": LassoSizes(
        rows=(5,), layers=4, stages=(20, 20, 20), updates=10, problems=32, steps=100, seeds=1
    ),
    "small": LassoSizes(),
    "paper": LassoSizes(stages=(2000, 2000, 1000), updates=2500, problems=1280, seeds=10),
}
