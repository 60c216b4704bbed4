"""Distil an optimizer into a formula, and say how well it does in the optimizer's place.

    found = steppe.distill(steppe.load("rnnprop-flat-v1"), task, horizons=(100, 500))
    print(found.text, found.verdict)
    opt = found.rule

The teacher's runs are recorded and become rows; forms are fitted to these; the best ones go on runs
of their own, with the teacher's word for what to do there, and are fitted again; what is then on
the front of length and R² optimizes problems of validation, and the shortest that does as well as
the teacher is kept. What is reported is found on other rows and other problems.

    key → record, rounds, validation, test: four streams, none of which meets another
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ..core.arguments import told, whole
from ..core.expression import lift
from ..core.optimizer import AbstractOptimizer
from ..core.task import AbstractTask
from ..core.types import Key
from ..evaluation.stats import paired
from ..evaluation.update_curve import update_curve
from ..train.environment import environment
from . import forms
from .fit import Quality, quality, r2, values
from .forms import Formula, refitted
from .front import SHORT, chosen, fault, front, judged, log_ratios, losses, rule, shown
from .perception import perceived
from .record import joined, record
from .result import Distillation, Held, Ratio
from .table import Split, Table, tabulate
from .template import Template, linear, squashed, template, variables_of
from .tuning import tuned

HORIZONS = (100, 500, 2500)
LONG = 1000  # steps, beyond which fewer problems are taken
LAST = 500  # largest horizon that is chosen by, if there is one up to it
MOST = 2**31 - 1  # of every number
TIMED = 100_000  # coordinates of the cost of a step

Say = Callable[[str], None]


def distill(
    opt: AbstractOptimizer,
    task: AbstractTask,
    *,
    horizons: Sequence[int] = HORIZONS,
    runs: int = 24,
    steps: int = 300,
    rounds: int = 1,
    problems: int = 32,
    test: int = 64,
    long: int = 16,
    tune: int = 0,
    search: bool = False,
    also: Mapping[str, AbstractTask] | None = None,
    seed: int = 0,
    name: str | None = None,
    task_name: str | None = None,
    say: Say = lambda text: None,
) -> Distillation:
    """Distil an optimizer into a formula.

    - `opt`: the teacher, learned or made by hand; left as it is
    - `horizons`: inner steps after which losses are compared, ascending; those up to 500 are
      chosen by
    - `runs`, `steps`: that are recorded, of the teacher and in each round
    - `rounds`: of fitting on the rule's own runs
    - `problems`: of validation; `test`: fresh ones of the comparison, at least 2, and `long` for
      horizons beyond 1000 steps
    - `tune`: meta-steps of tuning the chosen formula's numbers by its losses
    - `search`: also search by genetic programming (needs `steppe[symbolic]`)
    - `also`: other tasks by name, on which the formula is compared too
    - `seed`: of all draws, at least 0
    - `name`, `task_name`: as shown
    - `say`: called with lines of progress

    Raises ValueError for arguments out of range, for too few rows, and where no formula is sound.
    """
    began = time.perf_counter()
    horizons = check(opt, task, horizons)
    least = {"runs": 1, "steps": 1, "problems": 1, "test": 2, "long": 2}
    given = {"runs": runs, "steps": steps, "problems": problems, "test": test, "long": long}
    given |= {"rounds": rounds, "tune": tune, "seed": seed}
    for what, x in given.items():
        whole(f"distill: {what}", x, least=least.get(what, 0), most=MOST)
    name = name or type(opt).__name__
    key_record, key_rounds, key_valid, key_test, key_tune = jr.split(jr.key(seed), 5)

    say(f"recording {runs} runs of {name}, {steps} steps each")
    recorded = record(opt, task, runs=runs, steps=steps, key=key_record)
    looks = perceived(opt, recorded, key=key_record)
    wanted = tuple(dict.fromkeys([*forms.pool(), *variables_of()]))
    split = tabulate(recorded, wanted).split(seed)
    say(f"fitting formulas to {len(split.fit):,} rows".replace(",", " "))
    candidates, fitted, filter_ = fits(split)
    if search:
        candidates += searched(split, seed, say)
    candidates = shortlisted(candidates)
    for k in range(rounds):
        leader = best_short(candidates, split)
        say(f"round {k + 1}: what {name} would do on the runs of a formula of {leader.nodes} nodes")
        more = record(
            opt, task, runs=runs, steps=steps, key=jr.fold_in(key_rounds, k), leader=rule(leader)
        )
        recorded = joined(recorded, more)
        split = tabulate(recorded, wanted).split(seed)
        rows = split.fit.sample(forms.REFINED)
        candidates = [refitted(c, rows, split) for c in candidates]

    valid = tuple(h for h in horizons if h <= LAST) or horizons[:1]
    keys = jr.split(key_valid, problems)
    teacher = losses(task, opt, keys, valid, "valid").held_out
    check_losses(teacher, name)
    shortlist = shortlisted(candidates)
    say(f"judging {len(shortlist)} formulas on {problems} problems of validation")
    table = split.fit
    judge = functools.partial(
        judged, table=table, task=task, teacher=teacher, keys=keys, horizons=valid
    )
    found = [judge(formula) for formula in shortlist]
    kept = chosen(found)
    best = kept.rule
    if tune:
        say(f"tuning its numbers for {tune} meta-steps")
        best = tuned(best, task, tune, key=key_tune)
    say(f"comparing with {name} on fresh problems")
    places = {task_name or type(task).__name__: task, **(also or {})}
    ratios = [
        ratio
        for place, (label, there) in enumerate(places.items())
        for ratio in compared(
            label, there, [best], opt, horizons, test, long, jr.fold_in(key_test, place)
        )[0]
    ]
    numbers = tuple(float(x) for x in best.numbers)
    value = Formula(best.plan.expression, numbers, kept.origin, None)(split.test)
    return Distillation(
        optimizer=name,
        task=task_name or type(task).__name__,
        formula=best.formula,
        coefficients=numbers,
        text=shown(best)[0],
        latex=shown(best)[1],
        nodes=kept.nodes,
        origin=kept.origin,
        state=best.plan.floats,
        front=tuple(dataclasses.replace(row, kept=row is kept) for row in found),
        held=held(split.test, quality(split.test, value)),
        linear=r2(split.test.target, filter_(split.test)),
        template=r2(split.test.target, fitted(split.test)),
        ratios=tuple(ratios),
        cost={"formula": cost(best), "teacher": cost(opt)},
        curves=tuple(
            update_curve(o, name=n, learned=True) for o, n in ((opt, name), (best, "formula"))
        ),
        rows=len(split.fit),
        runs=runs,
        steps=steps,
        rounds=rounds,
        tuned=tune,
        left_out=recorded.nonfinite,
        seed=seed,
        seconds=time.perf_counter() - began,
        environment=environment(),
        perceived=looks,
    )


def check(opt: AbstractOptimizer, task: AbstractTask, horizons: Sequence[int]) -> tuple[int, ...]:
    """The horizons, after the arguments have been looked at."""
    if not isinstance(opt, AbstractOptimizer):
        raise ValueError(
            f"distill: opt must be an optimizer, got {told(opt)}; give what `steppe.load` returns."
        )
    if not isinstance(task, AbstractTask):
        raise ValueError(
            f"distill: task must be a task, got {told(task)}; give one, such as "
            'steppe.tasks.build("digits-relu").'
        )
    several = isinstance(horizons, Sequence | np.ndarray) and not isinstance(horizons, str)
    given = list(horizons) if several else [horizons]
    found = tuple(whole("distill: horizons", h, least=1, most=MOST) for h in given)
    if not found or list(found) != sorted(set(found)):
        raise ValueError(f"distill: horizons must ascend, got {told(given)}; give (100, 500).")
    return found


def check_losses(teacher: np.ndarray, name: str) -> None:
    """Refuse losses of a teacher that have no ratios."""
    if not np.isfinite(teacher).all(1).any():
        raise ValueError(
            f"distill: {name} diverged on all {len(teacher)} problems of validation, so that there "
            "is nothing to compare with; take another task, or shorter horizons."
        )
    if (teacher < 0).any():
        raise ValueError(
            "distill: losses of this task come below 0, where they have no ratios; take a task "
            "whose losses are at least 0."
        )


def fits(split: Split) -> tuple[list[Formula], Template, Template]:
    """Candidates, and the template and the linear filter that all are measured by."""
    known = variables_of()
    fitted, filter_ = template(split, known), linear(split, known)
    candidates = forms.short(split, forms.pool())
    return [*candidates, *wide(split, fitted, filter_)], fitted, filter_


def wide(split: Split, fitted: Template, filter_: Template) -> list[Formula]:
    """Candidates of many inputs."""
    several = ((fitted, "template"), (filter_, "linear filter"))
    plain = [Formula(t.expression, t.coefficients, name, t.validation) for t, name in several]
    return [*plain, squashed(fitted, split)]


def searched(split: Split, seed: int, say: Say) -> list[Formula]:
    """Candidates by genetic programming, on the short forms' inputs without lags beyond one."""
    from .search import Search, search

    say("searching by genetic programming")
    wanted = {(v.name, v.lag) for v in forms.pool()}
    inputs = {key: x for key, x in split.fit.inputs.items() if key in wanted}
    found = search(inputs, split.fit.target, Search(seed=seed, safe=True))
    candidates = []
    for each in found:
        e, numbers = lift(each.expression)
        value = values(e, numbers, split.validation.inputs)
        score = r2(split.validation.target, value)
        candidates.append(Formula(e, numbers, "search", score))
    return candidates


