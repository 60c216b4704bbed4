"""Curvature of any size: a spectrum times c has its measures times c, as far as numbers go.

H = c·diag(d) over many coordinates with four different d, so that four Lanczos steps tell all,
for any vector of signs, and the fifth must notice that nothing is left.
"""

import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.loss import Composed
from steppe.flatness import hutchinson, slq
from steppe.flatness.entropy import free_energy
from steppe.flatness.entropy.local_entropy import LocalEntropy
from steppe.flatness.entropy.sgld import stable_step_size
from steppe.flatness.entropy.variational import Smoothed, bound, prior
from steppe.flatness.gradient import GradNorm, Sharpness, worst_direction
from steppe.flatness.hessian import (
    GaussNewtonTrace,
    HessianFrobenius,
    HessianTrace,
    KrylovTrace,
    LogDet,
    TopEigenvalue,
)
from steppe.flatness.lanczos import top_eigenpair
from steppe.flatness.landscape import filter_direction
from steppe.flatness.products import hvp
from steppe.flatness.units import Adaptive, Relative, SquaredNorm

KEY = jr.key(0)
N = 4096
D = np.tile([1.0, 3.0, 7.0, 3.0], N // 4)
D[0] = 20.0
KINDS = np.unique(D)
GAMMA = 2.0  # in units of c
RHO = 0.5
START = 0.1 + np.cos(np.arange(N))  # the point; the minimum is at 0

SCALES = {
    jnp.float32: (1e-35, 1e-30, 1e-20, 1e-12, 1.0, 1e12, 1e19, 1e30, 1e33),
    jnp.float64: (1e-300, 1e-160, 1.0, 1e160, 1e300),
}


@functools.cache
def program(dtype):
    """All numbers at scale c, compiled once for a dtype."""

    def measures(c, x):
        d, root = jnp.asarray(D, dtype), jnp.asarray(np.sqrt(D), dtype)
        loss = Composed(lambda x: root * x, lambda z: 0.5 * c * jnp.sum(z * z))
        H = lambda v: hvp(loss, x, v)
        relative = Relative(HessianTrace())
        found = {
            "trace": HessianTrace()(loss, x, key=KEY),
            "gauss-newton": GaussNewtonTrace()(loss, x, key=KEY),
            "top": TopEigenvalue(products=5)(loss, x, key=KEY),
            "norm": TopEigenvalue("norm", products=5)(lambda x: -loss(x), x, key=KEY),
            "krylov": KrylovTrace(k=5)(loss, x, key=KEY),
            "sharpness": Sharpness(RHO)(loss, x, key=KEY),
            "log-det": LogDet(GAMMA * c, k=5, probes=2)(loss, x, key=KEY),
            "small gamma": LogDet(jnp.asarray(1e-3, dtype), k=5)(loss, x, key=KEY),
            "pair": top_eigenpair(H, x, products=5, key=KEY),
            "density": slq.spectral_density(H, x, k=5, probes=2, key=KEY),
            "slope": hutchinson.trace(lambda v: d * c * v * v[0], x, probes=3, key=KEY),
            # Where the number itself is in range, squares of its parts may not be.
            "relative": relative(loss, x / jnp.sqrt(c), key=KEY),
            "gradient": GradNorm()(loss, x * jnp.sqrt(1 / c) / jnp.sqrt(c), key=KEY),
            "frobenius": HessianFrobenius()(loss, x, key=KEY),
            "size": SquaredNorm()(loss, c * x, key=KEY),
            "adaptive": worst_direction(c * x, c * x, rho=RHO, adaptive=True),
        }
        return found

    return jax.jit(measures)


@functools.cache
def seen(dtype, c):
    found = program(dtype)(jnp.asarray(c, dtype), jnp.asarray(START, dtype))
    return jax.tree.map(lambda x: np.asarray(x, np.float64), found)


CASES = [(dtype, c) for dtype, scales in SCALES.items() for c in scales]
each_scale = pytest.mark.parametrize(("dtype", "c"), CASES)


@each_scale
def test_what_goes_with_the_hessian_is_c_times_itself(dtype, c):
    found = seen(dtype, c)
    rise = RHO * np.linalg.norm(D * START)
    rise += 0.5 * RHO**2 * np.sum(D * (D * START) ** 2) / np.sum((D * START) ** 2)
    expected = {
        "trace": D.sum(),
        "gauss-newton": D.sum(),
        "top": 20.0,
        "norm": 20.0,
        "krylov": KINDS.sum(),
        "sharpness": rise,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name] / c, value, rtol=2e-3, err_msg=name)
    pair = found["pair"]
    np.testing.assert_allclose(pair.value / c, 20.0, rtol=2e-3)
    assert pair.residual / c < 0.1
    np.testing.assert_allclose(np.abs(pair.vector[0]), 1.0, rtol=1e-2)


