"""Settings of the studies of certificates."""

import dataclasses

from ...core.settings import check, setting

TWINS = tuple(f"{x}{arm}-v1" for x in ("rnnprop", "l2o-scale", "dm") for arm in ("", "-flat"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Certificates:
    """Sizes of the study of solvers."""

    only: str = setting("", "part of the names of the solvers that are certified, e.g. lasso")

    def __post_init__(self):
        check(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Penalties:
    """Sizes of the study of penalties."""

    seeds: tuple[int, ...] = setting(
        tuple(range(200, 206)), "meta-seeds of each optimizer and arm", least=0
    )
    pairs: int = setting(128, "pairs of weights and tasks that risks are read from", least=1)

    def __post_init__(self):
        check(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flatness:
    """Sizes of the study of flatness where runs end."""

    names: tuple[str, ...] = setting(
        TWINS, "pretrained optimizers that are certified", choices=TWINS
    )
    n: int = setting(200, "fresh problems of each", least=1)

    def __post_init__(self):
        check(self)


SCALES = {"tiny": Certificates(only="lasso"), "small": Certificates()}
PENALTIES = {"tiny": Penalties(seeds=(200,), pairs=16), "small": Penalties()}
FLATNESS = {"tiny": Flatness(names=("rnnprop-v1",), n=113), "small": Flatness()}
