"""The study of games as suites of the benchmark: its numbers by name, figures and costs."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...evaluation.engines import Row
from ..study import Conclusion, Record, Study, markdown, records
from ..suite import Cost, Line, Panel, Suite, concluded, own
from . import bilinear, games
from .settings import LETTERS, SCALES, GamesSizes

EXPECTATIONS = Path(__file__).parent / "expectations.toml"
WORDS = {
    "GDA": "gda",
    "GDA, alternating": "alternating",
    "optimistic GDA": "optimistic",
    "extragradient": "extragradient",
    "anchored": "anchored",
    "anchored, two gradients": "anchored-extra",
    "Halpern": "halpern",
    "GDA at 0.1": "gda-0.1",
    "GDA, alternating, at 0.1": "alternating-0.1",
    "optimistic GDA at 0.1": "optimistic-0.1",
    "Twin": "twin",
    "Twin, rewards": "rewards",
    "Twin, published": "published",
    "Twin, easy first": "easy-first",
    "Twin, guarded": "guarded",
    "random Twin": "random",
    "random Twin, guarded": "random-guarded",
    "learned extragradient": "learned",
    "learned extragradient, guarded": "learned-guarded",
    "GMRES, the least there can be": "least",
}
SHOWN_AT = (10, 50, 100, 1000)
BUMP = (200, 300)  # the end of the published steps of scheduled size, and later


FULL = {"epochs": 200, "updates": 300, "games": 40}  # sizes that expectations are about, at least


def found(rows: Sequence[Row], letter: str) -> list[Record]:
    return records(own(rows, (letter,)))


def judged(rows: Sequence[Row], letter: str) -> list[Record]:
    """The records of full size; of others, the scale tiny, nothing is expected."""
    full = lambda r: all(r.get(name, least) >= least for name, least in FULL.items())
    return [r for r in found(rows, letter) if full(r)]


def quantities(rows: Sequence[Row]) -> dict[str, float]:
    """Numbers of the records by name.

    - `M1.GAME.METHOD.STEP`: the larger of the players' mean distances after so many steps;
      `.start` before the first, `.bump` that after 200 steps over that after 300
    - `M2.RANGE.METHOD`: share of problems that stay near a solution, mean over seeds;
      `M2.RANGE.gain` and `.worst-gain`: that of easy first less the other's, mean and least
    - `M3.GAME.METHOD.STEP`: mean of the gradient left; `.share` of the one at the start,
      at the end; `.over-halpern`: the largest ratio to that of Halpern at any mark;
      `M3.published-5.singular`: share of the published test matrices
    - `M4.D.METHOD`: median of gradients; `M4.D.METHOD.gain`: those of extragradient over it,
      `.gain-best`: those of the best rule by hand; no gains where half of the games were given up
    """
    return {**_m1(rows), **_m2(rows), **_m3(rows), **_m4(rows)}


def _m1(rows: Sequence[Row]) -> dict[str, float]:
    numbers = {}
    for r in judged(rows, "M1"):
        name, distance = (
            f"M1.{r['panel']}.{WORDS[r['method']]}",
            dict(zip(r["at"], _apart(r), strict=True)),
        )
        numbers[f"{name}.start"] = distance[0]
        numbers |= {f"{name}.{mark}": distance[mark] for mark in SHOWN_AT if mark in distance}
        if all(mark in distance for mark in BUMP) and r["at"][-1] >= 1000:
            during, after = (distance[mark] for mark in BUMP)
            numbers[f"{name}.bump"] = during / after if after else math.inf
    return numbers


def _apart(r: Record) -> list[float]:
    """The larger of the players' mean distances at each mark, ∞ where one has none."""
    means = zip(r["distance_min"]["mean"], r["distance_max"]["mean"], strict=True)
    return [math.inf if None in pair else max(pair) for pair in means]


def _m2(rows: Sequence[Row]) -> dict[str, float]:
    numbers, mine = {}, judged(rows, "M2")
    for panel in dict.fromkeys(r["panel"] for r in mine):
        here = [r for r in mine if r["panel"] == panel]
        of = {
            method: {r["seed"]: r["settled"] for r in here if r["method"] == method}
            for method in games.PACED
        }
        for method, shares in of.items():
            numbers[f"M2.{panel}.{WORDS[method]}"] = float(np.mean(list(shares.values())))
        gains = [share - of["Twin"][seed] for seed, share in of["Twin, easy first"].items()]
        numbers[f"M2.{panel}.gain"] = float(np.mean(gains))
        numbers[f"M2.{panel}.worst-gain"] = float(np.min(gains))
    return numbers


