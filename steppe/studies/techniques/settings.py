"""Settings of the study of techniques."""

import dataclasses

from ...core.settings import check, setting

VARIANTS = ("dm", "dm-cl", "dm-il", "dm-cl-il")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Techniques:
    """Sizes of the study."""

    variants: tuple[str, ...] = setting(
        VARIANTS, "recipes of meta-training, see `steppe list presets`", choices=VARIANTS
    )
    seeds: tuple[int, ...] = setting(tuple(range(6)), "meta-seeds of each recipe", least=0)
    steps: int = setting(4000, "meta-steps, at most with a curriculum", least=1)

    def __post_init__(self):
        check(self)


SCALES = {"tiny": Techniques(seeds=(0, 1), steps=200), "small": Techniques()}
