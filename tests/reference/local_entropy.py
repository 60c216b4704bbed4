"""Local entropy of a quadratic and its Langevin chain, in NumPy, sharing no code with ours.

f(w) = low + ½ (w − star)ᵀ H (w − star),    P = H + γI,    m = P⁻¹(H star + γθ)
"""

from dataclasses import dataclass

import numpy as np
from scipy.integrate import dblquad, quad


@dataclass(frozen=True)
class Quadratic:
    H: np.ndarray
    star: np.ndarray
    low: float

    def value(self, w):
        d = w - self.star
        return self.low + 0.5 * np.einsum("...i,ij,...j->...", d, self.H, d)

    def free_energy(self, theta, gamma, temperature):
        """low + ½ Σ γλ/(γ + λ) δᵢ² + (τ/2) Σ ln(1 + λ/γ), δ in the eigenbasis."""
        lam, V = np.linalg.eigh(self.H)
        d = V.T @ (theta - self.star)
        smoothed = 0.5 * np.sum(gamma * lam / (gamma + lam) * d**2)
        return self.low + smoothed + 0.5 * temperature * np.sum(np.log1p(lam / gamma))

    def gibbs_mean(self, theta, gamma):
        P = self.H + gamma * np.eye(len(theta))
        return np.linalg.solve(P, self.H @ self.star + gamma * theta)

    def chain_mean(self, theta, gamma, eta, steps):
        """Mean of a plain or midpoint chain after 0 … `steps` steps from θ: (steps + 1, n)."""
        A = np.eye(len(theta)) - eta * (self.H + gamma * np.eye(len(theta)))
        m = self.gibbs_mean(theta, gamma)
        return np.array([m + np.linalg.matrix_power(A, i) @ (theta - m) for i in range(steps + 1)])

    def chain_covariance(self, gamma, temperature, eta, steps):
        """τ P⁻¹ (I − ηP/2)⁻¹ (I − (I − ηP)^{2L}) of the plain chain."""
        lam, V = np.linalg.eigh(self.H)
        p = lam + gamma
        along = temperature / p / (1 - eta * p / 2) * (1 - (1 - eta * p) ** (2 * steps))
        return V @ np.diag(along) @ V.T

    def hidden_covariance(self, gamma, temperature, eta, steps):
        """Of the midpoint chain before half a noise is added: each step adds 2ητ (1 − ηp/2)²."""
        lam, V = np.linalg.eigh(self.H)
        p = lam + gamma
        a = (1 - eta * p) ** 2
        along = 2 * eta * temperature * (1 - eta * p / 2) ** 2 * sum(a**i for i in range(steps))
        return V @ np.diag(along) @ V.T


def draw_quadratic(seed, n, *, lowest=0.1, highest=5.0):
    rng = np.random.default_rng(seed)
    V, _ = np.linalg.qr(rng.normal(size=(n, n)))
    lam = np.exp(rng.uniform(np.log(lowest), np.log(highest), n))
    return Quadratic(V @ np.diag(lam) @ V.T, rng.normal(size=n), rng.normal()), rng.normal(size=n)


def weights_of_average(decay, burn_in, steps):
    """The weight of the place after 0 … `steps` steps in the average."""
    w = np.zeros(steps + 1)
    w[burn_in] = 1
    for i in range(burn_in + 1, steps + 1):
        if decay is None:  # the place where burn-in ended does not count
            w = np.where((np.arange(steps + 1) > burn_in) & (np.arange(steps + 1) <= i), 1.0, 0)
            w /= w.sum()
        else:
            w = decay * w
            w[i] += 1 - decay
    return w


def langevin(gradient, centre, noise, *, gamma, temperature, eta, decay=0.75, midpoint=False):
    """A slow loop: the places after each step, and the average."""
    w, average, places = centre.copy(), centre.copy(), []
    sigma = np.sqrt(2 * eta * temperature)
    for n in noise:
        at = w + sigma * n / 2 if midpoint else w
        w = w - eta * (gradient(at) + gamma * (at - centre)) + sigma * n
        average = decay * average + (1 - decay) * w
        places.append(w)
    return np.array(places), average


def by_quadrature(f, theta, *, gamma, temperature):
    """−τ ln E exp(−f(θ + ξ)/τ) in one or two dimensions, to ten digits."""
    s = np.sqrt(temperature / gamma)
    theta = np.atleast_1d(theta)
    grid = theta + s * np.stack(np.meshgrid(*[np.linspace(-9, 9, 61)] * len(theta)), -1)
    low = np.min(f(grid) + gamma / 2 * np.sum((grid - theta) ** 2, -1))

    def mass(*x):
        w = np.array(x)
        return np.exp(-(f(w) + gamma / 2 * np.sum((w - theta) ** 2) - low) / temperature)

    box = [(t - 12 * s, t + 12 * s) for t in theta]
    if len(theta) == 1:
        middle = float(grid.reshape(-1)[np.argmin(f(grid) + gamma / 2 * (grid[:, 0] - theta) ** 2)])
        total, _ = quad(mass, *box[0], epsabs=0, epsrel=1e-11, points=[middle], limit=200)
    else:
        total, _ = dblquad(mass, *box[1], *box[0], epsabs=0, epsrel=1e-11)
    return low - temperature * np.log(total / (2 * np.pi * s**2) ** (len(theta) / 2))
