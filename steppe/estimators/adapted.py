"""Adapted: the meta-gradient of an optimizer that first adapts to each episode (M-L2O).

    min_θ  mean over episodes j of  G_j(θ_j),    θ_j = θ − α ∇G_j(θ)

G_j(θ) is the score of a window of episode j under the optimizer θ. So θ is judged by what a few
gradient steps of its own make of it: trained is a start that adapts quickly, not an optimizer that
is good as it is. With α = 0 this is `BPTT`.

    outer="same"   G_j of θ_j is taken on the window that θ was adapted on, as above
    outer="next"   on the window after it, from the state to which θ, not θ_j, has led
    order=1        θ_j moves as θ does, dG_j(θ_j)/dθ = ∇G_j(θ_j): as published
    order=2        exact, dG_j(θ_j)/dθ = (I − α ∇²G_j(θ)) ∇G_j(θ_j)

Whatever the window, an episode goes on from where θ itself has led, and a window begins at a
constant. The product with ∇²G is taken forward over reverse, so that no backward pass is kept to be
differentiated: two gradients and a product, one after the other.

Yang, Chen, Chen, Wang & Liang, "M-L2O: towards generalizable learning-to-optimize by test-time
fast self-adaptation", ICLR 2023: outer="next", order=1, inner="sgd". Departure: in the outer window
its code counts steps, for the bias correction of moments, as in the window before, a slip that is
repeated with `published_counter` alone. The scheme is that of Finn, Abbeel & Levine,
"Model-agnostic meta-learning", ICML 2017. Rates of adaptation may be learned, too, one a tensor
(`Adaptable`), after Li, Zhou, Chen & Li, "Meta-SGD", 2017, which has one a number.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree

from ..core import tree
from ..core.arguments import real, told
from ..core.messages import at_least
from ..core.objective import AbstractObjective, Score
from ..core.optimizer import AbstractOptimizer, join_meta, split_meta
from ..core.task import AbstractTask
from ..core.types import Key, Scalar
from ..core.window import Window
from .bptt import BPTT
from .windows import AbstractWindowed, Lane, Windows, finished_unless

Surface = Callable[[PyTree], tuple[Score, Window, PyTree]]  # θ ↦ score, window after it, gradient
Outer = Literal["same", "next"]
Inner = Literal["sgd", "adam"]

# Of the inner Adam. That of optax has no derivative where a gradient is 0: its root is steep there.
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class Adapted(AbstractWindowed):
    """The gradient of `base` after `steps` steps of adaptation of size `rate`, episode by episode.

    - `base`: windows, and how a gradient through one is taken; `base.second_order` is about the
      gradients of the task, which it differentiates, too: not about the steps of adaptation
    - `rate`: α, an array: it changes without compiling again. 0: no adaptation. An optimizer that
      carries rates of its own (`Adaptable`) is adapted by those, which are trained with it
    - `steps`: of adaptation, all on the same window from its start
    - `outer`: the window of the loss, "same" or "next"
    - `order`: 1, or 2 for the exact gradient, which takes two to three times as long and as much
      memory
    - `inner`: "sgd" or "adam", which begins anew in every window
    - `published_counter`: with "next", the optimizer counts the steps of the outer window as those
      of the one before. For comparison with the published code alone

    `Stats.loss` is that of the adapted optimizers. `Stats.parts` has `adapted_gain`, the loss on
    the outer window without adaptation minus that: above 0 where adaptation helps. With "next" it
    is the gradient at θ_j times the way there, which takes no run of θ: within a tenth of the
    difference at rates up to 0.1, on LASSO and digits.
    Episodes whose loss or gradient is not finite, before or after adaptation, are left out of the
    mean, counted in `Stats.nonfinite` and begun afresh at the next call.
    """

    base: BPTT
    rate: Float[Array, ""]
    steps: int = eqx.field(static=True)
    outer: Outer = eqx.field(static=True)
    order: Literal[1, 2] = eqx.field(static=True)
    inner: Inner = eqx.field(static=True)
    published_counter: bool = eqx.field(static=True)

    def __init__(
        self,
        base: BPTT,
        rate: float | Scalar = 1e-3,
        steps: int = 1,
        outer: Outer = "same",
        order: Literal[1, 2] = 1,
        inner: Inner = "sgd",
        *,
        published_counter: bool = False,
    ):
        if not isinstance(base, BPTT):
            raise ValueError(
                f"Adapted: base must be a BPTT, got {type(base).__name__}: give "
                "Adapted(BPTT(episodes, length, horizon), …)."
            )
        check_rate("Adapted", rate)
        at_least(1, "Adapted", steps=steps)
        for name, value, known in (
            ("outer", outer, get_args(Outer)),
            ("inner", inner, get_args(Inner)),
            ("order", order, (1, 2)),
        ):
            if isinstance(value, bool) or value not in known:
                raise ValueError(
                    f"Adapted: {name} is {value!r}, expected {known[0]!r} or {known[1]!r}."
                )
        if order == 2 and base.rows is not None:
            raise ValueError(
                "Adapted: order=2 differentiates a gradient of all coordinates, but the base "
                f"samples {base.rows} of them. Use rows=None, or order=1."
            )
        if published_counter and outer != "next":
            raise ValueError(
                'Adapted: published_counter is about the window after, so it needs outer="next".'
            )
        self.base, self.rate = base, jnp.asarray(rate, jnp.result_type(float))
        self.steps, self.outer, self.order, self.inner = steps, outer, order, inner
        self.published_counter = published_counter

    @property
    def windows(self) -> Windows:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.base.windows

    def init(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        objective: AbstractObjective,
        *,
        key: Key,
    ) -> Window:
        return self.base.init(task, carried(opt)[0], objective, key=key)

    def lane(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        objective: AbstractObjective,
        state: Window,
        key: Key,
    ) -> tuple[Window, Lane]:
        key_reset, key_loss = jr.split(key)
        rule, log_rates = carried(opt)
        window, reset = self.windows.refresh(task, rule, objective, state, key=key_reset)
        theta, rest = split_meta(rule)

        def on(window: Window, key: Key, begun: tuple | None) -> Surface:
            how = {"key": key, "begun": begun}
            live = lambda theta: join_meta(theta, rest)
            return lambda theta: self.base.gradient(task, live(theta), window, objective, **how)

        begun = (reset, key_reset)
        inner = on(window, key_loss, begun)
        plain, after, grads = inner(theta)
        path = self.adapt(inner, theta, grads, rates_of(theta, self.rate, log_rates))
        if self.outer == "same":
            # One function G_j, but rows are sampled anew: adaptation would fit their noise.
            key_outer = key_loss if self.base.rows is None else jr.fold_in(key_loss, 2)
            outer = on(window, key_outer, begun)
        else:
            start = counted(after, window) if self.published_counter else after
            outer = on(start, jr.fold_in(key_loss, 1), None)

        def adapted() -> tuple[Score, Scalar, PyTree, PyTree]:
            found, _, slope = outer(path.theta)
            gain = plain.value - found.value
            if self.outer == "next":
                way = jtu.tree_map(jnp.subtract, theta, path.theta)
                gain = tree.dot(slope, way).astype(gain.dtype)
            return found, gain, *self.pull_back(inner, path, slope)

        def unmoved() -> tuple[Score, Scalar, PyTree, PyTree]:
            none = jtu.tree_map(jnp.zeros_like, (plain.value, path.rates))
            return plain, none[0], grads, none[1]

        # At rate 0 on the same window to the last bit what BPTT finds. Else a branch that is always
        # taken, but XLA does not know: it reuses the memory of the gradient before.
        alike = self.outer == "same" and log_rates is None
        moves = self.rate != 0 if alike else self.rate >= 0
        found, gain, grads, slopes = jax.lax.cond(moves, adapted, unmoved)
        finite = jnp.isfinite(found.value) & jnp.isfinite(plain.value) & tree.finite(grads)
        if log_rates is not None:
            logs = [r * s for r, s in zip(*map(jtu.tree_leaves, (path.rates, slopes)), strict=True)]
            both = grads, jnp.stack([x.astype(log_rates.dtype) for x in logs])
            grads = eqx.tree_at(lambda o: (o.base, o.log_rates), split_meta(opt)[0], both)
        parts = found.parts | {"adapted_gain": gain}
        taken = self.windows.length * (1 + self.steps)
        lane = Lane(found.value, parts, grads, finite, reset, taken)
        return finished_unless(finite, after), lane

    def adapt(self, surface: Surface, theta: PyTree, grads: PyTree, rates: PyTree) -> "Path":
        """The steps of adaptation from θ, where the gradient is `grads`.

        - `rates`: a number for each leaf of θ
        """

        def step(here: "Place") -> tuple[PyTree, PyTree]:
            return inner_step(*here, rates)

        def again(carry: tuple[PyTree, PyTree], _: None) -> tuple[tuple[PyTree, PyTree], Place]:
            here = Place(*carry, surface(carry[0])[2])
            return step(here), here

        first = Place(theta, inner_start(self.inner, theta), grads)
        (moved, _), later = jax.lax.scan(again, step(first), length=self.steps - 1)
        return Path(moved, first, later, rates)

    def pull_back(self, surface: Surface, path: "Path", c: PyTree) -> tuple[PyTree, PyTree]:
        """The derivatives of ⟨c, θ adapted⟩ in θ and in the rates; of first order, c is the one."""

        def back(carry: tuple[PyTree, PyTree, PyTree], here: Place) -> tuple[tuple, None]:
            c, c_memory, c_rates = carry
            _, pull = jax.vjp(inner_step, *here, path.rates)
            c, c_memory, c_grads, more = pull((c, c_memory))
            if self.order == 2:  # the Hessian is its own transpose
                slope = lambda theta: surface(theta)[2]
                c = tree.add(c, jax.jvp(slope, (here.theta,), (c_grads,))[1])
            return (c, c_memory, tree.add(c_rates, more)), None

        zeros = lambda x: jtu.tree_map(jnp.zeros_like, x)
        carry = c, zeros(path.first.memory), zeros(path.rates)
        carry, _ = jax.lax.scan(back, carry, path.later, reverse=True)
        (c, _, c_rates), _ = back(carry, path.first)
        return c, c_rates


class Memory(NamedTuple):
    """State of the inner Adam: means of the gradients and of their squares."""

    m: PyTree
    v: PyTree
    taken: Float[Array, ""]  # steps


class Place(NamedTuple):
    """Before a step of adaptation."""

    theta: PyTree
    memory: PyTree  # of the inner optimizer
    grads: PyTree


class Path(NamedTuple):
    """All steps of adaptation."""

    theta: PyTree  # after the last one
    first: Place
    later: Place  # before each step but the first, leading axis steps - 1
    rates: PyTree  # a number for each leaf of θ


def inner_start(inner: Inner, theta: PyTree) -> Memory | tuple[()]:
    """The state before the first step of adaptation."""
    if inner == "sgd":
        return ()
    zeros = jtu.tree_map(jnp.zeros_like, theta)
    return Memory(zeros, zeros, jnp.zeros((), jnp.result_type(float)))


def inner_step(
    theta: PyTree, memory: Memory | tuple[()], grads: PyTree, rates: PyTree
) -> tuple[PyTree, Memory | tuple[()]]:
    """One step of adaptation: θ and the state after it.

    - `rates`: a number for each leaf of θ
    """
    down = lambda t, r, d: t - r * d
    if not isinstance(memory, Memory):
        return jtu.tree_map(down, theta, rates, grads), memory
    taken = memory.taken + 1
    m = jtu.tree_map(lambda m, g: BETA1 * m + (1 - BETA1) * g, memory.m, grads)
    v = jtu.tree_map(lambda v, g: BETA2 * v + (1 - BETA2) * g**2, memory.v, grads)

    def direction(m: Array, v: Array) -> Array:
        m_hat = m / (1 - BETA1**taken).astype(m.dtype)
        v_hat = v / (1 - BETA2**taken).astype(v.dtype)
        root = jnp.where(v_hat > 0, jnp.sqrt(jnp.where(v_hat > 0, v_hat, 1)), 0)
        return m_hat / (root + EPSILON)

    return jtu.tree_map(down, theta, rates, jtu.tree_map(direction, m, v)), Memory(m, v, taken)


def rates_of(
    theta: PyTree, rate: Scalar, log_rates: Float[Array, " leaves"] | None = None
) -> PyTree:
    """The rate of each leaf of θ, in its dtype: e to the power of its log-rate, or `rate`."""
    leaves, treedef = jtu.tree_flatten(theta)
    rates = [rate] * len(leaves) if log_rates is None else list(jnp.exp(log_rates))
    return jtu.tree_unflatten(
        treedef, [r.astype(leaf.dtype) for r, leaf in zip(rates, leaves, strict=True)]
    )


def check_rate(owner: str, rate: object) -> None:
    """Refuse a rate that is no finite number from 0 on; one that is traced passes."""
    if isinstance(rate, Tracer):
        return
    expected = "one finite number from 0 on"
    many, most = getattr(rate, "ndim", 0) > 0, float(jnp.finfo(jnp.result_type(float)).max)
    if many or not 0 <= real(f"{owner}: rate", rate, expected=expected) <= most:
        raise ValueError(f"{owner}: rate must be {expected}, got {told(rate)}.")


def carried(
    opt: AbstractOptimizer,
) -> tuple[AbstractOptimizer, Float[Array, " leaves"] | None]:
    """The rule that is adapted, and the log-rates that it carries; None if it carries none."""
    log_rates = getattr(opt, "log_rates", None)
    return (opt, None) if log_rates is None else (opt.base, log_rates)  # pyright: ignore


def counted(window: Window, before: Window) -> Window:
    """The window, its optimizer's counter of steps set back to that of the window before."""
    if not eqx.is_array(getattr(before.episode.opt_state, "count", None)):
        raise ValueError(
            "Adapted: published_counter sets back the counter of an optimizer's steps, `count` in "
            "its state, which this optimizer has not. Use published_counter=False."
        )
    count = lambda window: window.episode.opt_state.count
    return eqx.tree_at(count, window, count(before))
