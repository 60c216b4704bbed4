"""Suites of the benchmark, and the settings of a run of it. Standard library only."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple

from ...core.messages import did_you_mean
from ...core.settings import check, setting

Scale = Literal["tiny", "small", "paper"]


class About(NamedTuple):
    """A suite.

    - `module`: folder of this package whose `suite.py` has it
    - `words`: what it is about
    """

    module: str
    words: str


SUITES = {
    "S1": About("sparse_recovery", "sparse recovery without noise"),
    "S2": About("sparse_recovery", "sparse recovery with noise of 20 dB"),
    "S3": About("sparse_recovery", "sparse recovery without noise, full size"),
    "S4": About("sparse_recovery", "sparse recovery with noise of 20 dB, full size"),
    "S5": About("sparse_recovery", "sparse recovery by difficult matrices"),
    "S6": About("sparse_recovery", "Figure 5 with all networks at full size"),
    "L1": About("lasso", "LASSO"),
    "R1": About("model_free", "functions of the Rastrigin family"),
    "R2": About("swarms", "swarms on Rastrigin functions of random optimum"),
    "Q1": About("model_free", "quadratics"),
    "N1": About("model_free", "networks"),
    "M1": About("games", "small games"),
    "M2": About("games", "seesaws of all ranges"),
    "M3": About("games", "matrix games of five unknowns"),
    "M4": About("games", "bilinear games of five to fifty unknowns (ours)"),
    "J1": About("jacobian", "a penalty on gradients in meta-training"),
}
MODULES = tuple(dict.fromkeys(about.module for about in SUITES.values()))
LONGEST_FIRST = (
    "games",
    "swarms",
    "model_free",
    "jacobian",
    "lasso",
    "sparse_recovery",
)  # so that two workers end together


def letters_of(names: Sequence[str]) -> tuple[str, ...]:
    """The suites that names mean, in order; a letter alone means all that begin with it.

    >>> letters_of(["L"])
    ('L1',)
    """
    found: set[str] = set()
    for name in names:
        meant = [letter for letter in SUITES if letter == name or letter[0] == name]
        if not meant:
            known = [*SUITES, *dict.fromkeys(letter[0] for letter in SUITES)]
            raise ValueError(f"suites: there is no {name!r}; {did_you_mean(name, known)}")
        found |= set(meant)
    return tuple(letter for letter in SUITES if letter in found)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenL2O:
    """A run of the benchmark."""

    scale: Scale = "tiny"
    suites: tuple[str, ...] = setting(
        (), f"suites that are run, of {', '.join(SUITES)}; a letter: all that begin so; none: all"
    )
    optimizers: tuple[str, ...] = setting(
        (), "trained optimizers as further rows: files, run folders, names of shipped ones"
    )

    def __post_init__(self):
        check(self)
        letters_of(self.suites)

    @property
    def letters(self) -> tuple[str, ...]:
        return letters_of(self.suites or tuple(SUITES))


SCALES = {
    "tiny": OpenL2O(scale="tiny"),
    "small": OpenL2O(scale="small"),
    "paper": OpenL2O(scale="paper"),
}
