"""Tiny programs that NumPy does give the bits and types of those that are compiled."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax._src import pjit

from tests import eager

F64 = np.array([[1.5, -0.0, np.inf], [np.nan, 1e300, -2.0 / 3]])
F32 = np.where(np.abs(F64) > 1e38, 1e30, F64).astype(np.float32)
I32 = np.array([[3, -2, 2**31 - 1], [0, 7, -(2**31)]], np.int32)
PROGRAMS = {
    "moves": lambda x: (x[0], x[:, ::2], x.T, x.reshape(-1), jnp.stack([x, x]), x[..., None, :]),
    "slices": lambda x: (lax.dynamic_slice(x, (1, 5), (1, 2)), *jnp.split(x, 3, 1), *x),
    "makes": lambda x: (
        jnp.ones(3, x.dtype),
        jnp.arange(4),
        lax.broadcasted_iota(float, (2, 3), 1),
    ),
    "counts": lambda x: (x + x, x - 1, x * x, -x, abs(x), x**2),
    "compares": lambda x: (x == x, x != 1, x < 0, x >= x.T[:1].T, (x > 0) & ~(x < 2)),
    "chooses": lambda x: (jnp.where(x > 0, x, 0), jnp.all(x == x), jnp.any(x < 0, 1)),
    "converts": lambda x: (jnp.asarray(x, x.dtype), (x > 0).astype(x.dtype), x.astype(x.dtype)),
}
REAL = {
    "divides": lambda x: (x / 3, 1 / x, jnp.sqrt(x), jnp.isfinite(x)),
    "rounds": lambda x: (x.astype(jnp.float32), x.astype(jnp.float64)),
}


def both(program, x, monkeypatch):
    """Its results by NumPy, where it can, and compiled."""
    x = jnp.asarray(x)
    with monkeypatch.context() as patch:
        patch.setattr(eager, "OFTEN", 0)
        compiled = program(x)
    eager.plans.clear()
    return program(x), compiled


@pytest.mark.parametrize("x", [F64, F32, I32], ids=["f64", "f32", "i32"])
@pytest.mark.parametrize("name", [*PROGRAMS, *REAL])
def test_bits_and_types_are_those_of_the_compiled_program(name, x, monkeypatch):
    if name in REAL and x is I32:
        return
    for mine, theirs in zip(*both((PROGRAMS | REAL)[name], x, monkeypatch), strict=True):
        assert mine.aval == theirs.aval and mine.weak_type == theirs.weak_type
        assert mine.sharding == theirs.sharding and mine.committed == theirs.committed
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))
        np.testing.assert_array_equal(np.signbit(np.asarray(mine)), np.signbit(np.asarray(theirs)))


def runs(monkeypatch) -> list:
    """A list that grows by what is compiled from now on."""
    done, compiled = [], pjit._pjit_lower
    seen = lambda jaxpr, *a, **k: (done.append(jaxpr), compiled(jaxpr, *a, **k))[1]
    monkeypatch.setattr(pjit, "_pjit_lower", seen)
    return done


def test_numpy_does_what_it_may_and_nothing_else(monkeypatch):
    done, x = runs(monkeypatch), jnp.arange(7.0)
    assert float((2 * x + 1)[3]) == 7 and not done
    jnp.sin(x + 0.25)
    assert len(done) == 1  # not rounded in one way
    assert float((x * 1e-310)[1]) == 0 and len(done) > 1  # XLA takes subnormal numbers for zero


def test_what_is_committed_is_computed_where_it_is(monkeypatch):
    x = jax.device_put(jnp.arange(5.0), jax.devices()[1])
    assert (x + 3).devices() == {jax.devices()[1]}


def test_what_comes_often_is_compiled(monkeypatch):
    done, x = runs(monkeypatch), jnp.ones(9)
    program = jax.jit(functools.partial(lambda a, x: a * x, 3.0))
    for _ in range(eager.OFTEN):
        program(x)
    assert not done
    for _ in range(9):
        program(x)
    assert len(done) == 2  # once more to be called from C++ from then on
