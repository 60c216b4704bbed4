"""Equal tasks, and tasks that are equal but for rounding or noise, are found; others are not."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.certificates.certify import certify
from steppe.certificates.runs import FixedPoint
from steppe.certificates.twins import CHANCE, TWINS, groups, sketch

WAY = {"steps": 4, "tolerances": [0.5], "n": 60, "delta": 0.1}


def descent(sample, **more):
    """Gradient steps on ½ |a|² |z|²."""
    start = lambda a: jnp.ones(2)
    return FixedPoint(sample, start, lambda z, a: z - 0.1 * jnp.sum(a**2) * z, **more)


def one_of_ten(noise: float):
    """Ten tasks drawn again and again, with relative noise."""
    few = jr.uniform(jr.key(7), (10, 3), minval=0.1, maxval=1.0)

    def sample(key):
        key_which, key_noise = jr.split(key)
        a = few[jr.randint(key_which, (), 0, 10)]
        return a * (1 + noise * jr.normal(key_noise, a.shape))

    return sample


@pytest.mark.parametrize("noise", [1e-15, 1e-12])
def test_tasks_that_differ_by_noise_are_refused(noise):
    with pytest.raises(ValueError, match="tasks are equal to another"):
        certify(descent(one_of_ten(noise)), **WAY)


def test_tasks_that_differ_by_more_are_not():
    certify(descent(one_of_ten(1e-6)), **WAY)
    certify(descent(one_of_ten(0.0)), **WAY, repeats=True)


def test_tasks_near_those_of_training_are_refused():
    tasks = jr.uniform(jr.key(0), (70, 3))
    for noise, said in ((0.0, "5 of 15"), (1e-12, "5 of 15")):
        with pytest.raises(ValueError, match=f"{said} tasks that the optimizer was trained on"):
            descent(tasks[:60], trained_on=tasks[55:] * (1 + noise))
    descent(tasks[:60], trained_on=tasks[55:] * (1 + 1e-6))


@pytest.mark.parametrize("size", [1, 2, 1000])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e12])
def test_the_tolerance_is_relative_to_the_norm_of_each_array(size, scale):
    rng = np.random.default_rng(size)
    x = rng.normal(size=(40, size)) * scale
    away = rng.normal(size=x.shape)
    away *= np.linalg.norm(x, axis=1, keepdims=True) / np.linalg.norm(away, axis=1, keepdims=True)
    sketches = lambda off: np.stack(
        [np.asarray(sketch((row, jnp.ones(2))), float) for row in [*x, *(x + off * away)]]
    )
    assert len(np.unique(groups(sketches(TWINS / 10)))) == 40
    assert len(np.unique(groups(sketches(TWINS * 1e4)))) == 80


def test_numbers_of_every_type_tell_tasks_apart():
    key = jr.key(0)
    for one, other in (
        (jnp.array(1 + 2j), jnp.array(1 + 3j)),
        (jnp.array([True, False]), jnp.array([False, True])),
        (jnp.array([1, 2]), jnp.array([2, 1])),
        (key, jr.split(key)[0]),
        (jnp.array([1.0, 2.0], jnp.bfloat16), jnp.array([2.0, 1.0], jnp.bfloat16)),
    ):
        made = np.stack([np.asarray(sketch((x,)), float) for x in (one, other)])
        assert len(np.unique(groups(made))) == 2


def test_chance_is_not_held_against_tasks_of_one_number():
    """A hundred thousand of U(1, 9): some come within 1e-9 of another, as they should."""
    a = np.random.default_rng(0).uniform(1, 9, 100_000)
    twins = len(a) - len(np.unique(groups(np.stack([a, a], axis=1))))
    assert 0 < twins < CHANCE * len(a) ** 2 / 100


def test_what_is_no_number_has_no_twin():
    made = np.array([[np.nan, np.nan], [np.nan, np.nan], [np.inf, np.inf], [1.0, 1.0]])
    assert len(np.unique(groups(made))) == 4
