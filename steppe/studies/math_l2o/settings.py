"""Settings of the study of Math-L2O."""

import dataclasses

from ...core.settings import check, setting

LEARNED = ("pa", "p", "a", "rnnprop", "dm", "pa-monotone", "pa-logistic", "go")
CLASSICAL = ("ista", "fista-plain", "fista", "fista-restart")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MathL2O:
    """Sizes of the study."""

    methods: tuple[str, ...] = setting(
        LEARNED + CLASSICAL, "methods that are compared", choices=LEARNED + CLASSICAL
    )
    seeds: tuple[int, ...] = setting((0, 1, 2), "meta-seeds of each learned method", least=0)
    rows: int = setting(20, "measurements of a problem that is trained on", least=1)
    n: int = setting(40, "unknowns of a problem that is trained on", least=1)
    updates: int = setting(500, "steps of meta-training", least=5)
    problems: int = setting(128, "fresh problems of each kind", least=1)
    steps: int = setting(1000, "iterations on each of them", least=100)
    clock: tuple[int, ...] = setting((40, 500), "unknowns of problems that are timed", least=2)

    def __post_init__(self):
        check(self)


SCALES = {
    "tiny": MathL2O(seeds=(0,), updates=50, problems=16, steps=200, clock=(40,)),
    "small": MathL2O(problems=64),
    "paper": MathL2O(rows=250, n=500, updates=2500, problems=1024),
}
