"""PAC-Bayes: a bound for an optimizer that was trained on the very tasks it is judged by.

The weights w are drawn anew for each task from a posterior Q, which may depend on the N tasks; a
prior P may not. With probability 1 − δ over the tasks, for all Q at once,

    kl(R̂(Q) ‖ R(Q)) ≤ B = (KL(Q‖P) + ln(2√N/δ)) / N,   N ≥ 8            (Maurer 2004)

R the share of failures on future tasks, R̂ that on the N. Where the prior's variances λ_j, one for
each of J groups of weights, are trained as well, they are rounded to λ_j = c exp(−a_j/b), a_j = 1,
2, … and the union over that grid is paid for:

    B = (KL(Q‖P) + ln(2√N/δ) + J ln(π²/6) + 2 Σ_j ln a_j) / N

R̂(Q) is an expectation over w. Pairs of a fresh w and one of the N tasks drawn at random fail
independently with just that probability, so that Clopper–Pearson at δ′ bounds it by R̄. Then

    R(Q) ≤ kl⁻¹(R̄ | B)   with confidence 1 − δ − δ′

Dziugaite & Roy, "Computing nonvacuous generalization bounds for deep (stochastic) neural networks",
UAI 2017; Sambharya & Stellato, 2024, whose union over groups is J-fold here and whose calibration
runs every draw on every task.

A posterior over optimizers is one of two:

    Gaussian   Q = N(μ, diag s), P = N(w₀, Λ), Λ one variance λ_j for each leaf of θ
    Finite     Q = q, P = p on the same members, for example checkpoints of one meta-training

A Gaussian is trained by `fit`: each step draws one w ~ Q for a batch of the N tasks and descends

    kl⁻¹(q | B),   q = mean of 1 − exp(−ℓ_i/scale),   ℓ_i the loss at the end of the run of task i

a surrogate of the bound, which is about failures. The bound itself is worked out once, afterwards.
`kl_inverse` is kl⁻¹ in JAX with its derivatives, for training only (certificates use `bounds.py`):

    p = kl⁻¹(q | c):   ∂p/∂c = p(1 − p)/(p − q)
                       ∂p/∂q = [ln(q/p) − ln((1 − q)/(1 − p))] · −p(1 − p)/(p − q)

from kl(q‖p) = c, by the implicit function theorem. At c → 0 the first grows like √(q(1 − q)/2c).
"""

import math
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree
from scipy import special

from ..core import tree
from ..core.arguments import real, told, whole
from ..core.optimizer import AbstractOptimizer, join_meta, split_meta
from ..core.types import Key, Scalar
from .bounds import GUARD, check_counts, check_delta, kl_upper
from .entries import LEAST_TASKS, B, C


def budget(divergence: float, n: int, delta: float, grid: Sequence[int] = ()) -> float:
    """B for a posterior of this divergence.

    - `divergence`: KL(Q‖P) ≥ 0, in nats
    - `n`: number of tasks N ≥ 8
    - `delta`: probability that the bound is wrong, in (0, 1)
    - `grid`: a_j ≥ 1 of each group whose prior variance was trained; () if none was
    """
    delta, divergence = check_delta(delta), real("KL(Q‖P)", divergence)
    check_counts(0, n)
    if n < LEAST_TASKS:
        raise ValueError(f"A PAC-Bayes bound needs at least {LEAST_TASKS} tasks, got {n}.")
    if not divergence >= 0:
        raise ValueError(f"KL(Q‖P) must not be negative, got {divergence:g}.")
    for place in grid:
        whole("A place on the grid of variances", place, least=1, most=2**53)
    paid = len(grid) * math.log(math.pi**2 / 6) + 2 * math.fsum(math.log(a) for a in grid)
    total = divergence + math.log(2 * math.sqrt(n) / delta) + paid
    return total / n * (1 + GUARD)


def risk_bound(seen: float, budget: float) -> float:
    """Bound kl⁻¹(R̄ | B) of the risk on future tasks, from R̄ = `seen` and B = `budget`."""
    return float(kl_upper(real("A risk", seen), real("A budget", budget)))


