"""Smooth parts and regularizers in NumPy, with their convex conjugates.

For f(Ax) + r(x) every ν gives a lower bound of the minimum, D(ν) = −f*(ν) − r*(−Aᵀν) (Fenchel).

    f               f*(ν)                                    needs
    ½‖z − b‖²       ½‖ν‖² + ⟨ν, b⟩
    mean logistic   mean of u ln u + (1 − u) ln(1 − u)       u = y + rows · ν in [0, 1]

    r               r*(u)
    L1(w)           0 where |u| ≤ w, ∞ elsewhere
    ElasticNet      Σ max(|u| − l1, 0)² / (2 l2)
    GroupL2(w)      0 where ‖u_g‖ ≤ w, ∞ elsewhere
    Box             Σ max(low u, high u)

Boyd & Vandenberghe, "Convex Optimization", 2004, §5; for LASSO, Kim et al. 2007.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from ...core.loss import AbstractLoss, LeastSquares, Logistic
from ...core.regularizer import L1, AbstractRegularizer, Box, ElasticNet, GroupL2

Vector = Float[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True)
class Squares:
    """½‖z − b‖²."""

    A: np.ndarray
    b: np.ndarray
    curvature: float = 1.0

    def value(self, z: np.ndarray) -> float:
        return float(np.sum((z - self.b) ** 2) / 2)

    def slope(self, z: np.ndarray) -> np.ndarray:
        return z - self.b

    def conjugate(self, nu: np.ndarray) -> float:
        return float(nu @ nu / 2 + nu @ self.b)


@dataclasses.dataclass(frozen=True)
class Odds:
    """mean_i [ log(1 + e^{zᵢ}) − bᵢ zᵢ ]."""

    A: np.ndarray
    b: np.ndarray

    @property
    def curvature(self) -> float:
        return 1 / (4 * len(self.b))

    def value(self, z: np.ndarray) -> float:
        return float(np.mean(np.logaddexp(z, 0) - self.b * z))

    def slope(self, z: np.ndarray) -> np.ndarray:
        return (np.exp(-np.logaddexp(0, -z)) - self.b) / len(z)

    def conjugate(self, nu: np.ndarray) -> float:
        u = np.clip(self.b + len(nu) * nu, 0, 1)
        entropy = lambda p: np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0)
        return float(np.mean(entropy(u) + entropy(1 - u)))


@dataclasses.dataclass(frozen=True)
class Sizes:
    """w ‖x‖₁ + l2 ‖x‖²/2, or w Σ ‖x_g‖₂ over groups of neighbours."""

    weight: float
    l2: float = 0.0
    group: int = 1

    def lengths(self, x: np.ndarray) -> np.ndarray:
        return np.linalg.norm(x.reshape(-1, self.group), axis=1)

    def value(self, x: np.ndarray) -> float:
        return float(self.weight * self.lengths(x).sum() + self.l2 * x @ x / 2)

    def prox(self, z: np.ndarray, step: float) -> np.ndarray:
        size = self.lengths(z)
        kept = np.maximum(size - step * self.weight, 0) / np.where(size > 0, size, 1)
        return np.repeat(kept, self.group) * z / (1 + step * self.l2)

    def scale(self, u: np.ndarray) -> float:
        """The largest factor with which r*(u) is finite."""
        if self.l2 > 0:
            return 1.0
        largest = self.lengths(u).max()
        return self.weight / largest if largest > 0 else 1.0

    def conjugate(self, u: np.ndarray) -> float:
        if self.l2 == 0:
            return 0.0  # of a u that was scaled into the domain
        return float(np.sum(np.maximum(self.lengths(u) - self.weight, 0) ** 2) / (2 * self.l2))


@dataclasses.dataclass(frozen=True)
class Range:
    """0 where low ≤ x ≤ high, ∞ elsewhere."""

    low: float
    high: float

    def value(self, x: np.ndarray) -> float:
        return 0.0 if np.all((x >= self.low) & (x <= self.high)) else np.inf

    def prox(self, z: np.ndarray, step: float) -> np.ndarray:
        return np.clip(z, self.low, self.high)

    def scale(self, u: np.ndarray) -> float:
        return 1.0

    def conjugate(self, u: np.ndarray) -> float:
        return float(np.sum(np.maximum(self.low * u, self.high * u)))


Smooth = Squares | Odds
Regularizer = Sizes | Range


def smooth_part(smooth: AbstractLoss) -> Smooth | None:
    """The smooth part in float64; None if its conjugate is not known."""
    wide = lambda x: np.asarray(x, np.float64)
    if isinstance(smooth, LeastSquares):
        return Squares(wide(smooth.A), wide(smooth.b))
    return Odds(wide(smooth.A), wide(smooth.y)) if isinstance(smooth, Logistic) else None


def regularizer_part(regularizer: AbstractRegularizer) -> Regularizer | None:
    """The regularizer in float64; None where its conjugate is not known or bounds nothing."""
    if isinstance(regularizer, ElasticNet):
        part = Sizes(float(regularizer.l1), float(regularizer.l2))
    elif isinstance(regularizer, L1 | GroupL2):
        group = regularizer.size if isinstance(regularizer, GroupL2) else 1
        part = Sizes(float(regularizer.weight), group=group)
    elif isinstance(regularizer, Box):
        low, high = float(regularizer.low), float(regularizer.high)
        return Range(low, high) if np.isfinite([low, high]).all() else None
    else:
        return None
    return part if part.weight > 0 or part.l2 > 0 else None
