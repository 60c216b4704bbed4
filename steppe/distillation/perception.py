"""Perception of an optimizer: how far back its updates look, with no formula searched.

    R²_w     of ridge regression on {f, tanh(f/s)} of the inputs f with lags < w, on other runs
    TPF′     the smallest w with R²_w ≥ 0.95 R²_20
    E_τ      = E[(∂u_t/∂g_{t−τ})²], by back-propagation through runs on recorded gradients
    TPF″     = 1 + Σ τ E_τ / Σ E_τ, the mean lag

After the temporal perception field of Zheng, Chen, Hu & Wang, "Symbolic learning to optimize",
ICLR 2022, for which no code is published. The complexity of a formula is `core.expression.size`.

TPF′ says which past the *update is told from*, and a gradient that resembles its past tells much
of it; E_τ says which past *moves the update*, however little it may have moved. An optimizer that
mixes coordinates has E_τ = E[Σ_i (∂u_{t,i}/∂g_{t−τ,j})²], over j.
"""

import dataclasses
import operator
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..core import tree
from ..core.arguments import whole
from ..core.backend import quick_compilation
from ..core.coordinatewise import AbstractCoordinatewise
from ..core.episode import Step
from ..core.expression import Variable
from ..core.messages import at_least
from ..core.optimizer import AbstractOptimizer, frozen
from ..core.rollout import episodes
from ..core.task import AbstractTask
from ..core.types import Key, Params, Updates
from ..estimators.imitation import Shadow
from ..store.untrusted import Between, Length
from . import table
from .record import Runs
from .search import real_array

LAGS = 20
SHARE = 0.95  # of the R² with all lags
HELD_OUT = 0.3  # share of the runs that R² is of
RIDGE = 1e-6  # of the mean square of the columns, a row
ENDS = 4  # steps of a run whose update is differentiated
LOOKED_AT, STEPS = 4, 100  # runs and their steps that energies of recorded runs are of
GN = Variable("gn95")

History = Float[np.ndarray, "runs steps coordinates"]


class Field(NamedTuple):
    """R² of the updates from lags below w, for each w.

    - `window`: TPF′; 0 where the updates do not vary, or are told by nothing
    - `r2`: R²_1 … R²_20, on runs that played no part in the fit
    """

    window: int
    r2: tuple[float, ...]


class Energy(NamedTuple):
    """Mean squared derivative of the update with respect to the gradient at each lag.

    - `energies`: E_0 … E_19
    - `mean_lag`: TPF″, at least 1; NaN where nothing moves it
    """

    energies: tuple[float, ...]
    mean_lag: float


def field(
    inputs: Mapping[str, History], u: History, *, lags: int = LAGS, share: float = SHARE
) -> Field:
    """TPF′ of recorded runs: the window of past inputs that tells the updates.

    - `inputs`: by name, (runs, steps, coordinates) each: {"g": runs.g}, or averages
    - `u`: the updates, in the same shape
    - `lags`: of the widest window
    - `share`: of its R², that the window found must have

    Only steps from `lags` on count. Raises ValueError for fewer than two runs or too few steps.
    """
    at_least(1, "field", lags=lags)
    u = real_array("field: the updates", u)
    histories = {name: real_array(f"field: {name}", x) for name, x in inputs.items()}
    for name, x in histories.items():
        if x.shape != u.shape or u.ndim != 3:
            raise ValueError(
                f"field: {name} has shape {x.shape}, the updates {u.shape}; give (runs, steps, "
                "coordinates) of both."
            )
    if not histories or len(u) < 2 or u.shape[1] < lags:
        raise ValueError(
            f"field: expected inputs of at least two runs of {lags} steps, got {len(histories)} "
            f"inputs of shape {u.shape}; record more, or look less far back."
        )
    if not all(np.isfinite(x).all() for x in (u, *histories.values())):
        raise ValueError("field: inputs and updates must be finite; leave other runs out.")
    count, steps, _ = u.shape
    test = max(1, round(HELD_OUT * count))
    cut = lambda x, lag: x[:, lags - 1 - lag : steps - lag]
    columns = []  # lag by lag, so that the first ones are a window
    for lag in range(lags):
        for x in histories.values():
            size = float(np.sqrt(np.mean(x**2))) or 1.0
            columns += [cut(x, lag) / size, np.tanh(cut(x, lag) / size)]
    X, y = np.stack(columns, axis=-1), cut(u, 0)
    fit, seen = slice(0, count - test), slice(count - test, count)
    flat = lambda x: x.reshape(-1, x.shape[-1])
    A, b, C, d = flat(X[fit]), y[fit].ravel(), flat(X[seen]), y[seen].ravel()
    gram, right = A.T @ A / len(A), A.T @ b / len(A)
    spread = float(np.sum((d - d.mean()) ** 2))
    found = []
    for w in range(1, lags + 1):
        k = 2 * len(histories) * w
        weights = np.linalg.solve(gram[:k, :k] + RIDGE * np.eye(k), right[:k])
        found.append(1 - float(np.sum((d - C[:, :k] @ weights) ** 2)) / spread if spread else 0.0)
    good = [w for w, r2 in enumerate(found, 1) if r2 >= share * found[-1]]
    return Field(good[0] if found[-1] > 0 else 0, tuple(found))


