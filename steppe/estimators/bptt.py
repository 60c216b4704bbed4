"""BPTT: truncated back-propagation through time over a batch of episodes.

Each call unrolls every episode by `length` inner steps from where it stands,
differentiates the objective of that window with respect to θ, and carries the
episode over as a constant.

First order (the default) stops the gradient on the gradients handed to the
optimizer. Coordinatewise optimizers then take the fast road of `replay.py`; all
others, and second order, are differentiated through the unroll itself.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Int, PyTree

from ..core import tree
from ..core.coordinatewise import AbstractCoordinatewise
from ..core.messages import at_least
from ..core.objective import AbstractObjective, Score
from ..core.optimizer import AbstractOptimizer, join_meta, split_meta
from ..core.task import AbstractTask
from ..core.types import Key, Scalar
from ..core.window import Window, open_window, score
from .replay import replay_gradient
from .windows import AbstractWindowed, Lane, Windows, finished_unless


class BPTT(AbstractWindowed):
    """Truncated back-propagation through `length` of the `horizon` steps of each episode.

    - `episodes`, `length`, `horizon`, `stagger`, `together`: as in `Windows`
    - `second_order`: differentiate the gradients handed to the optimizer, too
    - `rows`: back-propagate through so many sampled coordinates instead of all; only
      for coordinatewise optimizers in first-order mode (see `replay.py`)
    - `remat`: recompute inner steps in the backward pass instead of storing them. None
      decides by memory for coordinatewise optimizers, and stores for others

    Episodes whose loss or gradient is not finite are left out of the mean, counted in
    `Stats.nonfinite` and begun afresh at the next call.
    """

    windows: Windows
    second_order: bool = eqx.field(static=True)
    rows: int | None = eqx.field(static=True)
    remat: bool | None = eqx.field(static=True)

    def __init__(
        self,
        episodes: int = 8,
        length: int = 20,
        horizon: int | Int[Array, ""] = 100,
        *,
        second_order: bool = False,
        rows: int | None = None,
        remat: bool | None = None,
        stagger: bool = True,
        together: int | None = None,
    ):
        at_least(1, "BPTT", rows=rows)
        if rows is not None and second_order:
            raise ValueError(
                "BPTT: sampled coordinates (rows) need the gradients handed to the optimizer "
                "to be constants, which second_order=True undoes. Use rows=None."
            )
        self.windows = Windows(episodes, length, horizon, stagger, together, owner="BPTT")
        self.second_order, self.rows, self.remat = second_order, rows, remat

    def init(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        objective: AbstractObjective,
        *,
        key: Key,
    ) -> Window:
        return self.windows.open(task, opt, objective, key=key)

    def lane(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        objective: AbstractObjective,
        state: Window,
        key: Key,
    ) -> tuple[Window, Lane]:
        key_reset, key_loss = jr.split(key)
        window, reset = self.windows.refresh(task, opt, objective, state, key=key_reset)
        found, after, grads = self.gradient(
            task, opt, window, objective, key=key_loss, begun=(reset, key_reset)
        )
        finite = jnp.isfinite(found.value) & tree.finite(grads)
        lane = Lane(found.value, found.parts, grads, finite, reset, self.windows.length)
        return finished_unless(finite, after), lane

    def gradient(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        window: Window,
        objective: AbstractObjective,
        *,
        key: Key,
        begun: tuple[Bool[Array, ""], Key] | None = None,
    ) -> tuple[Score, Window, PyTree]:
        """The score of one window, the window after it, and dscore/dθ.

        `begun`: whether the window is the first of its episode, and the key it was begun with.
        The state that an episode begins with is then differentiated too, where θ has a say in it
        (coordinatewise rules begin at constants).
        """
        length = self.windows.length
        if isinstance(opt, AbstractCoordinatewise) and not self.second_order:
            how = {"rows": self.rows, "remat": self.remat}
            return replay_gradient(task, opt, window, objective, length=length, key=key, **how)
        if self.rows is not None:
            raise ValueError(
                f"BPTT: rows={self.rows} needs a coordinatewise optimizer, but "
                f"{type(opt).__name__} mixes coordinates. Use rows=None."
            )
        theta, rest = split_meta(opt)
        key_objective, _ = jr.split(key)  # the same draw as in replay_gradient
        second_order, remat = self.second_order, bool(self.remat)

        def value(theta: PyTree) -> tuple[Scalar, tuple[Score, Window]]:
            live, start = join_meta(theta, rest), window
            if begun is not None:
                reset, key_reset = begun
                fresh = open_window(task, live, None, key_reset, self.horizon).episode.opt_state
                start = eqx.tree_at(
                    lambda w: w.episode.opt_state,
                    start,
                    tree.select(reset, fresh, start.episode.opt_state),
                    is_leaf=lambda x: x is None,
                )
            found, after = score(
                task,
                live,
                start,
                objective,
                length,
                key=key_objective,
                second_order=second_order,
                remat=remat,
            )
            return found.value, (found, after)

        (_, (found, after)), grads = jax.value_and_grad(value, has_aux=True)(theta)
        return found, after, grads
