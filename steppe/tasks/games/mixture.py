"""A GAN whose data are a ring of Gaussians in the plane: a generator against a critic.

    min over G, max over D of
        E log σ(D(x)) + E log(1 − σ(D(G(z)))) − penalty/2 · E ‖∇D(x)‖²

x is drawn from `modes` Gaussians of standard deviation `spread` around points equally spaced on the
unit circle, z from N(0, I). This is the game of Goodfellow et al., "Generative adversarial nets",
NeurIPS 2014, with one f for both players; the loss that is common for the generator, −log σ(D(G)),
has none, and is no saddle. The last term is that of Mescheder, Geiger & Nowozin, "Which training
methods for GANs do actually converge?", ICML 2018 (R₁): without it simultaneous steps circle around
the solution even on a problem of one parameter each.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Float

from ...core.loss import Saddle
from ...core.measure import check_not_negative, check_positive
from ...core.messages import at_least
from ...core.task import AbstractTask
from ...core.types import Key, Params, Scalar, Split
from ..networks import MLP

SPLITS = ("train", "valid", "test")
REPORT = 512  # points and samples that reports are made from
NEAR = 3  # standard deviations within which a sample is good

Points = Float[Array, "rows 2"]
Pairs = tuple[Points, Float[Array, "rows latent"]]  # data x, and z


class GANRing(AbstractTask):
    """Two fully connected networks with tanh; the params are {"min": generator, "max": critic}.

    f is neither convex in the generator nor concave in the critic, so its operator is not
    monotone. An instance is the angle by which the ring is turned; data are drawn without end.

    - `modes`: Gaussians on the ring
    - `spread`: their standard deviation; the ring has the radius 1
    - `latent`: entries of z
    - `width`: of the two hidden layers of either network
    - `penalty`: of the critic's slope at the data
    - `batch_size`: points, and samples, of one step
    """

    modes: int = eqx.field(static=True, default=8)
    spread: float = eqx.field(static=True, default=0.05)
    latent: int = eqx.field(static=True, default=4)
    width: int = eqx.field(static=True, default=32)
    penalty: float = eqx.field(static=True, default=1.0)
    batch_size: int = eqx.field(static=True, default=128)

    def __check_init__(self):
        sizes = ("modes", "latent", "width", "batch_size")
        at_least(1, "GANRing", **{name: getattr(self, name) for name in sizes})
        check_positive("GANRing", "spread", self.spread, "The ring has the radius 1.")
        check_not_negative("GANRing", "penalty", self.penalty, "0 is none.")

    def sample(self, key: Key) -> dict[str, Scalar]:
        return {"angle": jr.uniform(key, (), maxval=2 * jnp.pi)}

    @property
    def _network(self) -> MLP:
        return MLP((self.width, self.width), "tanh", start="lecun")

    def init(self, instance: dict[str, Scalar], key: Key) -> Params:
        key_min, key_max = jr.split(key)
        generator = self._network.init(key_min, (self.latent,), 2)
        return {"min": generator, "max": self._network.init(key_max, (2,), 1)}

    def batch(self, instance: dict[str, Scalar], key: Key, *, split: Split = "train") -> Pairs:
        return self._draw(instance, key, self.batch_size)

    def full_batch(self, instance: dict[str, Scalar], *, split: Split) -> Pairs:
        return self._draw(instance, jr.key(SPLITS.index(split)), REPORT)

    def _draw(self, instance: dict[str, Scalar], key: Key, rows: int) -> Pairs:
        key_mode, key_x, key_z = jr.split(key, 3)
        mode = jr.randint(key_mode, (rows,), 0, self.modes)
        x = self.centres(instance)[mode] + self.spread * jr.normal(key_x, (rows, 2))
        return x, jr.normal(key_z, (rows, self.latent))

    def centres(self, instance: dict[str, Scalar]) -> Float[Array, "modes 2"]:
        """The means of the Gaussians."""
        angles = instance["angle"] + 2 * jnp.pi * jnp.arange(self.modes) / self.modes
        return jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)

    def generate(self, params: Params, z: Float[Array, "rows latent"]) -> Points:
        """Samples of the generator."""
        dtype = jnp.result_type(*jtu.tree_leaves(params["min"]))
        return self._network.apply(params["min"], z.astype(dtype))

    def loss(self, instance: dict[str, Scalar], batch: Pairs, key: Key) -> Saddle:
        x, z = batch

        def f(params: Params) -> Scalar:
            critic = lambda points: self._network.apply(params["max"], points)[:, 0]
            data = x.astype(jnp.result_type(*jtu.tree_leaves(params["max"])))
            scores, back = jax.vjp(critic, data)
            slopes = back(jnp.ones_like(scores))[0]  # (rows, 2): a row's score is its own
            real = jnp.mean(jax.nn.log_sigmoid(scores))
            fake = jnp.mean(jax.nn.log_sigmoid(-critic(self.generate(params, z))))
            return real + fake - self.penalty / 2 * jnp.mean(jnp.sum(slopes**2, axis=1))

        return Saddle(f)

    def target(self, instance: dict[str, Scalar]) -> None:
        return None

    def metrics(
        self, params: Params, instance: dict[str, Scalar], batch: Pairs, key: Key
    ) -> dict[str, Scalar]:
        """The merit, and what the samples are worth.

        - `merit`: ‖(∇f of the generator, −∇f of the critic)‖
        - `modes`: share of the Gaussians that are the nearest to at least one good sample
        - `good`: share of samples within three standard deviations of the nearest mean
        - `energy`: the energy distance of samples and data, 0 for equal laws
        """
        x, z = batch
        samples = self.generate(params, z)
        centres = self.centres(instance).astype(samples.dtype)
        far = _lengths(samples, centres)  # (rows, modes)
        good = jnp.min(far, axis=1) <= NEAR * self.spread
        hits = jnp.zeros(self.modes, samples.dtype).at[jnp.argmin(far, axis=1)].add(good)
        merit = self.loss(instance, batch, key).merit(params)
        return {
            "merit": merit,
            "modes": jnp.mean((hits > 0).astype(samples.dtype)),
            "good": jnp.mean(good.astype(samples.dtype)),
            "energy": energy_distance(samples, x.astype(samples.dtype)),
        }


def energy_distance(x: Points, y: Points) -> Scalar:
    """2 E‖X − Y‖ − E‖X − X′‖ − E‖Y − Y′‖ of two samples, X′ and Y′ other points than X and Y.

    Without bias, so below zero now and then where the laws are equal.
    """
    own = lambda x: jnp.sum(_lengths(x, x)) / (len(x) * (len(x) - 1))
    return 2 * jnp.mean(_lengths(x, y)) - own(x) - own(y)


def _lengths(x: Points, y: Points) -> Float[Array, "rows others"]:
    return jnp.linalg.norm(x[:, None] - y[None], axis=-1)
