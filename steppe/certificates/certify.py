"""Run an optimizer on sampled tasks and certify what future ones will show.

    cert = certify(opt, task, steps=200, tolerances=[0.1], levels=[0.9], delta=0.01)
    print(cert.statement)   With confidence 99 %: at least 90 % of future tasks reach loss ≤ 0.1 …

The optimizer is frozen and the tasks are fresh, so that n runs are n independent draws, and nothing
has to be assumed of the optimizer. That is the tightest way there is where tasks can be drawn; for
a fixed set of tasks that all went into training, see `pac_bayes.py`.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import optax

from ..core.arguments import told
from ..core.optimizer import AbstractOptimizer
from ..core.task import AbstractTask
from ..train.environment import environment
from .certificate import ASSUMPTIONS, SCHEMA, Certificate
from .claims import (
    AbstractClaim,
    Iterations,
    hitting_times,
    tolerance_of,
    within,
)
from .ends import Ends
from .entries import Counts, Environment, Error, Semantics, Simultaneous
from .episodes import Episodes, Measure, usual_metric
from .evidence import entry
from .measured import Measured
from .plan import (
    Plan,
    check_claims,
    check_settings,
    check_size,
    plan,
    several,
    standard_claims,
)
from .runs import AbstractRun, Calls, Runs, check_told
from .twins import Sketches, check_different
from .wording import reservations, summary, taken_from_a_set, too_coarse

Subject = AbstractRun | AbstractOptimizer | optax.GradientTransformation | Callable


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Outcome of all runs: a number for each claim and task, and counts."""

    values: list[np.ndarray]
    counts: Counts
    diverged: int
    returned: int  # runs whose error rose above a tolerance again
    dtype: str


def certify(
    subject: Subject,
    task: AbstractTask | None = None,
    *,
    steps: int,
    metric: str | Measure | Sequence[str] | None = None,
    at_loss: float | None = None,
    tolerances: Sequence[float] = (),
    levels: Sequence[float] = (),
    at: Sequence[int] = (),
    semantics: Semantics = "first_hit",
    claims: Sequence[AbstractClaim] = (),
    delta: float = 0.01,
    n: int = 1000,
    seed: int = 0,
    method: str = "clopper_pearson",
    simultaneous: Simultaneous = "grid",
    candidates: int = 1,
    stage: int | None = None,
    repeats: bool = False,
    batch: int = 256,
    say: Callable[[str], None] = lambda text: None,
) -> Certificate:
    """Run `subject` on n fresh tasks and certify claims about future ones.

    - `subject`: an optimizer (of steppe or optax) for a `task`; a Python function, see `Calls`; or
      any `AbstractRun`
    - `task`: the task of an optimizer, and None otherwise
    - `steps`: iterations of each run, K ≥ 1
    - `metric`: the error of an optimizer on a task, see `Episodes`; None: the loss, or of a game
      the merit. A list: measures where a run ends, see `Measured`, bounded together
    - `at_loss`: measure where the training loss first comes to this; None: at the end
    - `tolerances`: errors to reach, in the unit of the metric; each gives a claim of success after
      each k of `at`
    - `levels`: fractions of tasks, in (0, 1); each gives the iterations to each tolerance, or
      without tolerances the error after each k of `at`, or the measures where runs end
    - `at`: numbers of iterations, in 0 … K; () for K alone
    - `semantics`: iterations until the error is first so small, "first_hit", or for good, "stay"
    - `claims`: further claims
    - `delta`: probability that any statement is wrong, in (0, 1)
    - `n`: number of tasks, ≥ 1
    - `seed`: of all draws
    - `method`: bound for claims that a task meets or not, one of `bounds.METHODS`
    - `simultaneous`: how δ is shared over the claims, see `plan`
    - `candidates`: number of optimizers tried on these tasks, ≥ 1
    - `stage`: number of this look in a sequential plan, 1, 2, …; None for a single look
    - `repeats`: allow equal tasks, for tasks that are drawn from few
    - `batch`: runs in memory at a time; the result does not depend on it
    - `say`: called with a line of progress after each batch

    Raises ValueError for what cannot be certified, before anything runs where that can be known.
    """
    run = as_run(subject, task, metric, at_loss)
    check_settings(steps=steps, seed=seed, batch=batch, repeats=repeats, say=say)
    usual = (
        claims_of_ends(run, tolerances, levels, at)
        if run.measures
        else standard_claims(steps, tolerances, levels, at, semantics)
    )
    wanted = [*usual, *several("claims", claims)]
    check_claims(wanted, steps, run.metric.signed)
    planned = plan(
        wanted,
        delta=delta,
        n=n,
        method=method,
        simultaneous=simultaneous,
        candidates=candidates,
        stage=stage,
    )
    if run.population is not None and run.population < planned.n:
        raise ValueError(
            f"There are {run.population} tasks and {planned.n} are needed; lower n, or add tasks."
        )
    check_size(wanted, planned.n, steps)
    check_told(run)
    return issue(
        run,
        planned,
        seed=int(seed),
        steps=int(steps),
        simultaneous=simultaneous,
        candidates=int(candidates),
        stage=None if stage is None else int(stage),
        repeats=bool(repeats),
        batch=int(batch),
        say=say,
    )


