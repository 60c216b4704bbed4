"""Settings of the study of wells."""

import dataclasses

from ...core.settings import check, setting

MEASURES = {"trace": "trace", "top": "top eigenvalue", "logdet": "log-det"} | {
    "entropy": "entropy, τ = 1",
    "cold": "entropy, τ = 1e-8",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wells:
    """Sizes of the study."""

    dimensions: tuple[int, ...] = setting((2, 10), "dimensions of the wells", least=2)
    measures: tuple[str, ...] = setting(
        tuple(MEASURES), "measures of flatness in the objective", choices=MEASURES
    )
    strengths: tuple[float, ...] = setting(
        (), "weights of the measure besides 0 (default: two for each measure)", above=0
    )
    seeds: int = setting(12, "meta-seeds of each cell", least=2)
    meta_steps: int = setting(200, "meta-steps of each meta-training", least=10)
    episodes: int = setting(64, "episodes of a meta-step", least=1)
    tests: int = setting(400, "fresh pairs of wells that each optimizer is tested on", least=1)

    def __post_init__(self):
        check(self)


SCALES = {
    "tiny": Wells(dimensions=(2,), measures=("trace", "cold"), seeds=4, meta_steps=100),
    "small": Wells(),
}