def on_grid(
    variances: Float[np.ndarray, " groups"],
) -> tuple[Float[np.ndarray, " groups"], list[int]]:
    """Prior variances rounded to the grid, and their places a_j ≥ 1 on it."""
    places = [max(1, round(B * math.log(C / float(x)))) for x in variances]
    return np.array([C * math.exp(-a / B) for a in places]), places


def gaussian_divergence(
    mean: Float[np.ndarray, " n"],
    variance: Float[np.ndarray, " n"],
    prior_mean: Float[np.ndarray, " n"],
    prior_variance: Float[np.ndarray, " n"],
) -> float:
    """KL(N(mean, diag variance) ‖ N(prior_mean, diag prior_variance)), in nats.

    - `mean`, `variance`: of the posterior, (n,), variances positive
    - `prior_mean`, `prior_variance`: of the prior, (n,), variances positive
    """
    if not (np.all(variance > 0) and np.all(prior_variance > 0)):
        raise ValueError("Variances of posterior and prior must be positive.")
    ratio = variance / prior_variance
    off = (mean - prior_mean) ** 2 / prior_variance
    return max(0.0, 0.5 * math.fsum(ratio - 1 - np.log(ratio) + off))


def gibbs(
    risks: Float[np.ndarray, " support"],
    prior: Float[np.ndarray, " support"],
    n: int,
    delta: float,
    temperatures: Sequence[float] = tuple(10.0**e for e in np.arange(-3, 3.01, 0.25)),
) -> tuple[Float[np.ndarray, " support"], float]:
    """The posterior q ∝ p exp(−β n r̂) with the lowest bound, and its KL(q‖p).

    Any β may be picked after a look at the risks, as the bound holds for all posteriors at once.

    - `risks`: r̂, share of failures of each member on the n tasks, (support,), in [0, 1]
    - `prior`: p, probability of each member, (support,)
    - `n`: number of tasks N ≥ 8
    - `delta`: probability that the bound is wrong, in (0, 1)
    - `temperatures`: the β > 0 to try, besides β = 0
    """
    betas = np.array([0.0, *temperatures])[:, None]
    logits = np.log(prior) - betas * n * (risks - risks.min())
    q = special.softmax(logits, axis=1)  # (temperatures, support)
    divergences = np.maximum(0.0, special.rel_entr(q, prior).sum(axis=1))
    budgets = [budget(float(divergence), n, delta) for divergence in divergences]
    best = int(kl_upper(np.minimum(1.0, q @ risks), budgets).argmin())
    return q[best], float(divergences[best])


VARIANCE = 1e-2  # of the prior, to begin with
SPREAD = 1e-4  # of the posterior, to begin with
HALVINGS = 40
SMALLEST = 1e-6  # q is kept this far from 0 and 1
FLOOR = 1e-8  # of c, and of p − q


class Gaussian(eqx.Module):
    """Independent Gaussians around the weights of an optimizer, one variance each."""

    mean: PyTree[Float[Array, "..."]]  # like θ
    log_variance: PyTree[Float[Array, "..."]]
    prior_mean: PyTree[Float[Array, "..."]]  # not from the tasks of the bound
    log_prior: Float[Array, " groups"]  # ln λ, one for each leaf
    rest: PyTree  # of the optimizer

    def draw(self, key: Key) -> AbstractOptimizer:
        """An optimizer with fresh weights; each leaf has noise of its own."""
        means, structure = jtu.tree_flatten(self.mean)
        logs = jtu.tree_leaves(self.log_variance)
        keys = jr.split(key, len(means))
        drawn = [
            m + jnp.exp(s / 2) * jr.normal(k, m.shape, m.dtype)
            for m, s, k in zip(means, logs, keys, strict=True)
        ]
        return join_meta(jtu.tree_unflatten(structure, drawn), self.rest)

    def divergence(self) -> Scalar:
        """KL(Q‖P), in nats."""
        leaves = zip(
            jtu.tree_leaves(self.mean),
            jtu.tree_leaves(self.log_variance),
            jtu.tree_leaves(self.prior_mean),
            self.log_prior,
            strict=True,
        )
        total = jnp.zeros((), self.log_prior.dtype)
        for m, s, m0, log_prior in leaves:
            log_ratio = s - log_prior
            off = (m - m0) ** 2 * jnp.exp(-log_prior)
            total += 0.5 * jnp.sum(jnp.exp(log_ratio) - 1 - log_ratio + off)
        return total

    def on_grid(self) -> tuple["Gaussian", list[int]]:
        """The same with the prior's variances rounded to the grid, and their places on it."""
        rounded, places = on_grid(np.exp(np.asarray(self.log_prior, np.float64)))
        log_prior = jnp.asarray(np.log(rounded), self.log_prior.dtype)
        return eqx.tree_at(lambda q: q.log_prior, self, log_prior), places

    def exact_divergence(self) -> float:
        """KL(Q‖P) of the stored numbers, in nats, worked out in double precision."""
        flat = lambda tree: [np.asarray(x, np.float64).ravel() for x in jtu.tree_leaves(tree)]
        means, logs, priors = flat(self.mean), flat(self.log_variance), flat(self.prior_mean)
        lambdas = np.asarray(self.log_prior, np.float64)
        return math.fsum(
            gaussian_divergence(m, np.exp(s), m0, np.full(m.shape, math.exp(log)))
            for m, s, m0, log in zip(means, logs, priors, lambdas, strict=True)
        )


