"""An episode is one inner training in flight; `unroll` is the one loop that advances it."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Int, PyTree

from . import tree
from .loss import Saddle
from .optimizer import AbstractOptimizer
from .task import AbstractTask, Problem, structure
from .types import Instance, Key, Obs, OptState, Params, Scalar, Updates


class Episode(eqx.Module):
    """One inner training in flight. Holds no data set and no θ."""

    instance: Instance
    params: Params
    opt_state: OptState
    step: Int[Array, ""]
    key: Key


def held(episode: Episode) -> int:
    """Numbers that an episode holds of its parameters and of the optimizer's state."""
    return tree.size((episode.params, episode.opt_state))


def restart(episode: Episode, params: Params, opt: AbstractOptimizer) -> Episode:
    """Begin again on the same instance at given parameters: step 0, a fresh optimizer state.

    Random numbers go on from the episode's key, so that batches differ from those seen before.
    """
    key_opt, key_run = jr.split(episode.key)
    params = tree.strongly_typed(params)
    opt_state = tree.strongly_typed(opt.init(params, key=key_opt))
    return Episode(episode.instance, params, opt_state, jnp.zeros((), jnp.int32), key_run)


class Step(NamedTuple):
    """One inner step as objectives and other onlookers see it."""

    problem: Problem  # the loss surface of this step's training batch
    before: Episode
    after: Episode
    value: Scalar  # the loss at `before.params`
    key: Key  # for random numbers of the onlooker


def merit_of_steps(task: AbstractTask) -> Callable[[Step], Scalar]:
    """A look at `Problem.merit` before each step: its value, where the task is no game."""
    if not issubclass(structure(task), Saddle):
        return lambda step: step.value
    return lambda step: step.problem.merit(step.before.params)


def begin(task: AbstractTask, opt: AbstractOptimizer, key: Key) -> Episode:
    """Draw an instance and starting parameters, and set up the optimizer's state."""
    key_instance, key_params, key_opt, key_run = jr.split(key, 4)
    instance = tree.strongly_typed(task.sample(key_instance))
    params = tree.strongly_typed(task.init(instance, key_params))
    opt_state = tree.strongly_typed(opt.init(params, key=key_opt))
    return Episode(instance, params, opt_state, jnp.zeros((), jnp.int32), key_run)


def unroll(
    task: AbstractTask,
    opt: AbstractOptimizer,
    episode: Episode,
    length: int,
    observe: Callable[[Step], Obs],
    *,
    second_order: bool = False,
    remat: bool = False,
    nudges: Updates | None = None,
    until: Int[Array, ""] | None = None,
    fresh: bool = False,
) -> tuple[Episode, PyTree]:
    """Advance an episode by `length` inner steps and record what `observe` returns at each.

    One step draws a training batch, takes value and gradient of the loss there,
    asks the optimizer for updates and adds them; `observe(step)` looks at it.

    - `second_order=False` stops the gradient on the gradients handed to `update`,
      and nowhere else: the loss values stay differentiable in the parameters.
    - `remat=True` stores only the episode between steps and recomputes the rest
      during back-propagation.
    - `nudges`, a tree like the parameters with a leading axis `length`, is added to
      the updates step by step. At zero it changes nothing, and the gradient with
      respect to it is dL/du_t, the cotangent of the update of step t.
    - `until`: number of the episode's last update. In later steps of the unroll parameters and
      optimizer rest, and the update is not computed if `until` has no episode axis.
    - `fresh`: the episode has just begun. Nothing changes, but an optimizer whose first steps are
      another program than the later ones (`opening`, their number) has a loop for each, and need
      not choose in every step. The rows of `stacked` are then scanned over: back-propagation
      writes the gradient of each once, where indexing would add to all of them in every step.

    Returns the episode after the last step and the stacked records (leading axis
    `length`).
    """

    opening = min(getattr(opt, "opening", 0), length) if fresh else 0

    def step(
        before: Episode, own: tuple[Updates | None, PyTree | None], **known: bool
    ) -> tuple[Episode, Obs]:
        nudge, row = own
        known = known if row is None else known | {"row": row}
        key, key_batch, key_loss, key_opt, key_observe = jr.split(before.key, 5)
        batch = task.batch(before.instance, key_batch, split="train")
        problem = Problem(task, before.instance, batch, key_loss)
        value, grads = problem.value_and_grad(before.params)
        if not second_order:
            grads = jax.lax.stop_gradient(grads)

        def move() -> tuple[Updates, OptState]:
            extra = {"value": value, "problem": problem, "key": key_opt}
            extra |= {"second_order": second_order, **known}
            return opt.update(grads, before.opt_state, before.params, **extra)

        def rest() -> tuple[Updates, OptState]:
            return jtu.tree_map(jnp.zeros_like, before.params), before.opt_state

        if until is None:
            updates, opt_state = move()
        else:
            updates, opt_state = jax.lax.cond(before.step < until, move, rest)
        if nudge is not None:
            updates = tree.add(updates, nudge)
        params = tree.apply_updates(before.params, updates)
        after = Episode(before.instance, params, opt_state, before.step + 1, key)
        return after, observe(Step(problem, before, after, value, key_observe))

    def loop(episode: Episode, begin: int, end: int, **known: bool) -> tuple[Episode, PyTree]:
        rows = opt.stacked if known.get("opening") else None  # pyright: ignore
        own = jtu.tree_map(lambda x: x[begin:end], (nudges, rows))
        body = functools.partial(step, **known)
        body = jax.checkpoint(body) if remat else body  # pyright: ignore
        return jax.lax.scan(body, episode, own, length=end - begin)

    if not opening:
        return loop(episode, 0, length)
    episode, first = loop(episode, 0, opening, opening=True)
    if opening == length:
        return episode, first
    episode, later = loop(episode, opening, length, opening=False)
    return episode, jtu.tree_map(lambda x, y: jnp.concatenate([x, y]), first, later)
