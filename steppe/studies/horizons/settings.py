"""Settings of the study of horizons."""

import dataclasses

from ...core.settings import check, setting

BUDGET = 1_280_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Horizons:
    """Sizes of the study."""

    seeds: int = setting(10, "meta-seeds of each estimator", least=2)
    budget: int = setting(BUDGET, "inner steps of one meta-training", least=200_000)

    def __post_init__(self):
        check(self)


SCALES = {"tiny": Horizons(seeds=3, budget=BUDGET // 4), "small": Horizons()}
