"""Does a flatness regularizer reach an optimizer, and with the right sign?

An optimizer of two numbers is meta-trained on pairs of wells of equal depth
(`tasks/synthetic/wells.py`): for the loss alone (strength 0), and for the loss + strength · a
measure of flatness at the end of the unroll. Then it is run on fresh pairs of wells. The question
is the share of runs that end in the wide well.

The study of it is `wells.py`.
"""

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import optax
from jaxtyping import Array, Float, Int

from ...core.measure import AbstractMeasure
from ...core.optimizer import AbstractOptimizer, Fixed, split_meta
from ...core.rollout import rollout
from ...core.task import Problem
from ...estimators.bptt import BPTT
from ...flatness.entropy.local_entropy import LocalEntropy
from ...flatness.hessian import HessianTrace, LogDet, TopEigenvalue
from ...objectives.regularized import Regularized
from ...objectives.trajectory import Trajectory
from ...tasks.synthetic.wells import Wells
from ...train.step import meta_step, start

HORIZON = 30  # inner steps of a meta-training episode: one unroll, differentiated exactly
TEST_HORIZON = 4 * HORIZON  # noise ends at HORIZON; the rest is descent, so that every run settles
RATE = 0.03  # learning rate: about half of 1/λ_narrow, so that both wells are stable
HEAT = 0.14  # length of the first noise vector before meta-training, in every dimension
# Adam's steps do not change with the scale of the objective; a clipped gradient's do, and strength
# is a scale. β₂: a run that is crossing the saddle can have a huge gradient, to be forgotten soon.
META = optax.adam(0.03, b2=0.99)
# Of the entropy. Well above λ_narrow: the Moreau envelope, all that is left of it at τ = 1e-8, is
# then nearly the loss itself, and what is added at τ = 1 is the log-determinant.
GAMMA = 64.0
RESOLUTION = 10.0  # γ of the log-determinant: larger than the negative curvature at the saddle
FIRST_SEED = 100  # seeds below were used to find the settings above

STRENGTHS = {  # measure: strengths tried besides 0
    "trace": (0.02, 0.1),
    "top eigenvalue": (0.03, 0.1),
    "log-det": (0.3, 1.0),
    "entropy, τ = 1": (10.0, 30.0),
    "entropy, τ = 1e-8": (10.0, 30.0),
}


def measure(name: str, n: int) -> AbstractMeasure:
    """Exact up to the chance of probes and chains: k = n products."""
    if name == "trace":
        return HessianTrace(probes=4)
    if name == "top eigenvalue":  # "norm": at the saddle the top eigenvalue is a negative one
        return TopEigenvalue("norm", products=n, warm=n)
    if name == "log-det":
        return LogDet(RESOLUTION, k=n)
    temperature = {"entropy, τ = 1": 1.0, "entropy, τ = 1e-8": 1e-8}[name]
    return LocalEntropy(GAMMA, temperature, steps=10, value="monte_carlo")


class Cooled(AbstractOptimizer):
    """Descent with noise that cools to nothing: θ is how hot it begins and how fast it cools.

    x ← x − η g + σ (1 − t/T)^p ξ,   ξ ~ N(0, I);   θ = (ln σ, ln p)
    """

    log_noise: Float[Array, ""]
    log_power: Float[Array, ""]
    rate: Fixed
    horizon: int = eqx.field(static=True, default=HORIZON)

    def init(self, params: Array, *, key=None) -> Int[Array, ""]:
        return jnp.zeros((), jnp.int32)

    def update(self, grads: Array, state: Int[Array, ""], params: Array, *, key, **extra):
        left = 1 - state.astype(grads.dtype) / self.horizon
        hot = left > 0
        # A power of zero has no derivative.
        share = jnp.where(hot, left, 1) ** jnp.exp(self.log_power)
        sigma = jnp.where(hot, jnp.exp(self.log_noise) * share, 0)
        noise = sigma * jr.normal(key, grads.shape, grads.dtype)
        return -self.rate.value * grads + noise, state + 1


