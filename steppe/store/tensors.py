"""Safetensors files of other programs: plain arrays by name.

    read_tensors("model.safetensors", choose, source)      {name: array}

`choose` sees names, dtypes and shapes before any tensor is read, and says which ones are. What the
file announces has to be what lies on the disk, byte by byte, so that memory goes by its size.
"""

import os
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from .manifest import HEADER_LIMIT, VALUES, Name, Tensor, tensors_of
from .untrusted import Source, checked, open_file, parse_json

__all__ = ["Tensor", "read_tensors"]


def read_tensors(
    path: str | os.PathLike,
    choose: Callable[[Mapping[str, Tensor]], Collection[str]],
    source: Source,
) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file that `choose` names, bfloat16 as float32.

    - `choose`: given all that the header announces; raises if the file is not the one wanted

    Raises the error of `source`, one sentence.
    """
    with open_file(path, source) as file:
        size = os.fstat(file.fileno()).st_size
        opening = file.read(9)
        length = int.from_bytes(opening[:8], "little")
        if opening[8:] != b"{" or not 0 < length <= min(size - 8, HEADER_LIMIT):
            raise source.refuse("no header of safetensors", "a safetensors file")
        file.seek(8)
        within = source.part("header")
        document = parse_json(file.read(length), within, values=VALUES)
        index = checked(document, dict[Name, Any], within)
        checked(index.pop("__metadata__", {}), dict[str, str], within, "__metadata__")
        tensors = tensors_of(index, within)
        whole = 8 + length + max((tensor.stop for tensor in tensors.values()), default=0)
        if size != whole:
            raise source.refuse(f"{size} bytes", f"the {whole} that its header announces")
        found = {}
        for name in choose(tensors):
            tensor = tensors[name]
            file.seek(8 + length + tensor.start)
            found[name] = _array(file.read(tensor.stop - tensor.start), tensor, source)
    return found


def _array(data: bytes, tensor: Tensor, source: Source) -> np.ndarray:
    if len(data) != tensor.stop - tensor.start:  # cut while it was read
        raise source.refuse("an end in the middle of a tensor", "the whole file")
    if tensor.dtype == "bfloat16":  # the upper half of a float32
        upper = np.frombuffer(data, "<u2").astype(np.uint32) << 16
        return upper.view(np.float32).reshape(tensor.shape)
    return np.frombuffer(data, np.dtype(tensor.dtype).newbyteorder("<")).reshape(tensor.shape)
