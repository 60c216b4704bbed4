"""Settings of the study of swarms. Standard library only."""

import dataclasses

from ...core.settings import check, setting

LEARNED = ("dm", "b2", "b3", "lois", "swarm", "formation", "formation-any")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Swarms:
    """Sizes of the study."""

    sizes: tuple[int, ...] = setting((2, 10, 20), "unknowns of a problem", least=1)
    learned: tuple[str, ...] = setting(LEARNED, "optimizers that are trained", choices=LEARNED)
    problems: int = setting(128, "test problems of a size", least=8)
    evaluations: int = setting(1000, "values of a problem that a run may take", least=40)
    tuned_on: int = setting(32, "other problems, that rivals are tuned on", least=2)
    updates: int = setting(1200, "meta-steps of a training, of a formation a quarter", least=4)
    batch: int = setting(64, "episodes in a meta-step", least=1)
    tries: int = setting(6, "starts of a formation, the best training of which counts", least=1)
    seeds: int = setting(1, "trainings of each optimizer", least=1)

    def __post_init__(self):
        check(self)


SCALES = {
    "tiny": Swarms(
        sizes=(2,),
        learned=("b3", "formation"),
        problems=8,
        evaluations=80,
        tuned_on=4,
        updates=8,
        batch=4,
        tries=1,
    ),
    "small": Swarms(),
    "paper": Swarms(problems=1024, tuned_on=256, updates=20_000, batch=512, seeds=5),
}
