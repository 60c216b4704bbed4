"""SelfAdapting: a trained optimizer whose θ goes on moving while it runs. Sees gradients alone.

    self_adapting(opt)    the same under a guard, which sees the loss: never above the curve of opt

It moves along a few directions: a log-scale φ₀ of the whole update, and, on request, a log-scale
φ_l of each tensor l of θ,

    (ũ_t, s_{t+1}) = opt_{θ e^φ}(g_t, s_t),    u_t = e^{φ₀} ũ_t,    x_{t+1} = x_t + u_t

The tangents ẋ = ∂x/∂φ and ṡ = ∂s/∂φ are carried forward beside the run, so that memory does not
grow with its length, and the next gradient tells where the loss would have been lower:

    ẋ_{t+1} = γ ẋ_t + ∂u/∂φ + ∂u/∂s γ ṡ_t,     ṡ_{t+1} = ∂s'/∂φ + ∂s'/∂s γ ṡ_t
    φ ← φ − rate · ⟨g, ẋ⟩ / ‖g‖ ‖ẋ‖             for each direction

The cosine in place of ⟨g, ẋ⟩ = dF/dφ makes a step the same at any scale of the loss and of x.
A gradient that is not finite is counted, and neither φ nor the state of the rule learns of it.
γ, the memory, forgets: with γ = 0 only the last update is blamed for the loss, with γ = 1 all are,
from the start on. Gradients and parameters handed to the rule are taken
as constants, as in meta-training of first order. With `second_order` they are not: ġ = ∇²F ẋ is
handed on, and at γ = 1 ⟨g, ẋ⟩ is the derivative of the loss by φ.

Forward mode and γ: Donini, Franceschi, Pontil, Majumder & Frasconi, "MARTHE: scheduling the
learning rate via online hypergradients", IJCAI 2020. γ = 0, φ₀ alone: Baydin et al., "Online
learning rate adaptation with hypergradient descent", ICLR 2018. Departure: they tune the learning
rate of a rule by hand; the directions here are those of a learned rule.
"""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int, PyTree

from ..core import tree
from ..core.arguments import real
from ..core.measure import check_not_negative
from ..core.optimizer import AbstractOptimizer, join_meta, split_meta
from ..core.task import Problem
from ..core.types import Key, OptState, Params, Scalar, Updates
from .guarded import Guarded

FARTHEST = 16.0  # |log-scale| of updates: a factor of 10⁷
BENT = 1.0  # |log-scale| of a tensor of θ: e times its trained size, or a part of it

Directions = Float[Array, " directions"]


class SelfAdaptingState(eqx.Module):
    """The state of `base`, how far θ has moved, and the tangents, a leading axis of directions."""

    base: OptState
    log_scales: Directions  # φ: of the updates, and of the tensors of θ
    x_dot: PyTree[Float[Array, "directions ..."]]  # ẋ, like the parameters
    s_dot: PyTree[Float[Array, "lanes ..."]]  # ṡ, like the floats of the state of base
    nonfinite: Int[Array, ""]  # gradients that were not, and moved nothing