@each_scale
def test_the_log_determinant_sees_the_ratio_to_gamma_alone(dtype, c):
    expected = 0.5 * np.sum(np.log1p(D / GAMMA))
    np.testing.assert_allclose(seen(dtype, c)["log-det"], expected, rtol=1e-3)
    expected = 0.5 * np.sum(np.log1p(c * D / 1e-3))
    np.testing.assert_allclose(seen(dtype, c)["small gamma"], expected, rtol=1e-3, atol=1e-30)


@each_scale
def test_a_density_has_its_mass_on_the_eigenvalues(dtype, c):
    density = seen(dtype, c)["density"]
    width = density.grid[1] - density.grid[0]
    np.testing.assert_allclose(np.sum(density.values * width), 1.0, rtol=1e-2)
    assert np.all(np.isfinite(density.standard_error))
    weights = density.rules.weights[0]
    nodes = density.rules.nodes[0][weights > 1e-6] / c
    np.testing.assert_allclose(np.unique(nodes.round(2)), KINDS, rtol=1e-2)


@each_scale
def test_a_standard_error_is_that_of_probes_which_differ_by_a_sign(dtype, c):
    signs = [float(jr.rademacher(key, (N,), dtype)[0]) for key in jr.split(KEY, 3)]
    values = np.sum(D) * np.array(signs)
    slope = seen(dtype, c)["slope"]
    np.testing.assert_allclose(slope.value / c, values.mean(), rtol=1e-2)
    np.testing.assert_allclose(slope.standard_error / c, values.std(ddof=1) / 3**0.5, rtol=1e-2)


@each_scale
def test_products_and_squares_are_right_where_they_are_in_range(dtype, c):
    found, limits = seen(dtype, c), jnp.finfo(dtype)
    np.testing.assert_allclose(found["relative"], np.sum(D) * np.sum(START**2), rtol=2e-3)
    np.testing.assert_allclose(found["gradient"], np.sum((D * START) ** 2), rtol=2e-3)
    for name, at_one in (("frobenius", np.sum(D**2)), ("size", np.sum(START**2))):
        exponent = np.log10(at_one) + 2 * np.log10(c)
        if exponent > np.log10(float(limits.max)):
            assert np.isinf(found[name])
        elif exponent > np.log10(float(limits.tiny)):
            np.testing.assert_allclose(found[name], at_one * c * c, rtol=2e-3)
        else:
            assert found[name] < float(limits.tiny)
    step = START**3 / np.linalg.norm(START**2)
    np.testing.assert_allclose(
        found["adaptive"] / c, RHO * step, rtol=2e-3, atol=limits.tiny / c + 1e-7
    )


