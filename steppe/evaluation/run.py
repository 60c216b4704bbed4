"""Runs of an optimizer on a task, all seeds in one compiled call: `evaluate`.

    seed s → key fold_in(fold_in(key, 0), s) → instance, start, batches

None of the three depends on the optimizer, so two optimizers evaluated with the same key
meet the same problems, seed by seed.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..core import tree
from ..core.arguments import expect_kind
from ..core.backend import lanes_evaluated, quick_compilation
from ..core.episode import merit_of_steps
from ..core.messages import at_least, reals
from ..core.optimizer import AbstractOptimizer
from ..core.rollout import episodes, rollout, shapes
from ..core.task import AbstractTask, Problem, length
from ..core.types import Batch, Key, Params, Scalar, Split
from ..optimizers.classic.from_optax import FromOptax
from ..optimizers.scheduled import Scheduled
from ..optimizers.unrolled.base import warn_of_matrix
from ..store.checkpoint import CheckpointError
from ..store.describe import describe
from ..train import mesh as meshes
from ..train.step import OPTIMIZER, TASK
from ..zoo.registry import check_players
from .calibration import calibration
from .records import Record, number

TRAIN_ROWS = 2000  # training examples used for "train_loss" and the like
MEASURED_ON: tuple[tuple[Split, int | None], ...] = (  # and how many rows of it
    ("train", TRAIN_ROWS),
    ("valid", None),
    ("test", None),
)
BINS = 100  # points of the minibatch curve that are kept
Train = Callable[[AbstractOptimizer, Key], tuple]  # see `trainer`
STREAMS = {"evaluate": 0, "tune": 1}  # of keys: tuning never sees a seed of the evaluation


def evaluate(
    task: AbstractTask,
    opt: AbstractOptimizer,
    *,
    name: str,
    task_name: str,
    horizon: int,
    seeds: int | Sequence[int],
    key: Key,
    points: int = 10,
    learned: bool | None = None,
    tuning: Mapping[str, Any] | None = None,
    ms_per_step: float | None = None,
    train: Train | None = None,
) -> Record:
    """Train `task` with `opt` for `horizon` steps on every seed and measure on the way.

    The loss and the task's metrics are taken at the start and after every
    ⌈horizon / points⌉ steps, the last step included, on the validation and the test split and on
    up to 2000 training examples; with them the calibration of a classifier (`calibration`), and the
    counts of a rule that has any, such as rejections.
    `learned` defaults to "not from optax"; `ms_per_step` is measured (`time_step`) unless given.
    `train`: a `trainer` of these steps and points, made for an optimizer that differs from this
    one in its numbers alone, so that it is not compiled again.
    """
    at_least(1, "evaluate", horizon=horizon, points=points)
    reals("evaluate", ms_per_step=ms_per_step)
    if ms_per_step is not None and not ms_per_step > 0:
        raise ValueError(f"evaluate: ms_per_step must be positive, got {ms_per_step}.")
    if isinstance(seeds, str) or not isinstance(seeds, Sequence):
        at_least(1, "evaluate", seeds=seeds)
        seeds = range(seeds)  # pyright: ignore[reportArgumentType]
    at_least(0, "evaluate", seeds=tuple(seeds))
    at_least(1, "evaluate", seeds=len(seeds))
    seeds = [int(seed) for seed in seeds]
    expect_kind("evaluate: task", task, AbstractTask, TASK)
    expect_kind("evaluate: opt", opt, AbstractOptimizer, OPTIMIZER)
    check_players(name, opt, task)
    warn_of_matrix(opt, task)
    train = train or trainer(task, opt, horizon=horizon, points=points)
    losses, *measurable, counts = train(opt, seed_keys(key, seeds, "evaluate"))
    metrics = measure_all(task, *measurable) | counts
    params = shapes(task)
    losses = np.asarray(losses, np.float64)  # (seeds, horizon)
    metrics = {m: np.asarray(values, np.float64) for m, values in metrics.items()}
    last = [values[:, -1] for m, values in metrics.items() if m.endswith("_loss")]
    curve_steps, curve = thin(losses, BINS)
    if ms_per_step is None:
        ms_per_step = time_step(task, opt, key=key)
    return Record(
        task=task_name,
        optimizer=name,
        learned=not isinstance(opt, FromOptax) if learned is None else learned,
        hyper=described(opt),
        horizon=horizon,
        seeds=seeds,
        points=marks(horizon, points),
        metrics={m: [[number(x) for x in row] for row in rows] for m, rows in metrics.items()},
        curve_steps=curve_steps,
        curve=[[number(x) for x in row] for row in curve],
        diverged=[s for i, s in enumerate(seeds) if not np.all(np.isfinite([x[i] for x in last]))],
        params=tree.size(params),
        ms_per_step=float(f"{ms_per_step:.4g}"),
        gradients_per_step=gradients(opt, horizon),
        state_bytes_per_param=float(f"{state_bytes(opt, params) / tree.size(params):.6g}"),
        tuning=dict(tuning or {}),
    )


def gradients(opt: AbstractOptimizer, horizon: int) -> int | None:
    """Gradients that move the parameters, a step on average; after its schedule none does."""
    each, steps = opt.gradients_per_step, horizon
    if isinstance(opt, Scheduled) and opt.steps is not None:
        steps = min(opt.steps, horizon)
    return None if each is None else round(each * steps / horizon)


def trainer(task: AbstractTask, opt: AbstractOptimizer, *, horizon: int, points: int) -> Train:
    """f(opt, keys) → losses (seeds, horizon), instances, paths, keys to measure with, counts.

    A path is the parameters at every point; counts are by name (seeds, points). For optimizers
    that differ from `opt` in their numbers alone it is compiled once.
    """
    at = marks(horizon, points)
    counts = getattr(opt, "counts", lambda state: {})
    look = lambda episode, _: (episode.instance, episode.params, counts(episode.opt_state))
    loss = merit_of_steps(task)

    def train(pair: tuple[AbstractTask, AbstractOptimizer], keys: Key) -> tuple:
        begins, measures = jax.vmap(jr.split, out_axes=1)(keys)
        found = episodes(
            *pair, begins, horizon, look, at=at, observe=loss, batch_size=lanes_evaluated()
        )
        instances, paths, counted = found.looks
        first = jtu.tree_map(lambda leaf: leaf[:, 0], instances)
        return found.steps, first, paths, measures, counted

    run = spread(train)
    return lambda opt, keys: run((task, opt), keys)


def marks(horizon: int, points: int) -> list[int]:
    """The start, every ⌈horizon / points⌉ steps, and the end."""
    return [*range(0, horizon, -(-horizon // points)), horizon]


@eqx.filter_jit  # compiled once for all optimizers on a task
def measure_all(
    task: AbstractTask, instances: PyTree, paths: PyTree, keys: Key
) -> dict[str, Float[Array, "seeds points"]]:
    """`measure` at every point of every seed, one after the other."""

    def one(x: tuple[PyTree, PyTree, Key]) -> dict[str, Array]:
        instance, path, key = x
        return jax.lax.map(lambda params: measure(task, instance, params, key), path)

    return jax.lax.map(one, (instances, paths, keys))


def measure(task: AbstractTask, instance: PyTree, params: Params, key: Key) -> dict[str, Scalar]:
    """Loss and metrics on training examples, on the validation and the test split; calibration."""
    measured = {}
    for split, limit in MEASURED_ON:
        batch = rows(task.full_batch(instance, split=split), limit)
        measured[f"{split}_loss"] = Problem(task, instance, batch, key).merit(params)
        for metric, value in task.metrics(params, instance, batch, key).items():
            measured[f"{split}_{metric}"] = value
    return measured | calibration(task, instance, params, key)


def rows(batch: Batch, limit: int | None) -> Batch:
    """The first `limit` rows of a batch whose arrays all have the same rows in front."""
    if limit is None or length(batch) is None:
        return batch
    return jtu.tree_map(lambda leaf: leaf[:limit], batch)


def spread(f: Callable[[PyTree, PyTree], PyTree]) -> Callable[[PyTree, PyTree], PyTree]:
    """f(shared, lanes), compiled, on this process's devices; results on the first.

    `f` maps arrays (lanes, …) to arrays (lanes, …), each lane by itself (`core.rollout`).
    """
    mesh = meshes.episode_mesh()
    run = eqx.filter_jit(f, compiler_options=quick_compilation())  # pyright: ignore[reportCallIssue]

    def call(shared: PyTree, xs: PyTree) -> PyTree:
        lanes = jtu.tree_leaves(xs)[0].shape[0]
        # Spread only if the devices divide their number: some are run twice and cut off.
        filled = lanes if mesh is None else -(-lanes // mesh.size) * mesh.size
        xs = jtu.tree_map(lambda x: x[jnp.arange(filled) % lanes], xs)
        with meshes.active(mesh):
            out = run(shared, xs)
        return jtu.tree_map(lambda x: jax.device_put(x, jax.local_devices()[0])[:lanes], out)

    return call


def seed_keys(key: Key, seeds: Sequence[int], stream: str) -> Key:
    """One key a seed, (seeds,), different for evaluation and tuning."""
    base = jr.fold_in(key, STREAMS[stream])
    return jnp.stack([jr.fold_in(base, seed) for seed in seeds])


def state_bytes(opt: AbstractOptimizer, params: PyTree) -> int:
    """Bytes of the optimizer's state, parameters and gradients not counted."""
    state = eqx.filter_eval_shape(lambda p: opt.init(p, key=jr.key(0)), params)
    leaves = [leaf for leaf in jtu.tree_leaves(state) if hasattr(leaf, "dtype")]
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def time_step(
    task: AbstractTask, opt: AbstractOptimizer, *, key: Key, steps: int = 50, repeats: int = 7
) -> float:
    """Milliseconds a step of one episode alone takes: gradient, update and batch together.

    A compiled unroll of `steps` steps on one device, run once to warm up, then the median
    of `repeats` runs. Compilation is not in it.
    """
    arrays, static = eqx.partition((task, opt), eqx.is_array)

    def steps_of(arrays: PyTree, key: Key) -> Params:
        task, opt = eqx.combine(arrays, static)
        return rollout(task, opt, key, steps, lambda end: end.params).looks

    run = jax.jit(steps_of, compiler_options=quick_compilation())

    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        jax.block_until_ready(run(arrays, key))
        times.append(time.perf_counter() - began)
    return float(1e3 * np.median(times[1:]) / steps)


def thin(
    losses: Float[np.ndarray, "seeds horizon"], bins: int
) -> tuple[list[float], Float[np.ndarray, "seeds bins"]]:
    """Means over at most `bins` stretches of nearly equal length, and each stretch's mean step."""
    horizon = losses.shape[1]
    parts = np.array_split(np.arange(horizon), min(bins, horizon))
    # A diverged run may overflow here; its bins become None.
    with np.errstate(over="ignore", invalid="ignore"):
        curve = np.stack([losses[:, part].mean(axis=1) for part in parts], axis=1)
    return [float(part.mean()) for part in parts], curve


def described(opt: AbstractOptimizer) -> dict[str, Any]:
    """The description of an optimizer by `store.describe`; {} if it has none."""
    try:
        return describe(opt)
    except CheckpointError:
        return {}
