"""Short formulas: a few forms with holes, every choice of inputs in them, constants fitted.

    c0 * tanh(c1 * x0 + c2 * x1)      x0, x1: two of some twenty inputs

A form is compiled once and serves all its inputs. All single inputs and all pairs are tried; three
inputs are chosen from those that did best in pairs. What is kept of each form is what fits best.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..core.expression import Expression, Variable, coefficients, parse, rewrite, size, variables
from .fit import Fitter, fitter, r2, ridge, values
from .table import Split, Table

FORMS = (
    "c0 * x0",
    "c0 * tanh(c1 * x0)",
    "c0 * x0 + c1 * x1",
    "c0 * tanh(c1 * x0 + c2 * x1)",
    "c0 * tanh(c1 * x0) + c2 * tanh(c3 * x1)",
    "c0 * tanh(c1 * x0 + c2 * x1 + c3 * x2)",
)
# Gradient and averages in units of √v, whatever the size of gradients; one step ago; then raw ones.
POOL = (
    "gn95", "mn5_95", "mn8_95", "mn9_95", "mn95", "mn99_95", "mn9_999", "gn95[1]", "mn95[1]",
    "g", "m9", "sign5", "size5",
)  # fmt: skip
ROWS = 4000  # to choose inputs by
REFINED = 20_000  # for the constants of what is kept
BEST = 6  # inputs, of which three are chosen
KEPT = 2  # choices of inputs of each form


class Formula(NamedTuple):
    """A formula with its constants.

    - `origin`: where it comes from, e.g. its form
    - `validation`: R² on the rows of validation
    """

    expression: Expression
    coefficients: tuple[float, ...]
    origin: str
    validation: float | None

    @property
    def nodes(self) -> int:
        return size(self.expression)

    def __call__(self, table: Table) -> np.ndarray:
        """Its value for every row."""
        return values(self.expression, self.coefficients, table.inputs)


def pool() -> tuple[Variable, ...]:
    """The inputs that short formulas are made of."""
    found = [parse(name) for name in POOL]
    return tuple(v for v in found if isinstance(v, Variable))


def holes(form: Expression) -> int:
    """Number of inputs that a form takes."""
    text = str(form)
    return sum(f"x{k}" in text for k in range(3))


def filled(form: Expression, inputs: Sequence[Variable]) -> Expression:
    """The form with inputs in its holes."""
    places = {Variable(f"x{k}"): v for k, v in enumerate(inputs)}
    return rewrite(
        form, lambda leaf: places.get(leaf, leaf) if isinstance(leaf, Variable) else leaf
    )


def short(split: Split, inputs: Sequence[Variable], forms: Sequence[str] = FORMS) -> list[Formula]:
    """The best formulas of every form, fitted."""
    fit, valid = split.fit.sample(ROWS), split.validation.sample(ROWS)
    best: list[Variable] = list(inputs)
    found: list[Formula] = []
    for form in map(parse, forms):
        fitted, k = fitter(form), holes(form)
        chosen = best[:BEST] if k > 2 else inputs
        scored = [
            (score, choice, c)
            for choice in choices(form, chosen, k)
            for score, c in [attempt(form, fitted, choice, fit, valid)]
            if score is not None
        ]
        scored.sort(key=lambda s: -s[0])
        if k == 2:  # inputs in the order of the best pair they are in
            best = list(dict.fromkeys(v for _, choice, _ in scored for v in choice))
        large = split.fit.sample(REFINED)
        for _, choice, c in scored[:KEPT]:
            found.append(
                refitted(Formula(filled(form, choice), tuple(c), str(form), None), large, split)
            )
    return found


def choices(form: Expression, inputs: Sequence[Variable], k: int) -> Iterator[tuple[Variable, ...]]:
    """Inputs for the holes of a form, which are alike."""
    return itertools.combinations(inputs, k)


def attempt(
    form: Expression, fitted: Fitter, choice: Sequence[Variable], fit: Table, valid: Table
) -> tuple[float | None, np.ndarray]:
    """R² on rows of validation of a form with these inputs, and its constants."""
    place = lambda table: {(f"x{k}", 0): table.column(v) for k, v in enumerate(choice)}
    x, found = place(fit), []
    for start in starts(form, np.stack(list(x.values()), 1), fit.target):
        c = fitted(start, x, fit.target)
        loss = float(np.sum((values(form, c, x) - fit.target) ** 2))
        found.append((loss if np.isfinite(loss) else np.inf, tuple(c)))
    c = np.array(min(found)[1])
    return r2(valid.target, values(form, c, place(valid))), c


def starts(form: Expression, x: np.ndarray, target: np.ndarray) -> list[np.ndarray]:
    """Constants to begin from: those of the linear fit, within squashes of several heights."""
    w = ridge(x, target, 1e-9 * float(np.sum(x * x)) / x.shape[1])
    k, n = x.shape[1], coefficients(form)
    if n == k:
        return [w]
    high, usual = float(np.max(np.abs(target))), float(np.std(target))
    heights = [h for h in (high, 2 * usual) if h > 0] or [1.0]
    if n == k + 1:  # c0 · squash(Σ c x)
        return [np.array([h, *(w / h)]) for h in heights]
    return [np.ravel([[h * np.sign(a) or h, abs(a) / h] for a in w]) for h in heights]


def refitted(formula: Formula, rows: Table, split: Split) -> Formula:
    """The formula with the constants that fit these rows best, and its R² on validation rows."""
    seen = variables(formula.expression)
    form = rewrite(formula.expression, lambda leaf: _hole(leaf, seen))
    given = {(f"x{k}", 0): rows.column(v) for k, v in enumerate(seen)}
    c = fitter(form)(formula.coefficients, given, rows.target)
    after = formula._replace(coefficients=tuple(float(x) for x in c))
    return after._replace(validation=r2(split.validation.target, after(split.validation)))


def _hole(leaf: Expression, seen: Sequence[Variable]) -> Expression:
    return Variable(f"x{seen.index(leaf)}") if isinstance(leaf, Variable) else leaf
