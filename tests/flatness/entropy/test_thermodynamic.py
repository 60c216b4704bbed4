"""Thermodynamic integration against the closed form and against quadrature over two wells."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from steppe.flatness.entropy.free_energy import thermodynamic_integral
from tests.reference.local_entropy import draw_quadratic


def test_integral_finds_the_closed_form_within_its_error(getkey):
    quadratic, theta = draw_quadratic(0, 3, lowest=0.5, highest=30.0)
    H, star = jnp.asarray(quadratic.H), jnp.asarray(quadratic.star)
    loss = lambda p: quadratic.low + 0.5 * (p["w"] - star) @ H @ (p["w"] - star)
    law = {"gamma": 1.7, "temperature": 0.6}
    eta = 1 / (np.linalg.eigvalsh(quadratic.H).max() + 1.7)
    seen = jax.jit(
        lambda key: thermodynamic_integral(
            loss,
            {"w": jnp.asarray(theta)},
            step_size=eta,
            steps=5_000,
            burn_in=400,
            chains=8,
            key=key,
            **law,
        )
    )(getkey())
    assert 0 < seen.standard_error < 0.05
    assert abs(seen.value - quadratic.free_energy(theta, **law)) < 4 * seen.standard_error


def test_integral_sees_both_wells_of_a_quartic(getkey):
    f = lambda w: (w**2 - 1) ** 2 + 0.2 * w
    law = {"gamma": 1.0, "temperature": 0.5}
    mass = lambda w: np.exp(-(f(w) + 0.5 * (w - 0.1) ** 2) / 0.5)
    expected = -0.5 * np.log(quad(mass, -6, 6)[0] / np.sqrt(2 * np.pi * 0.5))
    seen = jax.jit(
        lambda key: thermodynamic_integral(
            f, jnp.asarray(0.1), step_size=0.01, steps=4_000, burn_in=500, chains=8, key=key, **law
        )
    )(getkey())
    assert abs(seen.value - expected) < 4 * seen.standard_error
    assert seen.standard_error < 0.02


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ({"nodes": 0}, "nodes must be a whole number ≥ 1"),
        ({"chains": 0}, "chains must be a whole number ≥ 1"),
        ({"burn_in": 9}, "steps must be a whole number ≥ 10, got 9"),
        ({"gamma": 0.0}, "gamma must be positive"),
        ({"temperature": -1.0}, "temperature must be zero or positive"),
    ],
)
def test_bad_settings_are_refused(bad, sentence, getkey):
    good = {"gamma": 1.0, "temperature": 1.0, "step_size": 0.1, "steps": 9, "burn_in": 0}
    with pytest.raises(ValueError, match=sentence):
        thermodynamic_integral(jnp.sum, jnp.ones(2), **(good | bad), key=getkey())
