"""First-order methods for games min over x, max over y of f(x, y), with F = (∇ₓf, −∇ᵧf).

    GDA               z ← z − s F(z)
      alternating     x⁺ = x − s ∇ₓf(x, y),   y⁺ = y + s ∇ᵧf(x⁺, y)
    OptimisticGDA     z ← z − 2s F(z) + s F(z₋),   z₋ the point before
    Extragradient     z ← z − s F(z − s F(z))
    Anchored          z ← z − s F(z)/(k + 1)^p + (1 − p) γ (z₀ − z)/(k + 1)
      extra           w = z + (z₀ − z)/(k + 2) − s F(z),   z ← z + (z₀ − z)/(k + 2) − s F(w)

s is `lr`, and k = 0, 1, … the step. All ask the loss for a `Saddle` and take params
{"min": x, "max": y}, each any tree.

Where F is monotone, that is f convex in x and concave in y, and Lipschitz with the constant R:
extragradient and optimistic GDA come to a solution for s < 1/R and s < 1/(2R); simultaneous GDA
need not for any s, and alternating GDA goes round in circles on a bilinear f. `Anchored` with p in
(½, 1) makes ‖F‖² fall like k^(2p − 2), and with `extra` and s ≤ 1/(8R) it has

    ‖F(z_k)‖² ≤ 260 R² ‖z₀ − z*‖² / (k + 1)²     (s = 1/(8R))

Korpelevich, "The extragradient method", 1976; Daskalakis, Ilyas, Syrgkanis & Zeng, "Training GANs
with optimism", ICLR 2018; Ryu, Yuan & Yin, "ODE analysis of stochastic gradient methods with
optimism and anchoring for minimax problems", 2019 (there s = 1 − p); Yoon & Ryu, "Accelerated
algorithms for smooth convex-concave minimax problems with O(1/k²) rate on squared gradient norm",
ICML 2021 (EAG-C).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int

from ...core import tree
from ...core.arguments import real
from ...core.loss import Saddle, expect
from ...core.measure import check_positive
from ...core.optimizer import AbstractOptimizer
from ...core.task import Problem
from ...core.types import Key, Params, Scalar, Updates
from .proximal import NO_PROBLEM, positive

RATE = "It multiplies the gradients of both players."


class GDA(AbstractOptimizer):
    """Gradient descent and ascent, at once or one player after the other.

    - `lr`: s, positive; it is θ
    - `alternating`: the second player answers the first one's new point. Takes a second gradient
    """

    lr: Float[Array, ""]
    alternating: bool = eqx.field(static=True)

    def __init__(self, lr: float | Scalar, alternating: bool = False):
        self.lr, self.alternating = positive("GDA", "lr", lr, RATE), alternating

    @property
    def extra_gradients(self) -> int:
        return int(self.alternating)

    def init(self, params: Params, *, key: Key | None = None) -> tuple[()]:
        tree.real(params, "GDA")
        return ()

    def update(
        self,
        grads: Updates,
        state: tuple[()],
        params: Params,
        *,
        problem: Problem | None = None,
        **extra,
    ) -> tuple[Updates, tuple[()]]:
        loss = game("GDA", problem)
        step = tree.rescale(-self.lr, operator(grads, params))
        if self.alternating:
            after = {"min": tree.apply_updates(params["min"], step["min"]), "max": params["max"]}
            answer = tree.rescale(self.lr, jax.grad(loss.f)(after)["max"])
            step = {"min": step["min"], "max": answer}
        return step, ()


class OptimisticState(eqx.Module):
    before: Updates  # F at the point before; F at the start, at the start
    steps: Int[Array, ""]


class OptimisticGDA(AbstractOptimizer):
    """Descent and ascent along an extrapolation of F; the first step is that of GDA.

    - `lr`: s, positive; it is θ
    """

    lr: Float[Array, ""]

    def __init__(self, lr: float | Scalar):
        self.lr = positive("OptimisticGDA", "lr", lr, RATE)

    def init(self, params: Params, *, key: Key | None = None) -> OptimisticState:
        params = tree.real(params, "OptimisticGDA")
        return OptimisticState(jtu.tree_map(jnp.zeros_like, params), jnp.zeros((), jnp.int32))

    def update(
        self,
        grads: Updates,
        state: OptimisticState,
        params: Params,
        *,
        problem: Problem | None = None,
        **extra,
    ) -> tuple[Updates, OptimisticState]:
        game("OptimisticGDA", problem)
        F = operator(grads, params)
        before = tree.select(state.steps > 0, state.before, F)
        ahead = jtu.tree_map(lambda now, then: 2 * now - then, F, before)
        return tree.rescale(-self.lr, ahead), OptimisticState(F, state.steps + 1)


class Extragradient(AbstractOptimizer):
    """A step along F as it is one step ahead. Takes two gradients.

    - `lr`: s, positive; it is θ
    """

    lr: Float[Array, ""]
    extra_gradients = 1

    def __init__(self, lr: float | Scalar):
        self.lr = positive("Extragradient", "lr", lr, RATE)

    def init(self, params: Params, *, key: Key | None = None) -> tuple[()]:
        tree.real(params, "Extragradient")
        return ()

    def update(
        self,
        grads: Updates,
        state: tuple[()],
        params: Params,
        *,
        problem: Problem | None = None,
        **extra,
    ) -> tuple[Updates, tuple[()]]:
        loss = game("Extragradient", problem)
        ahead = tree.apply_updates(params, tree.rescale(-self.lr, operator(grads, params)))
        return tree.rescale(-self.lr, field(loss, ahead)), ()


class AnchoredState(eqx.Module):
    start: Params  # z₀
    steps: Int[Array, ""]  # k


class Anchored(AbstractOptimizer):
    """Descent and ascent that is drawn back to its start, less and less.

    - `lr`: s, positive; it is θ
    - `extra`: the method of two gradients a step, with the bound above
    - `power`, `pull`: p in (½, 1), and γ, positive; of the method of one gradient
    """

    lr: Float[Array, ""]
    extra: bool = eqx.field(static=True)
    power: float = eqx.field(static=True)
    pull: float = eqx.field(static=True)

    def __init__(
        self, lr: float | Scalar, extra: bool = False, power: float = 0.6, pull: float = 1.0
    ):
        self.lr, self.extra = positive("Anchored", "lr", lr, RATE), extra
        self.power, self.pull = real("Anchored: power", power), real("Anchored: pull", pull)

    def __check_init__(self):
        if not 0.5 < self.power < 1:
            raise ValueError(f"Anchored: power must lie between 0.5 and 1, got {self.power}.")
        check_positive("Anchored", "pull", self.pull, "It draws the players to their start.")

    @property
    def extra_gradients(self) -> int:
        return int(self.extra)

    def init(self, params: Params, *, key: Key | None = None) -> AnchoredState:
        return AnchoredState(tree.real(params, "Anchored"), jnp.zeros((), jnp.int32))

    def update(
        self,
        grads: Updates,
        state: AnchoredState,
        params: Params,
        *,
        problem: Problem | None = None,
        **extra,
    ) -> tuple[Updates, AnchoredState]:
        loss, F = game("Anchored", problem), operator(grads, params)
        back = jtu.tree_map(jnp.subtract, state.start, params)
        k = state.steps.astype(self.lr.dtype)
        if self.extra:
            drawn = tree.rescale(1 / (k + 2), back)
            ahead = tree.add(drawn, tree.rescale(-self.lr, F))
            F, along = field(loss, tree.apply_updates(params, ahead)), self.lr
        else:
            drawn = tree.rescale((1 - self.power) * self.pull / (k + 1), back)
            along = self.lr / (k + 1) ** self.power
        step = tree.add(drawn, tree.rescale(-along, F))
        return step, AnchoredState(state.start, state.steps + 1)


def game(asker: str, problem: Problem | None) -> Saddle:
    """The loss of a problem as a game, or a sentence."""
    if problem is None:
        raise ValueError(NO_PROBLEM.format(asker))
    return expect(problem.loss(), Saddle, asker)


def operator(grads: Updates, params: Params) -> Updates:
    """F from the gradients of f for both players, in the dtypes of the parameters."""
    grads = tree.cast_like(grads, params)
    return {"min": grads["min"], "max": jtu.tree_map(jnp.negative, grads["max"])}


def field(loss: Saddle, z: Params) -> Updates:
    """F(z). One gradient of f."""
    return operator(jax.grad(loss.f)(z), z)
