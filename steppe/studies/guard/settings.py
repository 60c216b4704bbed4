"""Settings of the study of guards."""

import dataclasses

from ...core.settings import check, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guards:
    """Sizes of the study."""

    steps: int = setting(30_000, "steps on each plain problem", least=100)
    horizon: int = setting(500, "steps of a training on digits", least=1)
    seeds: int = setting(10, "trainings on digits of each optimizer", least=2)

    def __post_init__(self):
        check(self)


SCALES = {"tiny": Guards(steps=2000, horizon=50, seeds=2), "small": Guards()}
