"""Networks: against slow NumPy loops, and the published sizes."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from steppe.core import tree
from steppe.store.describe import describe, rebuild
from steppe.tasks import MLP, ConvNet
from steppe.tasks.networks import batch_norm, convolve, max_pool
from steppe.tasks.networks.layers import by_patches
from tests.reference.networks import slow_batch_norm, slow_convolve, slow_pool

STARTS = ("published", "he")
ACTIVATIONS = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
}


@eqx.filter_jit  # one compilation instead of one per operation
def begin(network, key, shape, classes):
    return network.init(key, shape, classes)


@eqx.filter_jit
def apply(network, params, x):
    return network.apply(params, x)


def drawn(network, shape, classes):
    """Parameters without zeros, for values that do not depend on where a network starts."""
    like = jax.eval_shape(lambda key: network.init(key, shape, classes), jr.key(0))
    rng = np.random.default_rng(3)
    return jtu.tree_map(lambda leaf: rng.normal(size=leaf.shape), like)


def normal(*shape):
    return np.random.default_rng(5).normal(size=shape)


@pytest.mark.parametrize(
    ("network", "shape", "count"),
    [
        (MLP(), (28, 28), 15_910),
        (MLP(activation="relu"), (28, 28), 15_910),
        (MLP(hidden=(20, 20)), (28, 28), 16_330),
        (ConvNet(padding="VALID", relu_logits=True), (28, 28), 18_122),
        (ConvNet(padding="VALID", strides=(2, 2), relu_logits=True), (32, 32, 3), 13_610),
    ],
    ids=["mnist", "mnist_relu", "mnist_deeper", "mnist_conv", "cifar_conv"],
)
def test_published_numbers_of_parameters(network, shape, count):
    params = jax.eval_shape(lambda key: network.init(key, shape, 10), jr.key(0))
    assert tree.size(params) == count
    logits = jax.eval_shape(network.apply, params, jax.ShapeDtypeStruct((2, *shape), float))
    assert logits.shape == (2, 10)


@pytest.mark.parametrize(
    ("hidden", "activation"),
    [((), "sigmoid"), ((4,), "sigmoid"), *(((4, 3), name) for name in ACTIVATIONS)],
    ids=str,
)
def test_mlp_equals_numpy(hidden, activation):
    network = MLP(hidden=hidden, activation=activation)
    params, x = drawn(network, (2, 3), 5), normal(7, 2, 3)
    z = x.reshape(7, 6)
    for i, layer in enumerate(params):
        z = z @ layer["w"] + layer["b"]
        z = ACTIVATIONS[activation](z) if i < len(hidden) else z
    np.testing.assert_allclose(apply(network, params, x), z, rtol=1e-12)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("stride", "k"), [(1, 2), (1, 3), (2, 3), (3, 2)])
def test_convolution_equals_a_loop(padding, stride, k):
    x, w = normal(2, 6, 5, 2), normal(k, k, 2, 3)
    found = jax.jit(convolve, static_argnums=(2, 3))(x, w, stride, padding)
    expected = slow_convolve(x, w, stride, padding)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@functools.cache
def sine(convolution, stride, padding):
    """The sine of a convolution, and the gradients of its sum by images and weights."""

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
    def run(x, w):
        y = jnp.sin(convolution(x, w, stride, padding))
        return y.sum(), y

    (_, y), gradients = run(normal(2, 7, 8, 3), normal(3, 3, 3, 4))
    return y, *gradients


def by_xla(x, w, stride, padding):
    layout = ("NHWC", "HWIO", "NHWC")
    strides = (stride, stride)
    return jax.lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=layout)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("most", [0, 10**9], ids=["line by line", "at once"])
def test_patches_give_what_xla_gives_with_its_gradients(most, stride, padding):
    patches = lambda *x: by_patches(*x, most)
    ours, theirs = (sine(convolution, stride, padding) for convolution in (patches, by_xla))
    for mine, xla in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, xla, rtol=1e-10, atol=1e-12)


def test_batch_norm_equals_numpy(getkey):
    x = 3 + 2 * jr.normal(getkey(), (4, 3, 2, 5))
    np.testing.assert_allclose(batch_norm(x), slow_batch_norm(np.asarray(x)), rtol=1e-10)


def test_batch_norm_of_a_constant_channel_is_zero_with_a_finite_gradient():
    x = jnp.full((2, 2, 2, 1), 7.0)
    assert not batch_norm(x).any()
    assert jnp.isfinite(jax.jit(jax.grad(lambda x: jnp.exp(batch_norm(x)).sum()))(x)).all()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_max_pool_equals_a_loop_and_drops_what_is_left_over(size, getkey):
    x = jr.normal(getkey(), (2, 7, 5, 3))
    np.testing.assert_array_equal(max_pool(x, size), slow_pool(np.asarray(x), size))


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_max_pool_keeps_a_nan_and_sends_the_gradient_to_one_place(place):
    x = np.where(np.arange(4) == place, np.nan, 0.0).reshape(1, 2, 2, 1)
    value, grad = POOLED(x)
    assert np.isnan(value)
    assert grad.ravel()[place] == 1 and np.sum(grad) == 1
    assert np.sum(POOLED(np.zeros_like(x))[1]) == 1


POOLED = jax.jit(jax.value_and_grad(lambda x: max_pool(x, 2).sum()))  # of one place


@pytest.mark.parametrize(
    ("norm", "relu_logits"), [("batch", False), ("constant", False), ("none", True)]
)
def test_convnet_equals_numpy(norm, relu_logits):
    network = ConvNet(
        channels=(2, 3),
        kernels=(3, 2),
        strides=(1, 2),
        norm=norm,
        activation="tanh",
        relu_logits=relu_logits,
    )
    params = drawn(network, (8, 8, 2), 4)
    images = normal(5, 8, 8, 2)
    (*convolutions, last), x = params, images
    for layer, stride in zip(convolutions, (1, 2), strict=True):
        x = slow_convolve(x, layer["w"], stride, "SAME") + layer["b"]
        x = {"batch": slow_batch_norm, "constant": lambda x: x / 1.001**0.5}.get(norm, np.array)(x)
        x = slow_pool(np.tanh(x), 2)
    z = x.reshape(5, -1) @ last["w"] + last["b"]
    z = np.maximum(z, 0) if relu_logits else z
    np.testing.assert_allclose(apply(network, params, images), z, rtol=1e-9, atol=1e-9)


def test_grey_images_need_no_channel_axis(getkey):
    network = ConvNet(channels=(2,), kernels=(3,), strides=(1,))
    x = jr.uniform(getkey(), (3, 6, 6))
    params = begin(network, getkey(), (6, 6), 4)
    key = getkey()
    assert tree.size(begin(network, key, (6, 6, 1), 4)) == tree.size(params)
    np.testing.assert_array_equal(apply(network, params, x), apply(network, params, x[..., None]))


def test_relu_logits_below_zero_have_no_gradient(getkey):
    network = ConvNet(channels=(2,), kernels=(3,), strides=(1,), relu_logits=True)
    *convolutions, last = begin(network, getkey(), (6, 6), 4)
    params = (*convolutions, {"w": last["w"], "b": last["b"] - 10})
    x = jr.uniform(getkey(), (3, 6, 6))
    grads = jax.jit(jax.grad(lambda params: network.apply(params, x).sum()))(params)
    assert not any(leaf.any() for leaf in jtu.tree_leaves(grads))


@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (32, 32, 3)], ids=str)
def test_the_default_convnet_fits_all_our_images(shape):
    *_, (flat, classes) = ConvNet().shapes(shape, 10)
    assert flat >= 100 and classes == 10


def deviations(params):
    return [float(jnp.sqrt(jnp.mean(layer["w"] ** 2))) for layer in params]


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("published", [0.01, 0.01]),
        ("unit", [1, 1]),
        ("lecun", [60**-0.5, 50**-0.5]),
        ("he", [(2 / 60) ** 0.5, (2 / 50) ** 0.5]),
    ],
)
def test_mlp_weights_have_the_deviation_of_their_start(start, expected, getkey):
    params = MLP(hidden=(50,), start=start).init(getkey(), (60,), 40)
    assert deviations(params) == pytest.approx(expected, rel=4 / np.sqrt(2 * 2000))
    means = [float(layer["w"].mean()) for layer in params]
    assert means == pytest.approx([0, 0], abs=4 * max(expected) / np.sqrt(2000))


def test_published_mlp_biases_are_drawn_like_the_weights(getkey):
    b = MLP(hidden=(2000,)).init(getkey(), (1,), 2)[0]["b"]
    assert b.std() == pytest.approx(0.01, rel=4 / np.sqrt(2 * 2000))


@pytest.mark.parametrize(
    "network",
    [MLP(start="he"), MLP(start="lecun"), *(ConvNet((2,), (3,), (1,), start=s) for s in STARTS)],
    ids=str,
)
def test_other_biases_start_at_zero(network, getkey):
    assert not any(layer["b"].any() for layer in begin(network, getkey(), (8, 8), 10))


def test_convolution_weights_count_all_inputs_of_a_place(getkey):
    network = ConvNet(channels=(40, 40), start="he")
    params = begin(network, getkey(), (8, 8), 10)
    fan_ins = np.array([3 * 3 * 1, 5 * 5 * 40, 2 * 2 * 40])
    assert deviations(params) == pytest.approx(np.sqrt(2 / fan_ins), rel=4 / np.sqrt(2 * 360))


def test_layers_are_drawn_apart(getkey):
    first, second, _ = MLP(hidden=(4, 4)).init(getkey(), (4,), 2)
    assert (first["w"] != second["w"]).all() and (first["w"][0] != first["b"]).all()


@pytest.mark.parametrize(
    "network", [MLP(hidden=(5, 4), start="he"), ConvNet(strides=(2, 1), norm="none")], ids=str
)
def test_a_description_rebuilds_the_network(network):
    assert rebuild(describe(network), {"MLP": MLP, "ConvNet": ConvNet}) == network


def test_lists_are_taken_for_tuples():
    assert MLP(hidden=[5, 4]) == MLP(hidden=(5, 4))


def test_a_network_is_hashable_and_holds_no_arrays():
    for network in (MLP(), ConvNet()):
        assert hash(network) == hash(type(network)())
        assert not jtu.tree_leaves(network)


def test_small_images_are_refused_with_the_place_where_they_end():
    words = "the shape .8, 8. are 3x3 before convolution 2, too small for kernel 5.*padding VALID"
    with pytest.raises(ValueError, match=words):
        ConvNet(padding="VALID").shapes((8, 8), 10)


def test_rows_that_are_no_images_are_refused():
    with pytest.raises(ValueError, match=r"the shape .64,., expected images"):
        ConvNet().shapes((64,), 10)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MLP(hidden=(3, 0)), "at least 1, got .3, 0."),
        (lambda: MLP(activation="gelu"), "activation must be one of sigmoid, relu, tanh, got 'g"),
        (lambda: MLP(start="xavier"), "start must be one of published, unit, lecun, he, got"),
        (lambda: ConvNet(channels=(3,)), "differ in length; give one entry per convolution"),
        (lambda: ConvNet(pool=0), "ConvNet: pool must be at least 1, got 0"),
        (lambda: ConvNet(norm="layer"), "norm must be one of batch, constant, none, got 'layer'"),
        (lambda: ConvNet(padding="same"), "padding must be one of SAME, VALID, got 'same'"),
    ],
)
def test_wrong_arguments_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
