"""Coordinatewise optimizers: one small rule run on every coordinate alike and alone.

All coordinates of all tensors are ravelled into one axis of n *rows*, so compile
time does not grow with the number of tensors. Arrays keep the row axis **last**
(features first): slices of features are then contiguous, and element-wise work
runs along the long axis.

Rows are processed in blocks, one after the other, over the leading axis of the state, which
has the shape (blocks, features…, rows per block). Of few rows, the state fits the cache and so
should a block. Of many, blocks are long, so that threads have something to share.

An *elementwise* rule is a handful of operations on each number, without a network. It needs no
blocks, and no common axis: every large tensor is a part of its own, the small ones are one part
together, and the compiler makes of each one loop that reads and writes everything once. Its state
is a tuple over these parts, (features…, coordinates of the part) each.
"""

import abc
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int, PyTree

from . import tree
from .backend import CACHED_ROWS, LARGE_TENSOR, LONG_BLOCK, VECTOR, on_cpu
from .optimizer import AbstractOptimizer, split_meta
from .types import Key, Params, Updates

Rows = PyTree[Float[Array, "... rows"]]  # what a rule remembers per coordinate, rows last
Inputs = Any  # g (rows,), or of a rule that asks for more {"grads": g, name: (rows,), …}


class CoordinateState(eqx.Module):
    """State of a coordinatewise optimizer."""

    count: Int[Array, ""]  # steps taken
    rows: PyTree[Float[Array, "..."]]  # (blocks, features…, block), the last block padded; or parts


class AbstractCoordinatewise(AbstractOptimizer):
    """An optimizer that treats every coordinate alike and alone.

    A final class declares `start` and `advance` on a flat set of rows; `init` and
    `update` follow. Given the gradients, the meta-gradient of such a rule is a sum
    over coordinates, which is what estimators use to be fast.
    """

    asks: ClassVar[tuple[str, ...]] = ()  # inputs besides the gradients, see `row_inputs`
    elementwise: ClassVar[bool] = False  # few operations a number; such a rule asks for nothing
    block: eqx.AbstractVar[int]  # rows processed at once, of up to CACHED_ROWS; a static field

    @abc.abstractmethod
    def start(self, rows: int, dtype: jnp.dtype) -> Rows:
        """The state of `rows` coordinates before the first step, row axis last."""

    @abc.abstractmethod
    def advance(
        self, inputs: Inputs, /, state: Rows, count: Int[Array, ""]
    ) -> tuple[Float[Array, " rows"], Rows]:
        """Updates (to be added) of some rows, and their state after the step.

        - `inputs`: the gradients (rows,); of a rule that `asks` for more, a dictionary of the
          gradients, "grads", and each thing asked for, all (rows,)
        - `count`: 1 at the first step
        """

    def row_inputs(self, grads: Updates, params: Params, extra: Mapping[str, Any]) -> Inputs:
        """The inputs of all rows: the gradients, and what the rule `asks` for.

        It may ask for "params" and for any extra of `update`: a tree like the parameters (a second
        gradient), or one number ("value", the loss), which is repeated for every row.
        """
        dtype = self.dtype(grads if params is None else params)
        g, _ = tree.ravel(grads, dtype)
        if not self.asks:
            return g
        known = {"params": params, **extra}
        if lacking := [name for name in self.asks if known.get(name) is None]:
            raise ValueError(
                f"{type(self).__name__} asks for {', '.join(lacking)}, but update was not given "
                f"it: give {', '.join(f'{name}=…' for name in lacking)} or run it in `unroll`."
            )

        def rows(x: PyTree) -> Array:
            if eqx.is_array(x) and x.ndim == 0:
                return jnp.broadcast_to(x.astype(dtype), g.shape)
            return tree.ravel(x, dtype)[0]

        return {"grads": g} | {name: rows(known[name]) for name in self.asks}

    def init(self, params: Params, *, key: Key | None = None) -> CoordinateState:
        params = tree.real(params, type(self).__name__)
        n, dtype = tree.size(params), self.dtype(params)
        if self.elementwise:
            begun = tuple(self.start(tree.size(part), dtype) for part in parts(params))
            own = jtu.tree_map(jnp.copy, begun)  # no array twice, so that all can be donated
            return CoordinateState(jnp.zeros((), jnp.int32), own)
        blocks, block = partition(n, self.block_of(n))
        rows = jtu.tree_map(
            lambda leaf: jnp.broadcast_to(leaf, (blocks, *leaf.shape)), self.start(block, dtype)
        )
        return CoordinateState(jnp.zeros((), jnp.int32), rows)

    def update(
        self, grads: Updates, state: CoordinateState, params: Params, **extra
    ) -> tuple[Updates, CoordinateState]:
        like = grads if params is None else params
        n, unravel, count = tree.size(like), tree.unravel_like(like), state.count + 1
        if n == 0:
            return unravel(jnp.zeros((0,))), CoordinateState(count, state.rows)
        if self.elementwise:
            u, rows = by_parts(self, grads, like, state.rows, count)
            return u, CoordinateState(count, tree.cast_like(rows, state.rows))
        inputs = self.row_inputs(grads, params, extra)
        expected = partition(n, self.block_of(n))
        for leaf in jtu.tree_leaves(state.rows):
            if (found := (leaf.shape[0], leaf.shape[-1])) != expected:
                raise self.foreign(n, found, expected)
        blocks = jtu.tree_map(lambda x: to_blocks(x, self.block_of(n)), inputs)
        by = in_place if n > CACHED_ROWS and on_cpu() else mapped
        with jax.numpy_dtype_promotion("standard"):  # θ may be narrower than the rows
            u, rows = by(self, blocks, state.rows, count)
        return unravel(from_blocks(u, n)), CoordinateState(count, tree.cast_like(rows, state.rows))

    def foreign(self, n: int, *rows: Iterable[int]) -> ValueError:
        """The error of a state with these rows, where n coordinates need others."""
        found, expected = (" × ".join(map(str, x)) for x in rows)
        return ValueError(
            f"{type(self).__name__}: the state holds {found} rows, but {n} coordinates need "
            f"{expected}: it belongs to other parameters; call init(params) again."
        )

    def block_of(self, n: int) -> int:
        """Rows at once of n."""
        return self.block if n <= CACHED_ROWS else max(self.block, LONG_BLOCK)

    def dtype(self, params: Params) -> jnp.dtype:
        """The dtype that rows are computed in: that of θ, or wider if a parameter is."""
        theta, _ = split_meta(self)
        leaves = jtu.tree_leaves((theta, params))
        return tree.widest(*map(jnp.result_type, leaves)) if leaves else jnp.result_type(float)


