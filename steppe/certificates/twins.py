"""Equal tasks, and those that are equal but for rounding or a little noise.

A task is one or more arrays. Its sketch has two numbers for each array x: ⟨w, x⟩ with fixed normal
weights w, and ‖x‖₂. Two tasks are twins if both numbers agree, for every array, to `TWINS` times
‖x‖₂. So those whose arrays differ by 1e-10 of their norm are twins, and those that differ by more
than 1e-8 are not, but for chance.

Of n tasks some n² TWINS/2 come to be twins by chance where a task is one number. So many are not
held against anyone (`CHANCE`); equal ones are.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

TWINS = 1e-9  # of the norm of each array
CHANCE = 1000 * TWINS  # twins for each pair of tasks that are let pass
Sketches = Float[np.ndarray, "n numbers"]


def sketch(task: PyTree) -> Float[Array, " numbers"]:
    """Two numbers for each array of a task: its product with fixed weights, and its norm."""
    parts = [part for leaf in jtu.tree_leaves(task) for part in _parts(leaf)]
    weights = [jr.normal(jr.key(i), x.shape, x.dtype) for i, x in enumerate(parts)]
    made = [
        number
        for w, x in zip(weights, parts, strict=True)
        for number in (jnp.sum(w * x), jnp.sqrt(jnp.sum(x * x)))
    ]
    return jnp.stack(made or [jnp.zeros(())])


def groups(sketches: Sketches) -> Int[np.ndarray, " n"]:
    """A number for each task, the same for twins."""
    n, numbers = sketches.shape
    together = np.zeros(n, np.int64)
    for j in range(numbers):
        norms = sketches[:, min(j | 1, numbers - 1)]
        room = TWINS * np.where(np.isfinite(norms), np.abs(norms), np.nan)  # NaN is nobody's twin
        order = np.argsort(sketches[:, j], kind="stable")
        x, room = sketches[order, j], room[order]
        with np.errstate(invalid="ignore"):  # ∞ − ∞
            apart = ~(np.diff(x) <= np.maximum(room[1:], room[:-1]))
        group = np.empty(n, np.int64)
        group[order] = np.concatenate([[0], np.cumsum(apart)])
        together = np.unique(together * n + group, return_inverse=True)[1]
    return together


def check_different(sketches: Sketches) -> None:
    """Refuse tasks of which too many are twins."""
    n = len(sketches)
    twins = n - len(np.unique(groups(sketches)))
    if twins > CHANCE * n**2:
        raise ValueError(
            f"{twins} of {n} tasks are equal to another, to {TWINS:g} of their norm; tasks must be "
            "drawn independently, each from its own key. Where only few are possible, say "
            "repeats=True."
        )


def shared(tasks: PyTree, others: PyTree) -> int:
    """Number of `others`, stacked, that have a twin among `tasks`; 0 if chance would do as much."""
    made = [np.asarray(jax.vmap(sketch)(stacked), np.float64) for stacked in (tasks, others)]
    found = groups(np.concatenate(made))
    count = int(np.isin(found[len(made[0]) :], found[: len(made[0])]).sum())
    return count if count > CHANCE * len(made[0]) * len(made[1]) else 0


def _parts(leaf: Array) -> list[Array]:
    """The numbers of an array in the widest real type; a complex one as two."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jr.key_data(leaf)
    wide = jnp.result_type(float)
    if jnp.iscomplexobj(leaf):
        return [jnp.real(leaf).astype(wide), jnp.imag(leaf).astype(wide)]
    return [jnp.asarray(leaf).astype(wide)]
