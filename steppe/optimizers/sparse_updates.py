"""SparseUpdates: at each step only some tensors move; the others rest. Any optimizer.

    mₖ ~ Bernoulli(pₖ) at each step,    θₖ ← θₖ + mₖ uₖ        for each tensor k

A tensor that rests keeps its parameters, and whatever the optimizer remembers of it: to the tensor
the step has not been. What all tensors have in common goes on: the number of the step (of Adam's
correction of its averages, for instance), and the problem level of L2O-Scale, which is shown the
tensors as they would have moved.

Its purpose is memory that is seldom written, on devices that train where they are used. Here all
updates are computed, and those of resting tensors dropped: no step is faster.

Structural sparsity of Li, Chen, You, Wang & Lin, "HALO: hardware-aware learning to optimize", ECCV
2020: probabilities 0.1, 0.3, 0.5 of the first, middle and last third of the network. As in its
code, a draw for each tensor, so that weights and biases of a layer rest apart. Departure: the code
goes through the list of probabilities again and again along the tensors; here they are of thirds,
as in the paper.
"""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from ..core import tree
from ..core.arguments import real
from ..core.coordinatewise import AbstractCoordinatewise, CoordinateState, parted
from ..core.optimizer import AbstractOptimizer
from ..core.types import Key, OptState, Params, Scalar, Updates
from .adaptable import Adaptable
from .classic.sam import SAM
from .learned.scale import Scale, ScaleState
from .learned.tensors import Layout

DRAW = 0x5BA25E  # folded into the key of a step, which the base is given as it is

Moves = Bool[Array, " tensors"]


class SparseState(eqx.Module):
    base: OptState
    steps: Int[Array, ""]
    share: Float[Array, ""]  # of coordinates moved in a step, mean over the steps


