"""Measures by name: `build("log-det", gamma=0.1, probes=4)`."""

from collections.abc import Callable

from ..core.measure import AbstractMeasure
from ..core.messages import did_you_mean
from .entropy.local_entropy import LocalEntropy
from .entropy.variational import Smoothed
from .gradient_norm import GradNorm
from .hessian import (
    GaussNewtonTrace,
    HessianFrobenius,
    HessianTrace,
    KrylovTrace,
    LogDet,
    TopEigenvalue,
)
from .names import NAMES, TAKES
from .sharpness import Sharpness
from .units import SquaredNorm

MEASURES: dict[str, Callable[..., AbstractMeasure]] = {  # described in names.py
    "trace": HessianTrace,
    "frobenius": HessianFrobenius,
    "gauss-newton": GaussNewtonTrace,
    "top-eigenvalue": TopEigenvalue,
    "log-det": LogDet,
    "entropy": LocalEntropy,
    "smoothed": Smoothed,
    "sharpness": Sharpness,
    "gradient-norm": GradNorm,
    "krylov": KrylovTrace,
    "squared-norm": SquaredNorm,
}


def build(name: str, **options: float | int) -> AbstractMeasure:
    """The measure of this name, with those of `gamma`, `temperature` and `probes` it takes."""
    if name not in MEASURES:
        raise ValueError(f"There is no measure {name!r}; {did_you_mean(name, NAMES)}")
    takes = TAKES.get(name, ())
    for option in options:
        if option not in takes:
            expected = f"it takes {', '.join(takes)}" if takes else "it takes none"
            raise ValueError(f"The measure {name} has no option {option!r}; {expected}.")
    return MEASURES[name](**options)
