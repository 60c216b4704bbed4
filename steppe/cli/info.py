"""`steppe info`: what a checkpoint says of itself. Neither JAX nor NumPy is imported."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from ..core.manifest import Header, read
from .options import Info
from .output import document
from .parse import build


def run(values: dict) -> int:
    options = build(Info, values)
    header, _ = read(options.ckpt)  # refuses what is not intact
    content = describe(options.ckpt, header)
    if options.json:
        document(content)
    else:
        print(text(content))
    return 0


def describe(path: Path, header: Header) -> dict:
    manifest = header.manifest if isinstance(header.manifest, Mapping) else {}
    tensors = {
        name: {"dtype": tensor.dtype, "shape": list(tensor.shape)}
        for name, tensor in header.tensors.items()
    }
    return {
        "path": str(path),
        "what": manifest.get("what", "optimizer" if "kind" in manifest else "unknown"),
        "bytes": path.stat().st_size,
        "numbers": sum(math.prod(t.shape) for t in header.tensors.values()),
        "manifest": header.manifest,
        "tensors": tensors,
        "keys": header.keys,
    }


def text(content: Mapping) -> str:
    manifest = content["manifest"] if isinstance(content["manifest"], Mapping) else {}
    lines = [
        f"{content['path']}: {content['what']}, intact",
        f"  {content['numbers']:,} numbers in {len(content['tensors'])} tensors, "
        f"{content['bytes']:,} bytes",
    ]
    for name, value in manifest.items():
        if isinstance(value, Mapping):
            lines.append(f"  {name}")
            lines += [f"    {inner:<22}{_word(part)}" for inner, part in value.items()]
        else:
            lines.append(f"  {name:<24}{_word(value)}")
    lines.append("  tensors")
    wide = max((len(name) for name in content["tensors"]), default=0) + 2
    for name, tensor in content["tensors"].items():
        key = f" (PRNG key, {content['keys'][name]})" if name in content["keys"] else ""
        lines.append(f"    {name:<{wide}}{tensor['dtype']}{tensor['shape']}{key}")
    return "\n".join(lines)


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
