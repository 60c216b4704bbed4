"""What the records say: numbers by name, curves, costs, a table."""

from collections.abc import Sequence

import numpy as np

from ...evaluation.engines import Row
from ..study import Record, markdown, records
from ..suite import Cost, Line, Numbers, Panel

UPDATES = 100  # meta-steps at least of what expectations are about
MEASURED = ("gradient", "loss", "accuracy", "moved_share")
SHOWN = {"gradient": "mean ‖∇ℓ‖²", "loss": "loss, last 10 steps", "accuracy": "test accuracy",
         "moved_share": "coordinates moved a step"}  # fmt: skip
NAMES = {"rnnprop": "RNNProp", "l2o-scale": "L2O-Scale"}


def arm(record: Record) -> tuple[str, str, str]:
    """Optimizer, weight in words, way."""
    weight = f"{record['weight']:.0e}".replace("e-0", "e-") if record["weight"] else "none"
    return record["optimizer"], weight, record["way"]


def found_by(rows: Sequence[Row]) -> dict[tuple[str, str, str], list[Record]]:
    """Records by arm, one for each meta-seed."""
    found: dict[tuple[str, str, str], list[Record]] = {}
    for record in records(rows):
        found.setdefault(arm(record), []).append(record)
    return found


def quantities(rows: Sequence[Row]) -> dict[str, float]:
    """Means over meta-seeds by name, "J1.optimizer.weight.way.measured"."""
    known = {}
    for names, of in found_by([r for r in rows if r.cell["updates"] >= UPDATES]).items():
        for measured in MEASURED:
            values = [np.inf if x is None else x for x in (r[measured] for r in of)]
            known[".".join(("J1", *names, measured))] = float(np.mean(values))
    return known


def panels(rows: Sequence[Row]) -> list[Panel]:
    """The loss and the squared gradient along the way, for each optimizer."""
    found, made = found_by(rows), []
    for optimizer in dict.fromkeys(name for name, _, _ in found):
        own = {names[1:]: of for names, of in found.items() if names[0] == optimizer}
        for series, y in (("squares", "‖∇ℓ‖²"), ("losses", "training loss")):
            lines = tuple(_line(names, of, series) for names, of in own.items())
            title = f"{NAMES[optimizer]} on digits, {y}"
            note = "Mean, smallest and largest over meta-seeds, of batches; λ in the names."
            made.append(Panel("J1", title, "step", y, lines, log_y=True, note=note))
    return made


def _line(names: tuple[str, str], of: Sequence[Record], series: str) -> Line:
    weight, way = names
    name = ("without" if weight == "none" else f"λ = {weight}") + (
        ", sparse" if way == "sparse" else ""
    )
    values = np.array([[np.nan if x is None else x for x in r[series]] for r in of], float)
    middle, low, high = (_plain(f(values, axis=0)) for f in (np.mean, np.min, np.max))
    return Line(name, tuple(of[0]["at"]), middle, low, high)


def _plain(values: np.ndarray) -> Numbers:
    return tuple(float(x) if np.isfinite(x) else None for x in values)


def costs(rows: Sequence[Row]) -> list[Cost]:
    """A row for each optimizer and weight."""
    return [
        Cost(
            suite="J1",
            method=f"{optimizer}, {'without' if weight == 'none' else f'λ = {weight}'}",
            kind="learned",
            parameters=of[0]["parameters"],
            gradients=of[0]["gradients"],
            training_s=float(np.mean([record["training_s"] for record in of])),
        )
        for (optimizer, weight, way), of in found_by(rows).items()
        if way == "all"
    ]


def table(rows: Sequence[Row]) -> str:
    """Means over meta-seeds, with the smallest and the largest."""
    head = ["optimizer", "λ", "updates", *SHOWN.values(), "not finite", "training, s"]
    lines = []
    for (optimizer, weight, way), of in found_by(rows).items():
        cells = [_shown([r[name] for r in of]) for name in MEASURED]
        lost = sum(r["lost"] for r in of)
        seconds = np.mean([r["training_s"] for r in of])
        lines.append([NAMES[optimizer], weight, way, *cells, str(lost), f"{seconds:.0f}"])
    return f"Means over meta-seeds [smallest, largest]\n\n{markdown(head, lines)}"


def _shown(values: Sequence[float | None]) -> str:
    known = [x for x in values if x is not None]
    if not known:
        return "–"
    ends = f" [{min(known):.3g}, {max(known):.3g}]" if len(known) > 1 else ""
    return f"{np.mean(known):.3g}{ends}"
