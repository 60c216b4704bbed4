"""Random matrices whose columns have length 1, as sparse recovery takes them.

Chen, Liu, Wang & Yin, "Theoretical linear convergence of unfolded ISTA", NeurIPS 2018, and the code
of Open-L2O: Gaussian entries; singular values spread evenly in their logarithms, if asked; columns
divided by their lengths last, so that a condition number holds only nearly.
"""

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ...core.messages import at_least, reals
from ...core.types import Key


def dictionary(
    key: Key, rows: int, n: int, *, condition: float | None = None, correlation: float = 0.0
) -> Float[Array, "rows n"]:
    """Draw a dictionary.

    - `rows`, `n`: its shape, at least 1
    - `condition`: ratio of the largest to the smallest singular value before columns are divided
      by their lengths, at least 1; None: as they come
    - `correlation`: of neighbouring columns (AR(1)), in (−1, 1)
    """
    check_dictionary("dictionary", rows, n, condition, correlation)
    A = jr.normal(key, (rows, n))
    if correlation:
        # AR(1): a_j = ρ a_{j−1} + √(1 − ρ²) g_j, as a product with its Cholesky factor.
        lag = jnp.arange(n)[None] - jnp.arange(n)[:, None]
        scale = jnp.where(jnp.arange(n) == 0, 1.0, jnp.sqrt(1 - correlation**2))
        A = A @ jnp.where(lag >= 0, scale[:, None] * correlation ** jnp.abs(lag), 0.0)
    if condition is not None:
        u, _, v = jnp.linalg.svd(A, full_matrices=False)
        A = (u * jnp.logspace(0, -jnp.log10(condition), min(rows, n))[None]) @ v
    return A / jnp.linalg.norm(A, axis=0, keepdims=True)


def check_dictionary(
    owner: str, rows: int, n: int, condition: float | None, correlation: float
) -> None:
    """Refuse arguments of `dictionary` that are out of range."""
    at_least(1, owner, rows=rows, n=n)
    reals(owner, condition=condition, correlation=correlation)
    if condition is not None and not condition >= 1:
        raise ValueError(f"{owner}: condition must be at least 1, got {condition}.")
    if not -1 < correlation < 1:
        raise ValueError(f"{owner}: correlation must be in (-1, 1), got {correlation}.")