def _m3(rows: Sequence[Row]) -> dict[str, float]:
    numbers, mine = {}, judged(rows, "M3")
    for panel in dict.fromkeys(r["panel"] for r in mine):
        numbers |= _left({r["method"]: r for r in mine if r["panel"] == panel}, f"M3.{panel}")
    return numbers


def _left(of: dict[str, Record], panel: str) -> dict[str, float]:
    """Numbers of a game of M3 from the record of each method."""
    numbers = {f"{panel}.singular": r["singular"] for r in of.values() if "singular" in r}
    left = {method: [_number(x) for x in r["merit"]["mean"]] for method, r in of.items()}
    for method, r in of.items():
        name, merit = f"{panel}.{WORDS[method]}", dict(zip(r["at"], left[method], strict=True))
        numbers |= {f"{name}.{mark}": merit[mark] for mark in SHOWN_AT if mark in merit}
        numbers[f"{name}.share"] = left[method][-1] / merit[0]
        if r["rejections"] is not None:
            numbers[f"{name}.rejected"] = r["rejections"] / r["at"][-1]
        if "Halpern" in left:
            pairs = zip(left[method], left["Halpern"], strict=True)
            ratios = [ours / max(theirs, 1e-30) for ours, theirs in pairs]
            numbers[f"{name}.over-halpern"] = max(ratios)
    return numbers


def _number(x: float | None) -> float:
    return math.inf if x is None else x


def _m4(rows: Sequence[Row]) -> dict[str, float]:
    numbers, mine = {}, judged(rows, "M4")
    of = {(r["d"], r["method"]): r["median"] for r in mine}
    arrived = {(r["d"], r["method"]) for r in mine if 2 * r["given_up"] < r["games"]}
    for (d, method), median in of.items():
        numbers[f"M4.{d}.{WORDS[method]}"] = median
        if (d, "extragradient") in of and (d, method) in arrived:
            best = min(of[d, name] for name in bilinear.RIVALS if (d, name) in of)
            numbers[f"M4.{d}.{WORDS[method]}.gain"] = of[d, "extragradient"] / median
            numbers[f"M4.{d}.{WORDS[method]}.gain-best"] = best / median
    return numbers


def panels(rows: Sequence[Row]) -> list[Panel]:
    """Distances of M1, shares of M2, gradients left of M3, gradients taken of M4."""
    drawn = []
    for letter, what, y in (
        ("M1", "distance_min", "distance of the first player"),
        ("M3", "merit", "‖∇f‖"),
    ):
        mine = found(rows, letter)
        for panel in dict.fromkeys(r["panel"] for r in mine):
            here = [r for r in mine if r["panel"] == panel]
            lines = tuple(sorted((_line(r, what) for r in here), key=_last))
            note = "Mean over the test problems, and from their 10 % to their 90 % quantile."
            drawn.append(Panel(letter, panel, "iteration", y, lines, True, True, note))
    if shares := _shares(rows):
        drawn.append(shares)
    if counts := _counts(rows):
        drawn.append(counts)
    return drawn


def _line(r: Record, what: str) -> Line:
    parts = (tuple(r[what][name]) for name in ("mean", "low", "high"))
    return Line(r["method"], tuple(map(float, r["at"])), *parts)


def _last(line: Line) -> float:
    return _number(line.middle[-1])


def _shares(rows: Sequence[Row]) -> Panel | None:
    mine, lines = found(rows, "M2"), []
    for method in dict.fromkeys(r["method"] for r in mine):
        own = [r for r in mine if r["method"] == method]
        ranges = sorted({int(r["panel"].split("-")[1]) for r in own})
        of = [[r["settled"] for r in own if r["panel"] == f"seesaw-{k}"] for k in ranges]
        middle, low, high = (tuple(map(f, of)) for f in (lambda x: float(np.mean(x)), min, max))
        lines.append(Line(method, tuple(map(float, ranges)), middle, low, high))
    note = "Mean of the trainings, and from the lowest to the highest."
    y = "share that stays near a solution"
    return Panel("M2", "seesaws", "range", y, tuple(lines), note=note) if lines else None


