"""An optimizer turns gradients into updates; its trainable arrays are θ.

The θ rule: an inexact array stored in an optimizer is trained, unless it sits
inside `Fixed`. `split_meta` is the only place that knows this rule.
"""

import abc

import equinox as eqx
import jax
import jax.tree_util as jtu
from jaxtyping import Array, PyTree

from .types import Key, OptState, Params, Updates


class AbstractOptimizer(eqx.Module):
    """An update rule. Its inexact array leaves are θ, except those inside `Fixed`.

    A rule whose episodes are multiplied by one matrix, best all at once, says so as `matrix`.
    A rule that squashes its output says the largest size of an update as `bound`, by which
    `runs.probe` sees whether it is saturated. A rule that takes gradients of the loss besides the
    one handed to it says how many as `extra_gradients`, None if their number varies, −1 if it uses
    none at all. A rule that counts what it does says the counts of a state as `counts(state)`, by
    name, for `evaluate`. A rule whose first steps are another program than the later ones says how
    many as `opening`, and is told by `unroll` where it stands: `update(…, opening=True)`, False, or
    None if not known. With True it is handed its own `row` of the arrays that it has `stacked`, one
    row for each of these steps. A rule that carries the rates of its own adaptation has them as
    `log_rates`, one for each leaf of θ of its `base`.
    """

    @property
    def gradients_per_step(self) -> int | None:
        """Gradients of the loss that one step takes; None if their number varies.

        The one handed to `update` counts, or one that the rule takes in its place: what is not used
        is not computed. `extra_gradients`, and those of optimizers inside it, are added.
        """
        is_inside = lambda x: x is not self and isinstance(x, AbstractOptimizer)
        inside = filter(is_inside, jtu.tree_leaves(self, is_leaf=is_inside))
        counts = [opt.gradients_per_step for opt in inside]
        extra = getattr(self, "extra_gradients", 0)
        known = [count - 1 for count in counts if count is not None]
        return None if extra is None or len(known) < len(counts) else 1 + extra + sum(known)

    @abc.abstractmethod
    def init(self, params: Params, *, key: Key | None = None) -> OptState:
        """The state before the first step."""

    @abc.abstractmethod
    def update(
        self, grads: Updates, state: OptState, params: Params, **extra
    ) -> tuple[Updates, OptState]:
        """Updates to be *added* to `params`, in their structure, shapes and dtypes.

        `unroll` passes the extras `value` (the loss at `params`), `problem` (a
        `Problem`), `key` and `second_order` (False: `grads` are constants of the
        meta-gradient). A rule names the extras that it needs as keyword-only
        arguments and ignores the others.
        """


class Fixed(eqx.Module):
    """An array that belongs to an optimizer but is not trained."""

    value: Array


def split_meta(opt: AbstractOptimizer) -> tuple[PyTree, PyTree]:
    """Split an optimizer into (θ, rest): two trees of its structure, None where not theirs."""
    trained = jtu.tree_map(
        lambda leaf: not isinstance(leaf, Fixed) and eqx.is_inexact_array(leaf),
        opt,
        is_leaf=lambda leaf: isinstance(leaf, Fixed),
    )
    return eqx.partition(opt, trained)


def join_meta(theta: PyTree, rest: PyTree) -> AbstractOptimizer:
    """Inverse of `split_meta`."""
    return eqx.combine(theta, rest)


def frozen(opt: AbstractOptimizer) -> AbstractOptimizer:
    """The optimizer with θ as constants: no meta-gradient goes through it."""
    theta, rest = split_meta(opt)
    return join_meta(jax.lax.stop_gradient(theta), rest)
