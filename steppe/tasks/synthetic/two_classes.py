"""Train a small network to tell two classes of random points apart.

    f(θ) = mean_i −log softmax(network(θ, x_i))[y_i],   x_i ∈ ℝᵈ,   y_i ∈ {0, 1}

    data         law of a row
    "clouds"     y = i mod 2; x ~ N((y − ½) · separation · u, I), u a random unit vector
    "teacher"    x ~ N(0, I); y = 1 where Σⱼ tanh(aⱼᵀ x) > 0, a₁ … a₂₀ ~ N(0, I)

The softmax regressions and random MLPs among the training problems of Wichrowska et al., "Learned
optimizers that scale and generalize", ICML 2017, with their sizes, and networks that start from
N(0, 1). What the specification leaves open, the laws of the data, is ours. The best a linear
network can do on clouds is known: an accuracy of Φ(separation / 2). A teacher without biases is
odd, so its classes are equally frequent in the mean.

A data set of `rows` rows is never stored: a row is a function of the instance's seed and of its
number, 0 … rows − 1 in the training split, and so on.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int, UInt32

from ...core.loss import Composed
from ...core.messages import at_least, reals
from ...core.task import AbstractTask
from ...core.types import Batch, Key, Params, Scalar, Split
from ..classify import accuracy, cross_entropy
from ..networks import MLP, AbstractNetwork

WIDTHS = {"clouds": 1, "teacher": 20}  # columns of A
SPLITS = ("train", "valid", "test")


class Truth(eqx.Module):
    """The numbers of one problem."""

    seed: UInt32[Array, ""]  # of the rows
    A: Float[Array, "features width"]  # columns aⱼ, or u


class TwoClasses(AbstractTask):
    """Mean softmax cross-entropy of `network`, two logits; metric: accuracy in [0, 1].

    - `features`: d
    - `data`: "clouds" or "teacher"; `separation`: distance of the middles of two clouds
    - `rows`: of each split; `batch_size`: of a minibatch, drawn with replacement
    """

    network: AbstractNetwork = MLP((), start="unit")
    features: int = eqx.field(static=True, default=10)
    data: str = eqx.field(static=True, default="clouds")
    separation: float = eqx.field(static=True, default=2.0)
    rows: int = eqx.field(static=True, default=1000)
    batch_size: int = eqx.field(static=True, default=100)

    def __check_init__(self):
        if self.data not in WIDTHS:
            raise ValueError(
                f"TwoClasses: data must be one of {', '.join(WIDTHS)}, got {self.data!r}."
            )
        sizes = ("features", "rows", "batch_size")
        at_least(1, "TwoClasses", **{name: getattr(self, name) for name in sizes})
        reals("TwoClasses", finite=False, separation=self.separation)
        if not 0 <= self.separation < math.inf:
            raise ValueError(f"TwoClasses: separation must not be negative, got {self.separation}.")
        self.network.shapes((self.features,), 2)  # refuses misfits

    def sample(self, key: Key) -> Truth:
        key_seed, key_A = jr.split(key)
        A = jr.normal(key_A, (self.features, WIDTHS[self.data]))
        if self.data == "clouds":
            A = A / jnp.linalg.norm(A)
        return Truth(jr.key_data(key_seed)[-1], A)

    def init(self, instance: Truth, key: Key) -> Params:
        return self.network.init(key, (self.features,), 2)

    def batch(self, instance: Truth, key: Key, *, split: Split = "train") -> Batch:
        bits = jr.bits(key, (self.batch_size,), jnp.uint32)
        return self.read(instance, (bits % self.rows).astype(jnp.int32), split)

    def full_batch(self, instance: Truth, *, split: Split) -> Batch:
        return self.read(instance, jnp.arange(self.rows, dtype=jnp.int32), split)

    def read(
        self, instance: Truth, rows: Int[Array, " rows"], split: Split
    ) -> tuple[Float[Array, "rows features"], Int[Array, " rows"]]:
        """(x, y) of the rows of these numbers."""
        root, first = jr.key(instance.seed), SPLITS.index(split) * self.rows

        draw = lambda i: jr.normal(jr.fold_in(root, first + i), (self.features,))
        z = jax.vmap(draw)(rows)  # (rows, features)
        if self.data == "clouds":
            y = rows % 2
            shift = (y - 0.5) * self.separation  # (rows,)
            return z + shift[:, None] * instance.A[None, :, 0], y
        return z, (jnp.sum(jnp.tanh(z @ instance.A), axis=-1) > 0).astype(rows.dtype)

    def loss(self, instance: Truth, batch: Batch, key: Key) -> Composed:
        x, y = batch
        return Composed(lambda params: self.logits(params, x), lambda z: cross_entropy(z, y))

    def target(self, instance: Truth) -> None:
        return None

    def logits(self, params: Params, x: Float[Array, "rows features"]) -> Float[Array, "rows 2"]:
        return self.network.apply(params, x.astype(jnp.result_type(*jtu.tree_leaves(params))))

    def metrics(self, params: Params, instance: Truth, batch: Batch, key: Key) -> dict[str, Scalar]:
        return {"accuracy": accuracy(*self.predictions(params, instance, batch, key))}

    def predictions(
        self, params: Params, instance: Truth, batch: Batch, key: Key
    ) -> tuple[Float[Array, "rows 2"], Int[Array, " rows"]]:
        return self.logits(params, batch[0]), batch[1]
