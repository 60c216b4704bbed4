"""Tables, verdicts and the page of the study, from its records."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ...report.plots import styles
from ..page import Curve, Section, picture, write_study_page
from ..study import Record, Verdict, markdown

MARKS = (1, 2, 3, 5, 7, 10, 14, 20, 30, 50, 70, 100, 140, 200, 300, 500, 700, 1000)
SHOWN = (10, 20, 50, 100, 200, 500, 1000)
NAMES = {
    "ista": "ISTA, tuned",
    "fista-plain": "FISTA",
    "fista": "FISTA, tuned",
    "fista-restart": "FISTA with restart, tuned",
    "p": "L2O-P",
    "a": "L2O-A",
    "pa": "L2O-PA",
    "pa-monotone": "L2O-PA, proven",
    "go": "GoMathL2O",
    "rnnprop": "RNNProp",
    "dm": "L2O-DM",
    "pa-logistic": "L2O-PA of logistic",
}
KINDS = {
    "lasso": "LASSO as in training",
    "larger": "LASSO 2.5 times as large",
    "patches": "LASSO on image patches",
    "logistic": "logistic regression",
    "cancer": "logistic regression, breast cancer data",
}
TIMED = {
    "pa": "L2O-PA",
    "fista-restart": "FISTA with restart, step 1 / L",
    "scikit-learn": "scikit-learn, coordinate descent",
}
DRAWN = ("pa", "pa-monotone", "fista", "fista-restart", "rnnprop", "ista")


def of(found: Sequence[Record], method: str) -> list[Record]:
    return [record for record in found if record["method"] == method]


def median(numbers: Iterable[float | None]) -> float | None:
    """The median, None standing for the largest; None where it is one of these."""
    some = [math.inf if x is None else x for x in numbers]
    return float(np.median(some)) if some and math.isfinite(np.median(some)) else None


def gap(found: Sequence[Record], method: str, kind: str, mark: int) -> float | None:
    """Mean gap over problems after `mark` iterations, the median over meta-seeds."""
    at = MARKS.index(mark)
    means = [record["kinds"][kind]["mean"] for record in of(found, method)]
    return median(mean[at] for mean in means if at < len(mean))


# What was expected.


def verdicts(found: Sequence[Record]) -> list[Verdict]:
    """Each expectation of which there are records, and whether it was met."""
    both = ("rnnprop", "dm")
    said = [
        *below(found, "As in training, PA", "lasso", (10, 20), 0.35),
        limits(found, "As in training, PA ends at 1e-5 or less", ("pa",), "lasso", most=1e-5),
        limits(found, "As in training, RNNProp and DM end at 1e-3 or more", both, "lasso", 1e-3),
        parts(found),
        *below(found, "On patches, PA", "patches", (20,), 0.75),
        limits(found, "On patches, PA ends at 1e-5 or less", ("pa",), "patches", most=1e-5),
        limits(found, "On patches, RNNProp and DM end at 1e-2 or more", both, "patches", 1e-2),
        *below(found, "On larger problems, PA", "larger", (20,), 0.25),
        *below(found, "On logistic regression, PA of such", "logistic", (100,), 2.0, "pa-logistic"),
        *below(found, "On real labels, PA of logistic", "cancer", (100,), 2.0, "pa-logistic"),
        never_rises(found),
        *below(found, "As in training, the proven PA", "lasso", (20,), 0.5, "pa-monotone"),
        *by_the_clock(found),
    ]
    return [verdict for verdict in said if verdict is not None]


def below(
    found: Sequence[Record],
    who: str,
    kind: str,
    marks: tuple[int, ...],
    most: float,
    method: str = "pa",
) -> list[Verdict]:
    """A method's gap against that of FISTA, with the step 1/L and with a tuned one."""
    said, after = [], " and ".join(map(str, marks))
    for rival, name in (("fista-plain", "FISTA's"), ("fista", "tuned FISTA's")):
        pairs = [(gap(found, method, kind, k), gap(found, rival, kind, k)) for k in marks]
        shares = [ours / theirs for ours, theirs in pairs if ours is not None and theirs]
        if len(shares) == len(marks):
            claim = f"{who} at most {most:g} of {name} gap after {after}"
            holds = all(share <= most for share in shares)
            said.append(Verdict(claim, holds, ", ".join(f"{share:.2g}" for share in shares)))
    return said


