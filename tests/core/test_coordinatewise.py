"""A coordinatewise optimizer in many blocks does what it does in one.

Few rows are mapped (tests/contracts), many are updated in place: here at a size that tests can pay.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from steppe.core import coordinatewise
from steppe.core.coordinatewise import from_blocks
from steppe.core.optimizer import join_meta, split_meta
from steppe.optimizers.learned.dm import DM
from steppe.optimizers.learned.learned_adam import LearnedAdam
from steppe.optimizers.learned.rnnprop import RNNProp

N = 50
KINDS = {
    "dm": lambda block: DM((3, 2), scale=0.3, block=block, key=jr.key(0)),
    "rnnprop": lambda block: RNNProp((3,), 2, scale=0.3, block=block, key=jr.key(0)),
}


def many(monkeypatch):
    """From here on, any number of rows is taken for many."""
    monkeypatch.setattr(coordinatewise, "CACHED_ROWS", 0)
    monkeypatch.setattr(coordinatewise, "LONG_BLOCK", 1)


def whole_and_cut(monkeypatch, run):
    """`run(block)` of few rows in one block, and of many in blocks of 16."""
    whole = run(N)
    many(monkeypatch)
    return whole, run(16)


def close(ours, expected, rtol):
    for a, b in zip(jtu.tree_leaves(ours), jtu.tree_leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-14)


def steps(opt, grads):
    """All updates (steps, n), and the rows at the end without blocks (features…, n)."""

    def step(state, g):
        u, state = opt.update([g], state, [g])
        return state, u[0]

    state, updates = jax.lax.scan(step, opt.init([grads[0]]), grads)
    return updates, jtu.tree_map(lambda x: from_blocks(x, N), state.rows)


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_change_nothing(kind, monkeypatch):
    grads = jr.normal(jr.key(1), (4, N))
    run = lambda block: jax.jit(lambda g: steps(KINDS[kind](block), g))(grads)
    whole, cut = whole_and_cut(monkeypatch, run)
    close(cut, whole, rtol=1e-12)


def test_nor_do_they_side_by_side(monkeypatch):
    grads = jr.normal(jr.key(1), (3, 4, N))
    run = lambda block: jax.jit(jax.vmap(lambda g: steps(LearnedAdam(block=block), g)))(grads)
    whole, cut = whole_and_cut(monkeypatch, run)
    close(cut, whole, rtol=1e-12)


@pytest.mark.parametrize(("kind", "mode"), [("rnnprop", jax.jacrev), ("dm", jax.jacfwd)])
def test_derivatives_are_those_of_one_block(kind, mode, monkeypatch):
    """By the weights of the rule and by the gradients it is given, through four steps."""
    grads = jr.normal(jr.key(1), (4, N))

    def total(block, theta, grads):
        like, rest = split_meta(KINDS[kind](block))
        opt = join_meta(jtu.tree_unflatten(jtu.tree_structure(like), theta), rest)
        return jnp.sum(jnp.sin(7 * steps(opt, grads)[0]))

    theta = jtu.tree_leaves(split_meta(KINDS[kind](N))[0])
    run = lambda block: jax.jit(mode(lambda *x: total(block, *x), argnums=(0, 1)))(theta, grads)
    whole, cut = whole_and_cut(monkeypatch, run)
    close(cut, whole, rtol=1e-9)


@pytest.mark.user_flags
def test_a_step_is_made_in_place(monkeypatch):
    """With the state given away it needs far less than a second one."""
    many(monkeypatch)
    opt = DM((20,), key=jr.key(0))
    params = [jnp.zeros((65, 1024))]
    state = opt.init(params)
    size = sum(x.nbytes for x in jtu.tree_leaves(state))
    step = jax.jit(lambda *x: opt.update(*x), donate_argnums=1)
    memory = step.lower(params, state, params).compile().memory_analysis()
    outputs = memory.output_size_in_bytes - memory.alias_size_in_bytes
    assert memory.temp_size_in_bytes + outputs < 0.3 * size


def test_many_rows_go_in_long_blocks():
    opt = DM((20,), block=64, key=jr.key(0))
    count = lambda n: len(jtu.tree_leaves(opt.init([jnp.zeros(n)]).rows)[0])
    assert (count(128), count(2**16), count(2**16 + 1)) == (2, 1024, 3)
