"""E4: what local entropy says of the Hessian, B1 to B5 of docs/theory.md."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ...core.types import Key
from ...flatness.entropy import free_energy, variational
from .oracle import Quadratic, draw, generator, gibbs
from .row import Row, at_most, equal

TITLE = "Local entropy and the Hessian bound each other"
GAMMA, TAU = 2.5, 0.4


def rows(key: Key) -> list[Row]:
    key_draw, key_bound = jr.split(key)
    rng = generator(key_draw)
    return [
        *_excess_of_quadratics(rng),
        _laplace_with_remainder(),
        _floor(),
        *_smoothing(),
        *_any_law(rng),
        _best_window(rng, key_bound),
    ]


def _excess_of_quadratics(rng: np.random.Generator) -> list[Row]:
    """B1, at the minima of quadratics in 2 to 5 dimensions; Δ = F − f."""
    seen = []
    for n in (2, 3, 4, 5):
        f, _ = draw(rng, n)
        F = free_energy.quadratic(
            jnp.asarray(f.low), jnp.zeros(n), jnp.asarray(f.H), gamma=GAMMA, temperature=TAU
        )
        lam = np.linalg.eigvalsh(f.H)
        seen.append((float(F) - f.low, lam[0], lam[-1], lam.sum(), n))
    delta, low, top, trace, dim = np.array(seen).T
    volume = lambda lam: TAU * dim / 2 * np.log1p(lam / GAMMA)
    return [
        at_most("E4.1", "B1  λ_max ≤ γ(e^{2Δ/τ} − 1)", top, GAMMA * np.expm1(2 * delta / TAU)),
        at_most("E4.2", "B1  τ tr H / 2(γ + λ_max) ≤ Δ", TAU / 2 * trace / (GAMMA + top), delta),
        at_most("E4.3", "B1  Δ ≤ τ tr H / 2γ", delta, TAU / 2 * trace / GAMMA),
        at_most("E4.4", "B1  τ d/2 ln(1 + λ_min/γ) ≤ Δ", volume(low), delta),
        at_most("E4.5", "B1  Δ ≤ τ d/2 ln(1 + λ_max/γ)", delta, volume(top)),
    ]


def wave(x, cos=np.cos):
    """f = 0.4 x² + 0.7 cos 1.5x:  −0.775 ≤ f″ ≤ 2.375 and |f‴| ≤ 2.3625, each attained."""
    return 0.4 * x**2 + 0.7 * cos(1.5 * x)


LOWEST, HIGHEST, LIPSCHITZ = 0.8 - 0.7 * 1.5**2, 0.8 + 0.7 * 1.5**2, 0.7 * 1.5**3
THETAS = np.linspace(-3, 3, 13)


def _laplace_with_remainder() -> Row:
    """B2 on `wave`."""
    f = lambda x: wave(x, jnp.cos)
    value = lambda x: free_energy.laplace(f, x, gamma=GAMMA, temperature=TAU)
    laplace = np.asarray(jax.jit(jax.vmap(value))(jnp.asarray(THETAS)))
    exact, cubes = [], []
    for theta in THETAS:
        exact.append(gibbs(wave, theta, gamma=GAMMA, temperature=TAU).free_energy)
        g = 0.8 * theta - 0.7 * 1.5 * np.sin(1.5 * theta)
        h = 0.8 - 0.7 * 1.5**2 * np.cos(1.5 * theta)
        x, weight = normal(-g / (h + GAMMA), np.sqrt(TAU / (h + GAMMA)))  # Q, seen from θ
        cubes.append(np.sum(weight * np.abs(x) ** 3))
    return at_most(
        "E4.6",
        "B2  F ≤ Laplace form + M/6 E_Q‖w − θ‖³",
        exact,
        laplace + LIPSCHITZ / 6 * np.asarray(cubes),
    )


def _floor() -> Row:
    """B3: quartics above a quadratic of known curvature."""
    curvature = np.array([0.5, 2.0, 5.0])
    excess = [
        gibbs(
            lambda w, b=b: 0.5 * b * w**2 + 0.3 * w**4, 0.0, gamma=GAMMA, temperature=TAU
        ).free_energy
        for b in curvature
    ]
    return at_most(
        "E4.7",
        "B3  λ_max(B) ≤ γ(e^{2Δ/τ} − 1), B a floor",
        curvature,
        GAMMA * np.expm1(2 / TAU * np.asarray(excess)),
    )


def _smoothing() -> list[Row]:
    """B4 on `wave`: F″ = γ − γ² Var π/τ."""
    curvature = []
    for theta in THETAS:
        law = gibbs(wave, theta, gamma=GAMMA, temperature=TAU)
        variance = law.mean((law.points - law.mean(law.points)) ** 2)
        curvature.append(GAMMA - GAMMA**2 * variance / TAU)
    moreau = lambda lam: GAMMA * lam / (GAMMA + lam)
    return [
        at_most("E4.8", "B4  −γℓ/(γ − ℓ) ≤ F″ where −ℓ ≤ f″", moreau(LOWEST), curvature),
        at_most("E4.9", "B4  F″ ≤ γL/(γ + L) where f″ ≤ L", curvature, moreau(HIGHEST)),
    ]


def _any_law(rng: np.random.Generator) -> list[Row]:
    """B5 on a double well: for the Gibbs law, 20 Gaussians, and the prior."""
    f, theta = lambda x: (x**2 - 1) ** 2 + 0.2 * x, 0.3
    law, s = gibbs(f, theta, gamma=GAMMA, temperature=TAU), np.sqrt(TAU / GAMMA)
    z, some = (law.points - theta) / s, law.probability > 0
    prior = np.exp(-(z**2) / 2) * (z[1] - z[0]) / np.sqrt(2 * np.pi)
    divergence = np.sum(law.probability[some] * np.log(law.probability[some] / prior[some]))

    def bound(mean: float, width: float) -> float:
        x, weight = normal(mean, width * s)
        divergence = 0.5 * (width**2 + (mean - theta) ** 2 / s**2 - 1) - np.log(width)
        return np.sum(weight * f(x)) + TAU * divergence

    F, attained = law.free_energy, law.mean(f(law.points)) + TAU * divergence
    bounds = [bound(rng.normal(), np.exp(rng.normal())) for _ in range(20)]
    return [
        equal("E4.10", "B5  F = E_Q f + τ KL(Q ‖ prior) for Q = π", attained, F, relative=1e-10),
        at_most("E4.11", "B5  F ≤ that for any Gaussian Q", F, bounds),
        at_most("E4.12", "B5  F ≤ E f(θ + ξ), the smoothed loss", F, bound(theta, 1.0)),
    ]


def _best_window(rng: np.random.Generator, key: Key) -> Row:
    """B5 as estimated: with a diagonal Hessian the best Q is π, and each draw gives F."""
    H = np.exp(rng.normal(size=3))
    f, theta = Quadratic(np.diag(H), rng.normal(size=3), 0.0), rng.normal(size=3)
    mean = (H * f.star + GAMMA * theta) / (H + GAMMA)
    Q = variational.narrow(jnp.asarray(mean), jnp.asarray(H), gamma=GAMMA)
    law = {"gamma": GAMMA, "temperature": TAU}
    seen = variational.bound(f.loss, jnp.asarray(theta), Q, samples=2, key=key, **law).value
    statement = "B5  the estimate is exact if H is diagonal"
    return equal("E4.13", statement, seen, f.free_energy(theta, GAMMA, TAU), relative=1e-10)


def normal(mean: float, deviation: float) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights for means over a normal law."""
    z = np.linspace(-12, 12, 4001)
    weight = np.exp(-(z**2) / 2)
    return mean + deviation * z, weight / weight.sum()
