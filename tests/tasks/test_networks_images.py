"""Networks for images, each against NumPy loops; gradients, sizes and bad input."""

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from steppe.core import tree
from steppe.store.describe import describe, rebuild
from steppe.tasks.names import SIXTEEN
from steppe.tasks.networks import VGG, LeNet, NASCell, ResNet
from steppe.tasks.networks.layers import average_pool, group_norm
from tests.reference.networks import (
    slow_average,
    slow_batch_norm,
    slow_convolve,
    slow_group_norm,
    slow_pool,
)

LENET = LeNet(channels=(2, 3), hidden=(4, 3), offsets=True)
CELL = NASCell(channels=2, relu_logits=True)
SMALL_VGG = VGG(stages=((2, 3), (2,)), softmax_logits=True)
SMALL_RESNET = ResNet(widths=(2, 4), blocks=2, groups=2)
SMALL = {  # network, shape of its images
    "lenet": (LENET, (16, 17, 2)),
    "nas": (CELL, (5, 4)),
    "vgg": (SMALL_VGG, (5, 4, 2)),
    "resnet": (SMALL_RESNET, (5, 4, 2)),
}
CLASSES, ROWS = 3, 4


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0)


def linear(layer, x):
    return x @ layer["w"] + layer["b"]


def lenet(params, x):
    first, second, one, two, last = params
    for layer in (first, second):
        x = slow_convolve(x, layer["w"], 1, "VALID") + layer["b"]
        x = slow_pool(sigmoid(slow_batch_norm(x) + layer["offset"]), 2)
    x = x.reshape(len(x), -1)
    for layer in (one, two):
        x = sigmoid(slow_batch_norm(linear(layer, x)) + layer["offset"])
    return linear(last, x)


def nas(params, x):
    def cbr(layer, x):
        return relu(slow_batch_norm(slow_convolve(x, layer["w"], 1, "SAME") + layer["b"]))

    n0 = cbr(params[0], x)
    n1 = cbr(params[2], n0)
    n2 = slow_average(n1) + cbr(params[1], n0)
    n3 = n2 + cbr(params[3], n1) + n0
    return relu(linear(params[4], n3.mean(axis=(1, 2))))


def vgg(params, x):
    for i, layer in enumerate(params[:-1]):
        x = relu(slow_batch_norm(slow_convolve(x, layer["w"], 1, "SAME") + layer["b"]))
        x = slow_pool(x, 2) if i in (1, 2) else x
    e = np.exp(linear(params[-1], x.reshape(len(x), -1)))
    return e / e.sum(axis=1, keepdims=True)


def resnet(params, x):
    def norm(layer, x, stride=1):
        x = slow_group_norm(slow_convolve(x, layer["w"], stride, "SAME"), 2)
        return layer["scale"] * x + layer["b"]

    x = relu(norm(params[0], x))
    for i, stride in ((1, 1), (3, 1), (5, 2), (7, 1)):
        y = norm(params[i + 1], relu(norm(params[i], x, stride)))
        short = np.zeros_like(y)
        short[..., : x.shape[-1]] = x[:, ::stride, ::stride]
        x = relu(y + short)
    return linear(params[9], x.mean(axis=(1, 2)))


@pytest.fixture(scope="module", params=SMALL)
def played(request):
    """Slow network, parameters without zeros, images, logits, weights, gradient of Σ weights z."""
    network, shape = SMALL[request.param]
    slow = {"lenet": lenet, "nas": nas, "vgg": vgg, "resnet": resnet}[request.param]
    like = jax.eval_shape(lambda key: network.init(key, shape, CLASSES), jr.key(0))
    rng = np.random.default_rng(3)
    params = jtu.tree_map(lambda leaf: rng.normal(size=leaf.shape), like)
    x, weights = rng.normal(size=(ROWS, *shape)), rng.normal(size=(ROWS, CLASSES))

    def total(params):
        z = network.apply(params, jnp.asarray(x))
        return (weights * z).sum(), z

    (_, z), grads = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
    return slow, params, with_channel(x), z, weights, jtu.tree_map(np.asarray, grads)


def with_channel(x):
    return x if x.ndim == 4 else x[..., None]


def test_logits_equal_slow_loops(played):
    slow, params, x, z, _, _ = played
    expected = slow(params, x)
    assert z.shape == (ROWS, CLASSES) and np.ptp(expected) > 1e-2
    np.testing.assert_allclose(z, expected, rtol=1e-9, atol=1e-9)


def test_the_gradient_is_that_of_the_slow_loops(played):
    slow, params, x, _, weights, grads = played
    rng, h = np.random.default_rng(5), 1e-7
    v = jtu.tree_map(lambda leaf: rng.normal(size=leaf.shape), params)
    ahead, behind = (
        (weights * slow(jtu.tree_map(lambda p, d, s=s: p + s * h * d, params, v), x)).sum()
        for s in (1, -1)
    )
    assert (ahead - behind) / (2 * h) == pytest.approx(float(tree.dot(grads, v)), rel=1e-5)


def test_every_leaf_has_a_gradient_but_the_biases_before_a_batch_norm(played):
    slow, _, _, _, _, grads = played
    for layer in grads[:-1]:
        for part, grad in layer.items():
            assert np.isfinite(grad).all()
            if part == "b" and slow is not resnet:
                np.testing.assert_allclose(grad, 0, atol=1e-12)
            else:
                assert (np.abs(grad) > 1e-8).any(), part
    assert all(np.isfinite(grad).all() and (grad != 0).any() for grad in grads[-1].values())


