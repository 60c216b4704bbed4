"""Families of tasks small enough for every probability over the training tasks to be a finite sum.

`Steps` is a learned optimizer of one weight: gradient descent with step e^φ. It is run on

    f(a, b) = ½ (ab − 1)²    begun at one of a few points; the tasks are these points

whose minima ab = 1 have λ_max = a² + b², from 2 on: a short step ends at the nearest minimum, a
longer one at a flatter minimum, a too long one nowhere. Of N tasks only the number of each kind
counts: `counts` lists all outcomes with their probabilities.

`coins` has members whose runs end flat or sharp by chance, each independently of all others.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import special, stats

from ...certificates import transfer

Array = Float[np.ndarray, "..."]

STARTS = ((4.0, 0.1), (3.0, 0.6), (2.0, 0.9))
CHANCE = (0.2, 0.3, 0.5)
CLIP = 25.0  # of λ_max
LOSS = 0.5  # of the training loss
RUN = 12  # steps
EDGES = np.log(np.geomspace(0.01, 1.0, 61))  # weights φ between two edges are one member


class Runs(NamedTuple):
    """Ends of the runs of every member on every kind of task."""

    phi: Float[np.ndarray, " members"]
    ends: Float[np.ndarray, "2 members kinds"]  # a and b
    loss: Float[np.ndarray, "members kinds"]  # in [0, 1], as `transfer.unit` has it
    flat: Float[np.ndarray, "members kinds"]  # λ_max, the same
    chance: Float[np.ndarray, " kinds"]


@functools.cache
def descents() -> Runs:
    """The runs of `Steps`, with the step of the middle of each cell of `EDGES`."""
    phi = (EDGES[1:] + EDGES[:-1]) / 2
    step = np.exp(phi)[:, None]
    a, b = (np.broadcast_to(start, (len(phi), len(STARTS))) for start in np.transpose(STARTS))
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(RUN):
            off = a * b - 1
            a, b = a - step * off * b, b - step * off * a
        off = a * b - 1
        # H = [[b², 2ab − 1], [2ab − 1, a²]]
        half, gap = (a**2 + b**2) / 2, (a**2 - b**2) / 2
        top = half + np.sqrt(gap**2 + (2 * a * b - 1) ** 2)
        loss = off**2 / 2
    loss, flat = transfer.unit(loss, LOSS), transfer.unit(top, CLIP)
    return Runs(phi, np.stack([a, b]), loss, flat, np.array(CHANCE))


def counts(n: int, chance: Array) -> tuple[Int[np.ndarray, "outcomes kinds"], Array]:
    """All numbers of tasks of three kinds among n, and the probability of each outcome."""
    first, second = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    some = first + second <= n
    found = np.stack([first[some], second[some], n - first[some] - second[some]], axis=-1)
    return found, stats.multinomial.pmf(found, n, chance)


def gaussian_cells(mean: Array, deviation: Array) -> Array:
    """Mass that N(mean, deviation²) gives to each member, (laws, members); tails to the last."""
    z = (EDGES[1:-1] - np.asarray(mean)[:, None]) / np.asarray(deviation)[:, None]
    below = np.concatenate([np.zeros((len(z), 1)), special.ndtr(z), np.ones((len(z), 1))], axis=1)
    return np.diff(below, axis=1)


def normalised(logits: Array) -> Array:
    """Weights ∝ e^logits along the last axis."""
    return special.softmax(logits, axis=-1)


def divergence(q: Array, p: Array) -> Array:
    """KL(q‖p) along the last axis."""
    return special.rel_entr(q, p).sum(axis=-1)


def chance_of_a_lucky_one(members: int, n: int, p: float, at_most: int) -> float:
    """P[min over members of Bin(n, p) ≤ at_most], the members independent."""
    if at_most < 0:
        return 0.0
    return -math.expm1(members * math.log1p(-float(stats.binom.cdf(at_most, n, p))))
