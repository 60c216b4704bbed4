"""The file formats: what is read back, and that a pickle cannot run anything."""

import os
import pickle
import pickletools

import numpy as np
import pytest

from steppe.data.formats import check_images, check_labels, read_cifar_batch, read_idx, read_npz


class _Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2 did, whose `str` CIFAR-10's batches are made of."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012

    def save_string(self, text):
        raw = text.encode("ascii") if isinstance(text, str) else text
        self.write(pickle.BINSTRING + len(raw).to_bytes(4, "little") + raw)

    dispatch[str] = dispatch[bytes] = save_string


def python2_pickle(path, entries):
    with open(path, "wb") as file:
        _Python2Pickler(file, protocol=2).dump(entries)
    path.write_bytes(path.read_bytes().replace(b"numpy._core.", b"numpy.core."))


def batch(n=3):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (n, 3072), dtype=np.uint8)
    return {"batch_label": "a batch", "labels": list(range(n)), "data": rows}


def test_the_fake_batch_uses_the_opcodes_of_the_published_one(tmp_path):
    python2_pickle(tmp_path / "batch", batch())
    found = {
        (code.name, argument)
        for code, argument, _ in pickletools.genops((tmp_path / "batch").read_bytes())
        if code.name in ("PROTO", "GLOBAL")
    }
    assert found == {
        ("PROTO", 2),
        ("GLOBAL", "numpy.core.multiarray _reconstruct"),
        ("GLOBAL", "numpy ndarray"),
        ("GLOBAL", "numpy dtype"),
    }


def write_python2(path, entries):
    python2_pickle(path, entries)


def write_python3(path, entries):
    path.write_bytes(pickle.dumps(entries, protocol=4))


@pytest.mark.parametrize("write", [write_python2, write_python3])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_batch_becomes_channels_last_images(tmp_path, write, order):
    entries = batch()
    write(tmp_path / "batch", entries | {"data": np.asarray(entries["data"], order=order)})
    x, y = read_cifar_batch(tmp_path / "batch")
    assert x.shape == (3, 32, 32, 3) and x.dtype == np.uint8 and y.tolist() == [0, 1, 2]
    # the row of image 1 is 1024 red, 1024 green, 1024 blue, each line by line
    assert x[1, 5, 7, 2] == entries["data"][1, 2 * 1024 + 5 * 32 + 7]


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("where", ["alone", "labels", "data", "extra key"])
def test_a_malicious_batch_is_refused_and_does_not_run(tmp_path, protocol, where):
    attack = Attack(os.mkdir, str(tmp_path / "was here"))
    entries = attack if where == "alone" else batch() | {where: attack}
    (tmp_path / "batch").write_bytes(pickle.dumps(entries, protocol=protocol))
    with pytest.raises(ValueError, match=r"batch is not a CIFAR-10 python batch \(it asks for"):
        read_cifar_batch(tmp_path / "batch")
    assert not (tmp_path / "was here").exists()


@pytest.mark.parametrize(
    "name",
    [
        b"builtins\neval",
        b"builtins\ngetattr",
        b"__builtin__\neval",
        b"os\nsystem",
        b"numpy\nload",
        b"numpy\nsave",
        b"numpy.core.multiarray\nfromfile",
        b"numpy.core.multiarray\n_reconstruct.__globals__",
        b"_codecs\nencode",
        b"copyreg\n_reconstructor",
        b"steppe.data.formats\nread_idx",
    ],
)
def test_every_name_but_the_three_of_numpy_is_refused(tmp_path, name):
    (tmp_path / "batch").write_bytes(b"c" + name + b"\n.")
    with pytest.raises(ValueError, match="which no such batch needs"):
        read_cifar_batch(tmp_path / "batch")


def test_numpys_own_constructors_are_not_reached_from_a_batch(tmp_path):
    # numpy.ndarray((10**15,)) would ask for a petabyte if it ran
    (tmp_path / "batch").write_bytes(b"cnumpy\nndarray\n((L1000000000000000L\ntt\x52.")
    with pytest.raises(ValueError, match="holds nothing, expected data and labels"):
        read_cifar_batch(tmp_path / "batch")


def test_a_record_that_was_never_filled_is_refused(tmp_path):
    # NEWOBJ makes the object without calling __init__ or __setstate__
    made = b"\x80\x02}(U\x04datacnumpy\nndarray\n)\x81U\x06labels]u."
    (tmp_path / "batch").write_bytes(made)
    with pytest.raises(ValueError, match="data is not an array of unsigned bytes"):
        read_cifar_batch(tmp_path / "batch")


def test_an_array_of_objects_in_a_batch_is_refused(tmp_path):
    write_python3(tmp_path / "batch", batch() | {"data": np.array([["a"]], dtype=object)})
    with pytest.raises(ValueError, match="data is not an array of unsigned bytes"):
        read_cifar_batch(tmp_path / "batch")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": np.zeros((3, 3072), np.float32)}, "not an array of unsigned bytes"),
        ({"data": np.zeros((3, 3071), np.uint8)}, "not an array of unsigned bytes"),
        ({"data": [1, 2, 3]}, "not an array of unsigned bytes"),
        ({"labels": [[0], [1, 2], [3]]}, "labels are not a list of numbers"),
    ],
)
def test_a_batch_with_other_contents_is_refused(tmp_path, change, words):
    write_python2(tmp_path / "batch", batch() | change)
    with pytest.raises(ValueError, match=words):
        read_cifar_batch(tmp_path / "batch")


