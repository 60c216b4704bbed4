"""Expectations, written down before the runs; each with the sizes that it is about.

Levels are those of the library's first small-budget runs and of Open-L2O's Figure 5, with a margin;
orderings are the first claim. They are judged on the mean over seeds; a margin has to be there for
every seed.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

SMALL, FULL = (64, 128, 10), (256, 512, 16)  # rows, n, layers
Average = Literal["mean", "aggregate"]


@dataclasses.dataclass(frozen=True)
class Level:
    """The error of a method after the last layer is at most `most` dB."""

    panel: str
    sizes: tuple[int, int, int]
    method: str
    most: float
    average: Average = "mean"


@dataclasses.dataclass(frozen=True)
class Margin:
    """Each of `better` has a mean error at least `by` dB below that of `worse`."""

    panel: str
    sizes: tuple[int, int, int]
    better: tuple[str, ...]
    worse: str
    by: float


@dataclasses.dataclass(frozen=True)
class Share:
    """A method recovers at least a share of all vectors."""

    panel: str
    sizes: tuple[int, int, int]
    method: str
    least: float


LEARNED = (
    "LISTA", "LISTA-CP", "LISTA-CPSS", "LAMP", "LFISTA", "TISTA", "ALISTA", "GLISTA", "NA-ALISTA",
    "HyperLISTA",
)  # fmt: skip


def levels(
    panel: str, sizes: tuple[int, int, int], most: Mapping[str, float], average: Average = "mean"
) -> list[Level]:
    return [Level(panel, sizes, method, value, average) for method, value in most.items()]


EXPECTED: Sequence[Level | Margin | Share] = (
    *levels("noiseless", SMALL, {
        "LISTA": -13, "LISTA-CP": -16, "LISTA-CPSS": -27, "LAMP": -28, "ALISTA": -32,
        "TISTA": -50, "HyperLISTA": -60,
    }),
    *levels("noiseless", SMALL, {"HyperLISTA": -25}, "aggregate"),
    Margin("noiseless", SMALL, ("ALISTA", "LISTA-CPSS", "LAMP", "TISTA"), "LISTA-CP", 8.0),
    Margin("noiseless", SMALL, ("LISTA-CP",), "LISTA", 1.5),
    Margin("noiseless", SMALL, LEARNED, "FISTA", 2.0),
    Share("noiseless", SMALL, "OMP", 0.99),
    *levels("noisy", SMALL, {
        "LISTA": -13, "LISTA-CP": -14, "LAMP": -16.5, "ALISTA": -19.5, "LISTA-CPSS": -21,
        "HyperLISTA": -18.9, "OMP": -23,
    }),
    Margin("noisy", SMALL, ("ALISTA", "LISTA-CPSS"), "LAMP", 0.0),
    Margin("noisy", SMALL, ("LAMP",), "LISTA-CP", 0.0),
    *levels("correlated", SMALL, {"ALISTA": -32, "TISTA": -48}),
    Margin("correlated", SMALL, ("ALISTA", "TISTA", "HyperLISTA"), "LISTA", 10.0),
    Margin("correlated", SMALL, ("ALISTA", "TISTA", "HyperLISTA"), "LAMP", 10.0),
    *levels("large", FULL, {
        "ALISTA": -65, "TISTA": -70, "HyperLISTA": -100, "AMP": -35.6, "FISTA": -10.3,
    }),
    *levels("large", FULL, {"HyperLISTA": -65}, "aggregate"),
    Share("large", FULL, "OMP", 0.99),
)  # fmt: skip
