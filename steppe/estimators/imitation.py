"""Imitation: the student learns to move as a teacher does, on gradients that a run has seen.

    L = w · Σ_t (1/n) Σ_i ½ (Δ_{t,i} − u_{t,i}(θ))²

A run of `task` records at every step the gradients g_t and Δ_t, what the teacher makes of them.
The student reads the same g_t, and its updates u_t are drawn to Δ_t. Chen, Zhang, Zhou, Chang,
Liu, Chen & Wang, "Training stronger baselines for learning to optimize", NeurIPS 2020, section
3.2; as in Ross, Gordon & Bagnell, "A reduction of imitation learning to no-regret online
learning", AISTATS 2011, the student may also lead the run.

The recorded gradients are constants, so the n coordinates of a coordinatewise student are
independent, and their share of dL/dθ is found block by block, as in `replay.py`.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int, PyTree

from ..core import tree
from ..core.backend import replay_block
from ..core.coordinatewise import (
    AbstractCoordinatewise,
    CoordinateState,
    Inputs,
    from_blocks,
    joined,
    parted,
    to_blocks,
)
from ..core.episode import Step, unroll
from ..core.messages import at_least
from ..core.objective import AbstractObjective
from ..core.optimizer import AbstractOptimizer, frozen, join_meta, split_meta
from ..core.task import AbstractTask
from ..core.types import Key, OptState, Params, Scalar, Updates
from ..core.window import Window
from .replay import pull_back
from .windows import AbstractWindowed, Lane, Windows, finished_unless

FOLLOW = ("teacher", "student")


class ShadowState(eqx.Module):
    leader: OptState
    teacher: OptState  # () where the teacher leads
    grads: Updates  # handed to both at the last step
    label: Updates  # what the teacher made of them


class Shadow(AbstractOptimizer):
    """`leader` moves the parameters; `teacher`, if there is one, says what it would have done.

    Both see the same gradients. The state keeps these and the teacher's updates; without a
    `teacher` of its own, the leader is the teacher.
    """

    leader: AbstractOptimizer
    teacher: AbstractOptimizer | None = None

    def init(self, params: Params, *, key: Key | None = None) -> ShadowState:
        params = tree.real(params, "Shadow")
        zeros = jtu.tree_map(jnp.zeros_like, params)
        teacher = () if self.teacher is None else self.teacher.init(params, key=key)
        return ShadowState(self.leader.init(params, key=key), teacher, zeros, zeros)

    def update(
        self, grads: Updates, state: ShadowState, params: Params, **extra
    ) -> tuple[Updates, ShadowState]:
        updates, leader = self.leader.update(grads, state.leader, params, **extra)
        label, teacher = updates, ()
        if self.teacher is not None:
            label, teacher = self.teacher.update(grads, state.teacher, params, **extra)
        return updates, ShadowState(leader, teacher, tree.cast_like(grads, params), label)


class Record(eqx.Module):
    """Record of a window; the leading axis is steps of the student."""

    grads: Updates
    label: Updates  # what the teacher's next `every` steps add up to
    params: Params
    value: Scalar | None = None  # the loss at `params`


class Imitation(AbstractWindowed):
    """Meta-gradients that draw a student's updates to a teacher's.

    - `teacher`: any optimizer, a hand-made one or a trained one (its arrays are constants)
    - `follow`: who leads the run, the "teacher" (teacher forcing) or the "student"
    - `every`: the student sees the gradient of every so many steps, and Δ is what the teacher
      does in all of them; only where the teacher leads
    - `weights`: "sum", w = 1, or "uniform", w = 1/length
    - `episodes`, `length`, `horizon`, `stagger`, `together`: as in `BPTT`; `length` counts steps
      of the student, `horizon` those of the run

    The objective is not asked. Several teachers: one `Imitation` each, in a `Mix`.
    """

    teacher: AbstractOptimizer
    follow: Literal["teacher", "student"] = eqx.field(static=True)
    every: int = eqx.field(static=True)
    weights: Literal["sum", "uniform"] = eqx.field(static=True)
    windows: Windows
    every: int = eqx.field(static=True)

    def __init__(
        self,
        teacher: AbstractOptimizer,
        episodes: int = 8,
        length: int = 20,
        horizon: int | Int[Array, ""] = 100,
        *,
        follow: Literal["teacher", "student"] = "teacher",
        every: int = 1,
        weights: Literal["sum", "uniform"] = "sum",
        stagger: bool = True,
        together: int | None = None,
    ):
        at_least(1, "Imitation", length=length, every=every)
        if follow not in FOLLOW:
            raise ValueError(f"Imitation: follow must be teacher or student, got {follow!r}.")
        if weights not in ("sum", "uniform"):
            raise ValueError(f"Imitation: weights must be sum or uniform, got {weights!r}.")
        if every > 1 and follow == "student":
            raise ValueError(
                f"Imitation: every={every} needs a run that the teacher leads; a student that "
                'leads must see every gradient. Use follow="teacher" or every=1.'
            )
        self.teacher, self.follow, self.every, self.weights = teacher, follow, every, weights
        steps = length * every
        self.windows = Windows(episodes, steps, horizon, stagger, together, owner="Imitation")

    def init(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        objective: AbstractObjective,
        *,
        key: Key,
    ) -> Window:
        key_windows, key_student = jr.split(key)
        state = self.windows.open(task, self._shadow(opt), None, key=key_windows)
        keys = jr.split(key_student, self.windows.episodes)
        student = jax.vmap(lambda params, key: self._student(opt, params, key))
        return Window(state.episode, student(state.episode.params, keys), state.steps_left)

    def lane(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        objective: AbstractObjective,
        state: Window,
        key: Key,
    ) -> tuple[Window, Lane]:
        key_reset, key_student = jr.split(key)
        shadow, steps = self._shadow(opt), self.windows.length
        length = steps // self.every
        bare = Window(state.episode, (), state.steps_left)
        bare, reset = self.windows.refresh(task, shadow, None, bare, key=key_reset)
        first = self._student(opt, bare.episode.params, key_student)
        student = tree.select(reset, first, state.memo)
        if self.follow == "student":
            student = bare.episode.opt_state.leader

        def observe(step: Step) -> Record:
            shadow = step.after.opt_state
            return Record(shadow.grads, shadow.label, step.before.params, step.value)

        episode, record = unroll(task, shadow, bare.episode, steps, observe)
        record = jtu.tree_map(
            lambda x: x.reshape(length, self.every, *x.shape[1:]), record
        )  # (length, every, …)
        first_of = lambda x: jtu.tree_map(lambda leaf: leaf[:, 0], x)
        label = jtu.tree_map(lambda leaf: jnp.sum(leaf, axis=1), record.label)
        given = first_of((record.grads, record.params, record.value))
        record = Record(given[0], label, *given[1:])
        weight = 1.0 if self.weights == "sum" else 1.0 / length
        loss, student, grads = draw_to(opt, student, record, weight)

        finite = jnp.isfinite(loss) & tree.finite(grads)
        memo = () if self.follow == "student" else student
        after = Window(episode, memo, bare.steps_left - steps)
        return finished_unless(finite, after), Lane(loss, {}, grads, finite, reset, steps)

    def _shadow(self, opt: AbstractOptimizer) -> Shadow:
        teacher = frozen(self.teacher)
        return Shadow(teacher) if self.follow == "teacher" else Shadow(frozen(opt), teacher)

    def _student(self, opt: AbstractOptimizer, params: Params, key: Key) -> OptState:
        """The student's state at the start of a run; a leading student keeps it as leader."""
        return () if self.follow == "student" else tree.strongly_typed(opt.init(params, key=key))


