"""The suite J1 of the benchmark."""

from ..suite import Suite
from . import summary
from .jacobian import LETTER, STUDY
from .settings import SCALES

SUITE = Suite(
    (LETTER,),
    "the Jacobian regularizer",
    STUDY,
    SCALES,
    summary.quantities,
    summary.panels,
    summary.costs,
)