@pytest.mark.parametrize("name", SMALL)
def test_hessian_products_of_two_episodes_at_once_stay_in_float32(name):
    network, shape = SMALL[name]

    def product(key):
        params = network.init(key, shape, CLASSES)
        params = jtu.tree_map(lambda leaf: leaf.astype(jnp.float32), params)
        grad = jax.grad(
            lambda p: (network.apply(p, jnp.ones((ROWS, *shape), "float32")) ** 2).sum()
        )
        return jax.jvp(grad, (params,), (params,))[1]

    product = jax.eval_shape(jax.vmap(product), jr.split(jr.key(0)))
    assert {leaf.dtype for leaf in jtu.tree_leaves(product)} == {jnp.dtype("float32")}


def test_group_norm_equals_numpy_row_by_row(getkey):
    x = jr.normal(getkey(), (3, 2, 3, 6))
    normalised = jax.jit(group_norm, static_argnums=1)(x, 3)
    np.testing.assert_allclose(normalised, slow_group_norm(np.asarray(x), 3), rtol=1e-9)


def test_average_pool_equals_a_loop(getkey):
    x = jr.normal(getkey(), (2, 4, 3, 2))
    pooled = jax.jit(average_pool, static_argnums=1)(x, 3)
    np.testing.assert_allclose(pooled, slow_average(np.asarray(x)), rtol=1e-12)


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (LeNet(), 62_006),
        (LeNet(offsets=True), 62_232),
        (NASCell(relu_logits=True), 7_578),
        (VGG(SIXTEEN, norm="none", start="published"), 14_714_688 + 5_130),
        (ResNet(), 75_290),
        (ResNet(blocks=3), 269_722),
    ],
    ids=["lenet", "lenet-offsets", "nas", "vgg16", "resnet8", "resnet20"],
)
def test_published_numbers_of_parameters(network, count):
    params = jax.eval_shape(lambda key: network.init(key, (32, 32, 3), 10), jr.key(0))
    assert tree.size(params) == count
    logits = jax.eval_shape(network.apply, params, jax.ShapeDtypeStruct((2, 32, 32, 3), float))
    assert logits.shape == (2, 10)
    for layer, shape in zip(params, network.shapes((32, 32, 3), 10), strict=True):
        assert layer["w"].shape == shape


def test_lenet_draws_biases_only_in_the_published_starts(getkey):
    @jax.jit
    def biases(key):
        starts = ("published", "he")
        return [LeNet((1, 1), (1, 90), start=s).init(key, (16, 16), 2)[3]["b"] for s in starts]

    drawn, none = biases(getkey())
    assert float(drawn.std()) == pytest.approx(0.01, rel=4 / np.sqrt(2 * 90)) and not none.any()


@pytest.mark.parametrize("name", SMALL)
def test_a_description_rebuilds_the_network(name):
    network, _ = SMALL[name]
    kinds = {cls.__name__: cls for cls in (LeNet, NASCell, VGG, ResNet)}
    assert rebuild(describe(network), kinds) == network
    assert hash(network) == hash(rebuild(describe(network), kinds))
    assert not jtu.tree_leaves(network)


def test_lists_are_taken_for_tuples():
    assert VGG([[2, 3], [4]]) == VGG(((2, 3), (4,)))
    assert LeNet([2, 3], [4, 5]) == LeNet((2, 3), (4, 5))
    assert ResNet([4, 8]) == ResNet((4, 8))


def test_resnet_and_cell_fit_any_image():
    for network in (ResNet(), NASCell()):
        params = jax.eval_shape(lambda key, n=network: n.init(key, (1, 3), 2), jr.key(0))
        logits = jax.eval_shape(network.apply, params, jax.ShapeDtypeStruct((2, 1, 3), float))
        assert logits.shape == (2, 2)


@pytest.mark.parametrize(
    ("network", "shape", "words"),
    [
        (LeNet(), (8, 8), "LeNet: images of the shape .8, 8. are 8x8.* at least 16x16, or a Conv"),
        (LeNet(), (28, 15), "28x15, too small"),
        (VGG(SIXTEEN), (28, 28), "28x28, too small to halve 5 times; .* at least 32x32"),
        (NASCell(), (64,), r"NASCell: inputs have the shape .64,., expected images"),
        (ResNet(), (64,), r"ResNet: inputs have the shape .64,., expected images"),
    ],
    ids=["lenet", "flat", "vgg16", "cell", "resnet"],
)
def test_images_that_do_not_fit_are_refused(network, shape, words):
    with pytest.raises(ValueError, match=words):
        network.shapes(shape, 10)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LeNet(channels=(6,)), "must be two widths each, got .6,. and .120, 84."),
        (lambda: LeNet(hidden=(0, 3)), r"LeNet: hidden must be at least 1, got \(0, 3\)"),
        (lambda: LeNet(start="x"), "LeNet: start must be one of published"),
        (lambda: NASCell(channels=0), "NASCell: channels must be at least 1, got 0"),
        (lambda: NASCell(start="x"), "NASCell: start must be one of published"),
        (lambda: VGG(stages=((3,), ())), "a stage must be one or more widths of at least 1, got"),
        (lambda: VGG(norm="group"), "VGG: norm must be one of batch, constant, none, got"),
        (lambda: VGG(start="x"), "VGG: start must be one of published"),
        (lambda: ResNet(blocks=0), "ResNet: blocks must be at least 1, got 0"),
        (lambda: ResNet(widths=()), "ResNet: widths are empty"),
        (lambda: ResNet(widths=(8, 4)), "widths .8, 4. shrink, .* in ascending order"),
        (lambda: ResNet(widths=(4, 6)), "groups=4 does not divide all widths .4, 6.; use a common"),
        (lambda: ResNet(start="x"), "ResNet: start must be one of published"),
    ],
)
def test_wrong_arguments_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