def draw_to(
    opt: AbstractOptimizer, state: OptState, record: Record, weight: float
) -> tuple[Scalar, OptState, PyTree]:
    """The imitation loss of one window, the student's state after it, and the gradient in θ."""
    if isinstance(opt, AbstractCoordinatewise):
        params = first(record.params)
        dtype = opt.dtype(params)
        flat = jax.vmap(lambda x: tree.ravel(x, dtype)[0])
        given = lambda r: opt.row_inputs(r.grads, r.params, {"value": r.value})
        inputs, label = jax.vmap(given)(record), flat(record.label)
        return draw_rows_to(opt, state, inputs, label, weight, params)
    theta, rest = split_meta(opt)
    n = tree.size(first(record.params))

    def value(theta: PyTree) -> tuple[Scalar, OptState]:
        student = join_meta(theta, rest)

        def step(state: OptState, at: Record) -> tuple[OptState, Scalar]:
            u, state = student.update(at.grads, state, at.params)
            off = jtu.tree_map(lambda a, b: a - b.astype(a.dtype), u, at.label)
            return state, tree.dot(off, off)

        after, squares = jax.lax.scan(step, state, record)
        return weight * 0.5 / n * jnp.sum(squares), after

    (loss, after), grads = jax.value_and_grad(value, has_aux=True)(theta)
    return loss, jax.lax.stop_gradient(after), grads


def draw_rows_to(
    opt: AbstractCoordinatewise,
    state: CoordinateState,
    inputs: Inputs,
    label: Float[Array, "length n"],
    weight: float,
    params: Params,
) -> tuple[Scalar, CoordinateState, PyTree]:
    """`draw_to` on one block of rows after the other: forward, λ = dL/du, pull back."""
    length, n = label.shape
    block = replay_block(n)
    counts = state.count + jnp.arange(1, length + 1, dtype=state.count.dtype)

    def add_block(total: tuple[PyTree, Scalar], xs: tuple) -> tuple[tuple[PyTree, Scalar], PyTree]:
        start, inputs, label, real = xs  # real: 1, or 0 for the padding of the last block

        def step(rows, x):
            inputs, count = x
            u, after = opt.advance(inputs, rows, count)
            return after, (u, rows)

        after, (u, kept) = jax.lax.scan(step, start, (inputs, counts))
        off = jnp.where(real[None] > 0, u - label, 0)  # (length, block)
        lam = weight / n * off
        at = lambda t: jtu.tree_map(lambda leaf: leaf[t], kept)
        grads = pull_back(opt, at, inputs, lam, counts)
        return (tree.add(total[0], grads), total[1] + 0.5 * jnp.sum(lam * off)), after

    zeros = jtu.tree_map(jnp.zeros_like, split_meta(opt)[0])
    rows = joined(opt, state.rows, params)
    xs = jtu.tree_map(
        lambda x: to_blocks(x, block), (rows, inputs, label, jnp.ones((n,), label.dtype))
    )
    (grads, loss), after = jax.lax.scan(add_block, (zeros, jnp.zeros((), label.dtype)), xs)
    after = jtu.tree_map(lambda leaf: from_blocks(leaf, n), after)
    return loss, CoordinateState(counts[-1], parted(opt, after, params)), grads


def first(x: PyTree) -> PyTree:
    return jtu.tree_map(lambda leaf: leaf[0], x)