def test_a_cifar100_file_is_told_apart(tmp_path):
    entries = batch()
    write_python2(tmp_path / "train", {"fine_labels": [1, 2, 3], "data": entries["data"]})
    with pytest.raises(ValueError, match="holds 'fine_labels', 'data', expected data and labels"):
        read_cifar_batch(tmp_path / "train")


def test_every_truncation_of_a_batch_is_refused(tmp_path):
    write_python2(tmp_path / "batch", batch(1))
    whole = (tmp_path / "batch").read_bytes()
    for size in [*range(0, 200, 3), len(whole) // 2, len(whole) - 1]:
        (tmp_path / "cut").write_bytes(whole[:size])
        with pytest.raises(ValueError, match="cut is not a CIFAR-10 python batch"):
            read_cifar_batch(tmp_path / "cut")


def test_every_truncation_of_an_idx_file_is_refused(tmp_path):
    whole = bytes((0, 0, 8, 1, 0, 0, 0, 5)) + b"abcde"
    (tmp_path / "whole").write_bytes(whole)
    assert bytes(read_idx(tmp_path / "whole", 1)) == b"abcde"
    for size in range(len(whole)):
        (tmp_path / "cut").write_bytes(whole[:size])
        with pytest.raises(ValueError, match="cut"):
            read_idx(tmp_path / "cut", 1)


def test_an_idx_file_with_bytes_to_spare_is_refused(tmp_path):
    (tmp_path / "long").write_bytes(bytes((0, 0, 8, 1, 0, 0, 0, 5)) + b"abcdef")
    with pytest.raises(ValueError, match=r"shape \(5,\), that is 5 bytes, but 6 bytes follow"):
        read_idx(tmp_path / "long", 1)


@pytest.mark.parametrize(
    "names",
    [
        "x_train y_train x_test y_test",
        "train_images train_labels test_images test_labels",
        "X_train Y_train X_test Y_test",
        "images-train labels-train images-test labels-test",
        "train_data train_targets test_data test_targets",
    ],
)
def test_common_spellings_of_npz_names_mean_the_same(tmp_path, names):
    np.savez(tmp_path / "a.npz", **{name: np.full(2, i) for i, name in enumerate(names.split())})
    arrays = read_npz(tmp_path / "a.npz")
    assert [arrays[part][0] for part in ("x_train", "y_train", "x_test", "y_test")] == [0, 1, 2, 3]


@pytest.mark.parametrize("at", range(0, 900, 50))
def test_a_flipped_byte_in_an_npz_is_refused_or_harmless(tmp_path, at):
    arrays = {part: np.arange(20) for part in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(tmp_path / "a.npz", **arrays)
    whole = bytearray((tmp_path / "a.npz").read_bytes())
    whole[at] ^= 0xFF
    (tmp_path / "a.npz").write_bytes(whole)
    try:
        read = read_npz(tmp_path / "a.npz")
    except ValueError as error:
        assert "a.npz" in str(error)
    else:
        assert all(np.array_equal(read[part], arrays[part]) for part in arrays)


@pytest.mark.parametrize("shape", [(5, 784), (5, 28, 28, 1), (5, 28, 28)])
def test_grey_images_of_any_layout_agree(shape):
    pixels = np.random.default_rng(0).integers(0, 256, 5 * 784, dtype=np.uint8)
    x = check_images(pixels.reshape(shape), (28, 28), "a file")
    np.testing.assert_array_equal(x, pixels.reshape(5, 28, 28))


def test_channels_first_images_are_transposed():
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)
    assert check_images(x, (32, 32, 3), "a file")[1, 5, 7, 2] == x[1, 2, 5, 7]


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.uint16])
def test_whole_numbers_up_to_255_become_uint8(dtype):
    x = np.arange(256).reshape(1, 16, 16)
    given = check_images(x.astype(dtype), (16, 16), "a file")
    assert given.dtype == np.uint8 and (given == x).all()


def test_floats_in_the_unit_interval_stay_floats():
    x = np.linspace(0, 1, 16).reshape(1, 4, 4)
    given = check_images(x, (4, 4), "a file")
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, x, rtol=1e-6)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.array(1.0), r"shape \(\), expected \(n, 4, 4\)"),
        (np.zeros((0, 4, 4)), r"shape \(0, 4, 4\), expected \(n, 4, 4\) with n ≥ 1"),
        (np.zeros((2, 4, 5)), r"shape \(2, 4, 5\)"),
        (np.zeros((2, 4, 4), complex), "dtype complex128"),
        (np.zeros((2, 4, 4), bool), "dtype bool"),
        (np.full((2, 4, 4), "a"), "dtype <U1"),
        (np.full((2, 4, 4), np.nan), "32 values that are NaN or infinite"),
        (np.full((2, 4, 4), np.inf), "32 values that are NaN or infinite"),
        (np.full((2, 4, 4), -0.5), "from -0.5 to -0.5, expected floats in"),
        (np.full((2, 4, 4), 254.5), "from 254.5 to 254.5"),
        (np.full((2, 4, 4), 256), "from 256 to 256"),
    ],
)
def test_images_that_are_none_are_refused(x, words):
    with pytest.raises(ValueError, match="a file has .*" + words):
        check_images(x, (4, 4), "a file")


def test_labels_in_a_column_are_flattened():
    assert check_labels(np.array([[3], [4]], np.uint8), 2, 10, "a file").tolist() == [3, 4]


@pytest.mark.parametrize("y", [np.eye(10), np.array(["3"] * 10), np.zeros(10), np.arange(1, 11)])
def test_labels_that_are_none_are_refused(y):
    with pytest.raises(ValueError, match="a file has labels"):
        check_labels(y, 10, 10, "a file")
