"""Runs of one task each: draw it, run an optimizer on it, read the error off.

    Episodes(task, opt)               a steppe or optax optimizer on a task     episodes.py
    Measured(task, opt, names)        the same, and measures where it ends      measured.py
    FixedPoint(sample, start, map)    z ← T(z, task), written in JAX            below
    Calls(solve)                      any Python function                       below

Run i depends on the seed and i alone: not on how many there are, nor on how they are grouped. A
`Program` compiles many runs as one, each the same to the last bit: runs go side by side in groups
of a fixed width, and run i always has place i modulo that width, so that its arithmetic never
depends on how many others there are. Groups are spread over the devices.

errors[k] of a `FixedPoint` is the residual ‖T(z_k) − z_k‖₂ after k steps, or f(z_k, task) with a
function f.
"""

import abc
import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, PyTree
from numpy.typing import ArrayLike

from ..core import tree
from ..core.arguments import told
from ..core.backend import lanes_certified
from ..core.rollout import map_lanes
from ..core.types import Key, Scalar
from ..store.untrusted import Source, bounded, checked, parse_json
from ..train import mesh as meshes
from .claims import Errors
from .entries import Described, Error, Words
from .twins import Sketches, shared, sketch

STREAM = 0xCE47  # certificates draw from a stream of their own

# (shared, drawn, steps) → the errors of a run, and a sketch of its task
One = Callable[[PyTree, PyTree, int], tuple[Array, Array]]


class Runs(NamedTuple):
    """Runs of some tasks.

    - `errors`: (n, K + 1), after 0, 1, …, K steps
    - `prints`: a digest of each task; empty if tasks are not seen
    - `dtype`: precision of the errors; "" if not known
    - `sketches`: numbers of each task by which twins are found, see `twins.py`; None if not known
    - `ends`: (n, m), measures where each run ends; None if there are none
    """

    errors: Errors
    prints: list[str]
    dtype: str = ""
    sketches: Sketches | None = None
    ends: Errors | None = None


class Program:
    """A compiled program of many runs.

    - `one`: (shared, drawn, steps) → errors (steps + 1,) and a `sketch` of the task
    - `shared`: arrays that all runs read
    - `tasks`: arrays stacked along their first axis; then `drawn` is one of them, each taken at
      most once. None: `drawn` is a key
    - `clusters`: group of each of the tasks, (N,); one of each group is taken
    - `trained_on`: stacked tasks, none of which may be among `tasks`
    """

    def __init__(
        self,
        one: One,
        shared: PyTree = (),
        tasks: PyTree | None = None,
        clusters: ArrayLike | None = None,
        trained_on: PyTree | None = None,
    ):
        self.one, self.shared = one, shared
        self.tasks = None if tasks is None else tree.strongly_typed(tasks)
        self.clusters = check_clusters(self.tasks, clusters)
        if trained_on is not None:
            check_apart(self.tasks, tree.strongly_typed(trained_on))

    @property
    def population(self) -> int | None:
        return None if self.clusters is None else len(np.unique(self.clusters))

    def __call__(self, seed: int, which: range, steps: int) -> Runs:
        mesh = meshes.episode_mesh(jax.local_devices())
        unit = lanes_certified() * (1 if mesh is None else mesh.size)
        first, last = which.start // unit * unit, -(-which.stop // unit) * unit
        program = compiled(self.one, steps)
        with meshes.active(mesh):
            errors, made = program(self.shared, self._drawn(seed, range(first, last)))
        keep = slice(which.start - first, which.stop - first)
        errors, dtype = np.asarray(errors, np.float64)[keep], errors.dtype.name
        sketches = np.asarray(made, np.float64)[keep]
        return Runs(errors, [digest([row]) for row in sketches], dtype, sketches)

    def _drawn(self, seed: int, which: range) -> PyTree:
        key = jr.fold_in(jr.key(seed), STREAM)
        if self.clusters is None:
            return jax.vmap(jr.fold_in, (None, 0))(key, jnp.arange(which.start, which.stop))
        order = one_of_each(self.clusters, key)
        places = order[np.arange(which.start, which.stop) % len(order)]  # padding wraps around
        return jtu.tree_map(lambda leaf: leaf[places], self.tasks)