def limits(
    found: Sequence[Record],
    claim: str,
    methods: tuple[str, ...],
    kind: str,
    least: float = 0.0,
    most: float = math.inf,
) -> Verdict | None:
    """The gap of methods after the last iteration."""
    gaps = [gap(found, method, kind, MARKS[-1]) for method in methods]
    known = [x for x in gaps if x is not None]
    if len(known) < len(methods):
        return None
    return Verdict(claim, all(least <= x <= most for x in known), ", ".join(map(told, known)))


def parts(found: Sequence[Record]) -> Verdict | None:
    """Steps and momentum together against either alone."""
    gaps = {(m, k): gap(found, m, "lasso", k) for m in ("pa", "p", "a") for k in (10, 20)}
    if None in gaps.values():
        return None
    known = {at: x for at, x in gaps.items() if x is not None}
    holds = all(known["pa", k] < min(known["p", k], known["a", k]) for k in (10, 20))
    because = "; ".join(
        f"after {k}: " + ", ".join(f"{NAMES[m]} {told(known[m, k])}" for m in ("pa", "p", "a"))
        for k in (10, 20)
    )
    return Verdict("As in training, PA below P alone and A alone", holds, because)


def never_rises(found: Sequence[Record]) -> Verdict | None:
    rises = [k["rises"] for record in of(found, "pa-monotone") for k in record["kinds"].values()]
    if not rises:
        return None
    bare = [k["rises"] for record in of(found, "pa") for k in record["kinds"].values()]
    because = f"on {100 * max(rises):g} % of problems" + (
        f"; without the proof on {100 * float(np.mean(bare)):.0f} %" if bare else ""
    )
    return Verdict("The proven PA never raises the objective", max(rises) == 0, because)


def by_the_clock(found: Sequence[Record]) -> list[Verdict]:
    """Iterations and milliseconds to a gap of 1e-6, at every size that was timed."""
    timed = [entry for record in of(found, "pa") for entry in record.get("clock") or ()]
    timed = [entry for entry in timed if entry["pa"]["ms"] and entry["fista-restart"]["ms"]]
    if not timed:
        return []
    pair = lambda entry, what: (entry["pa"][what], entry["fista-restart"][what])
    words = lambda what, unit: "; ".join(
        f"{e['n']} unknowns: {pair(e, what)[0]:.3g} and {pair(e, what)[1]:.3g}{unit}" for e in timed
    )
    fewer = all(ours < theirs for ours, theirs in (pair(e, "iterations") for e in timed))
    slower = all(ours > theirs for ours, theirs in (pair(e, "ms") for e in timed))
    scikit = all(e["scikit-learn"]["ms"] < e["pa"]["ms"] for e in timed)
    said = "; ".join(f"{e['n']} unknowns: {e['scikit-learn']['ms']:.3g} ms" for e in timed)
    return [
        Verdict("To 1e-6 PA takes fewer iterations than FISTA with restart", fewer,
                words("iterations", "")),
        Verdict("To 1e-6 PA takes more time than FISTA with restart", slower, words("ms", " ms")),
        Verdict("scikit-learn is faster than PA on one problem", scikit, said),
    ]  # fmt: skip


# Tables.


def told(x: float | None) -> str:
    return "–" if x is None else f"{x:.1e}" if x < 0.1 else f"{x:.2g}"


def methods(found: Sequence[Record]) -> list[str]:
    return [name for name in NAMES if of(found, name)]


