"""The problems of the study, and how a method is looked at on them.

R1  f(x) = ½‖Ax − b‖² − α cᵀcos 2πx + αn,  all entries N(0, 1), α = 10, x₀ ~ N(0, I)
Q1  f(x) = ‖Wx − y‖²,  all entries U(0, 1), n = 10, x₀ ~ N(0, 0.01²)
N1  networks on 8×8 digits, from the published start N(0, 0.01²)

A run is 128 functions from a start each, a mean over them. All methods meet the same functions and
starts. In the published code the functions of a batch are one problem, and the mean makes its
gradients 128 times smaller; here each is a problem of its own, which is the same for rules that are
tuned, and what a rule of a whole tensor is made for.
"""

import dataclasses
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from ...core.episode import Episode, begin, restart
from ...core.optimizer import AbstractOptimizer
from ...core.rollout import episodes
from ...core.task import AbstractTask, Problem
from ...core.types import Key, Scalar
from ...evaluation.run import evaluate
from ...evaluation.tuning import tune
from ...tasks import build

ALPHA = 10.0
RUNS, TUNING, NETWORK = 0xB1, 0xB2, 0xB3  # keys
GRID = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
BEYOND = 3  # further rates where the best is at an end of the grid
MARKS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
CHANNELS = (4, 8)  # of the ConvNet; published: 16 and 32, for more pixels
SURE = 20_000  # functions at whose starts the mean is as good as known


def problem(suite: str, panel: str) -> AbstractTask:
    """The family of problems of a panel."""
    if suite == "R1":
        return build("rastrigin-dm", n=int(panel), instances=1)
    if suite == "Q1":
        return build("quadratic-dm", n=int(panel), instances=1)
    if panel == "conv":
        return build("digits-conv", channels=CHANNELS)
    return build(f"digits-{panel}")


def tuned(
    task: AbstractTask,
    make: Callable[[float | Scalar], AbstractOptimizer],
    horizon: int,
    seeds: int,
) -> float:
    """The best rate on problems that nobody is judged on, beyond the grid if it is at its end."""
    key = jr.key(TUNING)
    found = tune(task, make, horizon=horizon, key=key, grid=GRID, seeds=seeds)
    if found.edge:
        factor = np.sqrt(10) if found.edge == "highest" else np.sqrt(0.1)
        further = [found.best * factor**k for k in range(BEYOND + 1)]
        found = tune(task, make, horizon=horizon, key=key, grid=further, seeds=seeds)
    return found.best


@dataclasses.dataclass(frozen=True)
class Look:
    """Curves of a method on a panel.

    - `at`: numbers of gradients taken on a problem
    - `values`: (runs, marks), the mean loss over the functions of a run
    - `lost`: problems of `of` whose last loss is not finite
    - `last`: (functions,), losses at the end of the first run
    - `accuracy`: (runs,) at the end, on the test split, of networks
    """

    at: tuple[int, ...]
    values: Float[np.ndarray, "runs marks"]
    lost: int
    of: int
    last: Sequence[float] = ()
    accuracy: Sequence[float | None] = ()


def keys_of(runs: int, functions: int) -> Key:
    """(runs · functions,), a key for each function and its start."""
    return jr.split(jr.key(RUNS), runs * functions)


