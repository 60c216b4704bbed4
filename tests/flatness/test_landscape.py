"""Slices of a loss against loops, and directions against the rule of filter normalisation."""

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from steppe.flatness.landscape import filter_direction, line, plane

NETWORK = {
    "dense": {"w": jnp.arange(1.0, 13.0).reshape(4, 3), "b": jnp.ones(3)},
    "conv": jnp.arange(1.0, 25.0).reshape(2, 3, 2, 2),
    "scale": jnp.array(2.0),
}


def norms(x, axis):
    return np.sqrt(np.sum(np.asarray(x) ** 2, axis=axis))


def test_each_output_unit_of_a_direction_has_the_norm_of_its_weights(getkey):
    d = filter_direction(NETWORK, key=getkey())
    np.testing.assert_allclose(norms(d["dense"]["w"], 0), norms(NETWORK["dense"]["w"], 0))
    np.testing.assert_allclose(norms(d["conv"], (0, 1, 2)), norms(NETWORK["conv"], (0, 1, 2)))
    np.testing.assert_array_equal(d["dense"]["b"], 0)
    assert d["scale"] == 0
    assert np.std(np.asarray(d["conv"] / NETWORK["conv"])) > 0.1  # a direction of its own


def test_other_layouts_have_their_output_axis_elsewhere(getkey):
    d = filter_direction(NETWORK, output_axis=0, vectors="whole", key=getkey())
    np.testing.assert_allclose(norms(d["dense"]["w"], 1), norms(NETWORK["dense"]["w"], 1))
    np.testing.assert_allclose(norms(d["conv"], (1, 2, 3)), norms(NETWORK["conv"], (1, 2, 3)))
    np.testing.assert_allclose(norms(d["dense"]["b"], 0), norms(NETWORK["dense"]["b"], 0))
    assert abs(d["scale"]) == pytest.approx(2.0)


def test_a_unit_without_weights_does_not_move(getkey):
    w = jnp.ones((3, 2)).at[:, 1].set(0)
    d = filter_direction(w, key=getkey())
    np.testing.assert_array_equal(d[:, 1], 0)
    assert jnp.all(d[:, 0] != 0)


def test_rescaled_relu_units_give_the_same_slice(getkey):
    # Incoming weights times c, outgoing divided by c: the same function, so the same landscape.
    key, x = getkey(), jr.normal(getkey(), (5, 3))
    w = {"in": jr.normal(getkey(), (3, 4)), "out": jr.normal(getkey(), (4, 2))}
    c = 7.0
    scaled = {"in": w["in"] * c, "out": w["out"] / c}
    loss = lambda p: jnp.mean((jax.nn.relu(x @ p["in"]) @ p["out"]) ** 2)
    a = jnp.linspace(-1, 1, 5)
    slices = [line(loss, p, filter_direction(p, key=key), a) for p in (w, scaled)]
    np.testing.assert_allclose(slices[0], slices[1], rtol=1e-10)


def quadratic(p):
    return 0.5 * jnp.sum(jnp.array([1.0, 4.0, 9.0]) * p["w"] ** 2) + p["c"]


CENTRE = {"w": jnp.array([0.3, 0.0, -0.2]), "c": jnp.array(1.0)}
AXES = [{"w": jnp.eye(3)[i], "c": jnp.array(0.0)} for i in range(3)]


@pytest.mark.parametrize("together", [1, 4])
def test_a_line_along_an_eigenvector_is_the_parabola_of_its_eigenvalue(together):
    a = jnp.linspace(-1, 1, 7)
    seen = line(quadratic, CENTRE, AXES[1], a, together=together)
    np.testing.assert_allclose(seen, float(quadratic(CENTRE)) + 2 * np.asarray(a) ** 2, rtol=1e-12)


@pytest.mark.parametrize("together", [1, 4])
def test_a_plane_is_the_double_loop_in_one_compiled_program(together):
    a, b = np.linspace(-1, 1, 3), np.linspace(0, 2, 5)
    traced = []

    def counted(p):
        traced.append(1)
        return quadratic(p)

    seen = plane(counted, CENTRE, AXES[0], AXES[2], a, b, together=together)
    assert seen.shape == (3, 5)
    assert len(traced) <= 2  # once for the shape, once for the loop; never once a point
    for i, j in np.ndindex(3, 5):
        p = jtu.tree_map(
            lambda p, x, y, i=i, j=j: p + a[i] * x + b[j] * y, CENTRE, AXES[0], AXES[2]
        )
        assert seen[i, j] == pytest.approx(float(quadratic(p)), rel=1e-12)


def test_single_precision_stays_single_and_nan_stays_in_its_place():
    params = jnp.ones(2, jnp.float32)
    loss = lambda w: jnp.log(w[0])
    with jax.debug_nans(False):
        seen = line(loss, params, jnp.ones(2, jnp.float32), np.array([-2.0, 0.0]))
    assert seen.dtype == jnp.float32
    np.testing.assert_array_equal(np.isnan(seen), [True, False])


def test_parameters_without_a_matrix_are_refused(getkey):
    with pytest.raises(ValueError, match=r'zero everywhere. Use vectors="whole"'):
        filter_direction({"w": jnp.ones(3)}, key=getkey())
    with pytest.raises(ValueError, match="vectors is 'half', expected one of"):
        filter_direction(NETWORK, vectors="half", key=getkey())


@pytest.mark.parametrize("wrong", [{"w": jnp.ones(2), "c": jnp.ones(())}, {"w": jnp.ones(3)}])
def test_a_direction_of_another_shape_is_refused(wrong):
    with pytest.raises(
        ValueError, match="a direction must have the structure and shapes of params"
    ):
        line(quadratic, CENTRE, wrong, jnp.zeros(1))
    with pytest.raises(ValueError, match="a direction must have the structure"):
        plane(quadratic, CENTRE, AXES[0], wrong, jnp.zeros(1), jnp.zeros(1))


def test_a_loss_that_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="one real value"):
        line(lambda w: w, jnp.ones(2), jnp.ones(2), jnp.zeros(1))


def test_offsets_that_are_not_a_vector_and_empty_groups_are_refused():
    with pytest.raises(ValueError, match=r"vector of distances, got an array of shape \(\)"):
        line(quadratic, CENTRE, AXES[0], 0.5)
    with pytest.raises(ValueError, match="together must be a whole number ≥ 1, got 0"):
        line(quadratic, CENTRE, AXES[0], jnp.zeros(2), together=0)
