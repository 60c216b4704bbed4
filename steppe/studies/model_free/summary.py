"""What the records say: numbers by name, curves, costs and tables.

Curves of R1 and Q1 are means over runs, of N1 geometric means over trainings; bands go from the
10 % to the 90 % quantile. A method that is not finite at the end is infinite.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from ...evaluation.engines import Row
from ..study import Record, markdown, records
from ..suite import Cost, Line, Numbers, Panel
from .settings import SHIPPED

SHORT, LONG, FUNCTIONS = 100, 1000, 128  # steps of Q1 and of all else, functions: as expected
ORACLE = "restarts"
SMALLEST, LARGEST = 1e-12, 1e3  # training losses of networks: below is rounding, above is diverged
TITLES = {"R1": "Rastrigin family, n = {}", "Q1": "quadratics, n = {}", "N1": "digits, {}"}
NETWORKS = {"relu": "MLP 64-20-10 ReLU", "deeper": "MLP 64-20-20-10 sigmoid", "conv": "ConvNet"}


def found_by(rows: Sequence[Row]) -> dict[tuple[str, str, str], list[Record]]:
    """Records by suite, panel and method; several where there are several meta-seeds."""
    found: dict[tuple[str, str, str], list[Record]] = {}
    for record in records(rows):
        key = record["suite"], record["panel"], record["method"]
        found.setdefault(key, []).append(record)
    return found


def curve(suite: str, of: Sequence[Record]) -> tuple[list[int], Float[np.ndarray, "runs marks"]]:
    """Numbers of gradients, and the loss there of every run of all meta-seeds."""
    nan = lambda row: [np.nan if x is None else x for x in row]
    values = np.array([nan(row) for record in of for row in record["values"]], float)
    if suite == "N1":
        values = np.where(np.isfinite(values), values, LARGEST).clip(SMALLEST, LARGEST)
    else:
        values = np.where(np.isfinite(values), values, np.inf)
    return list(of[0]["at"]), values


def middle(suite: str, values: Float[np.ndarray, "runs marks"]) -> Float[np.ndarray, " marks"]:
    return np.exp(np.log(values).mean(0)) if suite == "N1" else values.mean(0)


def quantities(rows: Sequence[Row]) -> dict[str, float]:
    """Numbers of the records by name, "LETTER.panel.method.mark".

    Of runs of the sizes that expectations are about alone.
    """
    found, known = found_by([row for row in rows if _expected(row.cell)]), {}
    for (suite, panel, method), of in found.items():
        if method == ORACLE:
            continue
        at, values = curve(suite, of)
        name = f"{suite}.{panel}.{method}"
        known |= {
            f"{name}.{mark}": float(x) for mark, x in zip(at, middle(suite, values), strict=True)
        }
        known[f"{name}.lost"] = float(sum(record["lost"] for record in of))
        if suite == "N1":
            accuracy = [x or 0.0 for record in of for x in record["accuracy"]]
            known[f"{name}.accuracy"] = float(np.mean(accuracy))
    for suite, panel in dict.fromkeys((suite, panel) for suite, panel, _ in found):
        if suite == "R1" and (suite, panel, ORACLE) in found:
            known |= _of_oracle(panel, found)
    return known


def _expected(cell: Mapping[str, Any]) -> bool:
    """Of the number of functions and of steps that expectations are about, or more."""
    steps = SHORT if cell["suite"] == "Q1" else LONG
    return cell["steps"] >= steps and cell.get("functions", FUNCTIONS) >= FUNCTIONS


def _of_oracle(panel: str, found: Mapping[tuple[str, str, str], list[Record]]) -> dict[str, float]:
    """The oracle on the functions of the first run: the lowest of all methods and restarts."""
    (own,) = found["R1", panel, ORACLE]
    others = {
        method: np.array([np.nan if x is None else x for x in of[0]["last"]], float)
        for (suite, there, method), of in found.items()
        if (suite, there) == ("R1", panel)
    }
    oracle = np.nanmin(np.stack(list(others.values())), 0)
    gaps = {m: float(np.mean(np.where(np.isfinite(x), x, np.inf) - oracle))
            for m, x in others.items()}  # fmt: skip
    points = [gap for method, gap in gaps.items() if method not in (ORACLE, "adam-4", "swarm")]
    return {
        f"R1.{panel}.start": float(own["start"]),
        f"R1.{panel}.bound": float(np.mean(own["bounds"])),
        f"R1.{panel}.oracle": float(np.mean(oracle)),
        f"R1.{panel}.closest": min(points, default=np.nan),
        **{f"R1.{panel}.{method}.gap": gap for method, gap in gaps.items()},
    }


def panels(rows: Sequence[Row]) -> list[Panel]:
    """A figure for each family of problems."""
    found = found_by(rows)
    return [
        Panel(
            suite,
            TITLES[suite].format(NETWORKS.get(panel, panel)),
            "gradients taken on a problem",
            "training loss" if suite == "N1" else "f, mean over functions",
            tuple(_lines(suite, panel, found)),
            log_x=suite != "N1",
            log_y=suite != "R1",
            note=_note(suite, panel, rows),
        )
        for suite, panel in dict.fromkeys((suite, panel) for suite, panel, _ in found)
    ]


def _lines(
    suite: str, panel: str, found: Mapping[tuple[str, str, str], list[Record]]
) -> Iterator[Line]:
    for (where, there, method), of in found.items():
        if (where, there) != (suite, panel) or method == ORACLE:
            continue
        at, values = curve(suite, of)
        keep = [k for k, mark in enumerate(at) if mark or suite == "N1"]  # log axes have no 0
        shown = lambda y, keep=keep: _finite(np.asarray(y)[keep])
        band = [shown(np.quantile(values, q, axis=0, method="nearest")) for q in (0.1, 0.9)]
        at = tuple(float(at[k]) for k in keep)
        yield Line(method, at, shown(middle(suite, values)), *band)


def _finite(values: Float[np.ndarray, " marks"]) -> Numbers:
    return tuple(float(x) if np.isfinite(x) else None for x in values)


def _note(suite: str, panel: str, rows: Sequence[Row]) -> str:
    if suite == "N1":
        return "Geometric mean and 10–90 % of trainings, the same starts and batches for all."
    said, found = "Mean and 10–90 % of runs, each of functions of its own.", found_by(rows)
    if ("R1", panel, ORACLE) not in found or suite != "R1":
        return said
    known = _of_oracle(panel, found)
    low, bound = (known[f"R1.{panel}.{name}"] for name in ("oracle", "bound"))
    return f"{said} Lowest of all methods and restarts: {low:.2f}; bound below: {bound:.2f}."


def costs(rows: Sequence[Row]) -> list[Cost]:
    """A row for each method of a suite, as on its first panel."""
    made: dict[tuple[str, str], Cost] = {}
    for (suite, _, method), of in found_by(rows).items():
        if method == ORACLE or (suite, method) in made:
            continue
        first = of[0]
        made[suite, method] = Cost(
            suite=suite,
            method=method,
            kind="by hand" if first["kind"] == "by hand" else "learned",
            parameters=first["parameters"],
            gradients=first["gradients"],
            training_s=float(np.mean([record["training_s"] for record in of])),
            step_us=first["step_us"],
        )
    return list(made.values())


def tables(rows: Sequence[Row]) -> list[str]:
    """A table for each panel: the loss at some marks, what was lost, the price."""
    found, parts = found_by(rows), []
    for suite, panel in dict.fromkeys((suite, panel) for suite, panel, _ in found):
        own = {m: of for (s, p, m), of in found.items() if (s, p) == (suite, panel)}
        marks = [mark for mark in (1, 10, 100, 1000, 10_000) if _known(own, mark)]
        head = ["method", *map(str, marks), "last: 10–90 %", "not finite", "training, s"]
        head += ["accuracy"] if suite == "N1" else []
        lines = [_table_line(suite, m, of, marks) for m, of in own.items() if m != ORACLE]
        parts.append(f"{suite}, {TITLES[suite].format(NETWORKS.get(panel, panel))}: "
                     f"{_note(suite, panel, rows)}\n\n{markdown(head, lines)}")  # fmt: skip
    return parts


def _known(own: Mapping[str, Sequence[Record]], mark: int) -> bool:
    return any(mark in of[0].get("at", ()) for of in own.values())


def _table_line(suite: str, method: str, of: Sequence[Record], marks: Sequence[int]) -> list[str]:
    at, values = curve(suite, of)
    means = dict(zip(at, middle(suite, values), strict=True))
    low, high = (np.quantile(values[:, -1], q, method="nearest") for q in (0.1, 0.9))
    rate = of[0].get("rate")
    name = f"{method} ({rate:.3g})" if rate is not None and method not in SHIPPED else method
    cells: list[Any] = [name, *(_shown(means.get(mark)) for mark in marks)]
    cells += [f"{_shown(low)} … {_shown(high)}"]
    cells += [f"{sum(r['lost'] for r in of)} of {sum(r['of'] for r in of)}"]
    cells += [f"{np.mean([r['training_s'] for r in of]):.0f}"]
    if suite == "N1":
        cells.append(f"{np.mean([x or 0.0 for r in of for x in r['accuracy']]):.3f}")
    return cells


def _shown(x: float | None) -> str:
    return "–" if x is None else f"{x:.3g}"