def _counts(rows: Sequence[Row]) -> Panel | None:
    mine, lines = found(rows, "M4"), []
    for method in dict.fromkeys(r["method"] for r in mine):
        own = sorted((r for r in mine if r["method"] == method), key=lambda r: r["d"])
        parts = (tuple(r[name] for r in own) for name in ("median", "low", "high"))
        lines.append(Line(method, tuple(float(r["d"]) for r in own), *parts))
    note = "Gradients until a thousandth of ‖∇f‖ is left; median of games, 10 % to 90 % quantile."
    x = "unknowns of each player"
    return (
        Panel("M4", "bilinear games", x, "gradients", tuple(lines), True, True, note)
        if lines
        else None
    )


def costs(rows: Sequence[Row]) -> list[Cost]:
    """One row a suite and method: of the first record that there is."""
    rows_of_table = []
    for letter in LETTERS:
        seen = {r["method"]: r for r in reversed(found(rows, letter))}
        for method, r in sorted(seen.items()):
            learned = "Twin" in method or "learned" in method
            rows_of_table.append(
                Cost(
                    suite=letter,
                    method=method,
                    kind="learned" if learned else "by hand",
                    parameters=int(r["parameters"] or 0),
                    gradients=r["gradients"],
                    training_s=float(r.get("training") or 0.0),
                )
            )
    return rows_of_table


def conclude(settings: GamesSizes, rows: Sequence[Row]) -> Conclusion:
    """Tables, and what became of each expectation."""
    parts = (table for letter in LETTERS for table in tables(rows, letter))
    return concluded(EXPECTATIONS, quantities(rows), parts)


def tables(rows: Sequence[Row], letter: str) -> list[str]:
    mine = found(rows, letter)
    if not mine:
        return []
    if letter == "M4":
        return [f"M4: gradients, median\n\n{markdown(*_table_4(mine))}"]
    if letter == "M2":
        return [f"M2: share near a solution\n\n{markdown(*_table_2(mine))}"]
    found_tables = []
    for panel in dict.fromkeys(r["panel"] for r in mine):
        here = [r for r in mine if r["panel"] == panel]
        found_tables.append(f"{letter} {panel}\n\n{markdown(*_table_1(here, letter))}")
    return found_tables


def _table_1(here: Sequence[Record], letter: str) -> tuple[list[str], list[list[str]]]:
    value = lambda r: _apart(r) if letter == "M1" else [_number(x) for x in r["merit"]["mean"]]
    lines = []
    for r in sorted(here, key=lambda r: value(r)[-1]):
        at = dict(zip(r["at"], value(r), strict=True))
        numbers = [f"{at[mark]:.2g}" if mark in at else "–" for mark in SHOWN_AT]
        rate = f"{r['lr']:g}" if r.get("lr") else ""
        rejected = "" if r["rejections"] is None else f"{r['rejections'] / r['at'][-1]:.1%}"
        lines.append([r["method"], rate, *numbers, str(r["nonfinite"]), rejected,
                      f"{r['training']:.0f}"])  # fmt: skip
    head = ["method", "rate", *(f"after {mark}" for mark in SHOWN_AT), "not finite", "rejected",
            "training, CPU-s"]  # fmt: skip
    return head, lines


def _table_2(mine: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    lines = []
    for panel in sorted(dict.fromkeys(r["panel"] for r in mine)):
        of = lambda m: [r["settled"] for r in mine if (r["panel"], r["method"]) == (panel, m)]  # noqa: B023
        cells = [" ".join(f"{x:.3f}" for x in of(m)) for m in ("Twin", "Twin, easy first")]
        lines.append([panel, *cells])
    return ["range", "Twin, seed by seed", "easy first"], lines


def _table_4(mine: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    dimensions = sorted({r["d"] for r in mine})
    of = {(r["method"], r["d"]): r for r in mine}
    lines = []
    for method in dict.fromkeys(r["method"] for r in mine):
        cells = [
            f"{r['median']:.0f}" + (f" ({r['given_up']} given up)" if r["given_up"] else "")
            if (r := of.get((method, d)))
            else "–"
            for d in dimensions
        ]
        each = next(r["gradients"] for r in mine if r["method"] == method)
        lines.append([method, str(each or 1), *cells])
    return ["method", "gradients a step", *(f"d = {d}" for d in dimensions)], lines


STUDY = Study(
    cells=games.cells,
    work="steppe.studies.games.games:run",
    conclude=conclude,
    cost=games.cost,
    keep_programs=True,
)
SUITE = Suite(LETTERS, "games", STUDY, SCALES, quantities, panels, costs)
