"""E7: from flatness to the test loss of new tasks, M4 and M5 of docs/theory.md.

M4 is checked on runs of gradient descent with step e^φ on

    f(w) = ½ wᵀHw + M Σ (1 − cos wᵢ)        ≥ 0, its Hessian M-Lipschitz

and M5 on tasks that are coins: a task draws n signs, its network is one weight θ, wrong where θ and
a sign differ, and the optimizer of weight φ ends at θ = e^φ times the mean of the signs.
"""

import math

import numpy as np
from scipy import special, stats

from ...certificates import pac_bayes, transfer
from ...core.types import Key
from . import carry_over, tasks
from .carry_over import ETA, PRIOR, N
from .oracle import generator
from .row import Row, at_most
from .tasks import Array

TITLE = "From flatness to the test loss of new tasks"
RADIUS, LIPSCHITZ, CLIP = 0.4, 0.5, 4.0
STEPS, KINDS, DIMENSION = 12, 3, 2
HEADS, EXAMPLES, INNER = (0.5, 0.8, 0.95), 40, 0.05  # of the coins; INNER is η′
WIDTH = 0.5  # σ of the network's weight


def rows(key: Key) -> list[Row]:
    rng = generator(key)
    surface = Surface(rng)
    return [
        *surface.rows(),
        *_coins(rng),
    ]


class Surface:
    """Three kinds of tasks, and the ends of the runs of every member on each."""

    def __init__(self, rng: np.random.Generator):
        W = rng.normal(size=(KINDS, DIMENSION, DIMENSION))
        self.H = W @ W.transpose(0, 2, 1) / DIMENSION
        start = rng.normal(size=(KINDS, DIMENSION))
        phi = (tasks.EDGES[1:] + tasks.EDGES[:-1]) / 2
        w = np.broadcast_to(start, (len(phi), KINDS, DIMENSION))
        for _ in range(STEPS):
            w = w - np.exp(phi)[:, None, None] * self.gradient(w)
        self.w = w  # (members, kinds, DIMENSION)
        self.slope = np.linalg.norm(self.gradient(w), axis=-1)
        hessian = self.H + LIPSCHITZ * np.cos(w)[..., None] * np.eye(DIMENSION)
        self.top = np.linalg.eigvalsh(hessian)[..., -1]
        self.trace = np.trace(hessian, axis1=-2, axis2=-1)

    def gradient(self, w: Array) -> Array:
        return np.einsum("kij,mkj->mki", self.H, w) + LIPSCHITZ * np.sin(w)

    def loss(self, w: Array) -> Array:
        quadratic = np.einsum("mki,kij,mkj->mk", w, self.H, w) / 2
        return quadratic + LIPSCHITZ * np.sum(1 - np.cos(w), axis=-1)

    def rows(self) -> list[Row]:
        loss, angle = self.loss(self.w), np.linspace(0, 2 * np.pi, 64, endpoint=False)
        around = RADIUS * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        shifted = np.stack([self.loss(self.w + s) for s in around])
        near = loss <= CLIP  # runs that did not diverge: beyond, rounding is all one sees
        worst = transfer.worst_shift(loss, self.slope, self.top, radius=RADIUS, lipschitz=LIPSCHITZ)
        average = transfer.average_shift(
            loss, self.trace, dimension=DIMENSION, radius=RADIUS, lipschitz=LIPSCHITZ
        )
        return [
            at_most(
                "E7.1", "M4  f(θ+s) ≤ f + r‖g‖ + r²λ/2 + Mr³/6", shifted.max(0)[near], worst[near]
            ),
            at_most(
                "E7.2",
                "M4  mean over s ≤ f + r² tr H/2d + Mr³/6",
                shifted.mean(0)[near],
                average[near],
            ),
            *self._chained(loss, shifted.max(0)),
            self._noise(loss, near),
        ]

    def _chained(self, loss: Array, test: Array) -> list[Row]:
        """Chance that the test loss on new tasks is above what training tasks say, for any Q.

        - `loss`, `test`: training loss, and that after the worst shift, (members, kinds)
        """
        seen, chance = tasks.counts(N, np.array(tasks.CHANCE))
        mean, spread = (x.ravel() for x in np.meshgrid(carry_over.MEANS, carry_over.SPREADS))
        cells = tasks.gaussian_cells(mean, spread)
        paid = [carry_over.gaussian(m, s, *PRIOR) for m, s in zip(mean, spread, strict=True)]
        cubic = LIPSCHITZ * RADIUS**3 / 6
        on_new = np.minimum(test, CLIP) @ np.array(tasks.CHANCE)

        def bound(values: Array, delta: float) -> Array:
            """Bound of the clipped mean on new tasks, (outcomes, posteriors)."""
            budget = np.array([pac_bayes.budget(kl, N, delta) for kl in paid])
            S_N = seen / N @ (cells @ transfer.unit(values, CLIP)).T
            return transfer.mean_on_new_tasks(CLIP * np.clip(S_N, 0, 1), budget, CLIP)

        slope, bend = RADIUS * self.slope, RADIUS**2 / 2 * np.maximum(self.top, 0)
        together = bound(loss + slope + bend, ETA) + cubic
        apart = sum(bound(part, ETA / 3) for part in (loss, slope, bend)) + cubic
        wrong = lambda bound: chance @ (bound < cells @ on_new - 1e-12).any(axis=1)
        return [
            at_most("E7.3", "M4  chained, one bound: chance ≤ η", wrong(together), ETA),
            at_most("E7.4", "M4  chained, three at η/3: chance ≤ η", wrong(apart), ETA),
        ]

    def _noise(self, loss: Array, near: Array) -> Row:
        """The mean loss under N(θ, σ² I), in closed form, against trace and remainder."""
        sigma = RADIUS
        flat = np.sum(np.cos(self.w), axis=-1) * -np.expm1(-(sigma**2) / 2)
        noisy = loss + sigma**2 / 2 * np.trace(self.H, axis1=1, axis2=2) + LIPSCHITZ * flat
        cubic = LIPSCHITZ * sigma**3 / 6 * (DIMENSION * (DIMENSION + 2)) ** 0.75
        bound = loss + sigma**2 / 2 * self.trace + cubic
        return at_most("E7.5", "M5  E f(θ+σξ) ≤ f + σ² tr H/2 + cubic", noisy[near], bound[near])


