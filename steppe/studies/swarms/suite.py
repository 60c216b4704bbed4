"""The suite R2 of the benchmark."""

from ..suite import Suite
from . import summary
from .settings import SCALES
from .swarms import LETTER, STUDY

SUITE = Suite(
    (LETTER,),
    "swarms",
    STUDY,
    SCALES,
    summary.quantities,
    summary.panels,
    summary.costs,
)
