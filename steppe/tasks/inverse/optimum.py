"""Minima of smooth + regularizer to the last digits, each with a proof: the duality gap.

For f(Ax) + r(x) every ν gives a lower bound of the minimum, D(ν) = −f*(ν) − r*(−Aᵀν) (Fenchel).
FISTA with restart runs in float64 until f + r − D ≤ tolerance · max(1, |f + r|), with ν = ∇f(Ax),
scaled into the domain of r* where that is bounded.

    f               f*(ν)                                    needs
    ½‖z − b‖²       ½‖ν‖² + ⟨ν, b⟩
    mean logistic   mean of u ln u + (1 − u) ln(1 − u)       u = y + rows · ν in [0, 1]

    r               r*(u)
    L1(w)           0 where |u| ≤ w, ∞ elsewhere
    ElasticNet      Σ max(|u| − l1, 0)² / (2 l2)
    GroupL2(w)      0 where ‖u_g‖ ≤ w, ∞ elsewhere

Boyd & Vandenberghe, "Convex Optimization", 2004, §5; for LASSO, Kim et al. 2007.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from ...core.loss import AbstractLoss, Composite, LeastSquares, Logistic
from ...core.regularizer import L1, AbstractRegularizer, ElasticNet, GroupL2

Vector = Float[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True)
class Optimum:
    """A minimum that is known to within its gap.

    - `x`: where, (n,) in float64; `value`: of smooth + regularizer there
    - `gap`: value − minimum ≤ gap, at least 0
    - `iterations`: taken
    """

    x: Vector
    value: float
    gap: float
    iterations: int


def optimum(loss: Composite, tolerance: float = 1e-13, iterations: int = 100_000) -> Optimum:
    """Minimise smooth + regularizer in float64 until the duality gap is small.

    - `loss`: of `LeastSquares` or `Logistic` and `L1`, `ElasticNet` or `GroupL2`
    - `tolerance`: of the gap, relative to the value (absolute where that is below 1)
    - `iterations`: the most; the `Optimum` says what gap was reached

    Raises TypeError for other parts, ValueError for numbers that are not finite.
    """
    f, r = smooth_part(loss.smooth), regularizer_part(loss.regularizer)
    if not (np.isfinite(f.A).all() and np.isfinite(f.b).all()):
        raise ValueError("optimum: A and b must be finite; clean the data.")
    step = 1 / max(float(np.linalg.norm(f.A, 2)) ** 2 * f.curvature, np.finfo(float).tiny)
    x = y = np.zeros(f.A.shape[1])
    best = Optimum(x, f.value(f.A @ x) + r.value(x), np.inf, 0)
    t = 1.0
    for k in range(iterations + 1):
        if k % 10 == 0:
            best = min(best, certified(f, r, x, k), key=lambda found: found.gap)
            if best.gap <= tolerance * max(1.0, abs(best.value)):
                break
        after = r.prox(y - step * f.A.T @ f.slope(f.A @ y), step)
        if (y - after) @ (after - x) > 0:
            t, y = 1.0, after
        else:
            ahead = (1 + np.sqrt(1 + 4 * t * t)) / 2
            y = after + (t - 1) / ahead * (after - x)
            t = ahead
        x = after
    return best


def certified(f: "Smooth", r: "Regularizer", x: Vector, iterations: int) -> Optimum:
    """The value at x and its gap to the dual value of ν = ∇f(Ax)."""
    z = f.A @ x
    value, nu = f.value(z) + r.value(x), f.slope(z)
    u = -f.A.T @ nu
    scale = min(1.0, r.scale(u))
    dual = -f.conjugate(scale * nu) - r.conjugate(scale * u)
    return Optimum(x, float(value), max(float(value - dual), 0.0), iterations)


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


Smooth = Squares | Odds
Regularizer = Sizes


def smooth_part(smooth: AbstractLoss) -> Smooth:
    """The smooth part in float64."""
    if isinstance(smooth, LeastSquares):
        return Squares(np.asarray(smooth.A, np.float64), np.asarray(smooth.b, np.float64))
    if isinstance(smooth, Logistic):
        return Odds(np.asarray(smooth.A, np.float64), np.asarray(smooth.y, np.float64))
    raise TypeError(
        f"optimum: the smooth part must be LeastSquares or Logistic, got {type(smooth).__name__}."
    )


def regularizer_part(regularizer: AbstractRegularizer) -> Regularizer:
    """The regularizer in float64."""
    if isinstance(regularizer, L1):
        return Sizes(float(regularizer.weight))
    if isinstance(regularizer, ElasticNet):
        return Sizes(float(regularizer.l1), float(regularizer.l2))
    if isinstance(regularizer, GroupL2):
        return Sizes(float(regularizer.weight), group=regularizer.size)
    raise TypeError(
        "optimum: the regularizer must be L1, ElasticNet or GroupL2, got "
        f"{type(regularizer).__name__}."
    )
