"""`steppe info`: what a checkpoint says of itself, the card of a pretrained optimizer with it.

Neither JAX nor NumPy is imported.
"""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

from ..core.settings import setting
from ..optimizers.settings import verified
from ..store.files import to_json
from ..store.hints import printable
from ..store.manifest import Header
from ..zoo.io import Card, Formula, certified, read_card
from ..zoo.resolve import resolve
from .parse import document, make

FIXED = ".value"  # ends the name of an array that an optimizer has, but does not train


@dataclasses.dataclass(frozen=True, kw_only=True)
class Info:
    """Show the contents of a checkpoint, every bit checked: its kind, its recipe, its tensors."""

    ckpt: str = setting(
        dataclasses.MISSING,
        "a .safetensors file, or the name of a pretrained optimizer, whose card is shown",
        positional=True,
    )
    json: bool = setting(False, "print it as one JSON document")


def run(values: dict) -> int:
    options = make(Info, values)
    path = Path(options.ckpt)
    path = path if path.is_dir() else resolve(options.ckpt)  # of a folder, `read` says what it is
    header = verified(path)  # refuses what is not intact
    content = describe(path, header)
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
        "trained": trained(header) if "kind" in manifest else None,
        "manifest": header.manifest,
        "tensors": tensors,
        "keys": header.keys,
    }


def trained(header: Header) -> int:
    """Numbers of an optimizer's θ: all of floats but those inside `core.optimizer.Fixed`."""
    return sum(
        math.prod(tensor.shape)
        for name, tensor in header.tensors.items()
        if not name.endswith(FIXED) and "float" in tensor.dtype
    )


def text(content: Mapping) -> str:
    manifest = content["manifest"] if isinstance(content["manifest"], Mapping) else {}
    lines = [
        f"{content['path']}: {content['what']}, intact",
        f"  {content['numbers']:,} numbers in {len(content['tensors'])} tensors, "
        + ("" if content["trained"] is None else f"{content['trained']:,} of them trained, ")
        + f"{content['bytes']:,} bytes",
    ]
    card = read_card(manifest)
    for name, value in manifest.items():
        if name == "card" and card is not None:
            lines += sheet(card)
        elif name == "certificate":
            lines += ["  certificate, which `steppe verify` checks"]
            lines += [f"    {said}" for said in certified(manifest)]
        elif isinstance(value, Mapping):
            lines.append(f"  {name}")
            lines += [f"    {inner:<22}{_word(part)}" for inner, part in value.items()]
        else:
            lines.append(f"  {name:<24}{_word(value)}")
    lines.append("  tensors")
    wide = max((len(name) for name in content["tensors"]), default=0) + 2
    for name, tensor in content["tensors"].items():
        key = f" (PRNG key, {content['keys'][name]})" if name in content["keys"] else ""
        lines.append(f"    {name:<{wide}}{tensor['dtype']}{tensor['shape']}{key}")
    return "\n".join(map(printable, lines))


def sheet(card: Card) -> list[str]:
    """A card as lines."""
    trained = {
        "name": card.name,
        "about": card.summary,
        "licence": card.licence,
        "meta-trained on": ", ".join(
            to_json(how, ensure_ascii=False) for how in (card.meta_task, *card.others.values())
        ),
        "recipe": to_json(card.recipe, ensure_ascii=False),
        "meta-seed": card.meta_seed,
        "meta-steps": f"{card.meta_steps}, kept {card.kept_is}",
        "time": f"{card.seconds:.0f} s, cores of {card.processor}: {card.cores}",
        "commit": f"{card.commit}, {card.date}",
    }
    lines = [f"    {name:<22}{value}" for name, value in trained.items()]
    lines += [
        f"  after {card.horizon} steps; {card.against}",
        *columns(card),
    ]
    if card.known:
        lines += ["  what is known of it", *(f"    {said}" for said in card.known)]
    lines += ["  known failures", *(f"    {said}" for said in card.failures)]
    return ["  card", *lines, *([] if card.formula is None else as_formula(card.formula))]


def as_formula(formula: Formula) -> list[str]:
    """The formula of a card as lines, with how well it does in the optimizer's place."""
    r2 = "tuned by its losses" if formula.r2 is None else f"R² {formula.r2:.2f}"
    lines = [f"  {formula.optimizer} as a formula, {formula.nodes} nodes, {r2}"]
    lines += [f"    {formula.text}", "    its test loss over that of the optimizer"]
    task = max((len(x.task) for x in formula.likeness), default=0)
    for x in formula.likeness:
        range_ = "–" if x.low is None or x.high is None else f"({x.low:.2f} to {x.high:.2f})"
        mean = "–" if x.mean is None else f"{x.mean:.2f}"
        lines.append(
            f"      {x.task:<{task}}  after {x.steps:>5} steps{mean:>7} {range_}, n = {x.n}"
        )
    return lines


def columns(card: Card) -> list[str]:
    """The table of a card, numbers right-justified; `n`: trainings behind each mean."""
    rows: list[tuple[str, ...]] = [("", "", "ours", *card.rivals, "n")]
    for x in card.table:
        values = (x.ours, *(x.rivals.get(name) for name in card.rivals))
        numbers = ("–" if y is None else f"{y:.3g}" for y in values)
        rows.append((x.task, x.metric, *numbers, str(x.n)))
    task, metric = (max(len(row[i]) for row in rows) for i in (0, 1))
    widths = [max(9, 2 + len(name)) for name in rows[0][2:]]
    return [
        f"    {row[0]:<{task}}  {row[1]:<{metric}}"
        + "".join(f"{x:>{width}}" for x, width in zip(row[2:], widths, strict=True))
        for row in rows
    ]


def _word(value: object) -> str:
    return value if isinstance(value, str) else to_json(value, ensure_ascii=False)