def best_short(candidates: Sequence[Formula], split: Split) -> Formula:
    """The formula of at most 15 nodes that fits best and is sound."""
    order = sorted(
        (c for c in candidates if c.validation is not None),
        key=lambda c: (c.nodes > SHORT, -(c.validation or 0)),
    )
    sound = (c for c in order if not fault(c, split.fit))
    found = next(sound, None)
    if found is None:
        raise ValueError(
            "distill: no formula that was fitted is finite and bounded on inputs 3 times as large "
            "as those recorded; record more runs."
        )
    return found


def shortlisted(candidates: Sequence[Formula]) -> list[Formula]:
    """The candidates to judge: the front, and the best of each length up to 15 nodes."""
    known = [c for c in candidates if c.validation is not None]
    rising = sorted(known, key=lambda c: c.validation or 0)
    best = {c.nodes: c for c in rising if c.nodes <= SHORT}  # the last of each length
    kept = {id(c): c for c in [*front(known), *best.values()]}
    return sorted(kept.values(), key=lambda c: c.nodes)


def compared(
    label: str,
    task: AbstractTask,
    rules: Sequence[AbstractOptimizer],
    teacher: AbstractOptimizer,
    horizons: Sequence[int],
    test: int,
    long: int,
    key: Key,
) -> list[list[Ratio]]:
    """Losses of each rule over the teacher's on fresh problems, by horizon and split."""
    found: list[list[Ratio]] = [[] for _ in rules]
    near, far = ([h for h in horizons if (h > LONG) == beyond] for beyond in (False, True))
    for some, count in ((near, test), (far, long)):
        if not some:
            continue
        keys = jr.split(jr.fold_in(key, some[-1]), count)
        theirs = losses(task, teacher, keys, some, "test")
        for own, opt in zip(found, rules, strict=True):
            ours = losses(task, opt, keys, some, "test")
            for part in ("test", "train"):
                a, b = (x.held_out if part == "test" else x.train for x in (ours, theirs))
                own += [ratio(label, part, h, a[:, k], b[:, k]) for k, h in enumerate(some)]
    return found