def price(divergence: Array) -> Array:
    """Rise from a training error on `EXAMPLES` to its bound: G2 with η′ = `INNER`."""
    return np.sqrt((divergence + math.log(2 * math.sqrt(EXAMPLES) / INNER)) / (2 * EXAMPLES))


def _coins(rng: np.random.Generator) -> list[Row]:
    """M5 for every φ: on one task, on average over tasks, and from N training tasks."""
    phi = (tasks.EDGES[1:] + tasks.EDGES[:-1]) / 2 + 2  # θ up to 7
    heads, n = np.arange(EXAMPLES + 1), EXAMPLES
    theta = np.exp(phi)[:, None] * (2 * heads / n - 1)  # (members, outcomes of the examples)
    error = lambda share: (
        share * special.ndtr(-theta / WIDTH) + (1 - share) * special.ndtr(theta / WIDTH)
    )
    paid = (theta**2 + WIDTH**2 - 1 - math.log(WIDTH**2)) / 2  # KL to N(0, 1)
    known = np.minimum(1.0, error(heads / n) + price(paid))  # u, from the training examples alone
    law = np.stack([stats.binom.pmf(heads, n, p) for p in HEADS])  # (kinds, outcomes)
    truth = np.stack([error(p) for p in HEADS])  # (kinds, members, outcomes)
    false = np.sum(law * (truth > known + 1e-12).any(axis=1), axis=1)
    joint = np.array(tasks.CHANCE)[:, None] * law
    on_new = np.sum(joint[:, None] * truth, axis=(0, 2))
    promised = np.sum(joint.sum(axis=0) * known, axis=1)

    drawn = rng.multinomial(N, (joint / joint.sum()).ravel(), size=2000)
    drawn = drawn.reshape(len(drawn), len(HEADS), -1).sum(axis=1)  # kinds are not seen
    cells = tasks.gaussian_cells(carry_over.MEANS, np.full(len(carry_over.MEANS), 0.3))
    budget = [
        pac_bayes.budget(carry_over.gaussian(m, 0.3, *PRIOR), N, ETA) for m in carry_over.MEANS
    ]
    u_N = np.clip(drawn / N @ (cells @ known).T, 0, 1)
    bound = transfer.mean_on_new_tasks(u_N, np.array(budget)) + INNER
    wrong = np.mean((bound < cells @ on_new - 1e-12).any(axis=1))
    return [
        at_most("E7.6", "M5  P[L > u for any φ] ≤ η′, on one task", false, INNER),
        at_most("E7.7", "M5  E L ≤ E u + η′ over tasks", on_new, promised + INNER),
        at_most("E7.8", "M5  from N tasks: wrong with chance ≤ η", wrong, ETA),
    ]