def by_parts(
    opt: AbstractCoordinatewise, grads: Updates, like: Params, rows: Rows, count: Int[Array, ""]
) -> tuple[Updates, Rows]:
    """Updates and new rows of an elementwise rule, part by part."""
    dtype, found, after = opt.dtype(like), [], []
    expected = [tree.size(part) for part in parts(like)]
    held = [[leaf.shape[-1] for leaf in jtu.tree_leaves(part)] for part in rows]
    if len(held) != len(expected) or any(set(x) - {n} for x, n in zip(held, expected, strict=True)):
        raise opt.foreign(sum(expected), [max(x, default=0) for x in held], expected)
    for g, p, own in zip(parts(grads), parts(like), rows, strict=True):
        g, _ = tree.ravel(g, dtype)
        with jax.numpy_dtype_promotion("standard"):  # θ may be narrower than the rows
            u, new = opt.advance(g, own, count)
        found.append(tree.unravel_like(p)(u))
        after.append(new)
    return whole(found, like), tuple(after)


def parts(x: PyTree) -> list[dict[int, Array]]:
    """The leaves by number in parts: each large one alone, the small ones together, these last."""
    leaves = dict(enumerate(jtu.tree_leaves(x)))
    alone = [k for k, leaf in leaves.items() if tree.size(leaf) >= LARGE_TENSOR]
    together = {k: leaf for k, leaf in leaves.items() if k not in alone}
    return [{k: leaves[k]} for k in alone] + ([together] if together or not alone else [])


def whole(found: list[dict[int, Array]], like: PyTree) -> PyTree:
    """The tree of which these are the `parts`."""
    leaves = {k: leaf for part in found for k, leaf in part.items()}
    return jtu.tree_unflatten(jtu.tree_structure(like), [leaves[k] for k in range(len(leaves))])


def joined(opt: AbstractCoordinatewise, rows: Rows, like: Params) -> Rows:
    """The rows of a state side by side, without padding: (features…, n)."""
    n = tree.size(like)
    if not opt.elementwise:
        return jtu.tree_map(lambda leaf: from_blocks(leaf, n), rows)
    where = [list(part.items()) for part in parts(like)]

    def join(*of_parts: Array) -> Array:
        found: dict[int, Array] = {}
        for part, x in zip(where, of_parts, strict=True):
            stops = [tree.size(leaf) for _, leaf in part]
            cuts = [sum(stops[:k]) for k in range(1, len(stops))]
            found |= {k: y for (k, _), y in zip(part, jnp.split(x, cuts, -1), strict=True)}
        return jnp.concatenate([found[k] for k in sorted(found)], -1)

    return jtu.tree_map(join, *rows)


