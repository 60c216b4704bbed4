"""Train a small network to classify the rows of a data set.

    f(θ) = mean_i  −log softmax(network(θ, x_i))[y_i]

over a minibatch for steps, over a whole split for reports. The classical bed of learned
optimizers: Andrychowicz et al., NeurIPS 2016, section 3.2, with the sizes in `networks/`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Float, Int

from ..core.loss import Composed
from ..core.messages import at_least
from ..core.task import AbstractTask
from ..core.types import Batch, Key, Params, Scalar, Split
from ..data.dataset import Dataset, minibatch, whole
from .networks import AbstractNetwork


class Classify(AbstractTask):
    """Mean softmax cross-entropy of `network` on `dataset`; metric: accuracy in [0, 1].

    - `batch_size`: rows of a minibatch, drawn with replacement
    - `report`: `full_batch` gives at most so many rows of a split; None gives them all

    Everything is computed in the dtype of the parameters.
    """

    dataset: Dataset
    network: AbstractNetwork
    batch_size: int = eqx.field(static=True, default=128)
    report: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        at_least(1, "Classify", batch_size=self.batch_size, report=self.report)
        self.network.shapes(self.dataset.x.shape[1:], self.dataset.classes)  # refuses misfits

    def sample(self, key: Key) -> tuple[()]:
        return ()

    def init(self, instance: tuple[()], key: Key) -> Params:
        return self.network.init(key, self.dataset.x.shape[1:], self.dataset.classes)

    def batch(self, instance: tuple[()], key: Key, *, split: Split = "train") -> Batch:
        return minibatch(self.dataset, key, self.batch_size, split)

    def full_batch(self, instance: tuple[()], *, split: Split) -> Batch:
        return whole(self.dataset, split, self.report)

    def loss(self, instance: tuple[()], batch: Batch, key: Key) -> Composed:
        x, y = batch
        return Composed(lambda params: self.logits(params, x), lambda z: cross_entropy(z, y))

    def target(self, instance: tuple[()]) -> None:
        return None

    def metrics(
        self, params: Params, instance: tuple[()], batch: Batch, key: Key
    ) -> dict[str, Scalar]:
        return {"accuracy": accuracy(*self.predictions(params, instance, batch, key))}

    def predictions(
        self, params: Params, instance: tuple[()], batch: Batch, key: Key
    ) -> tuple[Float[Array, "rows classes"], Int[Array, " rows"]]:
        x, y = batch
        return self.logits(params, x), y

    def logits(self, params: Params, x: Float[Array, "rows ..."]) -> Float[Array, "rows classes"]:
        return self.network.apply(params, x.astype(jnp.result_type(*jtu.tree_leaves(params))))


def cross_entropy(z: Float[Array, "rows classes"], y: Int[Array, " rows"]) -> Scalar:
    """mean_i −log softmax(z_i)[y_i]"""
    # A sum over a mask, not a gather: the gradient of a gather is a slow scatter.
    log_p = jax.nn.log_softmax(z)  # (rows, classes)
    return -jnp.mean(jnp.sum(jnp.where(mask(z, y), log_p, 0.0), axis=-1))


def accuracy(z: Float[Array, "rows classes"], y: Int[Array, " rows"]) -> Scalar:
    """The share of rows whose largest logit, the first one if several, is that of the label."""
    return jnp.mean(correct(z, y))


def correct(z: Float[Array, "rows classes"], y: Int[Array, " rows"]) -> Float[Array, " rows"]:
    """1 where the largest logit is that of the label, else 0."""
    # Rows with a NaN count as wrong; argmax alone would answer with the place of the NaN.
    right = (jnp.argmax(z, axis=-1) == y) & ~jnp.any(jnp.isnan(z), axis=-1)
    return right.astype(z.dtype)


def mask(z: Float[Array, "rows classes"], y: Int[Array, " rows"]) -> Bool[Array, "rows classes"]:
    return jnp.arange(z.shape[-1], dtype=y.dtype)[None] == y[:, None]
