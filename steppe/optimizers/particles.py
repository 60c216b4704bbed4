"""Particles as the rows of one matrix, and what optimizers of swarms ask of a problem."""

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float

from ..core import tree
from ..core.loss import Stacked, expect
from ..core.task import Problem
from ..core.types import Params

LEAST = 2  # particles that make a swarm
TAKE = "give `task.particles 4`; in Python `Population(task, 4)`"


def check_particles(params: Params, owner: str) -> int:
    """The number of particles, in front of every leaf; ValueError if there is no swarm."""
    leaves = jtu.tree_leaves(params)
    fronts = {jnp.shape(leaf)[:1] for leaf in leaves}
    if len(fronts) != 1 or fronts == {()}:
        shapes = ", ".join(str(jnp.shape(leaf)) for leaf in leaves[:3]) or "no arrays"
        raise ValueError(
            f"{owner} needs parameters with the particles in front of every array, got {shapes}; "
            f"{TAKE}."
        )
    (count,) = fronts.pop()
    if count < LEAST:
        raise ValueError(f"{owner}: {count} particle is no swarm, it needs {LEAST}; {TAKE}.")
    return count


def each(problem: Problem | None, params: Params, owner: str) -> Float[Array, " particles"]:
    """The loss of every particle, by which no meta-gradient goes."""
    return jax.lax.stop_gradient(stacked(problem, owner).each(params))


def stacked(problem: Problem | None, owner: str) -> Stacked:
    """The loss of the problem; ValueError or StructureError if it is not one of particles."""
    if problem is None:
        raise ValueError(
            f"{owner} needs the problem that it solves, but update was given none. Run it in "
            "`unroll`, or give update(…, problem=Problem(task, instance, batch, key))."
        )
    return expect(problem.loss(), Stacked, owner)


def rows(params: Params, dtype: jnp.dtype) -> Float[Array, "particles n"]:
    """Every particle as a row."""
    return jax.vmap(lambda one: tree.ravel(one, dtype)[0])(params)


def like_rows(x: Float[Array, "particles n"], params: Params) -> Params:
    """Inverse of `rows`: a tree like `params`."""
    one = jtu.tree_map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), params)
    return jax.vmap(tree.unravel_like(one))(x)