def around(opt: AbstractOptimizer, prior: AbstractOptimizer, *, apart: bool = False) -> Gaussian:
    """A narrow Gaussian posterior around one optimizer, with a prior around another.

    - `opt`: mean of the posterior
    - `prior`: mean of the prior; no task of the bound may have had a part in its training
    - `apart`: no task of the bound had a part in training `opt` either, so that the two may be
      equal
    """
    (mean, rest), (prior_mean, _) = split_meta(opt), split_meta(prior)
    if jtu.tree_structure(mean) != jtu.tree_structure(prior_mean):
        raise ValueError("Posterior and prior need optimizers of the same weights.")
    groups = len(jtu.tree_leaves(mean))
    if not groups:
        raise ValueError(f"{type(opt).__name__} has no weights to put a posterior on.")
    if not apart and all(
        np.array_equal(x, y)
        for x, y in zip(jtu.tree_leaves(mean), jtu.tree_leaves(prior_mean), strict=True)
    ):
        raise ValueError(
            "Here the prior is the optimizer itself; a prior may not know the tasks of the bound. "
            "Give another one, or say apart=True if they had no part in its training."
        )
    wide = jnp.result_type(float)
    return Gaussian(
        mean,
        jtu.tree_map(lambda m: jnp.full_like(m, math.log(SPREAD)), mean),
        prior_mean,
        jnp.full(groups, math.log(VARIANCE), wide),
        rest,
    )


class Finite(eqx.Module):
    """A few optimizers, each with its probability under the prior; () or None for equal ones."""

    members: tuple[AbstractOptimizer, ...]
    prior: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, members, prior=None):
        several = isinstance(members, Sequence) and not isinstance(members, str)
        if not several or not all(isinstance(m, AbstractOptimizer) for m in members):
            raise ValueError(f"Members of a posterior are optimizers, got {told(members)}.")
        self.members = tuple(members)
        count = len(self.members)
        given = (1 / max(1, count),) * count if prior is None else prior
        self.prior = tuple(real("A probability", p) for p in given)

    def __check_init__(self):
        if len(self.prior) != len(self.members) or not self.members:
            raise ValueError(
                f"A finite posterior needs a probability for each of its members, got "
                f"{len(self.prior)} for {len(self.members)}."
            )
        if not all(p > 0 for p in self.prior) or abs(math.fsum(self.prior) - 1) > 1e-12:
            raise ValueError("Probabilities of the prior must be positive and add up to 1.")


Loss = Callable[[AbstractOptimizer, Key], Scalar]