@dataclasses.dataclass(frozen=True)
class Static:
    """The part of a tree that is no array; equal to another of the same structure and values."""

    structure: Any  # a PyTreeDef
    leaves: tuple[object, ...]

    def join(self, arrays: PyTree) -> PyTree:
        return eqx.combine(arrays, jtu.tree_unflatten(self.structure, self.leaves))


def split_arrays(x: PyTree) -> tuple[PyTree, Static]:
    arrays, static = eqx.partition(x, eqx.is_array)
    leaves, structure = jtu.tree_flatten(static)
    return arrays, Static(structure, tuple(leaves))


@functools.lru_cache(maxsize=64)
def compiled(one: One, steps: int) -> Callable:
    """The compiled (shared, drawn) → errors and sketches; equal arguments share one."""
    return jax.jit(functools.partial(_all, one, steps))


def check_clusters(tasks: PyTree | None, clusters: ArrayLike | None) -> np.ndarray | None:
    """Group of each stacked task, by default one of its own; None if tasks are drawn from keys."""
    if tasks is None:
        if clusters is not None:
            raise ValueError("Clusters are of stacked tasks; tasks that are drawn have none.")
        return None
    shapes = [leaf.shape for leaf in jtu.tree_leaves(tasks)]
    if any(shape[:1] != shapes[0][:1] or not shape for shape in shapes):
        raise ValueError(
            f"Stacked tasks need arrays of one length, the number of tasks, got shapes {shapes}."
        )
    found = np.arange(shapes[0][0]) if clusters is None else np.asarray(clusters)
    if found.shape != shapes[0][:1] or found.dtype.kind not in "biufUS":
        raise ValueError(
            "Each task needs one cluster, a number or a name, got clusters of shape "
            f"{found.shape} and type {found.dtype}."
        )
    return found


def check_stacked(what: str, tasks: PyTree) -> None:
    """Refuse what is no tree of arrays that have a first axis."""
    leaves = jtu.tree_leaves(tasks)
    if not leaves or not all(eqx.is_array_like(leaf) and np.ndim(leaf) for leaf in leaves):
        raise ValueError(
            f"{what} must be a function of a key, or tasks stacked in arrays along their first "
            f"axis, got {told(tasks)}."
        )


def check_apart(tasks: PyTree | None, trained_on: PyTree) -> None:
    """Refuse tasks that the optimizer was trained on."""
    if tasks is None:
        raise ValueError("trained_on goes with stacked tasks; those drawn from keys are fresh.")
    if jtu.tree_structure(tasks) != jtu.tree_structure(trained_on):
        raise ValueError("trained_on must be stacked tasks of the same structure.")
    known = set(prints(trained_on))
    equal = sum(one in known for one in prints(tasks))
    if seen := max(equal, shared(tasks, trained_on)):
        raise ValueError(
            f"{seen} of {len(known)} tasks that the optimizer was trained on are among those to "
            "certify it on, so that these are no fresh draws; leave them out."
        )


def prints(tasks: PyTree) -> list[str]:
    """A digest of each stacked task."""
    leaves = numbers(tasks)
    return [digest([leaf[i] for leaf in leaves]) for i in range(len(leaves[0]))]


def one_of_each(clusters: np.ndarray, key: Key) -> np.ndarray:
    """One task of each cluster, drawn with equal chances, in random order."""
    key_task, key_order = jr.split(key)
    drawn = np.asarray(jr.permutation(key_task, len(clusters)))
    _, firsts = np.unique(clusters[drawn], return_index=True)
    return np.asarray(jr.permutation(key_order, drawn[firsts]))


def _all(one: One, steps: int, shared: PyTree, drawn: PyTree) -> tuple[Array, PyTree]:
    run = lambda shared, x: one(shared, x, steps)
    errors, made = map_lanes(run, shared, drawn, batch_size=lanes_certified())
    if errors.ndim != 2 or not jnp.issubdtype(errors.dtype, jnp.floating):
        raise ValueError(
            f"The error must be one real number a step, got {errors.dtype} of shape "
            f"{errors.shape[2:]}; reduce it to a norm, say."
        )
    return errors, made


