"""Text encoders of the BERT kind, read from a folder as Hugging Face lays it out.

    config.json, model.safetensors      BERT, RoBERTa and what is built like them (MiniLM)

`config.json` says which tensors there must be and of what shapes; the header of the other file is
compared with that before a tensor is read. Heads (a pooler, a classifier) are left where they are.
Devlin et al., "BERT", NAACL 2019; Liu et al., "RoBERTa", 2019.
"""

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float

from ..store.tensors import Tensor, read_tensors
from ..store.untrusted import Between, Source, checked, listed, read_document

CONFIG, WEIGHTS = "config.json", "model.safetensors"
REMEDY = "give the folder of a BERT or RoBERTa, with config.json, model.safetensors, tokenizer.json"
LARGEST = 2**32  # numbers of a model
FLOATS = ("float16", "bfloat16", "float32", "float64")

Size = Annotated[int, Between(1, 2**20)]


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of an encoder, under the names that `config.json` has."""

    model_type: Literal["bert", "roberta"]
    hidden_size: Annotated[int, Between(1, 2**14)]
    num_hidden_layers: Annotated[int, Between(1, 256)]
    num_attention_heads: Annotated[int, Between(1, 1024)]
    intermediate_size: Size
    vocab_size: Annotated[int, Between(1, 2**22)]
    max_position_embeddings: Annotated[int, Between(1, 2**17)]
    type_vocab_size: Annotated[int, Between(1, 64)] = 2
    layer_norm_eps: Annotated[float, Between(0, 1)] = 1e-12
    hidden_act: Literal["gelu"] = "gelu"
    position_embedding_type: Literal["absolute"] = "absolute"
    pad_token_id: Annotated[int, Between(0, 2**16)] = 0

    @property
    def first_position(self) -> int:
        """The row of the position of the first token: RoBERTa counts on from its padding."""
        return self.pad_token_id + 1 if self.model_type == "roberta" else 0


def read_encoder(folder: str | os.PathLike) -> tuple[Config, dict[str, Float[np.ndarray, "..."]]]:
    """Sizes and arrays of an encoder, the latter under the names of `shapes`, as float32.

    Raises FileError, one sentence.
    """
    config = read_config(folder)
    path = Path(folder) / WEIGHTS
    source = Source(str(path), REMEDY)
    expected, prefix = shapes(config), ""

    def choose(tensors: Mapping[str, Tensor]) -> list[str]:
        nonlocal prefix
        under = f"{config.model_type}."
        prefix = under if any(name.startswith(under) for name in tensors) else ""
        _compare(tensors, expected, prefix, source)
        return [prefix + name for name in expected]

    found = read_tensors(path, choose, source)
    arrays = {}
    for name in expected:
        array = found.pop(prefix + name)
        if not np.isfinite(array).all():
            raise source.part(name).refuse("NaN or infinity", "finite weights")
        with np.errstate(over="ignore"):
            arrays[name] = array.astype(np.float32)
        if not np.isfinite(arrays[name]).all():
            raise source.part(name).refuse("a number too large for float32", "smaller ones")
    return config, arrays


def read_config(folder: str | os.PathLike) -> Config:
    """The sizes that `config.json` gives; of what else it says nothing is needed."""
    path = Path(folder) / CONFIG
    source = Source(str(path), REMEDY)
    document = checked(read_document(path, source, most=2**20), dict[str, Any], source)
    known = {field.name for field in dataclasses.fields(Config)}
    config = checked({k: v for k, v in document.items() if k in known}, Config, source)
    if config.hidden_size % config.num_attention_heads:
        raise source.refuse(
            f"{config.num_attention_heads} heads for a width of {config.hidden_size}",
            "a number of heads that divides it",
        )
    if config.first_position >= config.max_position_embeddings:
        raise source.refuse(f"pad_token_id {config.pad_token_id}", "one that leaves positions")
    if (count := sum(map(math.prod, shapes(config).values()))) > LARGEST:
        raise source.refuse(f"{count} weights", f"at most {LARGEST}")
    return config


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor that an encoder of these sizes has, as the file has it.

    Matrices are (outputs, inputs).
    """
    d, wide = config.hidden_size, config.intermediate_size
    found = {
        "embeddings.word_embeddings.weight": (config.vocab_size, d),
        "embeddings.position_embeddings.weight": (config.max_position_embeddings, d),
        "embeddings.token_type_embeddings.weight": (config.type_vocab_size, d),
        "embeddings.LayerNorm.weight": (d,),
        "embeddings.LayerNorm.bias": (d,),
    }
    maps = {
        "attention.self.query": (d, d),
        "attention.self.key": (d, d),
        "attention.self.value": (d, d),
        "attention.output.dense": (d, d),
        "intermediate.dense": (wide, d),
        "output.dense": (d, wide),
    }
    for i in range(config.num_hidden_layers):
        layer = f"encoder.layer.{i}."
        for name, (outputs, inputs) in maps.items():
            found[f"{layer}{name}.weight"] = (outputs, inputs)
            found[f"{layer}{name}.bias"] = (outputs,)
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            found[f"{layer}{name}.weight"] = found[f"{layer}{name}.bias"] = (d,)
    return found


def _compare(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, tuple[int, ...]],
    prefix: str,
    source: Source,
) -> None:
    """Refuse a header that does not fit the config."""
    if lacking := [name for name in expected if prefix + name not in tensors]:
        raise source.refuse(f"no tensor {listed(lacking)}", f"all that {CONFIG} announces")
    numbered = prefix + "embeddings.position_ids"  # 0, 1, 2, …, kept by older programs
    parts = (prefix + "encoder.", prefix + "embeddings.")
    own = {prefix + name for name in expected} | {numbered}
    if odd := [name for name in tensors if name.startswith(parts) and name not in own]:
        raise source.refuse(f"the tensor {listed(odd)}", f"those that {CONFIG} announces")
    for name, shape in expected.items():
        tensor = tensors[prefix + name]
        if tensor.shape != shape or tensor.dtype not in FLOATS:
            raise source.part(name).refuse(
                f"{tensor.dtype} of the shape {tensor.shape}",
                f"floating point of the shape {shape}, as {CONFIG} says",
            )