def fit(
    posterior: Gaussian,
    loss: Loss,
    tasks: Key,
    *,
    steps: int,
    delta: float,
    key: Key,
    batch: int = 16,
    lr: float = 1e-2,
    target: float | None = None,
) -> tuple[Gaussian, Float[np.ndarray, " steps"]]:
    """Train a Gaussian posterior, and its prior's variances; return it and the surrogate by step.

    Steps whose gradients are not finite are left out; their surrogate is as it was.

    - `posterior`: to begin with
    - `loss`: (optimizer, key of a task) → loss at the end of its run, differentiable in the first
    - `tasks`: one key a task, (N,)
    - `steps`: number of steps of Adam
    - `delta`: probability that the bound is wrong, in (0, 1)
    - `key`: of all draws
    - `batch`: tasks a step
    - `lr`: learning rate of Adam
    - `target`: of B; B is drawn there by adding 1000 (B − target)², as in the reference
    """
    n = len(tasks)
    tx = optax.adam(lr)
    trained, fixed = eqx.partition(posterior, _trained(posterior))

    def surrogate(trained: PyTree, where: Array, scale: Scalar, key: Key) -> tuple[Scalar, Array]:
        q = eqx.combine(trained, fixed)
        opt = q.draw(key)
        losses = jax.lax.map(lambda task: loss(opt, task), tasks[where])
        failed = jnp.mean(-jnp.expm1(-losses / scale))
        places = jnp.maximum(1.0, B * (math.log(C) - q.log_prior))
        paid = len(q.log_prior) * math.log(math.pi**2 / 6) + 2 * jnp.sum(jnp.log(places))
        budget = (q.divergence() + math.log(2 * math.sqrt(n) / delta) + paid) / n
        extra = 0.0 if target is None else 1000 * (budget - target) ** 2
        return kl_inverse(failed, budget) + extra, losses

    @jax.jit
    def step(trained, state, scale, key):
        key_batch, key_draw = jr.split(key)
        where = jr.randint(key_batch, (batch,), 0, n)
        (value, losses), grads = jax.value_and_grad(surrogate, has_aux=True)(
            trained, where, scale, key_draw
        )
        updates, after = tx.update(grads, state)
        # A draw on which runs diverge teaches nothing, and must not spoil what was learned.
        sound = tree.finite(grads)
        moved = tree.select(sound, optax.apply_updates(trained, updates), trained)
        median = jnp.median(jnp.where(jnp.isfinite(losses), losses, jnp.inf))
        scale = jnp.where(jnp.isfinite(median), 0.9 * scale + 0.1 * median, scale)
        return moved, tree.select(sound, after, state), scale, value

    key_scale, key_run = jr.split(key)
    opt = posterior.draw(key_scale)
    first = jax.jit(lambda: jax.lax.map(lambda task: loss(opt, task), tasks[:batch]))()
    scale, state, values = jnp.maximum(jnp.median(first), 1e-12), tx.init(trained), []
    for key_step in jr.split(key_run, steps):
        trained, state, scale, value = step(trained, state, scale, key_step)
        values.append(value)
    return eqx.combine(trained, fixed), np.asarray(values, np.float64)


def _trained(posterior: Gaussian) -> PyTree:
    """True at what `fit` changes."""
    nothing = jtu.tree_map(lambda _: False, posterior)
    mark = lambda part: jtu.tree_map(lambda _: True, part)
    return eqx.tree_at(
        lambda q: (q.mean, q.log_variance, q.log_prior),
        nothing,
        (mark(posterior.mean), mark(posterior.log_variance), True),
    )


@jax.custom_jvp
def kl_inverse(q: Float[Array, ""], c: Float[Array, ""]) -> Float[Array, ""]:
    """The largest p with kl(q‖p) ≤ c, to about 1e-6, for q in [0, 1] and c ≥ 0."""
    q, c = jnp.clip(q, SMALLEST, 1 - SMALLEST), jnp.maximum(c, FLOOR)

    def halve(_, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        inside = _kl(q, middle) <= c
        return jnp.where(inside, middle, low), jnp.where(inside, high, middle)

    low, high = jax.lax.fori_loop(0, HALVINGS, halve, (q, jnp.minimum(1.0, q + jnp.sqrt(c / 2))))
    return (low + high) / 2


@kl_inverse.defjvp
def _derivatives(primals, tangents):
    q, c = primals
    p = kl_inverse(q, c)
    q = jnp.clip(q, SMALLEST, 1 - SMALLEST)
    slope = p * (1 - p) / jnp.maximum(p - q, FLOOR)
    by_q = (jnp.log((1 - q) / (1 - p)) - jnp.log(q / p)) * slope
    return p, by_q * tangents[0] + slope * tangents[1]


def _kl(q: Array, p: Array) -> Array:
    return q * jnp.log(q / p) + (1 - q) * (jnp.log1p(-q) - jnp.log1p(-p))