class SelfAdapting(AbstractOptimizer):
    """`base`, adapting while it runs: needs no problems to adapt to, and no loss.

    - `base`: an optimizer; its tensors of two numbers or more move, single numbers stay
    - `rate`: the largest change of a log-scale in a step; at 0 the steps are those of `base`
    - `memory`: γ in [0, 1], share of a tangent that is kept from step to step
    - `directions`: "updates", the size of updates alone, from which most of the gain comes, or
      "tensors", that of each tensor of θ too
    - `second_order`: exact tangents, by products with the Hessian. Needs the `problem`, and costs
      about two gradients a direction and step

    State: that of base, and floats for each direction: one a parameter, and for tensors (with
    `second_order` for all) as many as the state of base has.
    """

    base: AbstractOptimizer
    rate: float = eqx.field(static=True)
    memory: float = eqx.field(static=True)
    directions: Literal["updates", "tensors"] = eqx.field(static=True)
    second_order: bool = eqx.field(static=True)

    def __init__(
        self,
        base: AbstractOptimizer,
        rate: float = 0.03,
        memory: float = 0.9,
        directions: Literal["updates", "tensors"] = "updates",
        second_order: bool = False,
    ):
        self.base = base
        self.rate, self.memory = (
            real("SelfAdapting: rate", rate),
            real("SelfAdapting: memory", memory),
        )
        self.directions, self.second_order = directions, second_order

    def __check_init__(self):
        if not isinstance(self.base, AbstractOptimizer) or isinstance(self.base, SelfAdapting):
            raise ValueError(
                f"SelfAdapting: base is a {type(self.base).__name__}, expected a steppe optimizer "
                'that does not adapt itself yet, such as steppe.load("rnnprop-v1").'
            )
        check_not_negative("SelfAdapting", "rate", self.rate, "At 0 nothing adapts.")
        if not 0 <= self.memory <= 1:
            raise ValueError(f"SelfAdapting: memory must lie in 0 … 1, got {self.memory}.")
        if self.directions not in ("updates", "tensors"):
            raise ValueError(
                f"SelfAdapting: directions is {self.directions!r}, expected 'updates' or 'tensors'."
            )
        if not isinstance(self.second_order, bool):
            raise ValueError(
                f"SelfAdapting: second_order must be True or False, got {self.second_order!r}."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The directions: "updates", then the path in `base` of each tensor that moves."""
        if self.directions == "updates":
            return ("updates",)
        theta, _ = split_meta(self.base)
        leaves = jtu.tree_leaves_with_path(theta)
        return "updates", *(jtu.keystr(path) for path, leaf in leaves if leaf.size > 1)

    @property
    def lanes(self) -> slice:
        """The directions that reach the state of base. The size of updates does not by itself."""
        return slice(None) if self.second_order else slice(1, None)

    def scales(self, state: SelfAdaptingState) -> dict[str, Scalar]:
        """The factor of each direction by now, by name."""
        return dict(zip(self.names, jnp.exp(state.log_scales), strict=True))

    def counts(self, state: SelfAdaptingState) -> dict[str, Int[Array, ""]]:
        """The gradients that were not finite so far."""
        return {"nonfinite gradients": state.nonfinite}

    def init(self, params: Params, *, key: Key | None = None) -> SelfAdaptingState:
        params = tree.real(params, "SelfAdapting")
        base = self.base.init(params, key=key)
        phi = jnp.zeros((len(self.names),), tree.working_dtype(params))
        floats, _ = eqx.partition(base, eqx.is_inexact_array)
        still = lambda lanes: lambda x: jnp.zeros((lanes, *x.shape), x.dtype)
        s_dot = jtu.tree_map(still(len(phi[self.lanes])), floats)
        x_dot, zero = jtu.tree_map(still(len(phi)), params), jnp.zeros((), jnp.int32)
        return SelfAdaptingState(base, phi, x_dot, s_dot, zero)

    def update(
        self,
        grads: Updates,
        state: SelfAdaptingState,
        params: Params,
        *,
        problem: Problem | None = None,
        **extra,
    ) -> tuple[Updates, SelfAdaptingState]:
        phi = self.moved(state, grads)
        floats, others = eqx.partition(state.base, eqx.is_inexact_array)

        def move(phi: Directions, floats: PyTree, *given: PyTree) -> tuple[PyTree, PyTree]:
            g, x = given or (grads, params)
            base = eqx.combine(floats, others)
            u, after = self.at(phi).update(g, base, x, problem=problem, **extra)
            new, rest = eqx.partition(tree.cast_like(after, state.base), eqx.is_inexact_array)
            return (tree.rescale(jnp.exp(phi[0]), u), new), rest

        faded = tree.rescale(self.memory, state.x_dot)
        primals = phi, floats
        tangents = (
            jnp.eye(len(phi), dtype=phi.dtype)[self.lanes],
            tree.rescale(self.memory, state.s_dot),
        )
        if self.second_order:
            primals = *primals, grads, params
            tangents = *tangents, _curved(problem, params, grads, faded), faded

        def along(*tangents: PyTree) -> tuple[PyTree, PyTree, PyTree]:
            return jax.jvp(move, primals, tangents, has_aux=True)

        if len(tangents[0]):
            run = jax.vmap(along, out_axes=(None, 0, None))
            (u, new), (u_dot, s_dot), rest = run(*tangents)
        else:
            (u, new), rest = move(*primals)
            u_dot, s_dot = jtu.tree_map(lambda x: x[None][:0], u), state.s_dot
        if not self.second_order:  # ∂u/∂φ₀ is u
            u_dot = jtu.tree_map(lambda x, y: jnp.concatenate([x[None], y]), u, u_dot)
        x_dot = tree.add(faded, u_dot)
        still = jtu.tree_map(jnp.zeros_like, (x_dot, s_dot))
        x_dot, s_dot = tree.select(tree.finite((x_dot, s_dot)), (x_dot, s_dot), still)
        known = tree.finite(grads)
        base = tree.select(known, eqx.combine(new, rest), state.base)
        bad = state.nonfinite + (~known).astype(jnp.int32)
        return u, SelfAdaptingState(base, phi, x_dot, s_dot, bad)

    def at(self, log_scales: Directions) -> AbstractOptimizer:
        """`base` with its tensors scaled."""
        if self.directions == "updates":
            return self.base
        theta, rest = split_meta(self.base)
        leaves, treedef = jtu.tree_flatten(theta)
        several = [i for i, leaf in enumerate(leaves) if leaf.size > 1]
        for k, i in enumerate(several, start=1):
            leaves[i] = tree.rescale(jnp.exp(log_scales[k]), leaves[i])
        return join_meta(jtu.tree_unflatten(treedef, leaves), rest)

    def slopes(self, state: SelfAdaptingState, grads: Updates) -> Directions:
        """⟨g, ẋ⟩ for each direction: with `second_order` and memory 1, dF/dφ."""
        return _each(lambda x_dot: tree.dot(grads, x_dot), state)

    def moved(self, state: SelfAdaptingState, grads: Updates) -> Directions:
        """φ after the gradient at the point to which the last update has led."""
        phi = state.log_scales
        sizes = tree.norm(grads).astype(phi.dtype) * _each(tree.norm, state)
        cosines = self.slopes(state, grads) / jnp.where(sizes > 0, sizes, 1)
        known = (sizes > 0) & jnp.isfinite(cosines)
        far = jnp.full_like(phi, BENT).at[0].set(FARTHEST)
        rate = min(self.rate, 2 * FARTHEST)  # from bound to bound
        return jnp.clip(phi - rate * jnp.where(known, cosines, 0), -far, far)


def self_adapting(opt: AbstractOptimizer, rate: float = 0.03) -> Guarded:
    """`opt`, adapting while it runs, and never above its own curve. Needs the `problem`.

    - `rate`: the largest change of a log-scale in a step

    A second run of `opt`, as it is, stands beside it; of the two next points the one of lower loss
    is taken. Cost: a gradient a step and two values of the loss. Where gradients are all that is
    seen, as in optax, there is `SelfAdapting(opt)`. Train or adapt `opt` first: here it stands
    twice, and what changes both changes what is never exceeded.
    """
    # What the guard rejects is a step; φ and the tangents must outlast it, or nothing ever adapts.
    return Guarded(SelfAdapting(opt, rate), opt, restart=False)


def _each(f: Callable[[PyTree], Scalar], state: SelfAdaptingState) -> Directions:
    """f of the tangent of x, direction by direction."""
    phi = state.log_scales  # mapped over, too: there may be no parameters
    return jax.vmap(lambda _, x_dot: f(x_dot).astype(phi.dtype))(phi, state.x_dot)


def _curved(problem: Problem | None, params: Params, grads: Updates, x_dot: PyTree) -> PyTree:
    """ġ = ∇²F ẋ, direction by direction."""
    if problem is None:
        raise ValueError(
            "SelfAdapting: second_order takes products with the Hessian of the problem, but update "
            "was given none. Run it in `unroll`, give update(…, problem=…), or leave second_order "
            "out, which needs gradients alone."
        )
    _, product = jax.linearize(problem.grad, params)
    return jax.vmap(lambda v: tree.cast_like(product(v), grads))(x_dot)
