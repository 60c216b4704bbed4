"""A tiny frozen encoder with a planted prompt, and a wavy function in NumPy alone."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from steppe.core.task import AbstractTask
from steppe.prompt.codecs import Numeric
from steppe.prompt.descent import AbstractDescent, Lane, Score
from steppe.prompt.soft_prompt import SoftPrompt, Words

TOKENS, WIDTH, ROWS = 200, 16, 4
VOCABULARY = ["[CLS]", "</s>", *(f"w{i}" for i in range(2, TOKENS))]
SPECIAL = (0, 1)
PLANTED = [17, 101, 5, 60]
GOOD = " ".join(VOCABULARY[i] for i in PLANTED)


class Encoder(AbstractTask):
    """Regression on what a frozen random encoder of two layers says of a prompt and of data.

    The labels are those of the planted prompt, with the head at its start.
    """

    table: jax.Array
    first: jax.Array
    second: jax.Array
    data: jax.Array
    labels: jax.Array
    head: jax.Array
    tested: bool = eqx.field(static=True, default=False)

    def sample(self, key):
        return ()

    def init(self, instance, key):
        ids = jr.randint(key, (ROWS,), 2, TOKENS)
        return {"bias": jnp.zeros(()), "head": self.head, "prompt": self.table[ids]}

    def _rows(self, split):
        if split == "test" and not self.tested:
            raise AssertionError("test data were looked at")
        begin = {"train": 0, "valid": 32, "test": 64}[split]
        return slice(begin, begin + 32)

    def batch(self, instance, key, *, split="train"):
        rows = self._rows(split)
        at = rows.start + jr.randint(key, (8,), 0, 32)
        return self.data[at], self.labels[at]

    def full_batch(self, instance, *, split):
        rows = self._rows(split)
        return self.data[rows], self.labels[rows]

    def outputs(self, params, x):
        h = jnp.tanh(params["prompt"] @ self.first)  # (rows, width)
        z = jnp.tanh(jnp.einsum("kd,kde->e", h, self.second))  # (8,)
        return jnp.einsum("nd,d,d->n", x, z, params["head"]) + params["bias"]

    def loss(self, instance, batch, key):
        x, y = batch
        return lambda params: jnp.mean((self.outputs(params, x) - y) ** 2)

    def metrics(self, params, instance, batch, key):
        x, y = batch
        return {"close": jnp.mean(jnp.abs(self.outputs(params, x) - y) < 0.1)}

    def target(self, instance):
        return None


def encoder(seed=0):
    rng = np.random.default_rng(seed)
    table = rng.standard_normal((TOKENS, WIDTH))
    first = rng.standard_normal((WIDTH, WIDTH))
    second = rng.standard_normal((ROWS, WIDTH, 8)) / 2
    data, head = rng.standard_normal((96, 8)), rng.standard_normal(8)
    z = np.tanh(np.einsum("kd,kde->e", np.tanh(table[PLANTED] @ first), second))
    arrays = (table, first, second, data, (data * z) @ head, head)
    return Encoder(*map(jnp.asarray, arrays))


def soft_prompt(task, **how):
    return SoftPrompt(np.asarray(task.table), Words(VOCABULARY), ROWS, special=SPECIAL, **how)


@dataclasses.dataclass(frozen=True)
class Wavy(AbstractDescent):
    """f(x) = Σ x² + 10 (1 − cos 2πx) in two unknowns, by gradient descent in NumPy."""

    start: tuple[float, float] = (2.1, -2.9)
    rate: float = 0.002
    codec: Numeric = Numeric(("a", "b"), (-4.0, -4.0), (4.0, 4.0), decimals=2)  # noqa: RUF009
    broken: tuple[float, ...] = ()  # values of a near which f is NaN

    @property
    def gradients_per_step(self):
        return 1

    @property
    def texts_say(self):
        return "where"

    def begin(self):
        return Lane(self.start, 0)

    def advance(self, lane, steps):
        x = np.array(lane.value)
        for _ in range(steps):
            x = x - self.rate * (2 * x + 20 * np.pi * np.sin(2 * np.pi * x))
        return Lane(tuple(x), lane.step + steps)

    def score(self, lane):
        x = np.array(lane.value)
        value = float(np.sum(x**2 + 10 * (1 - np.cos(2 * np.pi * x))))
        near = any(abs(x[0] - bad) < 0.2 for bad in self.broken)
        return Score(float("nan") if near else value, {"a": float(x[0])})

    def text(self, lane):
        return self.codec.encode(lane.value)

    def restart(self, lane, text):
        return Lane(tuple(self.codec.decode(text, np.array(lane.value))), lane.step)

    def params(self, lane):
        return lane.value