def issue(
    run: AbstractRun,
    planned: Plan,
    *,
    seed: int,
    steps: int,
    simultaneous: str,
    candidates: int,
    stage: int | None,
    repeats: bool,
    batch: int = 256,
    say: Callable[[str], None] = lambda text: None,
) -> Certificate:
    """Run all tasks of a plan and write their certificate; arguments as in `certify`."""
    seen = gather(run, planned, seed, steps, batch, repeats, say)
    entries = [
        entry(item, values, run.metric.name, steps)
        for item, values in zip(planned.items, seen.values, strict=True)
    ]
    return write_down(
        run,
        planned,
        seen,
        entries,
        seed=seed,
        steps=steps,
        kind="holdout",
        simultaneous=simultaneous,
        candidates=candidates,
        stage=stage,
        repeats=repeats,
        posterior={},
    )


def write_down(
    run: AbstractRun,
    planned: Plan,
    seen: Outcome,
    entries: list[dict[str, Any]],
    *,
    seed: int,
    steps: int,
    **more: Any,
) -> Certificate:
    """The certificate of these claims.

    - `run`, `planned`: what was run, and the plan it was run for
    - `seen`: the outcome of all runs
    - `entries`: the claims as they are written, see `entry`
    - `seed`, `steps`: as in `certify`
    - `more`: the fields that differ between kinds of certificates
    """
    return Certificate(
        statement=summary([e["statement"] for e in entries], planned.joint_delta),
        claims=entries,
        joint_delta=planned.joint_delta,
        n=planned.n,
        steps=steps,
        seed=seed,
        metric=cast(Error, dataclasses.asdict(run.metric)),
        counts=seen.counts,
        diverged=seen.diverged,
        warnings=warnings(run, planned, seen, steps),
        assumptions=list(ASSUMPTIONS[more["kind"]]),
        schema=SCHEMA,
        environment=cast(Environment, environment() | {"dtype": seen.dtype}),
        **run.described(),
        **more,
    )


def claims_of_ends(
    run: AbstractRun, tolerances: Sequence[float], levels: Sequence[float], at: Sequence[int]
) -> list[AbstractClaim]:
    """A claim for each level about the measures where runs end."""
    if tuple(several("tolerances", tolerances)) or tuple(several("at", at)):
        raise ValueError(
            "Tolerances and iterations are of a metric that is read after every step; measures "
            "where runs end take levels alone."
        )
    return [Ends(a, run.measures, run.at_loss) for a in several("levels", levels)]


def as_run(
    subject: Subject,
    task: AbstractTask | None,
    metric: str | Measure | Sequence[str] | None,
    at_loss: float | None = None,
) -> AbstractRun:
    """The runs of any subject that `certify` takes."""
    several_named = isinstance(metric, list | tuple)
    if metric is not None and not (isinstance(metric, str) or callable(metric) or several_named):
        raise ValueError(f"A metric is a name, a function or a list of names, got {told(metric)}.")
    if at_loss is not None and not several_named:
        raise ValueError("at_loss is of measures where runs end; give a list of them as metric.")
    if isinstance(subject, (AbstractOptimizer, optax.GradientTransformation)):
        if task is None:
            raise ValueError("An optimizer is certified on a task; give it as second argument.")
        if isinstance(metric, list | tuple):
            return Measured(task, subject, metric, at_loss=at_loss)
        return Episodes(task, subject, metric=usual_metric(task) if metric is None else metric)
    if task is not None or metric is not None:
        raise ValueError("task and metric belong to an optimizer; leave them away here.")
    if isinstance(subject, AbstractRun):
        return subject
    if callable(subject):
        return Calls(subject)
    raise ValueError(
        f"certify takes an optimizer, a function or an AbstractRun, got {type(subject).__name__}."
    )