def table(found: Sequence[Record], kind: str) -> tuple[list[str], list[list[str]]]:
    """Heads and lines: gaps at the marks, iterations to 1e-6, meta-seeds."""
    marks = [mark for mark in SHOWN if any(gap(found, m, kind, mark) for m in methods(found))]
    head = ["", *(str(mark) for mark in marks), "iterations to 1e-6", "meta-seeds"]
    lines = []
    for method in methods(found):
        own = of(found, method)
        steps = median(record["kinds"][kind]["iterations"]["1e-06"] for record in own)
        seeds = "" if own[0]["seed"] is None else str(len(own))
        step = f", step {own[0]['step']:.2g} / L" if own[0]["step"] else ""
        gaps = [told(gap(found, method, kind, mark)) for mark in marks]
        count = "–" if steps is None else f"{steps:.0f}"
        lines.append([NAMES[method] + step, *gaps, count, seeds])
    return head, lines


def clock_table(found: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    head = ["unknowns", "", "iterations to 1e-6", "ms, one problem", "ms each, of 64"]
    lines = []
    for entry in (entry for record in of(found, "pa") for entry in record.get("clock") or ()):
        for name, words in TIMED.items():
            row = entry[name]
            cells = (row.get("iterations"), row["ms"], row.get("ms_of_64"))
            shown = ["–" if x is None else f"{x:.3g}" for x in cells]
            lines.append([str(entry["n"]), words, *shown])
    return head, lines


def tables(found: Sequence[Record]) -> list[str]:
    parts = [f"{KINDS[kind]}\n\n{markdown(*table(found, kind))}" for kind in KINDS]
    head, lines = clock_table(found)
    return parts + ([f"By the clock\n\n{markdown(head, lines)}"] if lines else [])


# The page.


def write(found: Sequence[Record], said: Sequence[Verdict], path: Path) -> None:
    """Write the page of the study."""
    held = sum(verdict.holds for verdict in said)
    write_study_page(
        path,
        title="Math-L2O",
        answer=f"{held} of {len(said)} expectations were met.",
        verdicts=said,
        sections=[*(section(found, kind) for kind in KINDS), *clock_section(found)],
        command="steppe reproduce math-l2o --scale small",
    )


def section(found: Sequence[Record], kind: str) -> Section:
    drawn = [name for name in DRAWN if of(found, name)]
    style = styles([NAMES[name] for name in drawn])
    curves = [curve(found, name, kind, 1.0) for name in drawn]
    head, lines = table(found, kind)
    return Section(
        KINDS[kind][:1].upper() + KINDS[kind][1:],
        "Mean over fresh problems of (F − F*)/F*, median over meta-seeds, by iteration.",
        head,
        lines,
        {"By iteration.": drawing(curves, style, f"{KINDS[kind]} by iteration", "iterations")},
        style,
    )


def clock_section(found: Sequence[Record]) -> list[Section]:
    timed = [entry for record in of(found, "pa") for entry in record.get("clock") or ()]
    head, lines = clock_table(found)
    if not timed:
        return []
    style = styles([NAMES["pa"], NAMES["fista-restart"]])
    pictures = {}
    for what, caption in (("ms", "One problem."), ("ms_of_64", "Each of 64 side by side.")):
        curves = [
            curve(found, name, "lasso", timed[0][name][what] / timed[0][name]["iterations"])
            for name in ("pa", "fista-restart")
            if timed[0][name][what]
        ]
        pictures[caption] = drawing(curves, style, f"LASSO by the clock, {what}", "milliseconds")
    return [
        Section(
            "By the clock",
            "LASSO as in training, iterations times the milliseconds of one; the table has more "
            "sizes. The network costs more than all products with A.",
            head,
            lines,
            pictures,
            style,
        )
    ]


def curve(found: Sequence[Record], name: str, kind: str, unit: float) -> Curve:
    marks = [mark for mark in MARKS if gap(found, name, kind, mark) is not None]
    return Curve(
        NAMES[name], [mark * unit for mark in marks], [gap(found, name, kind, m) for m in marks]
    )


def drawing(curves: Sequence[Curve], style: dict[str, int], name: str, x: str) -> str:
    def logarithmic(axes) -> None:
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(bottom=1e-9)

    return picture(curves, style, name=name, x=x, y="gap", how=logarithmic)
