"""Settings of the studies of certificates."""

import dataclasses

from ...core.settings import check, setting


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


SCALES = {"tiny": Certificates(only="lasso"), "small": Certificates()}
PENALTIES = {"tiny": Penalties(seeds=(200,), pairs=16), "small": Penalties()}
