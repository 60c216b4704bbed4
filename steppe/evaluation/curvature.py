"""Curvature of the loss at the point where an optimizer leaves a task.

    θ = the end of one inner training        f = the loss on one fixed, large batch, f(θ) its value

    λ, ρ(λ), tr H, ‖H‖²_F, ½ ln det(I + H/γ)    one set of Lanczos rules from random signs
    λ_max, λ of largest modulus                 the best vector of `PRODUCTS` products
    tr G, F (local entropy), sharpness          `steppe.flatness`
    slices                                      lines and a plane, filter-normalised; along u

Rules of k ≥ 2 nodes are exact for polynomials up to degree 3, so that the trace and the
Frobenius norm from them are Hutchinson's, for no further product.

Large weights look flat: what scales as H is given once more times ‖θ‖², which does not change
where f(cθ) = f(θ), and ‖H‖²_F times ‖θ‖⁴.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, PyTree

from ..core import tree
from ..core.backend import quick_compilation
from ..core.loss import Composed
from ..core.optimizer import AbstractOptimizer
from ..core.rollout import rollout, shapes
from ..core.task import AbstractTask, Problem, examples, length
from ..core.types import Key, Params, Scalar
from ..flatness import hutchinson, slq
from ..flatness.entropy import free_energy
from ..flatness.entropy.local_entropy import LocalEntropy
from ..flatness.gradient import Sharpness
from ..flatness.hutchinson import Estimate
from ..flatness.lanczos import Which, number_of_steps, top_eigenpair
from ..flatness.landscape import filter_direction, line, plane
from ..flatness.products import check_deterministic, gauss_newton_product, hvp
from .curvature_record import CurvatureRecord, Density, Plane, Row, Slice
from .records import Number, number
from .run import TRAIN_ROWS, rows, seed_keys

PRODUCTS = 40  # to find an eigenvector
CHAIN = 20  # steps of each of two mirrored chains to the Gibbs mean


class Diverged(RuntimeError):
    """The training left the finite numbers: there is no point to measure at."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a curvature measurement.

    - `batch`: number of training examples; None for all
    - `temperature`: in units of the loss; None for 1/n, n the number of training examples, which
      suits a mean loss in nats
    - `points`: offsets on either side of the centre; a line has 2·`points` + 1
    """

    steps: int = 100
    batch: int | None = TRAIN_ROWS
    k: int = 10
    probes: int = 40
    gamma: float = 1.0
    temperature: float | None = None
    rho: float = 0.05
    points: int = 25


def curvature(
    task: AbstractTask,
    opt: AbstractOptimizer,
    *,
    name: str,
    task_name: str,
    settings: Settings,
    key: Key,
    say: Callable[[str], None] = lambda text: None,
) -> CurvatureRecord:
    """Train `task` with `opt` and measure at the end: on seed 0 of an evaluation with this key."""
    n, temperature = check(task, settings), settings.temperature
    if temperature is None:
        temperature = 1 / examples(task)
    say(f"{settings.steps} steps…")
    instance, start, params, key_loss = _trained(task, opt, settings.steps, key)
    if not bool(tree.finite(params)):
        raise Diverged(
            f"{name} on {task_name} diverged within {settings.steps} steps, so that there is no "
            "point to measure at; take a smaller learning rate or fewer steps."
        )
    whole = task.full_batch(instance, split="train")
    batch = rows(whole, settings.batch)
    train = Problem(task, instance, batch, key_loss)
    valid = Problem(task, instance, task.full_batch(instance, split="valid"), key_loss)
    check_deterministic(train.value, params)
    say(f"{settings.probes} probes of {settings.k} products on {n:,} parameters…")
    key_numbers, key_pictures = jr.split(key_loss)
    numbers = _jit(_measured, settings, temperature)(train, valid, start, params, key_numbers)
    say("slices…")
    u, value = numbers.pop("vector"), numbers["modulus"][0]
    slices, surface = _jit(_pictures, settings.points)(
        train, valid, params, u, value, numbers["start"], key_pictures
    )
    numbers, slices, surface = jax.device_get((numbers, slices, surface))
    return CurvatureRecord(
        task=task_name,
        optimizer=name,
        steps=settings.steps,
        params=n,
        examples=length(batch) or 0,
        dtype=str(jnp.result_type(*jtu.tree_leaves(params))),
        gamma=settings.gamma,
        temperature=float(f"{temperature:.6g}"),
        rho=settings.rho,
        k=settings.k,
        probes=settings.probes,
        start_loss=number(numbers["start"]),
        below=int(numbers["below"]),
        rows=_rows(numbers, settings, temperature),
        density=_density(numbers["density"]),
        slices=[
            Slice(label, plain(a), plain(seen), plain(unseen), number(slope), number(bend))
            for label, (a, seen, unseen, slope, bend) in slices.items()
        ],
        plane=Plane(plain(surface[0]), [plain(row) for row in surface[1]]),
    )


def plain(x: Array) -> list[Number]:
    return [number(value) for value in np.ravel(x)]


def check(task: AbstractTask, settings: Settings) -> int:
    """Refuse more Lanczos steps than there are parameters; the number of these."""
    n = tree.size(shapes(task))
    number_of_steps("curvature", settings.k, n)
    return n


def _trained(task: AbstractTask, opt: AbstractOptimizer, steps: int, key: Key) -> tuple:
    """The instance, parameters before and after the training, and a key to measure with."""
    look = lambda episode: (episode.instance, episode.params)
    at = (0, steps) if steps else (0,)

    def run(task: AbstractTask, opt: AbstractOptimizer, key: Key) -> tuple:
        key_begin, key_loss = jr.split(key)
        instances, path = rollout(task, opt, key_begin, steps, look, at=at).looks
        pick = lambda i, x: jtu.tree_map(lambda leaf: leaf[i], x)
        return pick(0, instances), pick(0, path), pick(-1, path), key_loss

    return _jit(run)(task, opt, seed_keys(key, [0], "evaluate")[0])


def _jit(f: Callable, *static: object) -> Callable:
    """f(*static, *arguments), compiled; the arguments are trees of arrays and of what is fixed."""

    def compiled(*arguments: PyTree) -> PyTree:
        arrays, fixed = eqx.partition(arguments, eqx.is_array)
        run = lambda arrays: f(*static, *eqx.combine(arrays, fixed))
        return jax.jit(run, compiler_options=quick_compilation())(arrays)

    return compiled


def _measured(
    settings: Settings,
    temperature: float,
    train: Problem,
    valid: Problem,
    start: Params,
    params: Params,
    key: Key,
) -> dict[str, Any]:
    key_rules, key_top, key_modulus, key_gauss, key_entropy, key_rise = jr.split(key, 6)
    key_mean, key_draws, key_laplace = jr.split(key_entropy, 3)
    loss, probes, gamma = train.loss(), settings.probes, settings.gamma
    H = lambda v: hvp(loss, params, v)
    g = jax.grad(loss)(params)
    density = slq.spectral_density(H, params, k=settings.k, probes=probes, key=key_rules)
    rules = density.rules
    proper = lambda x: jnp.where(x > -gamma, x, jnp.nan)

    def eigenvalue(which: Which, key: Key) -> tuple[Scalar, Scalar, Params]:
        """λ, the residual as measured by one more product, and u."""
        pair = top_eigenpair(H, params, which=which, products=PRODUCTS, key=key)
        off = jtu.tree_map(lambda Hu, u: Hu - pair.value * u, H(pair.vector), pair.vector)
        return pair.value, tree.norm(off), pair.vector

    *modulus, u = eigenvalue("modulus", key_modulus)
    found = {
        "start": loss(start),
        "train": loss(params),
        "valid": valid.value(params),
        "gradient": tree.squared_norm(g),
        "size": tree.squared_norm(params),
        "density": density,
        "trace": rules.trace(lambda x: x),
        "frobenius": rules.trace(lambda x: x**2),
        "log_det": rules.trace(lambda x: slq.log_ratio(proper(x), jnp.asarray(gamma)) / 2),
        "below": jnp.any(rules.nodes <= -gamma, axis=1).sum(),
        "top": eigenvalue("algebraic", key_top)[:2],
        "modulus": tuple(modulus),
        "vector": u,
        "sharpness": Sharpness(settings.rho)(loss, params, key=key_rise),
    }
    if isinstance(loss, Composed):
        G = lambda v: gauss_newton_product(loss, params, v)
        found["gauss_newton"] = hutchinson.trace(G, params, probes=probes, key=key_gauss)
    mean = LocalEntropy(gamma, temperature, CHAIN).gibbs_mean(loss, params, key=key_mean)
    found["entropy"] = free_energy.importance(
        loss,
        params,
        mean,
        gamma=gamma,
        temperature=temperature,
        samples=4 * probes,
        key=key_draws,
    )
    found["entropy_laplace"] = free_energy.laplace_by_products(
        loss,
        params,
        gamma=gamma,
        temperature=temperature,
        k=settings.k,
        probes=probes,
        key=key_laplace,
    )
    return found


def _density(found: slq.Density) -> Density:
    values, error = plain(found.values), plain(found.standard_error)
    return Density(plain(found.grid), values, error, number(float(found.sigma)))


def _rows(numbers: dict[str, Any], settings: Settings, temperature: float) -> list[Row]:
    size = float(numbers["size"])
    probes = f"{settings.probes} probes"

    def row(name: str, symbol: str, found: Any, how: str, power: int = 0) -> Row:
        error = math.nan
        if isinstance(found, Estimate):
            found, error = found.value, found.standard_error
        if isinstance(found, tuple):
            found, error = found
        relative = float(found) * size ** (power / 2) if power else math.nan
        return Row(name, symbol, number(found), number(error), number(relative), how)

    law = f"γ = {settings.gamma:g}"
    found = [
        row("train_loss", "loss f", numbers["train"], "on the measured batch"),
        row("valid_loss", "f on the validation split", numbers["valid"], "the whole of it"),
        row("gradient_norm", "‖∇f‖²", numbers["gradient"], "exact", 2),
        row("trace", "tr H", numbers["trace"], probes, 2),
        row("frobenius", "‖H‖²_F", numbers["frobenius"], probes, 4),
    ]
    if "gauss_newton" in numbers:
        found.append(row("gauss_newton", "tr G, Gauss–Newton", numbers["gauss_newton"], probes, 2))
    return [
        *found,
        row("top_eigenvalue", "λ_max", numbers["top"], "error: residual ‖Hu − λu‖", 2),
        row("top_modulus", "λ of largest |λ|", numbers["modulus"], "error: residual", 2),
        row(
            "log_det",
            "½ ln det(I + H/γ)",
            numbers["log_det"],
            f"{law}, {probes}",
        ),
        row(
            "entropy",
            "−G̃, sampled",
            numbers["entropy"],
            f"{law}, temperature {temperature:.3g}, {4 * settings.probes} draws",
        ),
        row(
            "entropy_laplace",
            "−G̃, if f were quadratic",
            numbers["entropy_laplace"],
            f"{law}, the same temperature, {probes}",
        ),
        row("sharpness", "sharpness", numbers["sharpness"], f"rise within ρ = {settings.rho:g}"),
        row("size", "‖θ‖²", numbers["size"], "exact"),
    ]


def _pictures(
    points: int,
    train: Problem,
    valid: Problem,
    params: Params,
    u: Params,
    value: Scalar,
    start: Scalar,
    key: Key,
) -> tuple[dict[str, tuple], tuple[Array, Array]]:
    key_first, key_second = jr.split(key)
    whole = all(leaf.ndim < 2 for leaf in jtu.tree_leaves(params))
    vectors = "whole" if whole else "zero"
    first, second = (
        filter_direction(params, vectors=vectors, key=key) for key in (key_first, key_second)
    )
    loss, g = train.value, jax.grad(train.value)(params)
    unit = jnp.linspace(-1, 1, 2 * points + 1)
    # So far along u a parabola of this curvature rises to the loss before training.
    rise = jnp.maximum(start - loss(params), 0.1 * jnp.abs(loss(params)))
    reach = jnp.sqrt(2 * rise / jnp.abs(value))

    def along(direction: Params, offsets: Array) -> tuple:
        slope = tree.dot(g, direction)
        bend = tree.dot(direction, hvp(loss, params, direction))
        on_train, on_valid = (line(f, params, direction, offsets) for f in (loss, valid.value))
        return offsets, on_train, on_valid, slope, bend

    slices = {
        "a random direction, filter by filter": along(first, unit),
        "the eigenvector of largest |λ|": along(u, reach * unit),
    }
    side = jnp.linspace(-1, 1, points)
    return slices, (side, plane(loss, params, first, second, side, side))
