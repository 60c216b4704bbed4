"""CIFAR-10's batches: what is read back, and that a pickle can run nothing and take no memory."""

import os
import pickle
import pickletools
import time
import tracemalloc

import numpy as np
import pytest

from steppe.data.cifar import INSTRUCTIONS, read_cifar_batch
from steppe.store.untrusted import FileError


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


def write_python3(path, entries, protocol=4):
    path.write_bytes(pickle.dumps(entries, protocol=protocol))


def write_newest(path, entries):
    write_python3(path, entries, 5)


@pytest.mark.parametrize("write", [write_python2, write_python3, write_newest])
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
    words = "asks for" if protocol or where == "alone" else "has the instruction 0x64"  # of a dict
    with pytest.raises(ValueError, match=rf"batch is not a CIFAR-10 python batch \(it {words}"):
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
        b"numpy.core.multiarray\nscalar",
        b"numpy._core.numeric\nload",
        b"copyreg\n_reconstructor",
        b"steppe.data.formats\nread_idx",
    ],
)
def test_every_name_but_those_of_numpys_arrays_is_refused(tmp_path, name):
    (tmp_path / "batch").write_bytes(b"c" + name + b"\n.")
    with pytest.raises(ValueError, match="which no such batch needs"):
        read_cifar_batch(tmp_path / "batch")


def test_numpys_own_constructors_are_not_reached_from_a_batch(tmp_path):
    # numpy.ndarray((10**15,)) would ask for a petabyte if it ran
    (tmp_path / "batch").write_bytes(b"cnumpy\nndarray\n((\x8a\x07\0\0\0\0\0\0\x04tt\x52.")
    with pytest.raises(ValueError, match="holds nothing, expected data and labels"):
        read_cifar_batch(tmp_path / "batch")


def test_a_record_that_was_never_filled_is_refused(tmp_path):
    # REDUCE without BUILD: an array of which nothing is said
    made = b"\x80\x02}(U\x04datacnumpy\nndarray\n)\x52U\x06labels]u."
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


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x80\x02Nr\xff\xff\xff\x7f.", "holds nothing"),  # LONG_BINPUT: a memo of 2 billion
        (b"\x80\x02" + b"(" * 99 + b"t" * 98 + b"}Na.", "appends to what is no list"),
        (b"\x80\x04\x8e" + b"\xff" * 8 + b"abc.", "truncated"),
        (b"\x80\x04\x95" + b"\xff" * 8 + b"N.", "holds nothing"),
        (b"\x80\x02T\xff\xff\xff\xffabc.", "truncated"),
        (b"\x80\x02\x8a\x09" + b"\x7f" * 9 + b".", "a number of 9 bytes"),
        (b"\x80\x02\x8b\xff\xff\xff\x0f" + b"\x7f" * 99 + b".", "instruction 0x8b"),  # LONG4
        (b"I" + b"9" * 5000 + b"\n.", "instruction 0x49"),
        (b"Pabc\n.", "instruction 0x50"),  # PERSID
        (b"\x82\x01.", "instruction 0x82"),  # EXT1
        (b"\x97.", "instruction 0x97"),  # NEXT_BUFFER
        (b"c" + b"a" * 99999 + b"\nb\n.", "truncated in a name"),
        (b"h\x07.", "uses what it did not keep"),
        (b"0.", "instruction 0x30"),
        (b"u.", "a mark is missing"),
        (b"}(Nu.", "belong to no table"),
        (b"}(K\1Nu.", "whose name is no short text"),
        (b"}NNs.", "whose name is no short text"),
        (b"N)R.", "calls what is no name"),
        (b"NNb.", "fills what is no array"),
        (b"\x80\x07N.", "protocol 7"),
        (b"X\x01\0\0\0\xff.", "not UTF-8"),
        (b".", "stack is empty"),
        (b"]q\0h\0a.", "holds nothing"),  # a list in itself
    ],
)
def test_a_hostile_batch_is_refused_in_a_moment_and_takes_no_memory(tmp_path, data, words):
    (tmp_path / "batch").write_bytes(data)
    tracemalloc.start()
    begun = time.process_time()
    try:
        with pytest.raises(FileError, match=words) as caught:
            read_cifar_batch(tmp_path / "batch")
        assert tracemalloc.get_traced_memory()[1] < 2**27
    finally:
        tracemalloc.stop()
    assert time.process_time() - begun < 10 and len(str(caught.value)) < 400


def test_a_batch_of_countless_instructions_is_refused(tmp_path):
    (tmp_path / "batch").write_bytes(b"\x80\x02" + b"]" * INSTRUCTIONS + b".")
    begun = time.process_time()
    with pytest.raises(FileError, match="more than 500000 instructions"):
        read_cifar_batch(tmp_path / "batch")
    assert time.process_time() - begun < 10  # 1 s on a quiet machine


def test_tuples_that_double_at_every_level_are_refused(tmp_path):
    """2¹⁰⁰ leaves for whoever hashes, compares or prints them."""
    nested = b"K\x00" + b"q\0h\0\x86" * 100
    for end in (b"K\x01s", b"U\x04datah\0su"):
        (tmp_path / "batch").write_bytes(b"\x80\x02}(" + nested + end + b".")
        with pytest.raises(FileError):
            read_cifar_batch(tmp_path / "batch")


def test_a_batch_of_all_images_fits_the_limits(tmp_path):
    """As many instructions as the 60 000 rows of the whole set would take."""
    n = 60_000
    entries = {b"labels": [i % 10 for i in range(n)], b"filenames": [b"%d" % i for i in range(n)]}
    write_python3(tmp_path / "batch", entries, 2)
    with pytest.raises(FileError, match=r"_codecs\.encode"):  # Python 3's bytes in protocol 2
        read_cifar_batch(tmp_path / "batch")
    python2_pickle(tmp_path / "batch", entries | {b"data": batch(0)["data"]})
    x, y = read_cifar_batch(tmp_path / "batch")
    assert len(x) == 0 and len(y) == n
