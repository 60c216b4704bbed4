"""Proximal maps against the conditions of optimality, and values against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steppe.core.regularizer import L1, Box, ElasticNet, GroupL2

RNG = np.random.default_rng(0)
Z, T = RNG.normal(0, 2, 10_000), RNG.uniform(0.01, 3, 10_000)


@pytest.mark.parametrize(
    ("r", "low", "high"),
    [
        (L1(0.7), lambda x: 0.7 * np.sign(x), lambda x: 0.7 * np.sign(x)),
        (
            ElasticNet(0.7, 0.3),
            lambda x: 0.7 * np.sign(x) + 0.3 * x,
            lambda x: 0.7 * np.sign(x) + 0.3 * x,
        ),
    ],
    ids=["l1", "elastic-net"],
)
def test_what_a_prox_leaves_over_is_a_subgradient(r, low, high):
    """(z − x)/t ∈ ∂r(x), for steps that differ between coordinates."""
    x = np.asarray(r.prox(jnp.asarray(Z), jnp.asarray(T)))
    left = (Z - x) / T
    zero = x == 0
    assert 0.1 < zero.mean() < 0.9
    np.testing.assert_allclose(left[~zero], low(x)[~zero], atol=1e-9)
    assert np.abs(left[zero]).max() <= 0.7 + 1e-12


def test_a_box_clips_and_is_infinite_outside():
    r = Box(-1.0, 0.5)
    np.testing.assert_array_equal(r.prox(jnp.asarray(Z), jnp.asarray(T)), np.clip(Z, -1, 0.5))
    assert r(jnp.array([0.0, 0.5])) == 0 and r(jnp.array([0.0, 0.6])) == np.inf


def test_groups_shrink_together():
    """(z_g − x_g)/t = w x_g/‖x_g‖ where x_g ≠ 0, of length ≤ w where it is."""
    r, t = GroupL2(0.7, 4), 1.3
    x = np.asarray(r.prox(jnp.asarray(Z), t))
    left = ((Z - x) / t).reshape(-1, 4)
    groups = x.reshape(-1, 4)
    lengths = np.linalg.norm(groups, axis=1)
    zero = lengths == 0
    assert 0 < zero.sum() < len(zero)
    np.testing.assert_allclose(left[~zero], 0.7 * groups[~zero] / lengths[~zero, None], atol=1e-9)
    assert np.linalg.norm(left[zero], axis=1).max() <= 0.7 + 1e-12
    assert float(r(jnp.asarray(Z))) == pytest.approx(
        0.7 * np.linalg.norm(Z.reshape(-1, 4), axis=1).sum()
    )
    assert not r.separable and GroupL2(1.0, 1).separable
    assert np.all(np.isfinite(jax.grad(r)(jnp.zeros(8))))
    with pytest.raises(ValueError, match=r"groups of 4 need .* got the shape \(6,\)"):
        r.prox(jnp.ones(6), 1.0)


def test_groups_of_one_are_the_l1_norm():
    z = jnp.asarray(Z[:50])
    np.testing.assert_allclose(GroupL2(0.7, 1).prox(z, 0.9), L1(0.7).prox(z, 0.9), atol=1e-12)
    assert float(GroupL2(0.7, 1)(z)) == pytest.approx(float(L1(0.7)(z)))
    assert float(ElasticNet(0.7, 0.0)(z)) == pytest.approx(float(L1(0.7)(z)))


@pytest.mark.parametrize("r", [L1(0.7), ElasticNet(0.7, 0.3), Box(-1.0, 0.5), GroupL2(0.7, 4)])
def test_a_prox_moves_two_points_no_further_apart(r):
    a, b = jnp.asarray(Z[:40]), jnp.asarray(Z[40:80])
    x, y = r.prox(a, 0.8), r.prox(b, 0.8)
    assert (x - y) @ (a - b) >= (x - y) @ (x - y) - 1e-12  # firmly nonexpansive
