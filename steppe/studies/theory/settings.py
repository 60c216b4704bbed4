"""Settings of the checks of docs/theory.md."""

import dataclasses

from ...core.settings import check, setting

SEEDS = 2**32  # jax.random.key takes 32 bits where float64 is off


@dataclasses.dataclass(frozen=True, kw_only=True)
class Theory:
    """The one setting of the checks."""

    seed: int = setting(0, "seed of the problems and samples", least=0, most=SEEDS - 1)

    def __post_init__(self):
        check(self)


SCALES = {"tiny": Theory()}
