"""CIFAR-10's "python batches", which are pickles, read without Python's unpickler.

A pickle is a program for a machine with a stack. `Machine` has the instructions that these batches
are made of (Python 2's protocol 2, and protocols 2 to 5 of batches saved again) and no other. The
names of NumPy's array, dtype and array constructors all give one inert record, which keeps what it
is given; any other name is refused. Nothing is called. The array is then put together from the
recorded shape and bytes.
"""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..store.untrusted import FileError, Source, read_bytes, shown
from .formats import AGAIN

LARGEST = 200_000_000  # bytes: all 60 000 images
INSTRUCTIONS = 500_000  # 60 000 labels and names of files take 180 000
NAME = 1000  # bytes of a name
COLUMNS = 3072  # 3 · 32 · 32
MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
NAMES = {("numpy", "ndarray"), ("numpy", "dtype")}
NAMES |= {(module, "_reconstruct") for module in MODULES}
NAMES |= {(module, "_frombuffer") for module in NUMERIC}


class Global(NamedTuple):
    """A name of NumPy's, which means nothing by itself."""

    name: str


class Inert:
    """Arguments of a pickle for one of NumPy's names, never run."""

    def __init__(self, name: str, arguments: tuple):
        self.name, self.arguments = name, arguments
        self.state: object = ()