def cooled(log_noise: float | Array, log_power: float | Array = 0.0) -> Cooled:
    return Cooled(jnp.asarray(log_noise), jnp.asarray(log_power), Fixed(jnp.asarray(RATE)))


@dataclasses.dataclass(frozen=True)
class Run:
    """One meta-seed at one strength. Equal seeds: same problems, same noise, same test runs."""

    measure: str
    n: int
    strength: float
    seed: int
    wide: float  # share of test runs that end in the wide well
    loss: float  # median loss at the end of these runs
    noise: float  # σ learned
    power: float  # p learned
    flatness: float  # the measure at the end of the last meta-training episodes
    nonfinite: int  # meta-training episodes left out
    tests: int
    meta_steps: int
    episodes: int


def experiment(
    name: str,
    n: int,
    strengths: Sequence[float],
    *,
    seeds: int,
    meta_steps: int,
    episodes: int,
    tests: int,
) -> list[Run]:
    """Meta-train at every strength with every meta-seed, side by side, and test."""
    task = Wells(n)
    estimator = BPTT(
        episodes, HORIZON, HORIZON, second_order=True, stagger=False, together=episodes
    )
    how = measure(name, n)

    def lane(strength: Float[Array, ""], seed: Int[Array, ""]):
        key_train, key_test = jr.split(jr.key(seed))
        objective = Regularized(Trajectory("last", "identity"), how, strength)
        opt = cooled(jnp.log(HEAT / n**0.5))
        state = start(
            task, opt, estimator=estimator, objective=objective, meta_tx=META, key=key_train
        )

        def step(state, _):
            state, stats = meta_step(task, state, estimator, objective, META)
            return state, (stats.parts["flatness"], stats.nonfinite)

        state, (flatness, nonfinite) = jax.lax.scan(step, state, length=meta_steps)
        wide, loss = test(task, state.opt, key_test, tests)
        theta = [jnp.exp(number) for number in jtu.tree_leaves(split_meta(state.opt)[0])]  # σ, p
        last = jnp.nanmean(flatness[-10:])
        return wide.mean(), jnp.median(loss), *theta, last, nonfinite.sum()

    lanes = jax.jit(jax.vmap(jax.vmap(lane, (None, 0)), (0, None)))
    out = jax.device_get(lanes(jnp.array(strengths, float), FIRST_SEED + jnp.arange(seeds)))
    shares, losses, noises, powers, measured, left_out = out
    return [
        Run(
            measure=name,
            n=n,
            strength=strength,
            seed=FIRST_SEED + j,
            wide=float(shares[i, j]),
            loss=float(losses[i, j]),
            noise=float(noises[i, j]),
            power=float(powers[i, j]),
            flatness=float(measured[i, j]),
            nonfinite=int(left_out[i, j]),
            tests=tests,
            meta_steps=meta_steps,
            episodes=episodes,
        )
        for i, strength in enumerate(strengths)
        for j in range(seeds)
    ]


def test(task: Wells, opt: AbstractOptimizer, key, runs: int) -> tuple[Array, Array]:
    """(1 where a run ended in the wide well, its loss there), on `runs` fresh pairs of wells."""

    def one(key):
        key_begin, key_loss = jr.split(key)

        def look(episode):
            x, at = episode.params, (episode.instance, (), key_loss)
            return task.metrics(x, *at)["wide"], Problem(task, *at).value(x)

        return rollout(task, opt, key_begin, TEST_HORIZON, look).looks

    return jax.vmap(one)(jr.split(key, runs))


def plain_share(n: int, runs: int) -> float:
    """Share of runs of plain descent, without noise, that end in the wide well."""
    wide, _ = jax.jit(lambda key: test(Wells(n), cooled(-jnp.inf), key, runs))(jr.key(0))
    return float(wide.mean())
