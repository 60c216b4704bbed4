"""Adapt a trained optimizer to a new family of problems, and say whether it helped.

    opt, found = adapt(steppe.load("rnnprop-v1"), task, updates=5)
    print(found.verdict)

Three streams of problems, none of which meets another:

    adaptation   a few updates of θ (`train.adapt`), from the same start for each of several rates
    validation   of all rates and 0, 1, … updates the one with the least mean loss is kept
    test         the optimizer as it was against the one kept, problem by problem: what is reported

0 updates are among those that are judged: on the problems of validation the optimizer that is kept
is never worse than the one given. What it cost in gradients of the problems' losses is counted.
"""

import dataclasses
import functools
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..core.arguments import expect_kind, real, told
from ..core.messages import at_least
from ..core.objective import AbstractObjective
from ..core.optimizer import AbstractOptimizer, join_meta, split_meta
from ..core.task import AbstractTask
from ..core.types import Key
from ..estimators.adapted import Inner, carried
from ..estimators.bptt import BPTT
from ..objectives.trajectory import Trajectory
from ..optimizers.unrolled.base import AbstractUnrolled, warn_of_matrix
from ..train import mesh as meshes
from ..train.adapt import Adapter
from ..train.environment import environment
from ..train.step import TASK
from ..train.validate import Validation
from . import adaptation_wording as wording
from .adaptation_wording import count
from .records import Number, number
from .run import measure_all, trainer
from .stats import Interval, Paired, paired