def read_cifar_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read images (n, 32, 32, 3) as uint8 and labels (n,) of one python batch."""
    data = read_bytes(path, LARGEST, Source(str(path), f"{AGAIN} from a source you trust"))
    try:
        batch = Machine(data).run()
    except _Unlike as error:
        raise FileError(
            f"{path} is not a CIFAR-10 python batch ({error}); {AGAIN} from a source you trust."
        ) from None
    batch = batch if isinstance(batch, dict) else {}
    batch = {
        key.decode(errors="replace") if isinstance(key, bytes) else key: batch[key] for key in batch
    }
    if not {"data", "labels"} <= batch.keys():
        holds = ", ".join(map(shown, itertools.islice(batch, 8))) or "nothing"
        raise FileError(
            f"{path} holds {holds}, expected data and labels; use the python version of CIFAR-10 "
            "(not CIFAR-100)."
        )
    labels = batch["labels"]
    if type(labels) is not list or not all(type(y) is int and abs(y) < 2**31 for y in labels):
        raise FileError(f"{path}: labels are not a list of numbers; {AGAIN}.")
    rows = _rows(batch["data"], path)  # (n, 3072): all red, all green, all blue
    return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), np.asarray(labels, np.int64)


def _rows(record: object, path: Path) -> np.ndarray:
    """The uint8 matrix (n, 3072) that a record describes."""
    match record:
        # __setstate__ of an array: (version, shape, dtype, order, bytes)
        case Inert(state=(_, (int(n), 3072), Inert(arguments=(code, *_)), fortran, bytes(raw))):
            order = "F" if fortran else "C"
        # _frombuffer, of protocol 5: bytes, dtype, shape, order
        case Inert(arguments=(bytes(raw), Inert(arguments=(code, *_)), (int(n), 3072), order)):
            pass
        case _:
            n, raw, code, order = 0, b"", None, "C"
    if code not in (b"u1", "u1") or order not in ("C", "F") or len(raw) != n * 3072:
        raise FileError(
            f"{path}: data is not an array of unsigned bytes with the shape (n, 3072); {AGAIN}."
        )
    return np.frombuffer(raw, np.uint8).reshape((n, 3072), order=order)


class _Unlike(Exception):
    """A pickle that is no batch; the message goes into brackets."""


MARK = object()
MEMOIZE, STOP, MARKED = 0x94, 0x2E, 0x28
SIZED = {  # instructions followed by a length of so many bytes, and what they push
    0x55: (1, bytes),  # SHORT_BINSTRING
    0x54: (4, bytes),  # BINSTRING
    0x43: (1, bytes),  # SHORT_BINBYTES
    0x42: (4, bytes),  # BINBYTES
    0x8E: (8, bytes),  # BINBYTES8
    0x96: (8, bytes),  # BYTEARRAY8
    0x8C: (1, str),  # SHORT_BINUNICODE
    0x58: (4, str),  # BINUNICODE
}
NUMBERS = {0x4B: 1, 0x4D: 2, 0x4A: 4}  # BININT1, BININT2, BININT: bytes of a number
FIXED = {  # instructions that push one thing
    0x4E: lambda: None,  # NONE
    0x88: lambda: True,  # NEWTRUE
    0x89: lambda: False,  # NEWFALSE
    0x7D: dict,  # EMPTY_DICT
    0x5D: list,  # EMPTY_LIST
    0x29: tuple,  # EMPTY_TUPLE
}
TUPLES = {0x85: 1, 0x86: 2, 0x87: 3}
GET, PUT = {0x68: 1, 0x6A: 4}, {0x71: 1, 0x72: 4}  # BINGET, BINPUT and their long forms


class Machine:
    """The instructions of a batch, a stack and a memo."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> object:
        """The value that the pickle leaves. Raises _Unlike."""
        for _ in range(INSTRUCTIONS):
            code = self.take(1)[0]
            if code == STOP:
                return self.pop()
            self.step(code)
        raise _Unlike(f"it has more than {INSTRUCTIONS} instructions")

    def step(self, code: int) -> None:
        """Carry out one instruction."""
        push = self.stack.append
        if code in NUMBERS:
            push(self.number(NUMBERS[code], signed=code == 0x4A))
        elif code in SIZED:
            width, kind = SIZED[code]
            raw = self.take(self.number(width))
            push(raw if kind is bytes else self.text(raw))
        elif code in GET:
            place = self.number(GET[code])
            if place not in self.memo:
                raise _Unlike("it uses what it did not keep")
            push(self.memo[place])
        elif code in PUT or code == MEMOIZE:
            place = len(self.memo) if code == MEMOIZE else self.number(PUT[code])
            self.memo[place] = self.top()
        elif code in FIXED:
            push(FIXED[code]())
        elif code == MARKED:
            push(MARK)
        elif code in TUPLES:
            push(tuple(reversed([self.pop() for _ in range(TUPLES[code])])))
        elif code in INSTRUCTION:
            INSTRUCTION[code](self)
        else:
            raise _Unlike(f"it has the instruction {code:#04x}, which no such batch needs")

    def take(self, n: int) -> bytes:
        """The next bytes of the file."""
        if n > len(self.data) - self.at:
            raise _Unlike("it is truncated")
        self.at += n
        return self.data[self.at - n : self.at]

    def number(self, width: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(width), "little", signed=signed)

    def text(self, raw: bytes) -> str:
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise _Unlike("it has a text that is not UTF-8") from None

    def top(self) -> Any:
        if not self.stack or self.stack[-1] is MARK:
            raise _Unlike("its stack is empty where something is needed")
        return self.stack[-1]

    def pop(self) -> Any:
        self.top()
        return self.stack.pop()

    def marked(self) -> list:
        """Everything above the last mark, taken off the stack."""
        found = []
        while self.stack and self.stack[-1] is not MARK:
            found.append(self.stack.pop())
        if not self.stack:
            raise _Unlike("a mark is missing")
        self.stack.pop()
        return found[::-1]

    # Instructions.

    def protocol(self) -> None:
        if (version := self.number(1)) > 5:
            raise _Unlike(f"it is of protocol {version}")

    def frame(self) -> None:
        self.take(8)  # a hint for reading ahead

    def long(self) -> None:
        if (width := self.number(1)) > 8:
            raise _Unlike(f"it has a number of {width} bytes")
        self.stack.append(self.number(width, signed=True))

    def pack(self) -> None:
        self.stack.append(tuple(self.marked()))

    def append(self) -> None:
        self.extend([self.pop()])

    def appends(self) -> None:
        self.extend(self.marked())

    def extend(self, items: list) -> None:
        if type(items_of := self.top()) is not list:
            raise _Unlike("it appends to what is no list")
        items_of += items

    def setitem(self) -> None:
        value, key = self.pop(), self.pop()
        self.fill([key, value])

    def setitems(self) -> None:
        self.fill(self.marked())

    def fill(self, pairs: list) -> None:
        keys, values = pairs[::2], pairs[1::2]
        if type(table := self.top()) is not dict or len(keys) != len(values):
            raise _Unlike("it has entries that belong to no table")
        if not all(type(key) in (bytes, str) and len(key) <= NAME for key in keys):
            raise _Unlike("it has an entry whose name is no short text")
        table.update(zip(keys, values, strict=True))

    def global_(self) -> None:
        names = []
        for _ in range(2):
            end = self.data.find(b"\n", self.at, self.at + NAME)
            if end < 0:
                raise _Unlike("it is truncated in a name")
            names.append(self.text(self.take(end - self.at)))
            self.take(1)
        self.name(*names)

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise _Unlike("it asks for a name that is no text")
        self.name(module, name)

    def name(self, module: str, name: str) -> None:
        if (module, name) not in NAMES:
            raise _Unlike(f"it asks for {shown(f'{module}.{name}')}, which no such batch needs")
        self.stack.append(Global(name))

    def reduce(self) -> None:
        arguments, name = self.pop(), self.pop()
        if type(name) is not Global or type(arguments) is not tuple:
            raise _Unlike("it calls what is no name of NumPy's")
        self.stack.append(Inert(name.name, arguments))

    def build(self) -> None:
        state = self.pop()
        if type(record := self.top()) is not Inert:
            raise _Unlike("it fills what is no array of NumPy's")
        record.state = state


INSTRUCTION: dict[int, Callable[[Machine], None]] = {
    0x80: Machine.protocol,
    0x95: Machine.frame,
    0x8A: Machine.long,
    0x74: Machine.pack,
    0x61: Machine.append,
    0x65: Machine.appends,
    0x73: Machine.setitem,
    0x75: Machine.setitems,
    0x63: Machine.global_,
    0x93: Machine.stack_global,
    0x52: Machine.reduce,
    0x62: Machine.build,
}
