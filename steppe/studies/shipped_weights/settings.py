"""Settings of the making of the shipped optimizers."""

import dataclasses

from ...core.settings import check, setting
from ...zoo.registry import PRETRAINED

MUCH = 1.1  # times as large is a failure
UNKNOWN = "nothing is known of convolutions or of larger networks"  # before `cifar10` looked
ONE_LOOK = "of convolutions there is one look, of larger networks nothing is known"


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """Sizes of the look at a ConvNet on CIFAR-10."""

    names: tuple[str, ...] = setting(
        tuple(PRETRAINED),
        "optimizers to look at, see `steppe list pretrained`",
        choices=PRETRAINED,
    )
    seeds: int = setting(1, "trainings of each", least=1)
    steps: int = setting(500, "steps of a training", least=1)
    examples: int = setting(10_000, "training images at most", least=1)
    rates: tuple[float, ...] = setting((1e-3, 3e-3, 1e-2), "constant rates of AdamW", above=0)
    cosine_rates: tuple[float, ...] = setting((3e-3, 1e-2), "its rates with a cosine", above=0)

    def __post_init__(self):
        check(self)


ELSEWHERE = {
    "tiny": Elsewhere(names=("rnnprop-v1", "rnnprop-flat-v1"), seeds=1, steps=20, rates=(3e-3,),
                      cosine_rates=()),
    "small": Elsewhere(
        names=tuple(name for name in PRETRAINED if name.endswith("-v1")), cosine_rates=()
    ),
}  # fmt: skip
SCALES = {"tiny": Shipped(names=("rnnprop-v1",)), "small": Shipped()}