def look(
    task: AbstractTask,
    opt: AbstractOptimizer,
    runs: int,
    functions: int,
    steps: int,
    starts: int = 1,
) -> Look:
    """Losses of all functions along the way.

    - `starts`: of several on each function the lowest counts, at as many gradients in all
    """
    keys, marks = keys_of(runs, functions), [mark for mark in MARKS if mark <= steps]
    if starts == 1:
        return _told(_values(task, opt, keys, tuple(marks)), marks, runs)
    own = [mark // starts for mark in marks if mark % starts == 0]
    found = _from_starts(task, opt, keys, starts, tuple(own))
    return _told(jnp.min(found, axis=1), [starts * mark for mark in own], runs)


def lowest(
    task: AbstractTask, opt: AbstractOptimizer, runs: int, functions: int, steps: int, starts: int
) -> Float[np.ndarray, " functions"]:
    """The lowest of many starts on each function of the first run."""
    keys = keys_of(runs, functions)[:functions]
    found = _from_starts(task, opt, keys, starts, (steps,))
    return np.nanmin(np.asarray(found, np.float64)[..., -1], axis=1)


def bounds(task: AbstractTask, runs: int, functions: int) -> Float[np.ndarray, " functions"]:
    """α(n − ‖c‖₁) of each function of the first run: no value lies below."""
    keys = keys_of(runs, functions)[:functions]
    c = jax.vmap(lambda key: task.sample(jr.split(key, 4)[0]).c[0])(keys)
    return np.asarray(ALPHA * (c.shape[-1] - jnp.abs(c).sum(-1)), np.float64)


@eqx.filter_jit
def start(task: AbstractTask) -> Scalar:
    """The mean loss at the start, over so many functions that it is known to 1 %."""

    def one(key: Key) -> Scalar:
        key_instance, key_params = jr.split(key)
        instance = task.sample(key_instance)
        return Problem(task, instance, (), key).value(task.init(instance, key_params))

    return jnp.mean(jax.vmap(one)(jr.split(jr.key(RUNS), SURE)))


def train_networks(
    task: AbstractTask, opt: AbstractOptimizer, name: str, panel: str, seeds: int, steps: int
) -> Look:
    """Training loss and test accuracy of networks, from the same starts on the same batches."""
    record = evaluate(
        task, opt, name=name, task_name=panel, horizon=steps, seeds=seeds, key=jr.key(NETWORK),
        ms_per_step=1.0,
    )  # fmt: skip
    nan = lambda rows: np.array([[np.nan if x is None else x for x in row] for row in rows])
    values = nan(record.metrics["train_loss"])
    accuracy = [row[-1] for row in record.metrics["test_accuracy"]]
    lost = int(np.sum(~np.isfinite(values[:, -1])))
    return Look(tuple(record.points), values, lost, seeds, accuracy=accuracy)


def _told(found: Float[Array, "lanes marks"], marks: Sequence[int], runs: int) -> Look:
    values = np.asarray(found, np.float64).reshape(runs, -1, len(marks))
    lost = int(np.sum(~np.isfinite(values[..., -1])))
    of = values.shape[0] * values.shape[1]
    return Look(tuple(marks), values.mean(1), lost, of, last=values[0, :, -1].tolist())


@eqx.filter_jit
def _values(
    task: AbstractTask, opt: AbstractOptimizer, starts: Key | Episode, marks: tuple[int, ...]
) -> Float[Array, "functions marks"]:
    """The loss after each of the marks. The functions do not change, so one loop sees them all."""

    def end(episode: Episode, _: object) -> Scalar:
        return Problem(task, episode.instance, (), episode.key).value(episode.params)

    found = episodes(task, opt, starts, marks[-1], end, observe=lambda step: step.value)
    return jnp.concatenate([found.steps, found.looks[:, None]], 1)[:, np.array(marks)]


@eqx.filter_jit
def _from_starts(
    task: AbstractTask, opt: AbstractOptimizer, keys: Key, starts: int, marks: tuple[int, ...]
) -> Float[Array, "functions starts marks"]:
    """From other starts on the same functions."""

    def one(key: Key, k: Array) -> Episode:
        episode = begin(task, opt, key)
        return restart(episode, task.init(episode.instance, jr.fold_in(key, k)), opt)

    of_function = lambda key: jax.vmap(lambda k: one(key, k))(jnp.arange(starts))
    many = jax.vmap(of_function)(keys)
    flat = jax.tree_util.tree_map(lambda x: x.reshape(-1, *x.shape[2:]), many)
    return _values(task, opt, flat, marks).reshape(len(keys), starts, len(marks))
