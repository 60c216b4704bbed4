"""What the records say: numbers by name, curves, costs and tables.

Everything is of the best loss so far: its mean over problems, its median, and the band from the
10 % to the 90 % quantile. A run without a number is infinite.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ...evaluation.engines import Row
from ..study import Record, markdown, records
from ..suite import Cost, Line, Numbers, Panel

LETTER = "R2"
HARDER = 3  # evaluations that a value with its gradient costs where each gradient counts for two
NAMES = {
    "adam": "Adam", "adam-4": "Adam, 4 starts", "pso": "PSO", "cma-es": "CMA-ES", "les": "LES",
    "dm": "DM", "b2": "B2: particles alone", "b3": "B3: and of each other",
    "lois": "LOIS: and entropy", "swarm": "swarm, ours",
    "formation": "formation, ours", "formation-any": "formation, other ripples",
}  # fmt: skip


def found_by(rows: Sequence[Row]) -> dict[tuple[int, str], list[Record]]:
    """Records by unknowns and method; several where there are several trainings."""
    found: dict[tuple[int, str], list[Record]] = {}
    for record in records(rows):
        found.setdefault((record["n"], record["method"]), []).append(record)
    order = list(NAMES)
    return dict(sorted(found.items(), key=lambda item: (item[0][0], order.index(item[0][1]))))


def values(of: Sequence[Record]) -> Float[np.ndarray, "runs marks"]:
    rows = [[np.inf if x is None else x for x in row] for r in of for row in r["best"]]
    return np.asarray(rows, float)


def quantities(rows: Sequence[Row]) -> dict[str, float]:
    """Means by name, "R2.n.method.mark" and "R2.n.method.best" for the last mark.

    "harder": where a gradient counts for two evaluations more; "median", "lost": at the last mark.
    """
    known: dict[str, float] = {}
    for (n, method), of in found_by(rows).items():
        name, at, found = f"{LETTER}.{n}.{method}", of[0]["at"], values(of)
        known |= {f"{name}.{mark}": float(x) for mark, x in zip(at, found.mean(0), strict=True)}
        known |= {
            f"{name}.best": float(found[:, -1].mean()),
            f"{name}.harder": float(found[:, harder(of[0])].mean()),
            f"{name}.median": float(np.median(found[:, -1])),
            f"{name}.lost": float(sum(r["lost"] for r in of)),
        }
    for n in dict.fromkeys(n for n, _ in found_by(rows)):
        if f"{LETTER}.{n}.cma-es.best" in known:
            sizes = ("cma-es", "les", "pso")
            known[f"{LETTER}.{n}.values.best"] = min(
                known.get(f"{LETTER}.{n}.{method}.best", np.inf) for method in sizes
            )
    return known


def harder(record: Record) -> int:
    """The place of the last mark that a run reaches under the harder count."""
    at = record["at"]
    limit = at[-1] / HARDER if record["gradients"] else at[-1]
    return max(k for k, mark in enumerate(at) if mark <= limit or k == 0)


def panels(rows: Sequence[Row]) -> list[Panel]:
    """A figure for each number of unknowns."""
    found = found_by(rows)
    return [
        Panel(
            LETTER,
            f"Rastrigin, random optimum, n = {n}",
            "evaluations, a value with its gradient as one",
            "best loss so far, mean",
            tuple(_line(method, of) for (where, method), of in found.items() if where == n),
            log_x=True,
            log_y=True,
            note="Mean and 10–90 % of problems, the same for all.",
        )
        for n in dict.fromkeys(n for n, _ in found)
    ]


def _line(method: str, of: Sequence[Record]) -> Line:
    found = values(of)
    low, high = (_plain(np.quantile(found, q, axis=0, method="nearest")) for q in (0.1, 0.9))
    at = tuple(float(mark) for mark in of[0]["at"])
    return Line(NAMES[method], at, _plain(found.mean(0)), low, high)


def _plain(found: Float[np.ndarray, " marks"]) -> Numbers:
    return tuple(float(x) if np.isfinite(x) else None for x in found)


def costs(rows: Sequence[Row]) -> list[Cost]:
    """A row for each method, of the largest problems."""
    made: dict[str, Cost] = {}
    for (_, method), of in found_by(rows).items():
        first, k = of[0], of[0]["particles"]
        made[method] = Cost(
            suite=LETTER,
            method=NAMES[method],
            kind="by hand" if "tried" in first["about"] else "learned",
            parameters=first["parameters"],
            gradients=k if first["gradients"] else None,
            values=0 if first["gradients"] else k,
            training_s=float(np.mean([record["seconds"] for record in of])),
            step_us=first["step_us"],
        )
    return list(made.values())


def tables(rows: Sequence[Row]) -> list[str]:
    """A table for each number of unknowns."""
    found, parts = found_by(rows), []
    for n in dict.fromkeys(n for n, _ in found):
        own = {method: of for (where, method), of in found.items() if where == n}
        last = max(of[0]["at"][-1] for of in own.values())
        shown = [mark for mark in (32, 96, 320, last) if any(mark in of[0]["at"] for of in
                 own.values())]  # fmt: skip
        head = ["method", "particles", "numbers", *map(str, dict.fromkeys(shown)), "median",
                "10–90 %", "harder count", "not finite", "training, s"]  # fmt: skip
        lines = [_table_line(method, of, list(dict.fromkeys(shown))) for method, of in own.items()]
        parts.append(f"n = {n}: mean over problems of the best loss after so many evaluations\n\n"
                     f"{markdown(head, lines)}")  # fmt: skip
    return parts


def _table_line(method: str, of: Sequence[Record], marks: Sequence[int]) -> list[str]:
    found, at = values(of), of[0]["at"]
    means = dict(zip(at, found.mean(0), strict=True))
    low, high = (np.quantile(found[:, -1], q, method="nearest") for q in (0.1, 0.9))
    numbers = ", ".join(f"{x:g}" for x in of[0]["about"].get("numbers", ())) or "–"
    return [
        NAMES[method],
        str(of[0]["particles"]),
        numbers,
        *(f"{means[mark]:.3g}" if mark in means else "–" for mark in marks),
        f"{np.median(found[:, -1]):.3g}",
        f"{low:.3g} … {high:.3g}",
        f"{found[:, harder(of[0])].mean():.3g}",
        f"{sum(r['lost'] for r in of)} of {len(found)}",
        f"{np.mean([r['seconds'] for r in of]):.0f}",
    ]
