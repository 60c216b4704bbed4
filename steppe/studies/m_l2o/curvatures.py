"""The family where theory says what adaptation is worth: a learned rate on three curvatures.

    f_h(x) = ½ h x²,   h one of 1, 10, 100,   x₀ = 1,   x₁ = x₀ − θ h x₀

so that G_h(θ) = ½ H (θ − 1/h)² with H = h³. After one step of adaptation with the rate α that is
½ A (θ − 1/h)², A = H (1 − α H)², and the best starts are

    transfer: Σ H θ_h / Σ H        M-L2O: Σ A θ_h / Σ A,       θ_h = 1/h

With α = 1/100³ adaptation mends the steepest problem whatever θ is, and M-L2O leaves it to that;
transfer cares for hardly any other. (First order is the same: its weights are H (1 − α H).)
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import optax
from jaxtyping import Array, Float

from ...core.optimizer import AbstractOptimizer
from ...core.task import AbstractFormula
from ...core.types import Key, Params, Scalar, Updates
from ...estimators.adapted import Adapted
from ...estimators.bptt import BPTT
from ...objectives.trajectory import Trajectory
from ...train.adapt import Adapter
from ...train.step import meta_step, start
from .settings import CONTROL, TRANSFER

CURVATURES = (1.0, 10.0, 100.0)
ALPHA = 1e-6  # 1 / 100³
EPISODES = 96
LAST = Trajectory("sum", "identity")


class Parabola(AbstractFormula):
    """½ h x² from x = 1; h is one of `curvatures`, drawn for each instance."""

    curvatures: tuple[float, ...] = eqx.field(static=True, default=CURVATURES)

    def sample(self, key: Key) -> Scalar:
        return jr.choice(key, jnp.asarray(self.curvatures))

    def init(self, instance: Scalar, key: Key) -> Float[Array, "1"]:
        return jnp.ones(1)

    def loss(
        self, instance: Scalar, batch: tuple[()], key: Key
    ) -> Callable[[Float[Array, "1"]], Scalar]:
        return lambda x: instance * jnp.sum(x**2) / 2

    def target(self, instance: Scalar) -> Float[Array, "1"]:
        return jnp.zeros(1)

    def metrics(
        self, params: Float[Array, "1"], instance: Scalar, batch: tuple[()], key: Key
    ) -> dict[str, Scalar]:
        return {}


class LearnedRate(AbstractOptimizer):
    """Gradient descent at the rate θ."""

    theta: Scalar

    def init(self, params: Params, *, key: Key | None = None) -> tuple[()]:
        return ()

    def update(
        self, grads: Updates, state: tuple[()], params: Params, **extra: Any
    ) -> tuple[Updates, tuple[()]]:
        return jtu.tree_map(lambda g: -self.theta * g, grads), state


def predicted() -> dict[str, float]:
    """Mean loss after one step of adaptation, of the best start of each arm."""
    h = np.array(CURVATURES)
    H, A = h**3, h**3 * (1 - ALPHA * h**3) ** 2
    loss = lambda start: float(np.mean(A * (start - 1 / h) ** 2) / 2)
    transfer, ours = (float(weights @ (1 / h) / weights.sum()) for weights in (H, A))
    return {"transfer": loss(transfer), "exact": loss(ours), "ratio": loss(ours) / loss(transfer)}


def measured(arm: str, seed: int, updates: int) -> dict[str, Any]:
    """The start that meta-training finds, and the mean loss after one step of adaptation."""
    theta = float(trained(arm, seed, updates))
    opt = LearnedRate(jnp.asarray(theta))
    ends = [float(adapted_loss(opt, h)) for h in CURVATURES]
    return {
        "theta": theta,
        "losses": ends,
        "loss": float(np.mean(ends)),
        **{"predicted": predicted()},
    }


@eqx.filter_jit
def trained(arm: str, seed: int, updates: int) -> Scalar:
    task, base = Parabola(), BPTT(EPISODES, 1, 1, stagger=False)
    estimators = {TRANSFER: base, CONTROL: Adapted(base, 0.0, order=2)}
    estimator = estimators.get(arm, Adapted(base, ALPHA, order=2))
    meta_tx = optax.adam(optax.cosine_decay_schedule(1e-2, updates))
    how = {"estimator": estimator, "objective": LAST, "meta_tx": meta_tx}
    state = start(task, LearnedRate(jnp.zeros(())), key=jr.key(seed), **how)
    arrays, static = eqx.partition(state, eqx.is_array)

    def step(arrays, _):
        after, _ = meta_step(task, eqx.combine(arrays, static), estimator, LAST, meta_tx)
        return eqx.filter(after, eqx.is_array), None

    arrays, _ = jax.lax.scan(step, arrays, length=updates)
    return eqx.combine(arrays, static).opt.theta


@eqx.filter_jit
def adapted_loss(opt: AbstractOptimizer, h: float) -> Scalar:
    """After one update by plain descent on the problem itself."""
    task, base = Parabola((h,)), BPTT(1, 1, 1, stagger=False)
    own, _ = Adapter(base, 1, ALPHA, "sgd")(task, opt, LAST, key=jr.key(0))
    x = jnp.ones(1)
    f = task.loss(jnp.asarray(h), (), jr.key(0))
    updates, _ = own.update(jax.grad(f)(x), (), x)
    return f(x + updates)
