"""A slow unroll: a Python loop, one step at a time, no scan, no stop_gradient.

The gradients handed to the optimizer can be given (`handed`), which turns the
first-order meta-gradient into an ordinary derivative: of the loss as a function of θ
with those gradients held fixed.
"""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np

from steppe.core.episode import Episode, Step
from steppe.core.optimizer import join_meta, split_meta
from steppe.core.task import Problem


def slow_unroll(task, opt, episode, length, objective, memo, *, key, handed=None):
    """(loss, episode after, gradients handed over)."""
    records, given = [], []
    for t in range(length):
        run_key, key_batch, key_loss, key_opt, key_observe = jr.split(episode.key, 5)
        batch = task.batch(episode.instance, key_batch, split="train")
        problem = Problem(task, episode.instance, batch, key_loss)
        value = problem.value(episode.params)
        grads = problem.grad(episode.params) if handed is None else handed[t]
        updates, opt_state = opt.update(
            grads, episode.opt_state, episode.params, value=value, problem=problem, key=key_opt
        )
        params = jtu.tree_map(jnp.add, episode.params, updates)
        after = Episode(episode.instance, params, opt_state, episode.step + 1, run_key)
        records.append(objective.observe(Step(problem, episode, after, value, key_observe), memo))
        given.append(grads)
        episode = after
    obs = jtu.tree_map(lambda *x: jnp.stack(x), *records)
    return objective(task, episode, obs, memo, key=key).value, episode, given


def central_differences(f, opt, step=1e-5):
    """df/dθ by central differences, entry by entry, as one flat NumPy vector."""
    theta, rest = split_meta(opt)
    leaves, treedef = jtu.tree_flatten(theta)
    out = []
    for k, leaf in enumerate(leaves):
        flat = np.asarray(leaf, np.float64).ravel()
        for i in range(flat.size):
            values = []
            for sign in (1, -1):
                moved = flat.copy()
                moved[i] += sign * step
                new = [*leaves[:k], jnp.asarray(moved.reshape(leaf.shape)), *leaves[k + 1 :]]
                values.append(float(f(join_meta(jtu.tree_unflatten(treedef, new), rest))))
            out.append((values[0] - values[1]) / (2 * step))
    return np.array(out)


def flat(theta):
    leaves = [np.asarray(leaf).ravel() for leaf in jtu.tree_leaves(eqx.filter(theta, eqx.is_array))]
    return np.concatenate(leaves)
