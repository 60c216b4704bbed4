"""From candidates to one formula: refusals, the Pareto front, and the choice by how it optimizes.

    front(formulas)               no other is shorter and fits better
    judged(task, …)               loss of each over the teacher's, on problems of validation
    chosen(rows)                  the shortest that is as good as the teacher, or as the best

R² says how well a rule imitates, the loss how well it optimizes; they need not agree, so that the
front goes by the first and the choice by the second.

A fit by least squares is smaller than what it was fitted to: what it cannot explain, it leaves out.
So its steps are multiplied by 1/√R², which makes them as large as the teacher's in mean square.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, PyTree

from ..core.backend import lanes_evaluated
from ..core.episode import Episode
from ..core.expression import LENGTH, Apply, Coefficient, Expression, Number, variables, walk
from ..core.optimizer import AbstractOptimizer
from ..core.rollout import Optimizer, episodes
from ..core.task import AbstractTask, Problem
from ..core.types import Key
from ..core.types import Split as Part
from ..evaluation.run import TRAIN_ROWS, rows, spread
from ..optimizers.learned.symbolic import Symbolic
from ..store.untrusted import Between, Length
from .fit import values
from .forms import Formula
from .table import Table

Words = Annotated[str, Length(4000)]
Formula_ = Annotated[str, Length(LENGTH)]
Count = Annotated[int, Between(0, 2**53)]
Share = float | None

OUTSIDE = 3.0  # times the inputs that were seen: where a formula must still be sound
FACTORS = np.linspace(1.0, OUTSIDE, 41)
PROBED = 500  # rows that are scaled
LARGEST = 30.0  # times the largest update of the teacher; a cube comes to 27
MOST = 1.5  # of a gain
MARGIN = 0.02  # of the loss ratio, for what is as good as the best
SHORT, AS_GOOD = 15, 1.05  # nodes that a person reads; loss ratio that is near the teacher
SURE = 0.97  # loss ratio on validation of what is taken to be as good as the teacher


def fault(formula: Formula, table: Table) -> str:
    """The reason to refuse a formula, "" for one that is sound on inputs up to 3 times those seen.

    All inputs of a row are scaled together, and each by itself. A formula is refused where it is
    not finite or too large, and where a denominator takes both signs: it has a pole between, which
    samples may miss.
    """
    rows = table.sample(PROBED)
    names = [(v.name, v.lag) for v in variables(formula.expression)]
    high = float(np.max(np.abs(table.target)))
    below = [Formula(d, formula.coefficients, "", None) for d in denominators(formula.expression)]
    signs: list[set[float]] = [set() for _ in below]
    groups = [set(names), *({name} for name in names if len(names) > 1)]
    outside = f"on inputs up to {OUTSIDE:g} times as large as those seen"
    for group, sign in itertools.product(groups, (1.0, -1.0)):
        scale = sign * FACTORS[:, None]
        ones = np.ones_like(FACTORS)[:, None]
        inputs = {name: rows.inputs[name] * (scale if name in group else ones) for name in names}
        at = lambda f, inputs=inputs: values(f.expression, f.coefficients, inputs)
        found = at(formula)
        if not np.isfinite(found).all():
            return f"not finite {outside}"
        if float(np.max(np.abs(found))) > LARGEST * high:
            return f"more than {LARGEST:g} times the teacher's largest update {outside}"
        for seen, f in zip(signs, below, strict=True):
            seen |= set(np.unique(np.sign(at(f))))
    return f"a pole: it divides by what is 0 {outside}" if any(len(s) > 1 for s in signs) else ""


def denominators(e: Expression) -> list[Expression]:
    """The denominators in a formula, constants left out."""
    found = []
    for node, _ in walk(e):
        match node:
            case Apply("/", (_, below)):
                found.append(below)
            case Apply("^", (below, Number(power))) if power < 0:
                found.append(below)
    return [below for below in found if variables(below)]


def front(formulas: Sequence[Formula]) -> list[Formula]:
    """The formulas than which none is as short and fits as well, the shortest first.

    Of equals the first counts. A formula without R² is on no front.
    """
    known = [f for f in formulas if f.validation is not None]
    found: list[Formula] = []
    for formula in sorted(known, key=lambda f: (f.nodes, -(f.validation or 0))):
        if not found or (formula.validation or 0) > (found[-1].validation or 0):
            found.append(formula)
    return found


def rule(formula: Formula, gain: float = 1.0) -> Symbolic:
    """The update rule of a formula, with its steps multiplied by a gain."""
    outer = heights(formula.expression) if gain != 1 else frozenset()
    numbers = tuple(c * gain if k in outer else c for k, c in enumerate(formula.coefficients))
    return Symbolic(str(formula.expression), numbers)


def heights(e: Expression) -> frozenset[int]:
    """Numbers of coefficients by which the formula is multiplied if all of them are; {} for none.

    >>> from ..core.expression import parse
    >>> sorted(heights(parse("c0 * tanh(c1 * mn95) + c2 * g")))
    [0, 2]
    """
    match e:
        case Apply("+" | "-", (a, b)):
            left, right = heights(a), heights(b)
            return left | right if left and right else frozenset()
        case Apply("neg", (a,)) | Apply("/", (a, _)):
            return heights(a)
        case Apply("*", (a, b)):
            for one, other in ((a, b), (b, a)):
                found = heights(one)
                if found and not found & {
                    n.index for n, _ in walk(other) if isinstance(n, Coefficient)
                }:
                    return found
            return frozenset()
        case Coefficient(index):
            return frozenset({index})
    return frozenset()


# Losses.


class Losses(NamedTuple):
    """Losses of an optimizer on problems, (problems, horizons) each; not all need be finite."""

    train: Float[np.ndarray, "problems horizons"]
    held_out: Float[np.ndarray, "problems horizons"]


def losses(
    task: AbstractTask, opt: AbstractOptimizer, keys: Key, horizons: Sequence[int], part: Part
) -> Losses:
    """Losses after so many steps, on training examples and on those of a split.

    - `keys`: (problems,), each its instance, start and batches
    - `horizons`: ascending
    """
    run = spread(lambda shared, keys: ends(shared[0], shared[1], keys, (), tuple(horizons), part))
    return Losses(*(np.asarray(x, np.float64) for x in run((task, opt), keys)))


def ends(
    task: AbstractTask,
    opt: Optimizer,
    keys: Key,
    beside: PyTree,
    horizons: tuple[int, ...],
    part: Part,
) -> tuple[Array, Array]:
    """(problems, horizons) each: the loss on training examples, and on those of `part`."""
    step = math.gcd(*horizons)  # equal gaps: one program
    at = tuple(range(step, horizons[-1] + 1, step))
    places = np.array([at.index(h) for h in horizons])

    def look(episode: Episode, _) -> tuple[Array, Array]:
        def value(part: Part, limit: int | None) -> Array:
            batch = rows(task.full_batch(episode.instance, split=part), limit)
            return Problem(task, episode.instance, batch, episode.key).merit(episode.params)

        return value("train", TRAIN_ROWS), value(part, None)

    how = {"beside": beside, "at": at, "batch_size": lanes_evaluated()}
    train, held_out = episodes(task, opt, keys, horizons[-1], look, **how).looks
    return train[:, places], held_out[:, places]


def log_ratios(
    ours: Float[np.ndarray, "..."], theirs: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    """ln of losses over others: NaN where either is not finite or below 0.

    A loss of 0 counts as the least above 0 that either came to.
    """
    both = np.stack(np.broadcast_arrays(ours, theirs))
    above = both[np.isfinite(both) & (both > 0)]
    least = float(above.min()) if above.size else 1.0
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.log(np.where(both == 0, least, both))
    logs[~np.isfinite(both)] = np.nan
    return logs[0] - logs[1]


# The choice.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A candidate on the front, and how it does.

    - `formula`, `coefficients`: as `Symbolic` takes them, the gain among the coefficients
    - `text`: with numbers of 4 digits
    - `origin`: what it was made from
    - `validation`: R² on rows of validation, before the gain
    - `ratios`: its loss over the teacher's on problems of validation at each horizon, geometric
      means; None where one was not finite
    - `fault`: the reason why it was refused, "" if it was not
    - `kept`: it was chosen
    """

    formula: Formula_
    coefficients: Annotated[tuple[float, ...], Length(1000)]
    text: Formula_
    nodes: Count
    origin: Words
    validation: Share
    gain: float = 1.0
    ratios: Annotated[tuple[Share, ...], Length(16)] = ()
    fault: Words = ""
    kept: bool = False

    @property
    def merit(self) -> float:
        """The worst of its ratios, ∞ where it was refused or one is not finite."""
        if self.fault or not self.ratios or None in self.ratios:
            return math.inf
        return max(x for x in self.ratios if x is not None)

    @property
    def rule(self) -> Symbolic:
        return Symbolic(self.formula, self.coefficients)


