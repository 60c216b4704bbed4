"""The template of Zheng et al.: a filter of clipped inputs, fitted by ridge regression.

    ψ = −Σ_f Σ_τ  W_{f,τ} · γ · tanh(f_{t−τ} / γ)

"Symbolic learning to optimize", ICLR 2022. Linear where an input is small beside γ, saturated
beyond. Given γ, the weights W follow in milliseconds; γ is chosen on the rows of validation. With γ
of ∞ it is a linear filter, the yardstick.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ..core.expression import Expression, Variable, parse
from .fit import r2, ridge
from .forms import REFINED, Formula, refitted
from .table import Split, Table

GAMMAS = tuple(float(f"{g:.3g}") for g in np.geomspace(0.05, 5, 11))
WEIGHT = 1e-9  # of the ridge, for each row and unit of the inputs' mean square
INPUTS, LAGS = ("mn95", "gn95"), 10  # of the default: now and 9 steps back
ROWS = 40_000  # that are fitted to, at most


class Template(NamedTuple):
    """A fitted template.

    - `variables`: the inputs with their lags
    - `gamma`: where they saturate, ∞ for a linear filter
    - `weights`: (inputs,), of γ tanh(f/γ), the sign included: W in the formula above is −weights
    - `validation`: R² on the rows it was chosen by
    """

    variables: tuple[Variable, ...]
    gamma: float
    weights: Float[np.ndarray, " inputs"]
    validation: float | None

    @property
    def expression(self) -> Expression:
        """The formula: c0 is γ, the others are the weights; of a linear filter the weights."""
        clipped = np.isfinite(self.gamma)
        term = "c{} * tanh({} / c0)" if clipped else "c{} * {}"
        terms = [term.format(k + clipped, v) for k, v in enumerate(self.variables)]
        total = " + ".join(terms)
        return parse(f"c0 * ({total})" if clipped else total)

    @property
    def coefficients(self) -> tuple[float, ...]:
        weights = tuple(float(w) for w in self.weights)
        return (self.gamma, *weights) if np.isfinite(self.gamma) else weights

    def __call__(self, table: Table) -> Float[np.ndarray, " rows"]:
        """Its value for every row."""
        return columns(table, self.variables, self.gamma) @ self.weights


def variables_of(names: Sequence[str] = INPUTS, lags: int = LAGS) -> tuple[Variable, ...]:
    """Each input now and up to `lags` − 1 steps back."""
    return tuple(Variable(name, lag) for name in names for lag in range(lags))


def columns(
    table: Table, variables: Sequence[Variable], gamma: float
) -> Float[np.ndarray, "rows inputs"]:
    """γ tanh(f/γ) of every input."""
    x = np.stack([table.column(v) for v in variables], axis=1)
    return gamma * np.tanh(x / gamma) if np.isfinite(gamma) else x


def template(
    split: Split, variables: Sequence[Variable], gammas: Sequence[float] = GAMMAS
) -> Template:
    """Fit the weights for every γ and keep what is best on the rows of validation.

    - `gammas`: to choose from; (∞,) for a linear filter
    """
    fit, valid = split.fit.sample(ROWS), split.validation.sample(ROWS)
    found = []
    for gamma in gammas:
        x = columns(fit, variables, gamma)
        weights = ridge(x, fit.target, WEIGHT * float(np.sum(x * x)) / x.shape[1])
        score = r2(valid.target, columns(valid, variables, gamma) @ weights)
        found.append(Template(tuple(variables), float(gamma), weights, score))
    return max(found, key=lambda t: -np.inf if t.validation is None else t.validation)


def linear(split: Split, variables: Sequence[Variable]) -> Template:
    """The best linear filter of the same inputs."""
    return template(split, variables, (np.inf,))


def squashed(fitted: Template, split: Split) -> Formula:
    """A tanh of the template, its constants refined from it: bounded as outputs of RNNProp are."""
    terms = str(Template(fitted.variables, fitted.gamma, fitted.weights, None).expression)
    k = len(fitted.coefficients)
    inside = f"({terms})" if not terms.startswith("c0 * (") else terms
    high = float(np.max(np.abs(split.fit.target))) or 1.0
    start = (*fitted.coefficients, high)
    formula = Formula(parse(f"c{k} * tanh({inside} / c{k})"), start, "tanh of the template", None)
    return refitted(formula, split.fit.sample(REFINED // 4), split)
