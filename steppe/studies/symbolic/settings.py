"""Settings of the study of formulas. Standard library only."""

import dataclasses

from ...core.settings import check, setting

SHIPPED = (
    "rnnprop-v1", "rnnprop-flat-v1", "dm-v1", "dm-flat-v1", "l2o-scale-v1", "l2o-scale-flat-v1",
)  # fmt: skip
PUBLISHED = ("rnnprop", "dm")  # files of that name
RULES = ("sgd", "momentum", "rmsprop", "adam", "lion")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Formulas:
    """Sizes of the study."""

    teachers: tuple[str, ...] = setting(SHIPPED, "optimizers that are distilled", choices=SHIPPED)
    published: str = setting(
        "", "folder with published weights, rnnprop.npz and dm.npz; without it they are left out"
    )
    runs: int = setting(24, "runs recorded", least=5)
    steps: int = setting(300, "steps of each", least=10)
    problems: int = setting(32, "problems of validation", least=1)
    test: int = setting(24, "fresh problems of a comparison", least=2)
    long: int = setting(8, "fresh problems of 2500 steps; fewer than 2: none", least=0)
    tune: int = setting(60, "meta-steps of tuning", least=1)
    seeds: int = setting(12, "models of each rule whose flatness is measured", least=2)
    models: int = setting(600, "steps of their training", least=50)

    def __post_init__(self):
        check(self)


SCALES = {
    "tiny": Formulas(
        teachers=("rnnprop-flat-v1",), runs=6, steps=60, problems=4, test=4, long=0, tune=10,
        seeds=3, models=100,
    ),
    "small": Formulas(),
    "paper": Formulas(
        runs=60, steps=500, problems=64, test=256, long=64, tune=1000, seeds=50, models=2000,
    ),
}  # fmt: skip