def ratio(label: str, part: str, steps: int, ours: np.ndarray, theirs: np.ndarray) -> Ratio:
    logs = [None if np.isnan(x) else float(x) for x in log_ratios(ours, theirs)]
    seen = paired(logs, [0.0] * len(logs)).difference
    power = lambda x: None if x is None else float(np.exp(min(x, 700.0)))
    bad = lambda x: int((~np.isfinite(x)).sum())
    return Ratio(
        task=label,
        part="test" if part == "test" else "train",
        steps=steps,
        problems=len(ours),
        mean=power(seen.mean),
        low=power(seen.low),
        high=power(seen.high),
        diverged=bad(ours),
        diverged_teacher=bad(theirs),
    )


def held(table: Table, found: Quality) -> Held:
    steps = np.array_split(np.unique(table.step), len(found.times))
    spans = [f"{int(part[0])}–{int(part[-1])}" for part in steps if len(part)]
    return Held(
        pooled=found.pooled,
        tensors=dict(zip(table.tensors, found.tensors, strict=True)),
        times=dict(zip(spans, found.times, strict=False)),
    )


def cost(opt: AbstractOptimizer, coordinates: int = TIMED, repeats: int = 5) -> float | None:
    """Nanoseconds of a step for each coordinate, of 100 000; None if it needs more than gradients.

    The median of some compiled steps, gradients given.
    """
    params = jnp.zeros((coordinates,))
    grads = jnp.linspace(-1.0, 1.0, coordinates)
    step = jax.jit(lambda g, state, params: opt.update(g, state, params))
    try:
        state = opt.init(params, key=jr.key(0))
        times = []
        for _ in range(repeats + 1):
            began = time.perf_counter()
            _, state = jax.block_until_ready(step(grads, state, params))
            times.append(time.perf_counter() - began)
    except (TypeError, ValueError, KeyError):
        return None
    return float(f"{1e9 * np.median(times[1:]) / coordinates:.3g}")
