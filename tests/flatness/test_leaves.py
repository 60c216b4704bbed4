"""Measures and tools take floats of any kind as parameters, and refuse all else in one sentence."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import pytest

from steppe.core.loss import Composed
from steppe.flatness import hutchinson, landscape, slq
from steppe.flatness.entropy import free_energy
from steppe.flatness.entropy.local_entropy import LocalEntropy
from steppe.flatness.entropy.variational import Smoothed, bound, prior
from steppe.flatness.gradient import (
    CrossGradNorm,
    GradNorm,
    Halved,
    Sharpness,
    cross_gradient_norm,
    worst_point,
)
from steppe.flatness.hessian import (
    GaussNewtonTrace,
    HessianFrobenius,
    HessianTrace,
    KrylovTrace,
    LogDet,
    TopEigenvalue,
)
from steppe.flatness.lanczos import top_eigenpair
from steppe.flatness.products import hvp, second_derivative
from steppe.flatness.units import Adaptive, Relative, SquaredNorm

KEY = jr.key(0)
LAW = {"gamma": 1.0, "temperature": 1.0}
DRAWS = {"samples": 4, "key": KEY, **LAW}


def loss(params):
    return jnp.sum(jnp.abs(params["a"]) ** 2)


LOSSES = {
    GaussNewtonTrace: Composed(lambda p: jnp.abs(jnp.asarray(p["a"])), lambda z: jnp.sum(z**2)),
    CrossGradNorm: Halved(loss, loss),
}
MEASURES = (
    *(HessianTrace(), HessianFrobenius(), GaussNewtonTrace(), TopEigenvalue(products=2)),
    *(LogDet(1.0, k=1), KrylovTrace(1), LocalEntropy(2.0), Smoothed(2.0), Sharpness()),
    *(Sharpness(adaptive=True), GradNorm(), CrossGradNorm(), SquaredNorm()),
    *(Relative(GradNorm()), Adaptive(HessianTrace()), Adaptive(TopEigenvalue(products=2))),
)
same = lambda v: v
once = {"probes": 1, "key": KEY}
TOOLS = {
    "hvp": lambda p: hvp(loss, p, p),
    "second_derivative": lambda p: second_derivative(loss, p, p, p),
    "cross_gradient_norm": lambda p: cross_gradient_norm(loss, loss, p),
    "worst_point": lambda p: worst_point(p, p, rho=0.1),
    "trace": lambda p: hutchinson.trace(same, p, **once),
    "diagonal": lambda p: hutchinson.diagonal(same, p, **once),
    "quadrature": lambda p: slq.quadrature(same, p, **once),
    "spectral_density": lambda p: slq.spectral_density(same, p, points=3, **once),
    "top_eigenpair": lambda p: top_eigenpair(same, p, products=1, key=KEY),
    "filter_direction": lambda p: landscape.filter_direction(p, vectors="whole", key=KEY),
    "line": lambda p: landscape.line(loss, p, p, jnp.ones(2)),
    "laplace": lambda p: free_energy.laplace(loss, p, **LAW),
    "laplace_by_products": lambda p: free_energy.laplace_by_products(loss, p, **once, **LAW),
    "monte_carlo": lambda p: free_energy.monte_carlo(loss, p, **DRAWS),
    "importance": lambda p: free_energy.importance(loss, p, p, **DRAWS),
    "bound": lambda p: bound(loss, p, prior(p), **DRAWS),
    "thermodynamic_integral": lambda p: free_energy.thermodynamic_integral(
        loss, p, step_size=0.1, steps=2, burn_in=1, nodes=1, chains=1, key=KEY, **LAW
    ),
}


def calls():
    for measure in MEASURES:
        at = LOSSES.get(type(measure), loss)
        yield pytest.param(lambda p, m=measure, f=at: m(f, p, key=KEY), id=f"{measure}")
    for name, tool in TOOLS.items():
        yield pytest.param(tool, id=name)


BAD = {
    "complex": ({"a": jnp.ones(2, complex)}, r"complex128 at \['a'\], expected real numbers"),
    "a complex number": ({"a": 1j}, r"complex 1j at \['a'\], expected real numbers"),
    "whole numbers": ({"a": jnp.ones(2, int)}, r"int64 at \['a'\].* give 1\.0 for 1"),
    "a whole number": ({"a": 1}, r"int 1 at \['a'\].* give 1\.0 for 1"),
    "a module": (
        eqx.nn.MLP(2, 1, 2, 1, key=KEY),
        r"\.activation.*by `eqx\.filter\(params, eqx\.is_inexact_array\)`",
    ),
}


@pytest.mark.parametrize("call", list(calls()))
def test_what_is_no_float_is_refused_in_one_sentence(call):
    for params, sentence in BAD.values():
        with pytest.raises(ValueError, match=sentence) as refusal:
            call(params)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("call", list(calls()))
def test_a_python_float_is_a_parameter(call):
    types = lambda p: eqx.filter(jax.eval_shape(lambda: call({"a": p})), eqx.is_array_like)
    assert types(1.5) == types(jnp.asarray(1.5))