def judged(
    formula: Formula,
    table: Table,
    task: AbstractTask,
    teacher: Float[np.ndarray, "problems horizons"],
    keys: Key,
    horizons: Sequence[int],
) -> Row:
    """A candidate on problems of validation.

    - `table`: rows to probe it on
    - `teacher`: its losses on the same problems
    """
    if said := fault(formula, table):
        return row(formula, fault=said)
    gain = gain_of(formula)
    found = losses(task, rule(formula, gain), keys, horizons, "valid").held_out
    logs = log_ratios(found, teacher)[np.isfinite(teacher).all(1)]  # what the teacher can do
    ratios = tuple(float(np.exp(x)) if np.isfinite(x) else None for x in logs.mean(0))
    return row(formula, gain=gain, ratios=ratios)


def gain_of(formula: Formula) -> float:
    """1/√R², at most 1.5: with it the steps of a fit are as large as what it was fitted to."""
    r2 = min(max(formula.validation or 0.0, MOST**-2), 1.0)
    return float(r2**-0.5) if heights(formula.expression) else 1.0


def row(formula: Formula, gain: float = 1.0, **said: Any) -> Row:
    made = rule(formula, gain)
    return Row(
        formula=made.formula,
        coefficients=made.coefficients,
        text=shown(made)[0],
        nodes=formula.nodes,
        origin=formula.origin,
        validation=formula.validation,
        gain=gain,
        **said,
    )


def shown(rule: Symbolic, digits: int = 4) -> tuple[str, str]:
    """The formula as text and as LaTeX, its signs joined: + - is -, and - - is +."""
    joined = lambda text: text.replace(" + -", " - ").replace(" - -", " + ")
    return joined(rule.text(digits)), joined(rule.latex(digits))


def chosen(rows: Sequence[Row]) -> Row:
    """The shortest formula that is surely as good as the teacher at every horizon, or as the best.

    As good as the best is up to 2 % more loss; surely as good as the teacher is 3 % less, since the
    luckiest of several looks better than it is. A longer formula than a person reads, of more than
    15 nodes, counts only where the short ones come to over 5 % more loss than the teacher. Raises
    ValueError where none is sound.
    """
    short = [row for row in rows if row.nodes <= SHORT]
    best = min((row.merit for row in short), default=math.inf)
    if best > AS_GOOD:
        short, best = list(rows), min((row.merit for row in rows), default=math.inf)
    if not math.isfinite(best):
        raise ValueError(
            "distill: every formula was refused or diverged on the problems of validation; record "
            "more runs, or take another task."
        )
    limit = max(SURE, best * (1 + MARGIN))
    return min((row for row in short if row.merit <= limit), key=lambda row: (row.nodes, row.merit))
