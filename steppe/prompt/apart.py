"""One rule twice, side by side: some leaves have a state of their own, and can begin afresh.

A proposal puts some leaves of the parameters elsewhere. Moments of where they were are stale there,
and those of the other leaves are not. To set the stale ones to zero inside one common state would
not do: Adam's count is shared, and with zero moments and an old count its first steps are
(1 − β₁) / √(1 − β₂) = 3.2 times too long. So from then on each group has a state with a count of
its own. For rules that treat every coordinate alike nothing else changes; what a rule computes of
all coordinates, such as a global norm, it computes of each group.
"""

import inspect

import equinox as eqx
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, PyTree

from ..core import tree
from ..core.optimizer import AbstractOptimizer
from ..core.types import Key, OptState, Params, Updates

Part = dict[int, Array]  # leaves by their numbers


class ApartState(eqx.Module):
    chosen: OptState
    others: OptState


class Apart(AbstractOptimizer):
    """`base` on the leaves `chosen`, and on the others, with a state for each.

    - `chosen`: numbers of leaves, in the order of the tree

    A rule that needs the problem, or more gradients than one a step, is refused: the problem of a
    part of the parameters is none.
    """

    base: AbstractOptimizer
    chosen: tuple[int, ...] = eqx.field(static=True)

    def __check_init__(self):
        needs = inspect.signature(self.base.update).parameters.get("problem")
        asks = needs is not None and needs.default is needs.empty
        if self.base.gradients_per_step != 1 or asks:
            raise ValueError(
                f"Apart: {type(self.base).__name__} takes more than the gradient it is handed, "
                "and cannot begin afresh on some leaves alone; let all of them be proposed "
                "(`where=lambda params: params`), or take a rule such as Adam."
            )

    def init(self, params: Params, *, key: Key | None = None) -> ApartState:
        parts = split(tree.real(params, "Apart"), self.chosen)
        return ApartState(*(self.base.init(part, key=key) for part in parts))

    def update(
        self, grads: Updates, state: ApartState, params: Params, **extra
    ) -> tuple[Updates, ApartState]:
        given = {name: value for name, value in extra.items() if name != "problem"}
        key = given.pop("key", None)
        keys = (None, None) if key is None else jr.split(key)
        updates, states = {}, []
        for part, own, p, k in zip(
            split(grads, self.chosen),
            (state.chosen, state.others),
            split(params, self.chosen),
            keys,
            strict=True,
        ):
            u, after = self.base.update(part, own, p, **given, **({} if k is None else {"key": k}))
            updates |= u
            states.append(after)
        return join(updates, params), ApartState(*states)


def split(x: PyTree, chosen: tuple[int, ...]) -> tuple[Part, Part]:
    """The leaves with these numbers, and the others."""
    leaves = dict(enumerate(jtu.tree_leaves(x)))
    pick = lambda wanted: {i: leaf for i, leaf in leaves.items() if (i in chosen) is wanted}
    return pick(True), pick(False)


def join(leaves: Part, like: PyTree) -> PyTree:
    """The tree of which these are the leaves."""
    structure = jtu.tree_structure(like)
    return jtu.tree_unflatten(structure, [leaves[i] for i in range(structure.num_leaves)])


def others_of(
    opt: AbstractOptimizer, state: OptState, params: Params, chosen: tuple[int, ...]
) -> OptState:
    """The state of the leaves that are not chosen, taken out of one of all leaves.

    What lies in a state like the parameters lie in theirs (moments) is told apart leaf by leaf; all
    else (counts) is kept. Raises ValueError where the outcome is no state of those leaves.
    """
    structure = jtu.tree_structure(params)
    shapes = [leaf.shape for leaf in jtu.tree_leaves(params)]

    def is_like_params(x: PyTree) -> bool:
        if jtu.tree_structure(x) != structure:
            return False
        return [getattr(leaf, "shape", None) for leaf in jtu.tree_leaves(x)] == shapes

    pick = lambda x: split(x, chosen)[1] if is_like_params(x) else x
    found = jtu.tree_map(pick, state, is_leaf=is_like_params)
    expected = eqx.filter_eval_shape(opt.init, split(params, chosen)[1])
    shape = lambda x: [getattr(leaf, "shape", None) for leaf in jtu.tree_leaves(x)]
    same = jtu.tree_structure(found) == jtu.tree_structure(expected)
    if not same or shape(found) != shape(expected):
        raise ValueError(
            f"The state of {type(opt).__name__} cannot be told apart leaf by leaf, so that the "
            "leaves of a proposal cannot begin afresh while the others keep theirs; give "
            f"`Apart({type(opt).__name__}(…), {chosen})` in its place, or let all leaves be "
            "proposed."
        )
    return tree.cast_like(found, expected)