def parted(opt: AbstractCoordinatewise, rows: Rows, like: Params) -> Rows:
    """Inverse of `joined`: rows as a state holds them."""
    if not opt.elementwise:
        return jtu.tree_map(lambda leaf: to_blocks(leaf, opt.block_of(tree.size(like))), rows)
    sizes = [tree.size(leaf) for leaf in jtu.tree_leaves(like)]
    cut = lambda x, k: x[..., sum(sizes[:k]) : sum(sizes[: k + 1])]
    of = lambda part: lambda x: jnp.concatenate([cut(x, k) for k in part], -1)
    return tuple(jtu.tree_map(of(part), rows) for part in parts(like))


def mapped(
    opt: AbstractCoordinatewise, inputs: Inputs, rows: Rows, count: Int[Array, ""]
) -> tuple[Float[Array, "blocks block"], Rows]:
    """Updates and new rows of every block; leading axis of `inputs` and `rows`: blocks."""

    def one(block: tuple[Inputs, Rows]) -> tuple[Array, Rows]:
        return opt.advance(*block, count=count)

    several = len(gradients(inputs)) > 1
    return jax.lax.map(one, (inputs, rows)) if several else jax.vmap(one)((inputs, rows))


def in_place(
    opt: AbstractCoordinatewise, inputs: Inputs, rows: Rows, count: Int[Array, ""]
) -> tuple[Float[Array, "blocks block"], Rows]:
    """`mapped` in place: updates over the gradients, new rows over the old ones.

    It needs no second state, neither its memory nor the time that fresh pages take. Where it is
    differentiated it is `mapped`, which back-propagation can follow without keeping a state for
    every block.
    """
    arrays, static = eqx.partition(opt, eqx.is_array)

    @jax.custom_jvp
    def run(arrays: PyTree, inputs: Inputs, rows: Rows, count: Array) -> tuple[Array, Rows]:
        g = gradients(inputs)
        others = {} if inputs is g else {k: x for k, x in inputs.items() if k != "grads"}
        at = lambda k, x: jax.lax.dynamic_index_in_dim(x, k, 0, False)

        def body(k: Array, blocks: tuple[Array, Rows]) -> tuple[Array, Rows]:
            block = jtu.tree_map(lambda x: at(k, x), blocks)
            beside = {name: at(k, x) for name, x in others.items()}

            def advance(block: tuple[Array, Rows]) -> tuple[Array, Rows]:
                given = {"grads": block[0], **beside} if beside else block[0]
                after = eqx.combine(arrays, static).advance(given, block[1], count)
                return jtu.tree_map(_as, after, block)

            # Always true, but XLA does not know: a branch is not fused into the writing below,
            # so that all has been read by then and nothing must be copied first.
            after = jax.lax.cond(k >= 0, advance, lambda block: block, block)
            put = lambda x, new: jax.lax.dynamic_update_index_in_dim(x, new, k, 0)
            return jtu.tree_map(put, blocks, after)

        return jax.lax.fori_loop(0, len(g), body, (g, rows))

    @run.defjvp
    def _(primals: tuple, tangents: tuple) -> tuple[PyTree, PyTree]:
        return jax.jvp(lambda x, *rest: mapped(eqx.combine(x, static), *rest), primals, tangents)

    return run(arrays, inputs, rows, count)


def gradients(inputs: Inputs) -> Array:
    return inputs["grads"] if isinstance(inputs, dict) else inputs


def _as(new: Array, old: Array) -> Array:
    return new.astype(old.dtype)


def partition(n: int, block: int) -> tuple[int, int]:
    """(blocks, rows in each): the fewest blocks of at most `block` rows, equal in size.

    Of several blocks, the rows are a multiple of VECTOR where `block` is, so that each feature
    starts where a vector register can be loaded at once.
    """
    blocks = max(1, -(-n // block))
    rows = -(-n // blocks)
    if blocks > 1 and block % VECTOR == 0:
        rows = VECTOR * -(-rows // VECTOR)
    return -(-n // rows) if rows else 1, rows


def to_blocks(x: Float[Array, "... n"], block: int) -> Float[Array, "blocks ... block"]:
    """Cut the last axis into blocks, padded with zeros, and put the blocks first."""
    n = x.shape[-1]
    blocks, block = partition(n, block)
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, blocks * block - n)])
    return jnp.moveaxis(x.reshape(*x.shape[:-1], blocks, block), -2, 0)


def from_blocks(x: Float[Array, "blocks ... block"], n: int) -> Float[Array, "... n"]:
    """Inverse of `to_blocks`; `n` is the number of rows without padding."""
    x = jnp.moveaxis(x, 0, -2)
    return x.reshape(*x.shape[:-2], -1)[..., :n]