def energy(
    opt: AbstractOptimizer,
    grads: Updates,
    params: Params,
    *,
    key: Key,
    lags: int = LAGS,
    ends: Sequence[int] | None = None,
    relative: bool = False,
) -> Energy:
    """Jacobian energy of an optimizer on the recorded gradients of one run.

    - `grads`, `params`: of every step, trees with a leading axis of steps; `params` are constants
    - `key`: of random signs, one for each coordinate. Only rules that mix coordinates feel them
    - `lags`: how many
    - `ends`: steps, from 1, whose update is differentiated; None: four, up to the last
    - `relative`: of ∂u/∂(g/s) instead, s the root mean square of the coordinate's gradients: for
      rules that do not depend on the size of gradients

    Raises ValueError for fewer steps than lags.
    """
    at_least(1, "energy", lags=lags)
    steps = len(jtu.tree_leaves(grads)[0])
    if steps < lags:
        raise ValueError(f"energy: {steps} steps are too few for {lags} lags; record more.")
    spaced = np.linspace(lags, steps, min(ENDS, steps - lags + 1)).round().astype(int)
    marks = (
        spaced
        if ends is None
        else [whole("energy: an end", t, least=lags, most=steps) for t in ends]
    )
    found = _energies(
        frozen(opt), grads, params, key, jnp.asarray(np.unique(marks) - 1), lags, relative
    )
    return of_energies(np.asarray(found, np.float64))


def of_task(
    opt: AbstractOptimizer,
    task: AbstractTask,
    *,
    key: Key,
    runs: int = 4,
    steps: int = 60,
    lags: int = LAGS,
    relative: bool = True,
) -> Energy:
    """Jacobian energy of an optimizer, the mean over its own runs on a task. See `energy`."""
    at_least(1, "energy", runs=runs, lags=lags)
    at_least(lags, "energy", steps=steps)
    key_runs, key_signs = jr.split(key)

    def observe(step: Step) -> tuple[Updates, Params]:
        return step.after.opt_state.grads, step.before.params

    def run(task: AbstractTask, opt: AbstractOptimizer, keys: Key) -> PyTree:
        return episodes(task, Shadow(opt), keys, steps, lambda end, _: (), observe=observe).steps

    compiled = eqx.filter_jit(run, compiler_options=quick_compilation())  # pyright: ignore
    grads, params = compiled(task, frozen(opt), jr.split(key_runs, runs))
    found = []
    for k, own in enumerate(jr.split(key_signs, runs)):
        run_grads, run_params = (jtu.tree_map(operator.itemgetter(k), x) for x in (grads, params))
        found.append(
            energy(opt, run_grads, run_params, key=own, lags=lags, relative=relative).energies
        )
    return of_energies(np.mean(found, axis=0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Perceived:
    """Both measures of one optimizer, as plain data.

    - `window`: TPF′ in the input gn95, the gradient in units of √v; `r2`: R²_1 … R²_20
    - `energies`: E_0 … E_19, relative; () where not known, as of rules that mix coordinates
    - `mean_lag`: TPF″; None where not known
    """

    window: Annotated[int, Between(0, LAGS)]
    r2: Annotated[tuple[float, ...], Length(LAGS)]
    energies: Annotated[tuple[float, ...], Length(LAGS)]
    mean_lag: float | None


def perceived(opt: AbstractOptimizer, runs: Runs, *, key: Key) -> Perceived | None:
    """Perception of an optimizer from recorded runs; None where these are too few or too short."""
    if len(runs.g) < 2 or runs.g.shape[1] < LAGS:
        return None
    told = field({"gn95": table.inputs(runs.g, [GN])[GN]}, runs.u)
    if not isinstance(opt, AbstractCoordinatewise) or opt.asks:
        return Perceived(window=told.window, r2=told.r2, energies=(), mean_lag=None)
    g = jnp.asarray(runs.g[:LOOKED_AT, :STEPS], jnp.result_type(float))
    zeros = jnp.zeros(g.shape[1:], g.dtype)
    moves = [energy(opt, each, zeros, key=key, relative=True).energies for each in g]
    found = of_energies(np.mean(moves, axis=0))
    lag = found.mean_lag if np.isfinite(found.energies).all() else np.nan
    known = bool(np.isfinite(lag))
    energies = found.energies if known else ()
    return Perceived(
        window=told.window, r2=told.r2, energies=energies, mean_lag=lag if known else None
    )


def of_energies(found: Float[np.ndarray, " lags"]) -> Energy:
    total = float(np.sum(found))
    lag = 1 + float(np.arange(len(found)) @ found) / total if total > 0 else float("nan")
    return Energy(tuple(float(e) for e in found), lag)


@eqx.filter_jit
def _energies(
    opt: AbstractOptimizer,
    grads: Updates,
    params: Params,
    key: Key,
    ends: Array,
    lags: int,
    relative: bool,
) -> Float[Array, " lags"]:
    first = jtu.tree_map(lambda x: x[0], params)
    flat = jax.vmap(lambda x: tree.ravel(x, tree.working_dtype(first))[0])
    unravel, g = tree.unravel_like(first), flat(grads)  # (steps, n)

    def run(g: Float[Array, "steps n"]) -> Float[Array, "steps n"]:
        def step(state: PyTree, x: tuple) -> tuple[PyTree, Updates]:
            g, at = x
            updates, state = opt.update(unravel(g), state, at)
            return tree.strongly_typed(state), updates

        return flat(
            jax.lax.scan(step, tree.strongly_typed(opt.init(first, key=key)), (g, params))[1]
        )

    signs = jr.rademacher(key, g.shape[1:], g.dtype)
    _, pull = jax.vjp(run, g)

    def back(end: Array) -> Float[Array, "lags n"]:
        slopes = pull(jnp.zeros_like(g).at[end].set(signs))[0]
        return jax.lax.dynamic_slice_in_dim(slopes, end - lags + 1, lags)[::-1]

    slopes = jax.lax.map(back, ends)  # (ends, lags, n)
    if relative:
        slopes = slopes * jnp.sqrt(jnp.mean(g**2, axis=0))[None, None]
    return jnp.mean(slopes**2, axis=(0, 2))
