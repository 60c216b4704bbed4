"""Located: an objective plus the entropy of what a swarm knows of where the minimum is.

    J + λ h,   h = −Σ_s p_s ln p_s,   p_s ∝ exp(−ρ f̂(z_s))

over places z_s drawn from the box around all that was seen. f̂ is an interpolation of what was seen,
by a Gaussian process: with the newest samples (xᵢ, fᵢ) of the episode, fᵢ in units of their spread,

    f̂(z) = k(z, X) (K + σ I)⁻¹ f,   k(x, y) = exp(−‖x − y‖² / 2ℓ²),   ρ = exp(√N / h₀)

h₀ is the entropy at ρ = exp(√N / ln S) for N samples and S places, so that p sharpens as samples
come in. A swarm that has seen the funnel everywhere and its bottom best is rewarded; one that has
gathered somewhere is not. ρ, the box and the units are constants in meta-gradients.

Cao, Chen, Wang & Shen, "Learning to optimize in swarms", NeurIPS 2019, with σ = 2.1, ℓ = 1 and
λ = 0.001 of its code. Departures: that code draws places from N(0, 0.01²) instead of where the
search goes on, knows the samples of the current unroll alone, and takes f in its own units.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Float

from ..core import tree
from ..core.episode import Episode, Step
from ..core.loss import Stacked, expect
from ..core.measure import check_not_negative, check_positive
from ..core.messages import at_least
from ..core.objective import AbstractObjective, Score
from ..core.task import AbstractTask, Problem
from ..core.types import Key, Memo, Obs, Params, Scalar


class Samples(eqx.Module):
    """Places and losses seen, the newest last. A loss of infinity: not yet."""

    x: Float[Array, "samples n"]
    f: Float[Array, " samples"]


class Located(AbstractObjective):
    """`base` + `weight` · the entropy of where the minimum is, for tasks with a `Stacked` loss.

    - `samples`: that are kept of an episode, the newest
    - `places`: drawn for the entropy, S above
    - `noise`, `length`: σ and ℓ above
    """

    base: AbstractObjective
    weight: float = eqx.field(static=True, default=1e-3)
    samples: int = eqx.field(static=True, default=200)
    places: int = eqx.field(static=True, default=256)
    noise: float = eqx.field(static=True, default=2.1)
    length: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        at_least(1, "Located", samples=self.samples)
        at_least(2, "Located", places=self.places)
        check_not_negative("Located", "weight", self.weight, "Published: 0.001.")
        check_positive("Located", "noise", self.noise, "Published: 2.1.")
        check_positive("Located", "length", self.length, "Published: 1.")

    def start(self, problem: Problem, episode: Episode, *, key: Key) -> tuple[Memo, Samples]:
        expect(problem.loss(), Stacked, "Located")
        x = rows(episode.params)
        none = Samples(
            jnp.zeros((self.samples, x.shape[1]), x.dtype),
            jnp.full((self.samples,), jnp.inf, x.dtype),
        )
        return self.base.start(problem, episode, key=key), none

    def observe(self, step: Step, memo: tuple[Memo, Samples]) -> tuple[Obs, Samples]:
        loss = expect(step.problem.loss(), Stacked, "Located")
        x = rows(step.after.params)
        seen = Samples(x, loss.each(step.after.params).astype(x.dtype))
        return self.base.observe(step, memo[0]), seen

    def __call__(
        self,
        task: AbstractTask,
        episode: Episode,
        obs: tuple[Obs, Samples],
        memo: tuple[Memo, Samples],
        *,
        key: Key,
    ) -> Score:
        key_base, key_places = jr.split(key)
        found = self.base(task, episode, obs[0], memo[0], key=key_base)
        known = self.newest(memo[1], obs[1])
        h = self.entropy(known, key_places)
        value = found.value + (self.weight * h).astype(found.value.dtype)
        # What earlier unrolls saw is known, and no longer to be changed.
        memo = (found.memo, jax.lax.stop_gradient(known))
        return Score(value, memo, {**found.parts, "entropy": h})

    def newest(self, old: Samples, new: Samples) -> Samples:
        """The newest samples; `new` has axes of steps and particles in front."""
        x = jnp.concatenate([old.x, new.x.reshape(-1, old.x.shape[1])])
        f = jnp.concatenate([old.f, new.f.reshape(-1)])
        return Samples(x[-self.samples :], f[-self.samples :])

    def entropy(self, known: Samples, key: Key) -> Scalar:
        """h of the samples; ln S where nothing is known."""
        real = jnp.isfinite(known.f) & jnp.all(jnp.isfinite(known.x), -1)
        x, f = jnp.where(real[:, None], known.x, 0), jnp.where(real, known.f, 0)
        low, high = (jax.lax.stop_gradient(end) for end in box(x, real))
        z = low[None] + (high - low)[None] * jr.uniform(key, (self.places, x.shape[1]), x.dtype)
        fitted = self.interpolated(z, x, in_units(f, real), real)
        N, S = jnp.sum(real), jnp.asarray(self.places, x.dtype)
        root = jnp.sqrt(N.astype(x.dtype))
        first = shannon(fitted, jnp.exp(root / jnp.log(S)))
        rho = jnp.exp(root / jnp.maximum(first, 1.0))
        return shannon(fitted, jax.lax.stop_gradient(rho))

    def interpolated(
        self,
        z: Float[Array, "places n"],
        x: Float[Array, "samples n"],
        f: Float[Array, " samples"],
        real: Bool[Array, " samples"],
    ) -> Float[Array, " places"]:
        """f̂ at `z`; samples that are not `real` have no say."""

        def kernel(a: Float[Array, "a n"], b: Float[Array, "b n"]) -> Float[Array, "a b"]:
            return jnp.exp(-jnp.sum((a[:, None] - b[None]) ** 2, -1) / (2 * self.length**2))

        both = real[:, None] & real[None]
        K = jnp.where(both, kernel(x, x), 0) + self.noise * jnp.eye(len(x), dtype=x.dtype)
        # Not by LAPACK: in a program of several devices its calls (jaxlib 0.10.2) and the sums over
        # devices wait for one another for ever. Eigenvalues of K lie between σ and σ + samples.
        weights, _ = jax.scipy.sparse.linalg.cg(lambda v: K @ v, f, tol=jnp.finfo(f.dtype).eps)
        return jnp.where(real[None], kernel(z, x), 0) @ weights


def shannon(f: Float[Array, " places"], rho: Scalar) -> Scalar:
    """Entropy of p ∝ exp(−ρ f), in nats."""
    log_p = jax.nn.log_softmax(-rho * f)
    return -jnp.sum(jnp.exp(log_p) * log_p)


def in_units(f: Float[Array, " samples"], real: Bool[Array, " samples"]) -> Array:
    """(f − mean) / deviation of those that are real, 0 elsewhere."""
    count = jnp.maximum(jnp.sum(real), 1)
    mean = jnp.sum(f) / count
    centred = jnp.where(real, f - mean, 0)
    spread = jax.lax.stop_gradient(jnp.sqrt(jnp.sum(centred**2) / count))
    return centred / jnp.where(spread > 0, spread, 1)


def box(x: Float[Array, "samples n"], real: Bool[Array, " samples"]) -> tuple[Array, Array]:
    """The least box around those that are real; a point at 0 where there are none."""
    one = real[:, None]
    low = jnp.min(jnp.where(one, x, jnp.inf), 0)
    high = jnp.max(jnp.where(one, x, -jnp.inf), 0)
    some = jnp.any(real)
    return jnp.where(some, low, 0), jnp.where(some, high, 0)


def rows(params: Params) -> Float[Array, "particles n"]:
    """Every particle as a row."""
    leaves, dtype = jtu.tree_leaves(params), tree.working_dtype(params)
    return jnp.concatenate([leaf.reshape(len(leaf), -1).astype(dtype) for leaf in leaves], 1)
