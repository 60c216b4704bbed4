"""The file formats: what is read back, and what is refused before memory is taken."""

import gzip
import os
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from steppe.data.formats import check_images, check_labels, read_idx, read_npz
from steppe.store.untrusted import FileError


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


def idx_header(*shape):
    return bytes((0, 0, 8, len(shape))) + np.array(shape, ">u4").tobytes()


def refused(tmp_path, read, *arguments, words):
    """Within a second, 64 MB of Python's memory and one sentence."""
    tracemalloc.start()
    begun = time.process_time()
    try:
        with pytest.raises(FileError, match=words) as caught:
            read(tmp_path, *arguments)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()
    assert time.process_time() - begun < 5
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def zipped(data):
    return gzip.compress(data, mtime=0)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (idx_header(2**32 - 1, 2**32 - 1, 2**32 - 1), "are the most that 16 bytes may hold"),
        (zipped(idx_header(2**32 - 1, 28, 28)), "are the most that .. bytes may hold"),
        (zipped(idx_header(60000, 28, 28)), "ends|but 0 bytes follow"),
        (zipped(idx_header(2, 2, 2) + bytes(10**7)), r"\(2, 2, 2\).* but more bytes follow"),
        (zipped(b"") * 99, "has 0 bytes, less than its 16"),
        (zipped(idx_header(2, 2, 2) + bytes(8))[:-2], "damaged gzip"),
        (zipped(idx_header(2, 2, 2) + bytes(8))[:-8] + bytes(8), "damaged gzip"),  # checksum
    ],
)
def test_an_idx_file_takes_no_memory_on_its_own_word(tmp_path, data, words):
    (tmp_path / "a").write_bytes(data)
    refused(tmp_path / "a", read_idx, 3, words=words)


def test_a_sparse_idx_file_and_what_is_no_file_are_refused(tmp_path):
    with open(tmp_path / "sparse", "wb") as file:
        file.write(idx_header(2**31, 1, 1))
        file.truncate(16 + 2**31)
    refused(tmp_path / "sparse", read_idx, 3, words="are the most")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", read_idx, 3, words="found a pipe or device, expected a file on disk")
    refused(tmp_path, read_npz, words="found a folder")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    refused(tmp_path / "circle", read_npz, words="cannot be read")


def npz(path, header, data=b"", *, compression=zipfile.ZIP_DEFLATED, names=("x_train",)):
    """A file whose arrays all have this header and these bytes."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name in (*names, *(n for n in NAMES if n not in names)):
            archive.writestr(f"{name}.npy", header + data)
    return path


NAMES = ("x_train", "y_train", "x_test", "y_test")


def npy(text, version=1):
    size = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes((version, 0)) + size + text.encode()


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (10**9,)}"), "a header that is no"),
        (
            npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000,)}"),
            "0 bytes of float",
        ),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}"), "a shape that no array"),
        (
            npy("{'descr': '<f8', 'fortran_order': False, 'shape': (True,)}"),
            "a shape that no array",
        ),
        (
            npy(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({'9' * 3000},)}}"),
            "0 bytes of",
        ),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (0,)}"), "array of 'object'"),
        (npy("{'descr': '|V8', 'fortran_order': False, 'shape': (0,)}"), "expected plain numbers"),
        (npy("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (0,)}"), "plain numbers"),
        (npy("{'descr': '<U0', 'fortran_order': False, 'shape': (9,)}"), "plain numbers"),
        (npy("{'descr': ('<f8', (99999999,)), 'fortran_order': False, 'shape': ()}"), "expected"),
        (npy("[" * 4000), "a header that is none"),
        (npy("-" * 4000 + "1"), "a header that is none"),
        (npy("x" * 4097), "a header of 4097 bytes"),
        (npy("{}", 2), "a header that is none"),
        (b"\x93NUMPY\2\0\xff\xff\xff\xff", "a header of 4294967295 bytes"),
        (b"\x93NUMPY\3\0\0\0", "no .npy array"),
        (b"\x80\x04N.", "no .npy array"),
        (b"", "no .npy array"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # of NumPy, on headers of Python 2
def test_the_header_of_an_array_takes_no_memory_on_its_own_word(tmp_path, header, words):
    refused(npz(tmp_path / "a.npz", header), read_npz, words=words)


@pytest.mark.parametrize(
    ("offset", "change", "words"),
    [
        (22, b"\xff\xff\xff\x7f", "bytes packed into"),  # unpacked size
        (18, b"\xff\xff\xff\x7f", "packed into"),  # packed size
        (8, b"\x0c\0", "the compression 12"),  # bz2
        (8, b"\x0e\0", "the compression 14"),  # lzma, whose dictionary may be 4 GB
        (6, b"\1\0", "a damaged archive"),  # encrypted
        (14, b"1234", "a damaged archive"),  # checksum
    ],
)
def test_an_archive_that_says_other_sizes_is_refused(tmp_path, offset, change, words):
    header = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (5,)}")
    path = npz(tmp_path / "a.npz", header, b"12345")
    data = bytearray(path.read_bytes())
    local, central = data.index(b"PK\3\4"), data.index(b"PK\1\2")
    data[local + offset : local + offset + len(change)] = change
    data[central + offset + 2 : central + offset + 2 + len(change)] = change
    path.write_bytes(data)
    refused(path, read_npz, words=words)


def test_a_long_table_of_contents_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for i in range(300):
            archive.writestr(f"{i:04}" + "x" * 5000, b"")
    refused(tmp_path / "a.npz", read_npz, words="a table of contents of")


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
