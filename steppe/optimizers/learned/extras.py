"""Parts that a coordinatewise network may have: features of time, and a learned weight decay.

    φ(t) = [tanh(t/τ₁ − 1), …, tanh(t/τ_k − 1),  min(t/T, 1)]      t steps taken, alike for all rows
    θ ← θ + u − λ θ,     λ = bound · σ(w · h + b)                  h what the network has seen

The tanh are those of Metz, Maheswaranathan, Freeman, Poole & Sohl-Dickstein, "Tasks, stability,
architecture, and compute", 2020 (arXiv 2009.11243): by them a rule knows an early step from a late
one without a horizon; t/T is for a rule that is told how long a training is to be. The decay is
decoupled from the gradient (Loshchilov & Hutter, ICLR 2019), and each coordinate has its own.
"""

import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, DTypeLike, Float, Int

from ...core.coordinatewise import Inputs
from ...core.types import Key
from ...store.describe import describe, rebuild
from ..settings import Horizon
from .coordinates import Linear, tanh


def with_time(
    x: Float[Array, "inputs rows"],
    count: Int[Array, ""],
    time_scales: tuple[float, ...],
    horizon: int | None,
) -> Float[Array, "features rows"]:
    """The inputs of a network with the features of time below them; without any, as they are.

    - `count`: number of this step, from 1
    - `time_scales`: τ, in steps
    - `horizon`: T, in steps; None: not told
    """
    if not time_scales and horizon is None:
        return x
    phi = time_features(count, time_scales, horizon, x.dtype)
    return jnp.concatenate([x, jnp.broadcast_to(phi[:, None], (len(phi), x.shape[-1]))])


def time_features(
    count: Int[Array, ""], time_scales: tuple[float, ...], horizon: int | None, dtype: DTypeLike
) -> Float[Array, " features"]:
    """φ of step number `count`, from 1."""
    t = (count - 1).astype(jnp.promote_types(dtype, jnp.float32))
    found = jnp.tanh(t / jnp.asarray(time_scales, t.dtype) - 1)
    if horizon is not None:
        found = jnp.append(found, jnp.minimum(t / jnp.asarray(horizon, t.dtype), 1))
    return found.astype(dtype)


def decay_head(inputs: int, bound: float, *, zero: bool = False, key: Key) -> Linear | None:
    """The layer that decides the decay; None without one.

    - `bound`: largest share of a parameter that a step takes away; 0: no decay
    - `zero`: all weights 0, so that half the bound is taken everywhere
    """
    if not bound:
        return None
    head = Linear(inputs, 1, key=key)
    return jtu.tree_map(jnp.zeros_like, head) if zero else head


def decay(
    head: Linear, y: Float[Array, "hidden rows"], bound: float, params: Float[Array, " rows"]
) -> Float[Array, " rows"]:
    """λ θ of every row, from the output y of the network."""
    return 0.5 * bound * (1 + tanh(0.5 * head(y)[0])) * params


def gradients_and_params(inputs: Inputs) -> tuple[Array, Array | None]:
    """Gradients, and the parameters where the rule asks for them."""
    return (inputs["grads"], inputs["params"]) if isinstance(inputs, dict) else (inputs, None)


def retold(opt, horizon: Horizon):
    """The optimizer with another horizon T; ValueError for one that was not told any.

    Weights stay. A network that has learned what to do at t/T does it over another length.
    """
    kind = type(opt)
    if getattr(opt, "horizon", None) is None or horizon is None:
        raise ValueError(
            f"retold: {kind.__name__} was trained without a horizon, which only its weights could "
            "make sense of; train it with horizon=…."
        )
    about = describe(opt)
    about["hyper"]["horizon"] = horizon
    structure = jtu.tree_structure(rebuild(about, {kind.__name__: kind}))
    return jtu.tree_unflatten(structure, jtu.tree_leaves(opt))
