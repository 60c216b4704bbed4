"""Approximate message passing for a sparse x from few measurements b of it by A.

    v⁺ = b − A x + (‖x‖₀ / rows) v
    x⁺ = soft(x + Aᵀ v⁺, threshold · ‖v⁺‖ / √rows)

Donoho, Maleki & Montanari, "Message-passing algorithms for compressed sensing", PNAS 2009, with the
threshold 1.1402 of the code of Borgerding, Schniter & Rangan 2017. The term in v keeps the error of
x + Aᵀv⁺ like white noise where A is large and its entries independent; on a matrix with another
spectrum the rule diverges, and FISTA is the one to take.

It asks for ½‖Ax − b‖², alone or under a regularizer, of which it makes no use: the threshold
follows the noise that is left. Its theory asks for columns of length 1; the rule works on A divided
by the lengths of its columns, so that other units change nothing.

v has as many entries as there are measurements, which `init` does not see. So the state holds u and
s of v = s b − A u instead, which follow s⁺ = 1 + c s and u⁺ = x + c u with c = ‖x‖₀ / rows.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...core import tree
from ...core.optimizer import AbstractOptimizer
from ...core.regularizer import soft
from ...core.task import Problem
from ...core.types import Key, Params, Scalar, Updates
from .proximal import least_squares, positive

THRESHOLD = 1.1402  # of the noise that is left, Borgerding et al. 2017


class AMPState(eqx.Module):
    u: Float[Array, " n"]
    s: Scalar


class AMP(AbstractOptimizer):
    """Approximate message passing on ½‖Ax − b‖².

    - `threshold`: in standard deviations of the noise that is left, positive; it is θ
    """

    threshold: Float[Array, ""]

    def __init__(self, threshold: float | Scalar = THRESHOLD):
        remedy = "It is in units of the noise that is left."
        self.threshold = positive("AMP", "threshold", threshold, remedy)

    def init(self, params: Params, *, key: Key | None = None) -> AMPState:
        params = tree.real(params, "AMP")
        dtype = tree.working_dtype(params)
        return AMPState(jnp.zeros(tree.size(params), dtype), jnp.zeros((), dtype))

    def update(
        self,
        grads: Updates,
        state: AMPState,
        params: Params,
        *,
        problem: Problem | None = None,
        **extra,
    ) -> tuple[Updates, AMPState]:
        squares = least_squares("AMP", problem)
        dtype = tree.working_dtype(params)
        A, b = squares.A.astype(dtype), squares.b.astype(dtype)
        length = jnp.linalg.norm(A, axis=0)
        length = jnp.where(length > 0, length, 1)
        before, unravel = tree.ravel(params, dtype)
        x = before * length
        c = jnp.sum(x != 0, dtype=dtype) / len(b)
        s, u = 1 + c * state.s, x + c * state.u
        v = s * b - A @ (u / length)
        noise = tree.norm(v) / len(b) ** 0.5
        after = soft(x + (A.T @ v) / length, self.threshold.astype(dtype) * noise)
        # What becomes 0 becomes exactly 0: ‖x‖₀ counts it.
        return unravel(after / length - before), AMPState(u, s)