RATES = (3e-4, 1e-3, 3e-3, 1e-2)  # of Adam; 1e-3 is that of the published code
HORIZON, UNROLL = 100, 20  # inner steps of an episode, and of a window, as published
POINTS = 60  # of a curve


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """Work on the problems' losses, of one of the streams.

    - `problems`: drawn; one whose loss was not finite is left early for another, not counted
    - `gradients`: None where the optimizer takes a varying number a step
    - `values`: evaluations of a loss without its gradient
    """

    problems: int
    gradients: int | None
    values: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """Training loss along the way: percentiles over the problems, None where not finite.

    - `at`: inner steps taken before
    """

    at: tuple[int, ...]
    median: tuple[Number, ...]
    low: tuple[Number, ...]
    high: tuple[Number, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adaptation:
    """All that is known of an adaptation. Plain data.

    - `optimizer`, `task`: as shown
    - `updates`: tried, each with `episodes` episodes of `horizon` steps in windows of `unroll`
    - `inner`: "adam" or "sgd"; `rates`: tried; None: those that the optimizer carries
    - `scores`: a row for each rate, mean loss on the problems of validation after 0 … `updates`
      updates; None where one diverged
    - `kept`: updates of the optimizer that is kept; `rate`: the one it was kept of
    - `given`, `adapted`: loss after `horizon` steps on each problem of the test, as it was and
      adapted; None where it is not finite
    - `curves`: by the same two names
    - `nonfinite`: episodes of adaptation that were left out, since their loss or gradient was not
      finite
    - `cost`: by stream: adaptation, validation, test
    - `seconds`: in all, compiling included
    """

    optimizer: str
    task: str
    updates: int
    episodes: int
    horizon: int
    unroll: int
    inner: Inner
    rates: tuple[float, ...] | None
    scores: tuple[tuple[Number, ...], ...]
    kept: int
    rate: float | None
    given: tuple[Number, ...]
    adapted: tuple[Number, ...]
    curves: Mapping[str, Curve]
    nonfinite: int
    cost: Mapping[str, Cost]
    seed: int
    seconds: float
    environment: Mapping[str, Any]

    @property
    def positive(self) -> bool:
        """True if no loss of the test is below 0: then losses have ratios."""
        return all(x is None or x >= 0 for x in (*self.given, *self.adapted))

    @property
    def compared(self) -> Paired:
        """Adapted against given on the problems of the test: of ln loss where none is below 0.

        A loss of 0 counts as the least above 0 that either came to.
        """
        if not self.positive:
            return paired(self.adapted, self.given)
        least = min((x for x in (*self.given, *self.adapted) if x), default=1.0)
        logs = lambda losses: [None if x is None else math.log(max(x, least)) for x in losses]
        return paired(logs(self.adapted), logs(self.given))

    @property
    def ratio(self) -> Interval | None:
        """Geometric mean of the adapted optimizer's loss over that of the one given."""
        if not self.positive:
            return None
        power = lambda x: None if x is None else math.exp(min(x, 700.0))
        d = self.compared.difference
        return dataclasses.replace(d, mean=power(d.mean), low=power(d.low), high=power(d.high))

    @property
    def verdict(self) -> str:
        """Did adaptation help, and by how much, in one sentence."""
        return wording.verdict(self)

    @property
    def price(self) -> str:
        """Gradients that adapting and choosing cost, in one sentence."""
        return wording.price(self)


def adapt(
    opt: AbstractOptimizer,
    task: AbstractTask,
    updates: int = 5,
    *,
    rates: float | Sequence[float] | None = None,
    inner: Inner = "adam",
    episodes: int = 8,
    horizon: int | None = None,
    unroll: int | None = None,
    objective: AbstractObjective | None = None,
    problems: int = 8,
    test: int = 32,
    seed: int = 0,
    name: str | None = None,
    task_name: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[AbstractOptimizer, Adaptation]:
    """Adapt an optimizer to the problems of a task by a few updates of θ; keep the best.

    - `opt`: learned, left as it is. One that carries rates of its own (`Adaptable`) is adapted by
      those
    - `updates`: at most so many, at least 1
    - `rates`: sizes of a step that are tried; by default 3e-4, 1e-3, 3e-3 and 1e-2
    - `inner`: "adam" or "sgd"
    - `episodes`: problems that an update sees side by side
    - `horizon`: inner steps to be good at, by default 100, of an unrolled network its layers
    - `unroll`: inner steps that an update is differentiated through, by default 20, of an unrolled
      network all
    - `objective`: to be lowered, by default `Trajectory()`
    - `problems`: of validation; `test`: of the comparison that is reported, at least 2
    - `seed`: of all draws, at least 0
    - `name`, `task_name`: as shown
    - `say`: called with lines of progress

    Returns the optimizer, which is `opt` itself where no update made it better, and the record.
    Raises ValueError for arguments out of range and for an optimizer without trained numbers.
    Warns where every rate that was tried came to losses or gradients that are not finite.
    """
    began = time.perf_counter()
    unrolled = isinstance(opt, AbstractUnrolled)
    horizon = (opt.layers if unrolled else HORIZON) if horizon is None else horizon
    at_least(1, "adapt", updates=updates, episodes=episodes, horizon=horizon, problems=problems)
    unroll = (horizon if unrolled else min(UNROLL, horizon)) if unroll is None else unroll
    at_least(1, "adapt", unroll=unroll)
    at_least(2, "adapt", test=test)
    at_least(0, "adapt", seed=seed)
    tried = sizes(opt, rates)
    expect_kind("adapt: task", task, AbstractTask, TASK)
    warn_of_matrix(opt, task)
    base = BPTT(episodes, unroll, horizon, stagger=False)
    adapter = Adapter(base, updates, tried[0] or 0.0, inner)
    objective = Trajectory() if objective is None else objective
    name = name or type(opt).__name__
    key_adapt, key_valid, key_test = jr.split(jr.key(seed), 3)
    validation = Validation(horizon=horizon, episodes=problems)

    with meshes.active(meshes.episode_mesh()):
        say(f"{updates} updates of {name}, at {count(len(tried), 'rate')}")
        rows = jnp.asarray([rate or 0.0 for rate in tried], jnp.result_type(float))
        thetas, nonfinite = _paths(adapter, task, opt, objective, rows, key_adapt)
        say(f"judging 0 to {updates} updates on {problems} problems")
        scores = _scores(validation, task, opt, thetas, key_valid)
    i, kept = divmod(int(np.argmin(scores)), updates + 1)  # the first of equals: 0 updates
    rest = split_meta(opt)[1]
    chosen = opt if kept == 0 else join_meta(jtu.tree_map(lambda x: x[i, kept], thetas), rest)
    say(f"comparing on {test} problems that nobody has seen")
    train, keys = trainer(task, opt, horizon=horizon, points=1), jr.split(key_test, test)
    given = _run(train, task, opt, keys)
    runs = {"given": given, "adapted": _run(train, task, chosen, keys) if kept else given}
    each, several = opt.gradients_per_step, 1 + updates * len(tried)
    work = functools.partial(_cost, each)
    steps = updates * episodes * unroll * len(tried)
    seen = episodes * math.ceil(updates / math.ceil(horizon / unroll))  # an episode has several
    twice = 2 if kept else 1
    found = Adaptation(
        optimizer=name,
        task=task_name or type(task).__name__,
        updates=updates,
        episodes=episodes,
        horizon=horizon,
        unroll=unroll,
        inner=inner,
        rates=None if tried == (None,) else tuple(rate or 0.0 for rate in tried),
        scores=tuple(tuple(number(x) for x in row) for row in scores),
        kept=kept,
        rate=tried[i] if kept else None,
        given=runs["given"][0],
        adapted=runs["adapted"][0],
        curves={stream: curve for stream, (_, curve) in runs.items()},
        nonfinite=int(nonfinite.sum()),
        cost={
            "adaptation": work(seen, steps, updates * episodes * len(tried)),
            "validation": work(problems, several * problems * horizon, several * problems),
            "test": work(test, twice * test * horizon, twice * 4 * test),
        },
        seed=seed,
        seconds=time.perf_counter() - began,
        environment=environment(),
    )
    bad = [n > 0 or not np.isfinite(row).all() for n, row in zip(nonfinite, scores, strict=True)]
    if all(bad):
        warnings.warn(wording.divergence(found), stacklevel=2)
    return chosen, found


def sizes(
    opt: AbstractOptimizer, rates: float | Sequence[float] | None
) -> tuple[float | None, ...]:
    """The rates to try; (None,) of an optimizer that carries its own."""
    if not isinstance(opt, AbstractOptimizer):
        raise ValueError(
            f"adapt: opt must be an optimizer, got {type(opt).__name__}; give what `steppe.load` "
            "returns."
        )
    if not jtu.tree_leaves(split_meta(opt)[0]):
        raise ValueError(
            f"adapt: {type(opt).__name__} has no trained numbers, so that there is nothing to "
            "adapt; give a learned optimizer."
        )
    if carried(opt)[1] is not None:
        if rates is not None:
            raise ValueError(
                f"adapt: {type(opt).__name__} carries the rates of its adaptation; leave `rates` "
                "out."
            )
        return (None,)
    given = RATES if rates is None else rates
    if getattr(given, "ndim", 0) == 1:  # an array
        given = given.tolist()  # pyright: ignore[reportAttributeAccessIssue]
    several = tuple(given) if isinstance(given, list | tuple) else (given,)
    if not several:
        raise ValueError("adapt: rates is empty; give one at least, such as 1e-3.")
    expected = "finite numbers from 0 on"
    found = tuple(real("adapt: rates", rate, expected=expected) for rate in several)
    if min(found) < 0 or max(found) > float(jnp.finfo(jnp.result_type(float)).max):
        raise ValueError(f"adapt: rates must be {expected}, got {told(rates)}.")
    return found


@eqx.filter_jit
def _paths(
    adapter: Adapter,
    task: AbstractTask,
    opt: AbstractOptimizer,
    objective: AbstractObjective,
    rates: Float[Array, " rates"],
    key: Key,
) -> tuple[PyTree, Array]:
    """θ after 0 … updates at each rate, (rates, updates + 1, …), and bad episodes, (rates,)."""

    def one(rate: Array) -> tuple[PyTree, Array]:
        at = eqx.tree_at(lambda a: a.rate, adapter, rate)
        thetas, stats = at.path(task, opt, objective, key=key)
        return thetas, jnp.sum(stats.nonfinite)

    return jax.lax.map(one, rates)


def _scores(
    validation: Validation, task: AbstractTask, opt: AbstractOptimizer, thetas: PyTree, key: Key
) -> Float[np.ndarray, "rates tried"]:
    """Validation loss of each θ; that without updates, which all rates share, is taken once."""
    rates, tried = jtu.tree_leaves(thetas)[0].shape[:2]

    def candidates(x: Array) -> Array:
        return jnp.concatenate([x[0, :1], x[:, 1:].reshape(-1, *x.shape[2:])])

    @eqx.filter_jit
    def score(task: AbstractTask, opt: AbstractOptimizer, thetas: PyTree, key: Key) -> Array:
        rest = split_meta(opt)[1]
        one = lambda theta: validation.score(task, join_meta(theta, rest), key)
        return jax.lax.map(one, thetas)

    found = np.asarray(score(task, opt, jtu.tree_map(candidates, thetas), key), np.float64)
    first = np.full((rates, 1), found[0])
    return np.concatenate([first, found[1:].reshape(rates, tried - 1)], axis=1)


def _run(
    train: Callable, task: AbstractTask, opt: AbstractOptimizer, keys: Key
) -> tuple[tuple[Number, ...], Curve]:
    """The loss on the test split at the end of each run, and the curve of the training losses."""
    losses, *measurable, _ = train(opt, keys)
    last = np.asarray(measure_all(task, *measurable)["test_loss"], np.float64)[:, -1]
    losses = np.asarray(losses, np.float64)  # (problems, steps)
    at = np.unique(np.round(np.geomspace(1, losses.shape[1], POINTS)).astype(int) - 1)
    seen = np.where(np.isfinite(losses[:, at]), losses[:, at], np.inf)
    low, median, high = np.percentile(seen, (10, 50, 90), axis=0, method="nearest")
    plain = lambda values: tuple(number(x) for x in values)
    steps = tuple(int(k) for k in at)
    curve = Curve(at=steps, median=plain(median), low=plain(low), high=plain(high))
    return plain(last), curve


def _cost(each: int | None, problems: int, steps: int, values: int) -> Cost:
    gradients = None if each is None else each * steps
    return Cost(problems=problems, gradients=gradients, values=values)
