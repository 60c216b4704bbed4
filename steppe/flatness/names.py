"""The named measures: `build("log-det", gamma=0.1, probes=4)`. Standard library only."""

from typing import TYPE_CHECKING

from ..core.entry import Entry, find, table

if TYPE_CHECKING:
    from ..core.measure import AbstractMeasure

HESSIAN = ".flatness.hessian:"

MEASURES = table(
    Entry(
        "trace",
        "tr H, signed; mean of vᵀHv over random signs",
        HESSIAN + "HessianTrace",
        tunable=("probes",),
    ),
    Entry(
        "frobenius",
        "‖H‖²_F, the sum of squared eigenvalues",
        HESSIAN + "HessianFrobenius",
        tunable=("probes",),
    ),
    Entry(
        "gauss-newton",
        "tr G ≥ 0 of the Gauss–Newton matrix, for tasks with a model",
        HESSIAN + "GaussNewtonTrace",
        tunable=("probes",),
        needs="Composed",
    ),
    Entry(
        "top-eigenvalue",
        "the eigenvalue of largest modulus, warm start",
        HESSIAN + "TopEigenvalue",
    ),
    Entry("log-det", "½ ln det(I + H/γ)", HESSIAN + "LogDet", tunable=("gamma", "probes")),
    Entry(
        "entropy",
        "local free energy −G̃ (Entropy-SGD)",
        ".flatness.entropy.local_entropy:LocalEntropy",
        tunable=("gamma", "temperature"),
    ),
    Entry(
        "smoothed",
        "the loss through a Gaussian window of variance 1/γ",
        ".flatness.entropy.variational:Smoothed",
        tunable=("gamma",),
    ),
    Entry(
        "sharpness",
        "rise of the loss to the worst point within 0.05 (SAM)",
        ".flatness.gradient:Sharpness",
    ),
    Entry(
        "gradient-norm",
        "‖∇f‖², HALO's regularizer",
        ".flatness.gradient:GradNorm",
        tunable=("mean",),
    ),
    Entry(
        "krylov",
        "trace of H over a Krylov space, for comparison: not tr H, not a density",
        HESSIAN + "KrylovTrace",
    ),
    Entry(
        "squared-norm",
        "‖θ‖², no measure of flatness: the control that one has to beat",
        ".flatness.units:SquaredNorm",
    ),
)


def build(name: str, **options: float | int) -> "AbstractMeasure":
    """The measure of this name, with some of its `tunable` options."""
    entry = find("measure", MEASURES, name)
    for option in options:
        if option not in entry.tunable:
            takes = f"it takes {', '.join(entry.tunable) or 'none'}"
            raise ValueError(f"The measure {name} has no option {option!r}; {takes}.")
    return entry.load()(**options)
