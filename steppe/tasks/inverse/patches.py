"""Image patches as sparse sums of learned atoms: LASSO as it comes in practice.

    f(x) = ½ ‖Ax − b‖² + weight ‖x‖₁,   b a patch of side × side pixels at a random place

A and b are those of `data.photographs`. Problems of one family differ in b alone; where a patch is
flat, b and the minimum are nearly 0, and only absolute gaps mean anything.

Liu, Chen, Wang, Yin & Cai, "Towards constituting mathematical structures for learning to optimize",
ICML 2023, §5, with photographs of scikit-learn in place of BSDS500.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Float32

from ...core import tree
from ...core.loss import Composite, LeastSquares
from ...core.messages import at_least, reals
from ...core.regularizer import L1
from ...core.task import AbstractFormula
from ...core.types import Key, Scalar
from ...data.photographs import alphabet, centred, photographs
from .recovery import Measuring


class ImagePatches(AbstractFormula):
    """½‖Ax − b‖² + weight ‖x‖₁ of patches of two photographs; starts at 0.

    - `weight`: of ‖x‖₁, not negative
    - `side`: of a patch, in pixels; `atoms`: columns of A. Other sizes than 8 and 128 are learned
      when they are first asked for, in about a minute
    """

    weight: float = eqx.field(static=True)
    side: int = eqx.field(static=True)
    atoms: int = eqx.field(static=True)
    by: Measuring
    pictures: Float32[Array, "2 height width"]  # and A: cast where they are used

    def __init__(self, weight: float = 0.5, side: int = 8, atoms: int = 128):
        at_least(1, "ImagePatches", side=side, atoms=atoms)
        reals("ImagePatches", weight=weight)
        if not weight >= 0:
            raise ValueError(f"ImagePatches: weight must be at least 0, got {weight}.")
        self.weight, self.side, self.atoms = weight, side, atoms
        A = jnp.asarray(alphabet(side, atoms))
        self.by = Measuring(A, LeastSquares(A, A[:, 0]).lipschitz())
        self.pictures = jnp.asarray(photographs(), A.dtype)

    def sample(self, key: Key) -> Float[Array, " pixels"]:
        count, height, width = self.pictures.shape
        ends = jnp.array([count, height - self.side + 1, width - self.side + 1])
        place = jr.randint(key, (3,), 0, ends)
        window = jax.lax.dynamic_slice(self.pictures, place, (1, self.side, self.side))
        return jnp.ravel(centred(window.astype(jnp.result_type(float))))

    def init(self, instance: Float[Array, " pixels"], key: Key) -> Float[Array, " atoms"]:
        return jnp.zeros(self.atoms)

    def loss(self, instance: Float[Array, " pixels"], batch: tuple[()], key: Key) -> Composite:
        by = tree.cast(self.by, jnp.result_type(float))
        return Composite(LeastSquares(by.A, instance), L1(self.weight), by.lipschitz)

    def target(self, instance: Float[Array, " pixels"]) -> None:
        return None

    def metrics(
        self,
        params: Float[Array, " atoms"],
        instance: Float[Array, " pixels"],
        batch: tuple[()],
        key: Key,
    ) -> dict[str, Scalar]:
        """The share of atoms in use."""
        return {"used": jnp.mean(params != 0, dtype=params.dtype)}
