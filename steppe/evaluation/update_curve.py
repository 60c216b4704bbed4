"""The update rule as a picture: the next update against the next gradient, after a history.

A coordinate has seen the gradients of a *history*; now comes g. Every g of a grid gets a
coordinate of its own, all with the same history, so one update shows the whole curve.
Updates are divided by the size of the update that a steady gradient of 1 ends up with: what
is compared is the shape, not the learning rate.
"""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from ..core.optimizer import AbstractOptimizer
from ..store.untrusted import Length, Source, checked, listed
from .records import Name

Points = Annotated[list[float], Length(10_000, 1)]
STEPS = 20  # length of a history
GRID = np.linspace(-3.0, 3.0, 121)
STEADY = "after steady gradients of 1"
HISTORIES = {
    STEADY: np.ones(STEPS),
    "after gradients of ±1 in turn": np.resize([1.0, -1.0], STEPS),
    "after steady gradients of ¼": np.full(STEPS, 0.25),
}


@dataclasses.dataclass(frozen=True)
class UpdateCurve:
    """An optimizer's curves: history → update / unit at each gradient of `g`."""

    optimizer: Name
    learned: bool
    unit: float  # size of the update that a steady gradient of 1 ends up with
    g: Points
    curves: dict[str, Points]


def update_curve(opt: AbstractOptimizer, *, name: str, learned: bool) -> UpdateCurve:
    """The curves of one optimizer, with the parameters held at zero."""
    g = jnp.asarray(GRID, jnp.float32)  # (121,)
    zeros = jnp.zeros_like(g)

    def after(history: Float[Array, " steps"]) -> Float[Array, " g"]:
        def step(state, past):
            return opt.update(jnp.full_like(g, past), state, zeros)[1], None

        state, _ = jax.lax.scan(step, opt.init(zeros, key=jr.key(0)), history)
        return opt.update(g, state, zeros)[0]

    histories = jnp.asarray(np.stack(list(HISTORIES.values())), jnp.float32)
    updates = np.asarray(jax.jit(jax.vmap(after))(histories), np.float64)  # (histories, g)
    steady = updates[list(HISTORIES).index(STEADY), np.argmin(np.abs(GRID - 1))]
    unit = abs(float(steady)) or 1.0
    return UpdateCurve(
        optimizer=name,
        learned=learned,
        unit=float(f"{unit:.4g}"),
        g=[float(f"{x:.4g}") for x in GRID],
        curves={
            history: [float(f"{x:.4g}") for x in u / unit]
            for history, u in zip(HISTORIES, updates, strict=True)
        },
    )


def from_plain(plain: object, source: Source) -> UpdateCurve:
    """A curve from the content of a JSON file, which is `source` in messages."""
    curve = checked(plain, UpdateCurve, source)
    if curve.curves.keys() != HISTORIES.keys():
        raise source.refuse(f"the histories {listed(curve.curves)}", "those of this steppe")
    if any(len(line) != len(curve.g) for line in curve.curves.values()):
        raise source.refuse("curves of another length", f"{len(curve.g)} points as in `g`")
    return curve