def gather(
    run: AbstractRun,
    planned: Plan,
    seed: int,
    steps: int,
    batch: int,
    repeats: bool,
    say: Callable[[str], None],
) -> Outcome:
    """Run all tasks, a batch at a time, and keep the numbers that the claims need.

    - `run`, `planned`: what to run, and the plan with its claims and number of tasks
    - `seed`: of all draws
    - `steps`: iterations of each run, K
    - `batch`: runs in memory at a time
    - `repeats`: allow equal tasks
    - `say`: called with a line of progress after each batch
    """
    claims = [item.claim for item in planned.items]
    tolerances = sorted({e for c in claims if (e := tolerance_of(c)) is not None})
    above = np.zeros((len(tolerances), steps + 1), np.int64)
    parts: list[list[np.ndarray]] = [[] for _ in claims]
    prints: Counter[str] = Counter()
    sketches: list[Sketches] = []
    may_repeat = repeats or run.population is not None
    check_ends(claims, run)
    diverged, returned, dtype = 0, 0, ""
    for runs in batches(run, planned.n, seed, steps, batch):
        errors = runs.errors
        check_errors(errors, run)
        prints.update(runs.prints)
        if not may_repeat:
            check_unequal(prints)
            sketches += [] if runs.sketches is None else [runs.sketches]
            if len(sketches) == 1:  # at once, and all of them in the end
                check_different(sketches[0])
        for part, claim in zip(parts, claims, strict=True):
            part.append(claim.values(ends_of(runs) if isinstance(claim, Ends) else errors))
        for i, tolerance in enumerate(tolerances):
            above[i] += (~within(errors, tolerance)).sum(axis=0)
        diverged += int((~np.isfinite(errors)).any(axis=1).sum())
        returned += int(rises(errors, tolerances).sum())
        dtype = runs.dtype
        say(f"{sum(map(len, parts[0]))} of {planned.n} tasks")
    if len(sketches) > 1:
        check_different(np.concatenate(sketches))
    counts: Counts = {"tolerances": tolerances, "failures": above.tolist()}
    return Outcome([np.concatenate(part) for part in parts], counts, diverged, returned, dtype)


def batches(run: AbstractRun, n: int, seed: int, steps: int, batch: int) -> Iterator[Runs]:
    for first in range(0, n, batch):
        yield run.run(seed, range(first, min(first + batch, n)), steps)


def check_ends(claims: Sequence[AbstractClaim], run: AbstractRun) -> None:
    """Refuse claims about measures that the runs do not have."""
    for claim in claims:
        if isinstance(claim, Ends) and (
            (claim.measures, claim.at_loss) != (run.measures, run.at_loss)
        ):
            raise ValueError(
                "A claim about measures where runs end is of other measures than the runs have; "
                "take those of the run, `Ends(level, run.measures, run.at_loss)`."
            )


def ends_of(runs: Runs) -> np.ndarray:
    if runs.ends is None:
        raise ValueError("A run with `measures` must give them as `ends` of its Runs.")
    return runs.ends


def check_errors(errors: np.ndarray, run: AbstractRun) -> None:
    wrong = errors[np.isfinite(errors) & (errors < 0)]
    if len(wrong) and not run.metric.signed:
        raise ValueError(
            f"The metric {run.metric.name!r} was negative ({wrong.min():g}), which it is declared "
            "not to be; take its absolute value, or declare it `signed`."
        )


def check_unequal(prints: Counter[str]) -> None:
    """Refuse tasks of which two are the same."""
    if twice := prints.total() - len(prints):
        raise ValueError(
            f"{twice} of {prints.total()} tasks are equal to another; tasks must be drawn "
            "independently, each from its own key. Where only few are possible, say repeats=True."
        )


def rises(errors: np.ndarray, tolerances: Sequence[float]) -> np.ndarray:
    """Mask of the runs, (n,), that came to some tolerance and left it again."""
    left = np.zeros(len(errors), bool)
    for tolerance in tolerances:
        first = hitting_times(errors, tolerance, "first_hit")
        left |= np.isfinite(first) & (hitting_times(errors, tolerance, "stay") != first)
    return left


def warnings(run: AbstractRun, planned: Plan, seen: Outcome, steps: int) -> list[str]:
    """Reservations that a reader should have, a sentence each."""
    claims = [item.claim for item in planned.items]
    first = any(getattr(c, "semantics", "") == "first_hit" for c in claims)
    found = reservations(
        n=planned.n,
        steps=steps,
        diverged=seen.diverged,
        returned=seen.returned if first else 0,
        coarse=too_coarse(seen.dtype, run.metric.signed, seen.counts["tolerances"]),
        late=[
            (claim.tolerance, float(np.mean(np.isinf(values))))
            for claim, values in zip(claims, seen.values, strict=True)
            if isinstance(claim, Iterations)
        ],
    )
    if run.population is not None:
        found.append(taken_from_a_set(run.population))
    return list(dict.fromkeys([*found, *run.notes]))
