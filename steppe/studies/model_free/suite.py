"""The suites R1, Q1 and N1 of the benchmark."""

import dataclasses

from ..suite import Suite
from . import summary
from .model_free import LETTERS, STUDY
from .settings import SCALES

SUITE = Suite(
    LETTERS,
    "model-free optimizers",
    STUDY,
    SCALES,
    summary.quantities,
    summary.panels,
    summary.costs,
    lambda settings, sources: dataclasses.replace(settings, optimizers=sources),
)