def described_arrays(arrays: PyTree) -> dict[str, Any]:
    """Length of the first axis of some arrays, and a digest of all."""
    leaves = [np.asarray(leaf) for leaf in jtu.tree_leaves(arrays)]
    return {"population": len(leaves[0]), "digest": digest(leaves)}


def numbers(arrays: PyTree) -> list[np.ndarray]:
    """The arrays of a tree, PRNG keys as plain integers."""
    leaves = jtu.tree_leaves(eqx.filter(arrays, eqx.is_array))
    is_key = lambda leaf: jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return [np.asarray(jr.key_data(leaf) if is_key(leaf) else leaf) for leaf in leaves]


def digest(arrays: Sequence[np.ndarray]) -> str:
    """A hash of some arrays, by which tasks are distinguished."""
    hasher = hashlib.blake2b(digest_size=16)
    for array in arrays:
        hasher.update(np.ascontiguousarray(array).tobytes())
    return hasher.hexdigest()


@dataclasses.dataclass(frozen=True)
class Metric:
    """Name, definition and unit of the errors; `signed` if they may be negative, as a logarithm."""

    name: str
    definition: str
    unit: str = ""
    signed: bool = False

    def __post_init__(self):
        source = Source("Metric", "give its name and definition in words")
        checked(dataclasses.asdict(self), Error, source)
        bounded(dataclasses.asdict(self), source)


RESIDUAL = Metric("residual", "‖T(z_k) − z_k‖₂, z_k the iterate after k steps")


class AbstractRun(abc.ABC):
    """Tasks, an optimizer, and the error of a run."""

    metric: Metric
    population: int | None = None  # number of tasks, each taken at most once; None: no limit
    notes: tuple[str, ...] = ()  # further warnings of a certificate
    measures: tuple[Metric, ...] = ()  # at the end of each run, see `Ends`
    at_loss: float | None = None  # the training loss at which they are taken, if not at the end

    @abc.abstractmethod
    def run(self, seed: int, which: range, steps: int) -> Runs:
        """Run some of the tasks that `seed` draws.

        - `seed`: of all draws
        - `which`: numbers of the tasks, from 0
        - `steps`: iterations of each run, K
        """

    @abc.abstractmethod
    def described(self) -> dict[str, Any]:
        """{"optimizer": …, "tasks": …} of JSON types: all that must be equal in a second run."""


