"""Seeded damage to files: any bytes, and what only looks right from afar.

    damaged = mutate.json_file(data, Random(7), others)

Each function takes the bytes of a valid file, a generator, and further valid files of the same
kind for splices. Those that know a format keep its outside intact, checksums and sizes with it,
so that damage reaches the readers' inner layers. Nothing of steppe is used: what the fuzzer takes
for granted, no reader would be tried with.
"""

import contextlib
import copy
import gzip
import hashlib
import io
import json
import math
import pickletools
import re
import struct
import zipfile
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Mutator = Callable[[bytes, Random, Sequence[bytes]], bytes]

WORDS = (
    "", "a", "NaN", "0", "none", "x" * 300, "x" * 70_000, "\0", "é∞", "\ud800", "\u202e", "a\nb",
    "os.system", "builtins.eval", "__class__", "__init__", "adam", "optax.sgd", "float32", "valid",
    "../../etc/passwd", "<script>alert(1)</script>", "{0.__class__}", "%s%n", "$(touch canary)",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 200, 10**6, 2**31, -(2**31), 2**53, 2**63, 2**64, 10**30,
    10**400, 0.0, -0.0, 0.5, -1.5, 1e-300, 1e30, 1e308, math.nan, math.inf, -math.inf,
    [], {}, [[]], [0], {"a": 0}, [None] * 5, [1e308] * 3, [0, "a"], *WORDS,
)  # fmt: skip
RAW = (  # texts that `json.dumps` would not write
    "1e999", "1" * 5000, "-" + "9" * 400, "01", "nul", "1,", '"\\ud800"', "'a'", "{1: 2}", "//",
    "[" * 50 + "]" * 50, "[" * 5000 + "]" * 5000, '{"a":' * 1000 + "0" + "}" * 1000, "[" * 100_000,
    "[" + "0," * 3000 + "0]",
)  # fmt: skip
INTEGERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1)


