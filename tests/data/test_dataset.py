"""Dataset: splits, minibatches, and what they cost."""

import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.data import Dataset, arrange, minibatch, whole

draw = eqx.filter_jit(minibatch)  # one compilation instead of one per operation


def numbered(sizes=(60, 20, 20), **options) -> Dataset:
    """Row i carries i in its pixels and in its label, so that a drawn row can be recognised."""
    n = sum(sizes)
    x = np.repeat(np.arange(n, dtype=np.uint8)[:, None], 3, axis=1)  # (n, 3)
    return arrange(
        x, np.arange(n), sizes=sizes, name="numbered", classes=n, scale=1 / 255, **options
    )


def labels(dataset, split):
    return set(whole(dataset, split)[1].tolist())


def test_splits_are_disjoint_and_cover_all_rows():
    parts = [labels(numbered(), split) for split in ("train", "valid", "test")]
    assert [len(part) for part in parts] == [60, 20, 20]
    assert set.union(*parts) == set(range(100))


def test_a_row_keeps_its_label_through_the_permutation():
    x, y = whole(numbered(), "valid")
    np.testing.assert_allclose(x[:, 0] * 255, y, rtol=1e-6)


def test_rows_after_shuffled_stay_the_test_set():
    dataset = numbered(shuffled=80)
    assert whole(dataset, "test")[1].tolist() == list(range(80, 100))
    assert labels(dataset, "train") | labels(dataset, "valid") == set(range(80))
    assert labels(dataset, "valid") != set(range(60, 80))  # it was shuffled


def test_the_permutation_is_pinned():
    # recorded with numpy 2.4; another order would silently change every split
    assert numbered().y[:8].tolist() == [82, 36, 20, 5, 93, 16, 94, 52]


def test_limit_takes_the_first_rows_and_at_most_the_split():
    dataset = numbered()
    np.testing.assert_array_equal(whole(dataset, "valid", 5)[1], whole(dataset, "valid")[1][:5])
    assert len(whole(dataset, "valid", 1000)[1]) == 20


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_minibatch_stays_inside_its_split_and_reaches_all_of_it(split):
    dataset = numbered()
    drawn = set(draw(dataset, jr.key(0), 2000, split)[1].tolist())
    assert drawn == labels(dataset, split)


def test_the_pixels_of_a_minibatch_belong_to_its_labels():
    x, y = draw(numbered(), jr.key(5), 30)
    np.testing.assert_allclose(x, np.repeat(np.asarray(y)[:, None] / 255, 3, axis=1), rtol=1e-6)


def test_minibatch_frequencies_are_uniform():
    dataset = numbered()
    counts = np.bincount(draw(dataset, jr.key(1), 60_000)[1], minlength=100)
    counts = counts[whole(dataset, "train")[1]]  # (60,)
    chi2 = ((counts - 1000) ** 2 / 1000).sum()
    assert abs(chi2 - 59) < 4 * np.sqrt(2 * 59)  # mean and 4 standard deviations of χ²(59)


def test_two_rows_of_a_minibatch_are_independent():
    y = np.asarray(draw(numbered((4, 1, 1)), jr.key(2), 40_000)[1]).reshape(-1, 2)
    same = (y[:, 0] == y[:, 1]).mean()
    assert abs(same - 1 / 4) < 4 * np.sqrt(1 / 4 * 3 / 4 / 20_000)  # with replacement


def test_uint8_images_come_out_as_floats_in_the_unit_interval():
    every = np.arange(256, dtype=np.uint8).reshape(-1, 1)
    dataset = arrange(
        every, np.zeros(256, int), sizes=(256, 0, 0), name="every", scale=1 / 255, shuffled=0
    )
    assert dataset.x.dtype == jnp.uint8
    x, _ = whole(dataset, "train")
    assert x.min() == 0 and x.max() == 1
    np.testing.assert_allclose(x, every / 255, rtol=1e-6)