class SparseUpdates(AbstractOptimizer):
    """`base`, each tensor of whose updates is made with its probability. Needs a key at each step.

    - `base`: an optimizer whose state belongs to tensors: a coordinatewise rule, `Scale`, one of
      optax or any other that remembers trees like the parameters, and `SAM` or `Adaptable` of these
    - `shares`: probabilities in (0, 1], of equally long parts of the list of tensors, in their
      order; of one number all tensors

    `unroll` has a key for each step; `to_optax` is given one. With `shares` 1 the steps are those
    of `base`, and no key is needed.
    """

    base: AbstractOptimizer
    shares: tuple[float, ...] = eqx.field(static=True)

    def __init__(
        self, base: AbstractOptimizer, shares: float | tuple[float, ...] = (0.1, 0.3, 0.5)
    ):
        several = shares if isinstance(shares, tuple | list) else (shares,)
        self.base = base
        self.shares = tuple(real("SparseUpdates: shares", share) for share in several)

    def __check_init__(self):
        if not self.shares or not all(0 < share <= 1 for share in self.shares):
            raise ValueError(
                "SparseUpdates: shares must be probabilities above 0 and up to 1, got "
                f"{self.shares}; a tensor that is never to move is left out of the parameters."
            )
        _check_base(self.base)

    @property
    def matrix(self) -> bool:
        """True where `base` is best run on all episodes at once."""
        return getattr(self.base, "matrix", False)

    def probabilities(self, params: Params) -> Float[np.ndarray, " tensors"]:
        """The probability of each tensor, in the order of the leaves."""
        tensors, parts = len(jtu.tree_leaves(params)), len(self.shares)
        return np.array([self.shares[k * parts // tensors] for k in range(tensors)])

    def expected(self, params: Params) -> float:
        """The share of coordinates that a step moves on average."""
        sizes = np.array(_sizes(params), float)
        return float(sizes @ self.probabilities(params) / max(sizes.sum(), 1))

    def counts(self, state: SparseState) -> dict[str, Scalar]:
        """The updates of all coordinates that those made so far amount to."""
        return {"full_updates": state.share * state.steps.astype(state.share.dtype)}

    def init(self, params: Params, *, key: Key | None = None) -> SparseState:
        params = tree.real(params, "SparseUpdates")
        zero = jnp.zeros((), jnp.result_type(float))
        return SparseState(self.base.init(params, key=key), jnp.zeros((), jnp.int32), zero)

    def update(
        self,
        grads: Updates,
        state: SparseState,
        params: Params,
        *,
        key: Key | None = None,
        **extra,
    ) -> tuple[Updates, SparseState]:
        like = grads if params is None else params
        updates, base = self.base.update(grads, state.base, params, key=key, **extra)
        moves, steps = self._draw(like, key), state.steps + 1
        base = _kept(self.base, moves, base, state.base, like)
        leaves, structure = jtu.tree_flatten(updates)
        made = [jnp.where(moves[k], u, jnp.zeros_like(u)) for k, u in enumerate(leaves)]
        sizes = jnp.asarray(_sizes(like), state.share.dtype)
        share = jnp.sum(sizes * moves.astype(sizes.dtype)) / max(tree.size(like), 1)
        share = state.share + (share - state.share) / steps.astype(sizes.dtype)
        return jtu.tree_unflatten(structure, made), SparseState(base, steps, share)

    def _draw(self, like: Params, key: Key | None) -> Moves:
        """Whether each tensor moves."""
        chances = self.probabilities(like)
        if np.all(chances == 1):
            return jnp.ones(len(chances), bool)
        if key is None:
            raise ValueError(
                "SparseUpdates draws which tensors move, but update was given no key. Run it in "
                "`unroll`, or give update(…, key=…); to_optax(opt, key=…) has one for each step."
            )
        return jr.bernoulli(jr.fold_in(key, DRAW), jnp.asarray(chances))


def _check_base(base: AbstractOptimizer) -> None:
    if not isinstance(base, AbstractOptimizer):
        raise ValueError(
            f"SparseUpdates: base is a {type(base).__name__}, expected a steppe optimizer such as "
            'steppe.load("rnnprop-v1").'
        )
    if isinstance(base, SAM | Adaptable):
        return _check_base(base.base)
    if any(isinstance(part, AbstractOptimizer) for part in vars(base).values()):
        name = type(base).__name__
        raise ValueError(
            f"SparseUpdates: base is a {name}, which goes by what its own optimizer does with all "
            f"tensors; wrap that one: {name}(SparseUpdates(…))."
        )


# States by tensor.


def _kept(
    opt: AbstractOptimizer, moves: Moves, new: OptState, old: OptState, like: Params
) -> OptState:
    """The new state where a tensor moves, the old one where it rests."""
    if not len(moves):
        return new
    if isinstance(opt, SAM):
        return eqx.tree_at(lambda s: s.base, new, _kept(opt.base, moves, new.base, old.base, like))
    if isinstance(opt, Adaptable):
        return _kept(opt.base, moves, new, old, like)
    if isinstance(opt, AbstractCoordinatewise):
        return CoordinateState(new.count, _kept_rows(opt, moves, new.rows, old.rows, like))
    if isinstance(opt, Scale):
        return _kept_columns(opt, moves, new, old, like)
    return _kept_leaves(type(opt).__name__, moves, new, old, like)


def _kept_rows(
    opt: AbstractCoordinatewise, moves: Moves, new: PyTree, old: PyTree, like: Params
) -> PyTree:
    """Of a coordinatewise rule: rows, in blocks or in parts (`core.coordinatewise`)."""
    rests = jnp.repeat(~moves, np.array(_sizes(like)), total_repeat_length=tree.size(like))

    def select(rests: Array, new: PyTree, old: PyTree) -> PyTree:
        def leaf(a: Array, b: Array) -> Array:
            between = range(rests.ndim - 1, a.ndim - 1)  # axes of features
            return jnp.where(jnp.expand_dims(rests, tuple(between)), b, a)

        return jtu.tree_map(leaf, new, old)

    where = parted(opt, rests, like)  # padding never rests
    if opt.elementwise:
        return tuple(map(select, where, new, old))
    return select(where, new, old)


def _kept_columns(
    opt: Scale, moves: Moves, new: ScaleState, old: ScaleState, like: Params
) -> ScaleState:
    """Of L2O-Scale: columns of coordinates, and of tensors. The problem level has no tensor."""
    old = tree.cast_like(opt.started(old), new)  # what rests at the first step begins later
    filled = moves[np.flatnonzero(_sizes(like))]
    layout = Layout(like)
    columns = jnp.repeat(filled, np.array(layout.widths), total_repeat_length=layout.shape[1])

    coordinates = lambda s: (
        s.h, s.averages, s.squares, s.input_decay, s.decay, s.log_lr, s.ahead
    )  # fmt: skip
    select = lambda where, of: jtu.tree_map(lambda a, b: jnp.where(where, a, b), of(new), of(old))
    tensors = lambda s: s.t
    none = lambda x: x is None  # parts that the options leave out
    kept = eqx.tree_at(coordinates, new, select(columns, coordinates), is_leaf=none)
    return eqx.tree_at(tensors, kept, select(filled, tensors), is_leaf=none)


def _kept_leaves(name: str, moves: Moves, new: PyTree, old: PyTree, like: Params) -> PyTree:
    """Of any other rule: trees like the parameters are of tensors, single numbers of all."""
    structure, shapes = jtu.tree_structure(like), [jnp.shape(x) for x in jtu.tree_leaves(like)]
    alone = jtu.treedef_is_leaf(structure)

    def own(x: PyTree) -> bool:
        if jtu.tree_structure(x) != structure:
            return False
        return not alone or (eqx.is_inexact_array(x) and [x.shape] == shapes)

    def select(new: PyTree, old: PyTree) -> PyTree:
        if not own(new):
            if eqx.is_inexact_array(new) and new.ndim:
                raise ValueError(
                    f"SparseUpdates: {name} remembers an array of shape {new.shape} that belongs "
                    "to no tensor of the parameters, so that a tensor cannot rest; take another "
                    "base."
                )
            return new
        leaves = zip(jtu.tree_leaves(new), jtu.tree_leaves(old), strict=True)
        made = [jnp.where(moves[k], a, b) for k, (a, b) in enumerate(leaves)]
        return jtu.tree_unflatten(structure, made)

    return jtu.tree_map(select, new, old, is_leaf=own)


def _sizes(x: PyTree) -> list[int]:
    """Number of coordinates of each leaf."""
    return [tree.size(leaf) for leaf in jtu.tree_leaves(x)]
