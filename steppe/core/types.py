"""The aliases used in signatures. The only file that defines any."""

from typing import Literal

from jaxtyping import Array, Float, PyTree
from jaxtyping import Key as TypedKey

Key = TypedKey[Array, ""]  # a typed PRNG key: jax.random.key(seed)
Scalar = Float[Array, ""]
Params = PyTree[Float[Array, "..."]]  # the variables being optimized
Updates = PyTree[Float[Array, "..."]]  # same structure as Params, to be added
OptState = PyTree
Instance = PyTree  # what differs between two problems of one family; may be ()
Batch = PyTree
Memo = PyTree  # what an objective keeps for a whole episode
Obs = PyTree  # what an objective records at one step
Split = Literal["train", "valid", "test"]
