"""Settings of the making of the shipped optimizers."""

import dataclasses

from ...core.settings import check, setting
from ...zoo.registry import PRETRAINED


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shipped:
    """The optimizers to make, and their meta-seeds."""

    names: tuple[str, ...] = setting(
        tuple(PRETRAINED),
        "optimizers to train and judge, see `steppe list pretrained`",
        choices=PRETRAINED,
    )
    meta_seed: int = setting(0, "meta-seed of all", least=0)

    def __post_init__(self):
        check(self)


SCALES = {"tiny": Shipped(names=("rnnprop-v1",)), "small": Shipped()}