@pytest.mark.parametrize("wide", [False, True], ids=["float32", "float64"])
def test_floats_follow_the_current_precision_and_are_strong(wide):
    with jax.enable_x64(wide):
        dataset = numbered()
        drawn = jax.eval_shape(lambda key: minibatch(dataset, key, 4), jr.key(0))
        taken = jax.eval_shape(lambda: whole(dataset, "test"))
        for leaf in (*drawn, *taken):
            assert not leaf.weak_type
            if jnp.issubdtype(leaf.dtype, jnp.floating):
                assert leaf.dtype == (jnp.float64 if wide else jnp.float32)


def test_float64_mode_draws_the_same_rows():
    rows = []
    for wide in (False, True):
        with jax.enable_x64(wide):
            rows.append(draw(numbered(), jr.key(3), 50)[1].tolist())
    assert rows[0] == rows[1]


def test_vmap_over_keys_equals_a_loop_and_does_not_copy_the_data():
    n, keys = 20_000, jr.split(jr.key(4), 8)
    x = np.random.default_rng(0).integers(0, 256, (n, 64), dtype=np.uint8)
    dataset = arrange(x, np.zeros(n, int), sizes=(n, 0, 0), name="large", scale=1 / 255)
    lanes = jax.jit(lambda data, keys: jax.vmap(lambda key: minibatch(data, key, 16))(keys))
    np.testing.assert_array_equal(
        lanes(dataset, keys)[0], jnp.stack([draw(dataset, key, 16)[0] for key in keys])
    )
    memory = lanes.lower(dataset, keys).compile().memory_analysis()
    assert memory.temp_size_in_bytes < x.nbytes / 10


def test_a_dataset_is_one_jit_argument_that_compiles_once():
    traces = []

    @eqx.filter_jit
    def counted(dataset, key):
        traces.append(None)
        return minibatch(dataset, key, 3)

    for seed in range(2):
        counted(numbered(), jr.key(seed))
    assert len(traces) == 1


def test_importing_the_names_does_not_import_jax():
    code = (
        "import sys, steppe; before = 'jax' in sys.modules; import steppe.data.names; "
        "assert ('jax' in sys.modules) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


X, Y = np.zeros((10, 2), np.uint8), np.zeros(10, int)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sizes": (5, 5, 5)}, "10 rows, but sizes are .5, 5, 5."),
        ({"sizes": (12, -4, 2)}, "10 rows, but sizes are"),
        ({"shuffled": 11}, "11 rows shuffled"),
        ({"y": np.zeros(9, int)}, "shape .9,. for 10 images"),
        ({"y": np.zeros(10)}, "labels of dtype float64"),
        ({"y": np.full(10, 10)}, "labels from 10 to 10, expected 0 … 9"),
        ({"y": np.full(10, -1)}, "labels from -1 to -1"),
        ({"x": np.full((10, 2), np.nan, np.float32)}, "from nan to nan, expected finite"),
        ({"x": np.full((10, 2), 2.0, np.float32)}, "from 2.0 to 2.0, expected finite"),
        ({"x": np.zeros((10, 2), int)}, "x is int.., expected uint8"),
    ],
)
def test_arrange_refuses_arrays_that_do_not_fit(change, words):
    given = {"x": X, "y": Y, "sizes": (6, 2, 2), "name": "small"} | change
    with pytest.raises(ValueError, match=words):
        arrange(given.pop("x"), given.pop("y"), **given)


@pytest.mark.parametrize(
    "splits",
    [
        ((0, 6), (6, 10)),
        ((0, 6), (5, 8), (8, 10)),
        ((0, 6), (6, 8), (8, 9)),
        ((0, 6), (6, 4), (4, 10)),
    ],
    ids=["two", "overlap", "short", "backwards"],
)
def test_a_dataset_refuses_splits_that_do_not_partition_the_rows(splits):
    with pytest.raises(ValueError, match="follow one another from 0 to 10"):
        Dataset(jnp.asarray(X), jnp.asarray(Y), splits, 10, "small", 1.0)


def test_an_empty_split_is_named_when_it_is_drawn_from():
    with pytest.raises(ValueError, match="The valid split of numbered is empty"):
        minibatch(numbered((80, 0, 20)), jr.key(0), 4, "valid")


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="no split 'val'; use one of train, valid, test"):
        minibatch(numbered(), jr.key(0), 4, "val")


def test_a_limit_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        whole(numbered(), "train", 0)