def check_told(run: AbstractRun) -> None:
    """Refuse a description that no file can hold."""
    source = Source("The description of a run", "give names of one line, and numbers")
    about = {**run.described(), "metric": dataclasses.asdict(run.metric), "notes": run.notes}
    try:
        text = json.dumps(about, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise source.refuse(f"what no file can hold ({error})", "words and numbers") from None
    hints = {"optimizer": Described, "tasks": Described, "metric": Error, "notes": list[Words]}
    for part, given in parse_json(text, source).items():
        checked(given, hints.get(part, object), source, part)


@dataclasses.dataclass(frozen=True)
class Calls(AbstractRun):
    """A Python function that draws one task, solves it, and returns its errors.

    `solve(rng)` gets a `numpy.random.Generator` of its own and returns K + 1 numbers, the error
    after 0, 1, …, K iterations; further numbers are ignored. All that is random in it must come
    from `rng`.
    """

    solve: Callable[[np.random.Generator], ArrayLike]
    metric: Metric = Metric("error", "as the function returns it")

    def __post_init__(self):
        if not callable(self.solve):
            raise ValueError(f"Calls takes a function of a generator, got {told(self.solve)}.")

    def run(self, seed: int, which: range, steps: int) -> Runs:
        rows = []
        for i in which:
            rng = np.random.default_rng((STREAM, seed, i))
            untouched = rng.bit_generator.state
            rows.append(row(self.solve(rng), steps, name_of(self.solve)))
            if rng.bit_generator.state == untouched:
                raise ValueError(
                    f"{name_of(self.solve)} drew nothing from its random generator, so that all "
                    "its tasks are one; draw the task from `rng`."
                )
        return Runs(np.stack(rows), [])

    def described(self) -> dict[str, Any]:
        name = name_of(self.solve)
        return {"optimizer": {"kind": "function", "name": name}, "tasks": {"name": name}}


class FixedPoint(AbstractRun):
    """Runs of a solver that repeats `map(z, task)` from `start(task)`.

    - `sample`: key → task, a pytree of arrays; or the tasks themselves, stacked along their first
      axis, each taken at most once, in random order
    - `start`: task → first iterate z₀, a pytree of arrays
    - `map`: (z, task) → next iterate
    - `error`: (z, task) → a number, in place of the residual
    - `metric`: name and definition of that number
    - `name`: of the solver, in the certificate
    - `clusters`: group of each stacked task, (N,), if they come in dependent groups (the steps of
      one simulation, say); then one task of each group is drawn
    - `trained_on`: stacked tasks that `map` or `start` were trained on; to find one of them among
      the tasks is an error
    """

    def __init__(
        self,
        sample: Callable[[Key], PyTree] | PyTree,
        start: Callable[[PyTree], PyTree],
        map: Callable[[PyTree, PyTree], PyTree],
        *,
        error: Callable[[PyTree, PyTree], Scalar] | None = None,
        metric: Metric = RESIDUAL,
        name: str = "",
        clusters: Array | None = None,
        trained_on: PyTree | None = None,
    ):
        for what, f in (("start", start), ("map", map), ("error", error)):
            if not (callable(f) or (f is None and what == "error")):
                raise ValueError(f"FixedPoint: {what} must be a function, got {told(f)}.")
        if not isinstance(metric, Metric):
            raise ValueError(f"FixedPoint: the metric of an error is a Metric, got {told(metric)}.")
        if not callable(sample):
            check_stacked("FixedPoint: sample", sample)
        if (error is None) != (metric is RESIDUAL):
            raise ValueError(
                "FixedPoint takes `error` and its `metric` together, or neither for the residual."
            )
        self.start, self.map, self.error, self.metric = start, map, error, metric
        self.sample = sample if callable(sample) else None
        tasks = None if callable(sample) else sample
        source = {"name": name_of(sample)} if callable(sample) else described_arrays(tasks)
        self.about = {
            "optimizer": {"kind": "fixed point", "name": name or name_of(map)},
            "tasks": source,
        }
        self.program = Program(self._one, tasks=tasks, clusters=clusters, trained_on=trained_on)
        self.population = self.program.population

    def run(self, seed: int, which: range, steps: int) -> Runs:
        return self.program(seed, which, steps)

    def described(self) -> dict[str, Any]:
        return self.about

    def _one(self, _: PyTree, drawn: Key | PyTree, steps: int) -> tuple[Array, Array]:
        task = drawn if self.sample is None else self.sample(drawn)

        def step(z: PyTree, _: None) -> tuple[PyTree, Scalar]:
            new = self.map(z, task)
            if self.error is None:
                return new, tree.norm(tree.add(new, tree.scale(-1, z)))
            return new, self.error(z, task)

        start = tree.strongly_typed(self.start(task))
        return jax.lax.scan(step, start, length=steps + 1)[1], sketch((task, start))


def row(errors: ArrayLike, steps: int, name: str) -> np.ndarray:
    """The first K + 1 errors of one run, as float64."""
    found = np.asarray(errors)
    if found.dtype.kind not in "fiub":
        raise ValueError(f"{name} must return real numbers, got dtype {found.dtype}.")
    if found.ndim != 1 or len(found) < steps + 1:
        raise ValueError(
            f"{name} must return {steps + 1} numbers, the errors after 0, 1, …, {steps} "
            f"iterations; got an array of shape {found.shape}."
        )
    return found[: steps + 1].astype(np.float64)


def name_of(function: Callable) -> str:
    return getattr(function, "__qualname__", type(function).__name__)
