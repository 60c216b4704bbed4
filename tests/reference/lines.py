"""Least squares with a test split, whose every number is known in closed form."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np

from steppe.core.task import AbstractTask

ROWS = 4


class Lines(AbstractTask):
    """½ mean (Aw − y)², w ∈ ℝ² from 0; columns of A are orthogonal on both splits.

    An instance is (a, b, w*, noise): rows (a, 0), (0, b) twice, y = A w* + noise on training rows
    and A w* on the others. Its accuracy is the share of rows within ½.
    """

    def sample(self, key):
        key_size, key_best, key_noise = jr.split(key, 3)
        sizes = jr.uniform(key_size, (2,), minval=0.5, maxval=2.0)
        return sizes, jr.normal(key_best, (2,)), 0.5 * jr.normal(key_noise, (ROWS,))

    def init(self, instance, key):
        return jnp.zeros(2)

    def batch(self, instance, key, *, split="train"):
        return self.full_batch(instance, split=split)

    def full_batch(self, instance, *, split):
        sizes, best, noise = instance
        A = jnp.tile(jnp.diag(sizes), (2, 1))
        return A, A @ best + (noise if split == "train" else 0.0)

    def loss(self, instance, batch, key):
        A, y = batch
        return lambda w: jnp.mean((A @ w - y) ** 2) / 2

    def metrics(self, params, instance, batch, key):
        A, y = batch
        return {"accuracy": jnp.mean(jnp.abs(A @ params - y) < 0.5)}

    def target(self, instance):
        return None


def by_hand(instance, rate: float, steps: int) -> list[dict[str, float]]:
    """All measures after 0, 1, …, K gradient steps, by NumPy."""
    sizes, best, noise = (np.asarray(x, np.float64) for x in instance)
    A = np.tile(np.diag(sizes), (2, 1))
    y, clean = A @ best + noise, A @ best
    H = A.T @ A / ROWS
    w, found = np.zeros(2), []
    for _ in range(steps + 1):
        train, test = (np.mean((A @ w - t) ** 2) / 2 for t in (y, clean))
        found.append(
            {
                "train-loss": train,
                "test-loss": test,
                "gap": test - train,
                "test-error": 1 - np.mean(np.abs(A @ w - clean) < 0.5),
                "trace": np.trace(H),
                "top-eigenvalue": np.linalg.eigvalsh(H)[-1],
                "squared-norm": w @ w,
            }
        )
        w = w - rate * A.T @ (A @ w - y) / ROWS
    return found
