"""The methods of the study: rivals with numbers that are tuned, and optimizers trained here."""

import itertools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float

from ...core.loss import Stacked, expect
from ...core.optimizer import AbstractOptimizer
from ...core.rollout import episodes
from ...core.task import AbstractTask
from ...core.types import Key
from ...estimators.bptt import BPTT
from ...estimators.es import ES
from ...objectives.supervised import Demonstrated
from ...objectives.swarm import Located
from ...objectives.trajectory import Trajectory
from ...optimizers.classic.from_evosax import FromEvosax
from ...optimizers.classic.from_optax import adam
from ...optimizers.classic.pso import PSO
from ...optimizers.learned.dm import DM
from ...optimizers.learned.formation import Formation
from ...optimizers.learned.swarm import Swarm
from ...tasks import build
from ...train.loop import meta_train

TRAIN, TUNE, TEST = 0, 1, 3  # streams of keys; formations were tried out on 2
PARTICLES = 4  # of all that is trained, and of multi-start Adam, as published
RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
WIDTHS = (0.25, 0.5, 1.0, 2.0)  # first deviations
SIZES = (4, 8, 16)  # of populations
PULLS = tuple(itertools.product((0.4, 0.6, 0.8), (1.0, 1.5, 2.0)))  # inertia; both accelerations


class Rival(NamedTuple):
    """A method by hand: made of numbers, all of which are tried with all numbers of particles."""

    make: Callable[..., AbstractOptimizer]
    numbers: tuple[tuple[float, ...], ...]
    particles: tuple[int, ...]
    gradients: bool


def _pso(inertia: Any, pull: Any) -> PSO:
    return PSO(inertia, pull, pull)


RIVALS: dict[str, Rival] = {
    "adam": Rival(adam, tuple((r,) for r in RATES), (1,), True),
    "adam-4": Rival(adam, tuple((r,) for r in RATES), (PARTICLES,), True),
    "pso": Rival(_pso, PULLS, SIZES, False),
    "cma-es": Rival(
        lambda std: FromEvosax("CMA_ES", std_init=std), tuple((w,) for w in WIDTHS), SIZES, False
    ),
    "les": Rival(
        lambda std: FromEvosax("LES", std_init=std), tuple((w,) for w in WIDTHS), SIZES, False
    ),
}

# What is trained. Gradients of these problems are up to 70 long in a coordinate.
NETWORK = {"hidden": (16,), "units": 20.0, "scale": 0.5}
ARMS: dict[str, dict[str, Any]] = {
    "b2": {"use": ("gradient", "momentum"), "between": False},  # particles alone
    "b3": {},  # and what particles know of each other
    "lois": {},  # trained with the entropy
    "swarm": {"beyond": True, "units": 2.0, "scale": 1.0},  # ours
}
ENTROPY = {"weight": 1e-3, "samples": 120}

# A few numbers, found by evolution strategies over whole episodes. Some starts end in a minimum
# where no ripple cancels, so that there are several; that of the least meta-loss is taken.
FORMATIONS: dict[str, tuple[int, dict[str, Any]]] = {  # particles, and the problems of training
    "formation": (4, {}),
    # None has the period of the test problems, which is 1.
    "formation-any": (8, {"alpha": (1, 2, 5, 10), "period": (0.6, 0.75, 0.9, 1.1, 1.35, 1.65)}),
}
HORIZON, SIGMA = 100, 0.2
SPREADS, STEPS = (0.1, 10.0), (0.1, 1.0)  # of s and r before training, log-uniform


# By the loss, or by the distance to the optimum, they learn to go to the nearest of many minima at
# once. So a walk over the ripples is demonstrated first, and the optimum after it.
PATH = Demonstrated()
UNKNOWNS, LENGTH, RATE = 2, 80, 1e-2


class Method(NamedTuple):
    """A method that is ready.

    - `about`: its numbers, or how it was trained
    - `seconds`: of the processor, for tuning or training
    """

    opt: AbstractOptimizer
    particles: int
    gradients: bool
    about: dict[str, Any]
    seconds: float


def problem(n: int, particles: int, **options: Any) -> AbstractTask:
    return build("rastrigin-shifted", n=n, particles=particles, **options)


def streams(seed: int, stream: int) -> Key:
    return jr.fold_in(jr.fold_in(jr.key(0x5A3), stream), seed)