@jax.jit
def energies(c):
    d, x = jnp.arange(1, 5, dtype=jnp.float32), jnp.asarray([0.5, -1.0, 0.3, 2.0], jnp.float32)
    loss, law = lambda x: 0.5 * c * jnp.sum(d * x * x), {"gamma": 2 * c, "temperature": c}
    draws = {"samples": 8, "key": KEY, **law}
    return {
        "laplace": free_energy.laplace_by_products(loss, x, probes=2, key=KEY, **law),
        "importance": free_energy.importance(loss, x, 0.9 * x, **draws),
        "bound": bound(loss, x, prior(0.9 * x), **draws),
        "step": 1 / stable_step_size(loss, x, gamma=2 * c, key=KEY),
        "mean": c * LocalEntropy(2 * c, c).gibbs_mean(loss, x, key=KEY),
    }


@pytest.mark.parametrize("c", [1e-35, 1e-20, 1e20, 1e35])
def test_energies_with_the_window_and_temperature_of_the_loss_are_c_times_themselves(c):
    found, expected = (energies(jnp.asarray(x, jnp.float32)) for x in (c, 1.0))
    for (path, x), y in zip(
        jax.tree.leaves_with_path(found), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(
            np.asarray(x, np.float64) / c, y, rtol=2e-3, atol=1e-5, err_msg=f"{path}"
        )


@pytest.mark.parametrize("c", [1e-30, 1.0, 1e30])
def test_a_direction_has_the_norms_of_small_and_large_filters(c):
    p = c * np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2)
    d = np.asarray(filter_direction(jnp.asarray(p), key=KEY), np.float64)
    expected = np.linalg.norm(p.astype(np.float64), axis=0)
    np.testing.assert_allclose(np.linalg.norm(d, axis=0), expected, rtol=1e-5)


def test_nothing_is_zero_and_beyond_all_numbers_is_nan():
    flat = program(jnp.float32)(jnp.zeros((), jnp.float32), jnp.asarray(START, jnp.float32))
    for name in ("trace", "gauss-newton", "top", "norm", "krylov", "sharpness", "frobenius"):
        assert flat[name] == 0, name
    assert flat["pair"].value == 0 and flat["small gamma"] == 0
    beyond = program(jnp.float32)(jnp.asarray(3e37, jnp.float32), jnp.asarray(START, jnp.float32))
    for name in ("top", "norm", "log-det", "small gamma"):
        assert not np.isfinite(beyond[name]), name
    assert not np.isfinite(beyond["pair"].value)


def test_one_probe_is_no_reason_to_stop_for_nan():
    x = jnp.ones(3)
    with jax.debug_nans(True):
        for estimator in (hutchinson.trace, hutchinson.diagonal, hutchinson.frobenius_squared):
            found = estimator(lambda v: 2 * v, x, probes=1, key=KEY)
            assert np.all(np.isinf(found.standard_error))
        rules = jax.jit(lambda: slq.quadrature(lambda v: 2 * v, x, probes=1, key=KEY))()
        assert np.isinf(rules.trace(jnp.log).standard_error)


def test_no_promotion_is_implicit():
    """Traced only: with parameters in half precision, that of numbers and curvatures differs."""
    measures = (
        *(HessianTrace(), HessianFrobenius(), TopEigenvalue(products=2), LogDet(1.0, k=2)),
        *(KrylovTrace(k=2), GradNorm(), Sharpness(jnp.asarray(0.1)), Relative(GradNorm())),
        *(Sharpness(adaptive=True), SquaredNorm(), Adaptive(HessianTrace()), Smoothed(2.0)),
        *(LocalEntropy(2.0), LocalEntropy(jnp.asarray(2.0), value="monte_carlo")),
    )
    loss = lambda p: jnp.sum(p["a"] ** 4) + jnp.sum(p["b"].astype(jnp.bfloat16) ** 2)
    for dtype in (jnp.float32, jnp.bfloat16):
        p = {"a": jnp.ones(3, jnp.bfloat16), "b": jnp.ones(2, dtype)}
        with jax.numpy_dtype_promotion("strict"):
            for measure in measures:
                value = jax.eval_shape(lambda p, m=measure: m(loss, p, key=KEY), p)
                assert value.shape == (), measure
