"""Evolution strategies of evosax as optimizers of a population: tell the values, ask for the next.

    FromEvosax("CMA_ES", std_init=1.5)        θ = {std_init}
    FromEvosax("LES", std_init=1.0)           a learned one (Lange et al. 2023)

The particles of a `Population` are the individuals of a generation: a step tells the strategy their
losses and moves them to the places that it asks for next. No gradient is used: a step of k
particles costs k values. The first generation are the starts of the task; a strategy that draws
from a distribution begins with their mean as its mean.

evosax comes with `pip install "steppe[swarm]"`. The learned strategies have the weights that come
with it. Meta-gradients go through what a strategy computes, some of which has none: eigenvectors
of CMA-ES have no derivative where eigenvalues are equal, as they are at the start. LGA computes in
float32 with any parameters, and its features of losses that are not seen yet, which are infinite,
have none.
"""

import contextlib
from collections.abc import Iterator
from typing import Annotated, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from ...core import tree
from ...core.arguments import real
from ...core.messages import did_you_mean, missing
from ...core.optimizer import AbstractOptimizer
from ...core.task import Problem
from ...core.types import Key, Params, Updates
from ...store.untrusted import OneOf
from ..particles import check_particles, each, like_rows, rows

# The only names that are looked up in evosax, since a file may give them, and the numbers of each.
STRATEGIES: dict[str, tuple[str, ...]] = {
    "CMA_ES": ("std_init",),
    "Sep_CMA_ES": ("std_init",),
    "xNES": ("std_init",),
    "LES": ("std_init",),
    "CMAAnchoredLES": ("std_init",),
    "EvoTF_ES": ("std_init", "lr_mean", "lr_std"),
    "LGA": ("std_init", "crossover_rate"),
    "PSO": ("inertia_coeff", "cognitive_coeff", "social_coeff"),
}
OF_POPULATIONS = ("LGA", "PSO")  # they keep individuals, and begin with values of them


class EvosaxState(eqx.Module):
    inside: PyTree  # evosax's own; () where there are no coordinates
    count: Int[Array, ""]  # generations told
    key: Key


class FromEvosax(AbstractOptimizer):
    """The strategy `name` of evosax. Needs a `Stacked` loss, such as that of `Population`, and a
    key at `init`.

    - `name`: one of `STRATEGIES`
    - `hyper`: its numbers by evosax's names for them, θ: one at least
    """

    name: str = eqx.field(static=True)
    hyper: dict[str, Float[Array, ""]]

    def __init__(
        self, name: Annotated[str, OneOf(STRATEGIES)], **hyper: Array | np.generic | float
    ):
        self.name = name
        number = lambda key, x: x if eqx.is_array(x) else real(f"FromEvosax: {key}", x)
        self.hyper = {
            key: jnp.asarray(number(key, x), jnp.result_type(float)) for key, x in hyper.items()
        }

    def __check_init__(self):
        if self.name not in STRATEGIES:
            raise ValueError(
                f"FromEvosax knows no strategy {self.name!r}; {did_you_mean(self.name, STRATEGIES)}"
            )
        known = STRATEGIES[self.name]
        if not self.hyper:
            raise ValueError(f"FromEvosax: {self.name} was given no number; give {known[0]}=1.0.")
        for key in self.hyper:
            if key not in known:
                raise ValueError(
                    f"FromEvosax: {self.name} has no number {key!r}; {did_you_mean(key, known)}"
                )

    @property
    def extra_gradients(self) -> int:
        """-1: the gradient that is handed to `update` is not used."""
        return -1

    def init(self, params: Params, *, key: Key | None = None) -> EvosaxState:
        params = tree.real(params, "FromEvosax")
        check_particles(params, "FromEvosax")
        if key is None:
            raise ValueError(
                "FromEvosax draws random numbers, but init was given no key. Give init(params, "
                "key=jax.random.key(seed))."
            )
        key_inside, key_run = jr.split(key)
        x, inside = rows(params, jnp.result_type(float)), ()
        if x.size:
            strategy, hyper = self.strategy(x)
            nothing = jnp.zeros(len(x), x.dtype)
            begin = (x, nothing) if self.name in OF_POPULATIONS else (jnp.mean(x, 0),)
            with as_usual():
                inside = strategy.init(key_inside, *begin, hyper)
        return EvosaxState(tree.strongly_typed(inside), jnp.zeros((), jnp.int32), key_run)

    def update(
        self,
        grads: Updates,
        state: EvosaxState,
        params: Params,
        *,
        problem: Problem | None = None,
        **extra,
    ) -> tuple[Updates, EvosaxState]:
        x = rows(params, jnp.result_type(float))
        f = each(problem, params, "FromEvosax").astype(x.dtype)
        if not x.size:
            return jtu.tree_map(jnp.zeros_like, params), state
        key, key_tell, key_ask = jr.split(state.key, 3)
        strategy, hyper = self.strategy(x)
        with as_usual():
            told, _ = strategy.tell(key_tell, x, f, state.inside, hyper)
            if self.name in OF_POPULATIONS:
                begun = tree.cast_like(strategy.init(key_tell, x, f, hyper), state.inside)
                first = state.count == 0
                told = tree.select(first, begun, tree.cast_like(told, state.inside))
            after, inside = strategy.ask(key_ask, told, hyper)
        inside = tree.cast_like(inside, state.inside)
        return like_rows(after - x, params), EvosaxState(inside, state.count + 1, key)

    def strategy(self, x: Float[Array, "particles n"]) -> tuple[Any, Any]:
        """evosax's object for so many particles and coordinates, and its numbers."""
        try:
            from evosax.algorithms import algorithms
        except ModuleNotFoundError as error:
            raise ImportError(missing(error)) from None
        with as_usual():
            found = algorithms[self.name](len(x), jnp.zeros_like(x[0]))
            return found, found.default_params.replace(**self.hyper)


@contextlib.contextmanager
def as_usual() -> Iterator[None]:
    """JAX as evosax expects it: a user may have forbidden to mix dtypes and ranks."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