def bests(
    task: AbstractTask,
    make: AbstractOptimizer | Callable[[Any], AbstractOptimizer],
    keys: Key,
    steps: int,
    beside: Any = (),
) -> Float[np.ndarray, "runs steps"]:
    """The least loss seen by any particle, before each step; infinite where none was a number."""

    @eqx.filter_jit
    def run(make: Any, keys: Key, beside: Any) -> Array:
        def seen(step: Any) -> Array:
            values = expect(step.problem.loss(), Stacked, "bests").each(step.before.params)
            return jnp.min(jnp.where(jnp.isfinite(values), values, jnp.inf))

        nothing = lambda episode, beside: ()
        return episodes(task, make, keys, steps, nothing, beside=beside, observe=seen).steps

    return np.minimum.accumulate(np.asarray(run(make, keys, beside), np.float64), axis=1)


def tuned(name: str, n: int, evaluations: int, problems: int) -> Method:
    """The rival with the numbers and particles of the least mean after all evaluations."""
    began, rival = time.process_time(), RIVALS[name]
    keys, best = jr.split(streams(n, TUNE), problems), (np.inf, rival.particles[0], 0)
    tried = {}
    for particles in rival.particles:
        many = len(rival.numbers)
        columns = tuple(
            jnp.repeat(jnp.asarray(column, jnp.result_type(float)), problems)
            for column in zip(*rival.numbers, strict=True)
        )
        every = jnp.tile(keys, many)
        steps = evaluations // particles
        found = bests(problem(n, particles), lambda x: rival.make(*x), every, steps, columns)
        means = found[:, -1].reshape(many, problems).mean(1)
        tried[particles] = float(means.min())
        best = min(best, (float(means.min()), particles, int(means.argmin())))
    _, particles, chosen = best
    about = {"numbers": list(rival.numbers[chosen]), "tried": tried}
    opt = rival.make(*rival.numbers[chosen])
    return Method(opt, particles, rival.gradients, about, round(time.process_time() - began, 1))


def trained(name: str, updates: int, batch: int, seed: int) -> Method:
    """The optimizer of this name, trained from random weights."""
    began, key = time.process_time(), streams(seed, TRAIN)
    key_opt, key_train = jr.split(key)
    particles = 1 if name == "dm" else PARTICLES
    opt: AbstractOptimizer = (
        DM(hidden=NETWORK["hidden"], scale=NETWORK["scale"], key=key_opt)
        if name == "dm"
        else Swarm(**NETWORK | ARMS[name], key=key_opt)
    )
    opt, history = meta_train(
        problem(UNKNOWNS, particles),
        opt,
        estimator=BPTT(batch, LENGTH, LENGTH),
        objective=Located(PATH, **ENTROPY) if name == "lois" else PATH,
        meta_tx=optax.chain(
            optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(RATE, updates))
        ),
        steps=updates,
        key=key_train,
    )
    about = {"losses": [float(np.mean([float(row["meta_loss"]) for row in history.rows[-50:]]))]}
    return Method(opt, particles, True, about, round(time.process_time() - began, 1))


def formed(name: str, updates: int, batch: int, seed: int, tries: int) -> Method:
    """The best by meta-loss of `tries` formations, trained for a quarter of the meta-steps each."""
    began, (particles, options) = time.process_time(), FORMATIONS[name]
    steps, found = max(1, updates // 4), []
    for key in jr.split(streams(seed, TRAIN), tries):
        key_spread, key_rate, key_train = jr.split(key, 3)
        drawn = lambda key, between: float(jnp.exp(jr.uniform(key, (), float, *np.log(between))))
        opt, history = meta_train(
            problem(4, particles, **options),
            Formation(drawn(key_spread, SPREADS), drawn(key_rate, STEPS)),
            estimator=ES(batch, HORIZON, HORIZON, sigma=SIGMA),
            objective=Trajectory("uniform", "log"),
            meta_tx=optax.chain(
                optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(0.1, steps))
            ),
            steps=steps,
            key=key_train,
        )
        loss = float(np.mean([float(row["meta_loss"]) for row in history.rows[-50:]]))
        found.append((loss if np.isfinite(loss) else np.inf, opt))
    losses = [loss for loss, _ in found]
    opt = found[int(np.argmin(losses))][1]
    about = {"losses": losses}
    return Method(opt, particles, True, about, round(time.process_time() - began, 1))


def marks(evaluations: int) -> list[int]:
    """Numbers of evaluations that are looked at: all populations come near them."""
    known = (32, 64, 96, 128, 192, 256, 320, 480, 640, 800, 960, 1000)
    return [m for m in known if m <= evaluations] or [evaluations]