def bytes_of(data: bytes, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """Flip, cut, insert, repeat, overwrite or splice bytes, once or a few times."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        n = len(found)
        at, size = rng.randrange(n + 1), min(rng.choice((1, 2, 4, 8, 40, 1000)), n)
        match rng.randrange(8):
            case 0 | 1:
                for _ in range(rng.choice((1, 1, 3, 20))):
                    if n:
                        found[rng.randrange(n)] ^= 1 << rng.randrange(8)
            case 2:
                del found[at:]
            case 3:
                found[at:at] = rng.randbytes(size) if rng.random() < 0.5 else bytes(size)
            case 4:
                found[at:at] = found[at : at + size] * rng.choice((1, 2, 50))
            case 5:
                del found[at : at + size]
            case 6:
                width = rng.choice((1, 2, 4, 8))
                number = rng.choice(INTEGERS) % 256**width
                found[at : at + width] = number.to_bytes(width, rng.choice(("little", "big")))
            case _:
                other = rng.choice(others or [data])
                found[at:] = other[rng.randrange(len(other) + 1) :]
    return bytes(found)


# JSON


def text_of(document: Any, rng: Random, indent: int | None = None) -> str:
    """JSON of a document; a text of RAW in the place of what cannot be said otherwise."""
    text = json.dumps(document, indent=indent, ensure_ascii=rng.random() < 0.9)
    return re.sub(r'"@raw(\d+)@"', lambda found: RAW[int(found[1])], text)


def document(found: Any, rng: Random, other: Any = None) -> Any:
    """A document with one to three parts changed: other types, names, numbers, depths."""
    found = copy.deepcopy(found)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        found = _changed(found, rng, other)
    return found


def _changed(found: Any, rng: Random, other: Any) -> Any:
    places = list(_places(found))
    if not places:
        return rng.choice(VALUES)
    holder, key = rng.choice(places)
    value = holder[key]
    match rng.randrange(12):
        case 0 | 1 | 2:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
        case 3:
            del holder[key]
        case 4:
            if isinstance(holder, dict):
                holder[rng.choice((key + "_", key.upper(), key[1:], *WORDS))] = holder.pop(key)
            else:
                holder += [copy.deepcopy(value)] * rng.choice((1, 2, 1000))
        case 5:
            there, where = rng.choice(list(_places(other)) or places)
            holder[key] = copy.deepcopy(there[where])
        case 6:
            for _ in range(rng.choice((1, 2, 40))):
                value = [value] if rng.random() < 0.5 else {"a": value}
            holder[key] = value
        case 7:
            holder[key] = f"@raw{rng.randrange(len(RAW))}@"
        case 8 | 9:
            holder[key] = _near(value, rng)
        case 10:
            new = copy.deepcopy(rng.choice(VALUES))
            if isinstance(holder, dict):
                holder[rng.choice(WORDS)] = new
            else:
                holder.insert(key, new)
        case _:
            there, where = rng.choice(places)
            with contextlib.suppress(KeyError, IndexError):  # gone with what was deleted before
                holder[key], there[where] = there[where], value
            if _circular(found):
                return rng.choice(VALUES)
    return found


def _places(found: Any):
    """(holder, key) of every part."""
    todo = [found]
    while todo:
        holder = todo.pop()
        if isinstance(holder, (dict, list)):
            for key in holder if isinstance(holder, dict) else range(len(holder)):
                yield holder, key
                todo.append(holder[key])


def _circular(found: Any) -> bool:
    try:
        json.dumps(found)
    except (ValueError, RecursionError):
        return True
    return False


def _near(value: Any, rng: Random) -> Any:
    """A value of the same type that is wrong by a little."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        wrong = (value + 1, value - 1, -value, value * 2, value * 10**6, f"{value}")
        return rng.choice((*wrong, float(value)) if abs(value) < 2**53 else wrong)
    if isinstance(value, float):
        return rng.choice((-value, value * 10, value / 10, value + 1, value * 1e12, str(value)))
    if isinstance(value, str):
        return rng.choice((value[:-1], value + value[:1], value.swapcase(), value[::-1], [value]))
    if isinstance(value, list):
        return rng.choice((value[:-1], value[::-1], value * 2, value[:1]))
    return dict(list(value.items())[:-1])


def json_file(data: bytes, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """A JSON file with parts changed, or its bytes."""
    if rng.random() < 0.2:
        return bytes_of(data, rng, others)
    other = json.loads(rng.choice(others or [data]))
    text = text_of(document(json.loads(data), rng, other), rng, rng.choice((None, 1)))
    if rng.random() < 0.1:
        text = _doubled(text, rng)
    return text.encode("utf-8", "surrogatepass")


def _doubled(text: str, rng: Random) -> str:
    """A name given twice in one table."""
    entries = list(re.finditer(r'"(?:[^"\\]|\\.)*":', text))
    if not entries:
        return text
    entry = rng.choice(entries)
    return (
        text[: entry.start()] + entry[0] + rng.choice(("0,", '"a",', "[],")) + text[entry.start() :]
    )


def lines(data: bytes, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """A file of one JSON document a line: lines changed, dropped, doubled, swapped, spliced."""
    if rng.random() < 0.2:
        return bytes_of(data, rng, others)
    found = data.splitlines()
    other = rng.choice(others or [data]).splitlines()
    for _ in range(rng.choice((1, 1, 2))):
        i = rng.randrange(len(found)) if found else 0
        match rng.randrange(10):
            case 0:
                del found[i : i + 1]
            case 1:
                found[i:i] = found[i : i + 1] * rng.choice((1, 3))
            case 2:
                found[i:i] = [rng.choice((b"", b"null", b"[]", b"0.0", b"{}", b"\xff", b"\0" * 40))]
            case 3:
                found[i:] = other[rng.randrange(len(other)) :]
            case 4:
                rng.shuffle(found)
            case _:
                with contextlib.suppress(ValueError, IndexError, RecursionError):
                    spare = json.loads(rng.choice(other))
                    text = text_of(document(json.loads(found[i]), rng, spare), rng)
                    text = _doubled(text, rng) if rng.random() < 0.1 else text
                    found[i] = text.encode("utf-8", "surrogatepass")
    ending = rng.choice((b"\n",) * 6 + (b"\r\n", b"", b"\n\n"))
    return b"\n".join(found) + ending


# Checkpoints


def checkpoint(data: bytes, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """A checkpoint with other contents under checksums that are right."""
    if rng.random() < 0.15:
        return bytes_of(data, rng, others)
    index, entry, body = unsealed(data)
    spare, spare_entry, _ = unsealed(rng.choice(others or [data]))
    dice = rng.random()
    if dice < 0.65:
        entry["manifest"] = document(entry["manifest"], rng, spare_entry["manifest"])
    elif dice < 0.85:
        index = document(index, rng, spare)
    elif dice < 0.95:
        entry = document(entry, rng, spare_entry)
    else:
        body = bytes_of(body, rng)
    if isinstance(entry, dict) and rng.random() < 0.95:
        entry["body_sha256"] = hashlib.sha256(body).hexdigest()
    return sealed(index, entry, body, rng)


def unsealed(data: bytes) -> tuple[Any, Any, bytes]:
    """The parts of a checkpoint: what it says of tensors, what steppe says, the tensors."""
    size = int.from_bytes(data[:8], "little")
    index = json.loads(data[8 : 8 + size])
    entry = json.loads(index.pop("__metadata__")["steppe"])
    return index, entry, data[8 + size :]


def sealed(index: Any, entry: Any, body: bytes, rng: Random) -> bytes:
    """A checkpoint of these parts, right or wrong, with the checksum of the header made again."""
    blank = "0" * 64
    if isinstance(entry, dict) and "sha256" in entry:
        entry = {"sha256": blank, **{name: x for name, x in entry.items() if name != "sha256"}}
    metadata = {"steppe": text_of(entry, rng)}
    head = {"__metadata__": metadata, **index} if isinstance(index, dict) else index
    text = text_of(head, rng).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 8)
    text = text.replace(blank.encode(), hashlib.sha256(text).hexdigest().encode(), 1)
    return len(text).to_bytes(8, "little") + text + body


def tensors(data: bytes, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """A safetensors file of other programs with another header of the length that is announced."""
    if rng.random() < 0.2:
        return bytes_of(data, rng, others)
    begin = 8 + int.from_bytes(data[:8], "little")
    text = text_of(document(json.loads(data[8:begin]), rng), rng).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + data[begin:]


def certificate(data: bytes, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """A certificate with other contents under a digest that is right."""
    if rng.random() < 0.1:
        return bytes_of(data, rng, others)
    other = json.loads(rng.choice(others or [data]))
    found = document(json.loads(data), rng, other)
    if isinstance(found, dict) and rng.random() < 0.9:
        rest = {name: x for name, x in found.items() if name != "digest"}
        text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
        found["digest"] = hashlib.sha256(text.encode()).hexdigest()
    return text_of(found, rng, 1).encode("utf-8", "surrogatepass")


# Archives and pickles


def npz(data: bytes, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """An npz file with other headers, names, sizes or methods."""
    if rng.random() < 0.2:
        return bytes_of(data, rng, others)
    entries = _entries(data)
    if rng.random() < 0.2:
        entries |= _entries(rng.choice(others or [data]))
    names = list(entries)
    for _ in range(rng.choice((0, 1, 1, 2))):
        name = rng.choice(names)
        match rng.randrange(6):
            case 0:
                entries.pop(name, None)
            case 1:
                new = rng.choice(("A" + name, name.upper(), "../" + name, "x" * 5000, "a\nb.npy"))
                entries[new] = entries.pop(name, b"")
            case 2:
                entries[name] = bytes_of(entries.get(name, b""), rng)
            case _:
                entries[name] = npy(entries.get(name, b""), rng)
    file = io.BytesIO()
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    whole = bytearray(file.getvalue())
    if rng.random() < 0.4:  # a field of a local header, of the table of contents, of its end
        marks = [m.start() for m in re.finditer(b"PK(\1\2|\3\4|\5\6)", whole)]
        at, width = rng.choice(marks) + rng.randrange(4, 46), rng.choice((2, 4))
        number = rng.choice(INTEGERS) % 256**width
        whole[at : at + width] = number.to_bytes(width, "little")
    return bytes(whole)


def _entries(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def npy(data: bytes, rng: Random) -> bytes:
    """An array under another header."""
    if len(data) < 10:
        return data
    size = int.from_bytes(data[8:10], "little")
    text, body = data[10 : 10 + size].decode("latin-1"), data[10 + size :]
    shape = rng.choice(
        ("()", "(0,)", "(-1,)", "(1,) ", "(2**9,)", "(4294967296, 4294967296)", "(None,)", "[1]",
         f"({'9' * 300},)", "(1.0,)", "(True,)", "(2, 2)", "(" * 300, "{}", "(1, 2, 3, 4) * 9")
    )  # fmt: skip
    descr = rng.choice(
        ("'<f8'", "'|u1'", "'>i4'", "'|O'", "'|V9'", "'<U4'", "'<U999999999'", "'<M8[s]'", "'a'",
         "[('a', '<f4')]", "('<f4', (999999,))", "None", "'<f4,<f4'", "'numpy.float64'")
    )  # fmt: skip
    order = rng.choice(("True", "1", "None", "'F'"))
    match rng.randrange(5):
        case 0 | 1:
            text = re.sub(r"'shape': \(.*?\)", f"'shape': {shape}", text)
        case 2:
            text = re.sub(r"'descr': '.*?'", f"'descr': {descr}", text)
        case 3:
            text = text.replace("False", order)
        case _:
            text = bytes_of(text.encode("latin-1"), rng).decode("latin-1")
    raw = text.encode("latin-1", "replace")
    version, width = rng.choice(((b"\1\0", 2),) * 4 + ((b"\2\0", 4), (b"\3\0", 4), (b"\7\0", 2)))
    length = rng.choice((len(raw),) * 9 + INTEGERS) % 256**width
    return data[:6] + version + length.to_bytes(width, "little") + raw + body


def idx(data: bytes, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """An IDX file, plain or gzipped, with another header or length."""
    packed = data[:2] == b"\x1f\x8b"
    found = bytearray(gzip.decompress(data) if packed else data)
    if rng.random() < 0.6:
        at = rng.choice((0, 2, 3, 4, 8, 12))
        width = 1 if at < 4 else 4
        found[at : at + width] = (rng.choice(INTEGERS) % 256**width).to_bytes(width, "big")
    else:
        found = bytearray(bytes_of(bytes(found), rng, [] if packed else others))
    if not packed:
        return bytes(found)
    whole = gzip.compress(bytes(found), mtime=0)
    return bytes_of(whole, rng) if rng.random() < 0.5 else whole


def pickled(data: bytes, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """A pickle with instructions dropped, doubled, swapped or made up."""
    if rng.random() < 0.3:
        return bytes_of(data, rng, others)
    try:
        stops = [place for _, _, place in pickletools.genops(data)]
    except Exception:
        return bytes_of(data, rng, others)
    parts = [data[a:b] for a, b in zip(stops, [*stops[1:], len(data)], strict=True)]
    for _ in range(rng.choice((1, 1, 2, 4))):
        i, j = rng.randrange(len(parts)), rng.randrange(len(parts))
        match rng.randrange(7):
            case 0:
                del parts[i]
                parts = parts or [b"."]
            case 1:
                parts.insert(i, parts[j % len(parts)] * rng.choice((1, 9)))
            case 2:
                parts[i], parts[j] = parts[j], parts[i]
            case 3:
                parts.insert(i, rng.choice(pickletools.opcodes).code.encode("latin-1"))
            case 4:
                parts[i] = rng.choice(pickletools.opcodes).code.encode("latin-1") + parts[i][1:]
            case 5:
                parts.insert(i, rng.choice(CALLS))
            case _:
                size = rng.choice(INTEGERS) % 2**32
                parts.insert(
                    i, rng.choice((b"r", b"j", b"T", b"B", b"X", b"\x8b")) + struct.pack("<I", size)
                )
    return b"".join(parts)


CALLS = (
    b"cos\nsystem\n(U\x0ctouch canaryctR",
    b"c__builtin__\neval\n(U\x011tR",
    b"cposix\nsystem\nU\x04true\x85R",
    b"cnumpy\nload\nU\x01a\x85R",
    b"cnumpy\nndarray\n(\x8a\x05\0\0\0\0\x7ftR",
    b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R",
    b"K\0" + b"q\0h\0\x86" * 60,
    b"\x95" + b"\xff" * 8,
)


def settings(data: bytes, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """A TOML or YAML file with lines changed."""
    if rng.random() < 0.2:
        return bytes_of(data, rng, others)
    found = data.decode().splitlines()
    for _ in range(rng.choice((1, 1, 2))):
        i = rng.randrange(len(found)) if found else 0
        match rng.randrange(5):
            case 0:
                del found[i : i + 1]
            case 1:
                found[i:i] = found[i : i + 1]
            case 2:
                found[i:i] = [rng.choice(SETTINGS)]
            case 3 if found:
                name = re.split(r"[=:]", found[i])[0]
                value = rng.choice((*SETTINGS_VALUES, json.dumps(rng.choice(WORDS))))
                found[i] = f"{name}{rng.choice('=::')} {value}"
            case _:
                found[i:] = rng.choice(others or [data]).decode().splitlines()[i:]
    return "\n".join(found).encode("utf-8", "surrogatepass")


SETTINGS = (
    "[meta]", "[[meta]]", "a.b.c.d = 1", ".".join("a" * 3000) + " = 1", "a = " + "[" * 2000,
    "a: &a [x, x]", "b: [*a, *a]", "c: !!python/object/apply:os.system [touch canary]",
    "d: !!timestamp x", "<<: 1", "? [1, 2]\n: 3", "- 1", "---", "...", "\t- a",
    "a: " + "{a: " * 500, "1: 2", "null: 1", "x" * 20_000 + " = 1", 'lr = """', "\x07",
)  # fmt: skip
SETTINGS_VALUES = (
    "1", "-1", "0", "1e999", "nan", "inf", "-inf", "true", "[]", "[1, 2]", "{}", "{a = 1}",
    "1979-05-27", "07:32:00", "2001-12-14t21:59:43.10-05:00", "9" * 5000, "0x" + "f" * 400, "1_0",
    "~", "!!binary aa", "[[[]]]", "[1, 'a', {}]", "*x", "&x 1", "1:2:3", "0o17", "''", "|\n  a",
)  # fmt: skip
