"""Solve LASSO problems of one matrix by unrolled networks and by hand: the primer's Figure 6.

    f_q(x) = ½ ‖A x − b_q‖² + 0.005 ‖x‖₁,   A of 5 × 10 or 25 × 50, columns of length 1

    R = mean_q [ f_q(x) − f_q* ] / mean_q [ f_q* ]      after 1 … 1000 iterations

LISTA, ALISTA and StepLISTA are trained by the objective itself, without solutions, and are handed
over to FISTA after their last layer. The published ISTA and FISTA took the step 1/‖A‖_F²; both that
and 1/L are here.

    steppe reproduce lasso --scale small

Chen et al., "Learning to optimize: a primer and a benchmark", JMLR 2022. What is expected is
written down below, before the runs; what came out: `README.md`.
"""

import functools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax.random as jr
import numpy as np

from ...evaluation.engines import Row
from ...evaluation.relative import relative_loss, values_after
from ...report.plots import log_axes, styles
from .. import cost
from ..page import SHOWN, Curve, Section, picture, write_study_page
from ..sources import digest_of
from ..study import (
    NOT_MEASURED,
    Cell,
    Conclusion,
    Protocol,
    Record,
    Study,
    Verdict,
    markdown,
    records,
    reproduced,
)
from .methods import LEARNED, META, METHODS, UNROLLED, family, made, problems
from .settings import LassoSizes

MARKS = (1, 2, 4, 8, 10, 16, 25, 50, 100, 200, 400, 1000)
SHOWN_AT = (1, 10, 16, 50, 100, 400, 1000)  # in the table
TRAIN, TUNE, TEST = range(3)  # streams of keys


def cells(settings: LassoSizes) -> Iterator[Cell]:
    """One a size, method and matrix; networks first, which take longest."""
    sizes = {"layers": settings.layers, "stages": list(settings.stages),
             "problems": settings.problems, "steps": settings.steps}  # fmt: skip
    for method in sorted(METHODS, key=lambda name: name not in LEARNED):
        more = {"updates": settings.updates} if method in META else {}
        for rows in settings.rows:
            for seed in range(settings.seeds):
                yield {"method": method, "rows": rows, "seed": seed, **sizes, **more}
    for source in settings.optimizers:
        digest = digest_of(source)
        for rows in settings.rows:
            for seed in range(settings.seeds):
                yield {"method": source, "digest": digest, "rows": rows, "seed": seed, **sizes}


def run(cell: Cell) -> dict[str, Any]:
    """R after each of the marks, on problems that nothing was trained or tuned on."""
    method, rows, seed = cell["method"], cell["rows"], cell["seed"]
    task = family(rows, seed)
    key = jr.fold_in(jr.key(0x1A550), seed)
    own = {name: cell[name] for name in ("layers", "problems", "steps", "updates") if name in cell}
    sizes = LassoSizes(rows=(rows,), stages=tuple(cell["stages"]), **own)
    began = time.process_time()
    opt = made(method, rows, seed, sizes, jr.fold_in(key, TRAIN))
    training = time.process_time() - began
    known = problems(rows, seed, jr.fold_in(key, TEST), cell["problems"])
    at = tuple(mark for mark in MARKS if mark <= cell["steps"])
    values = values_after(opt, known, (0, *at))
    return {
        "at": [0, *at],
        "R": rounded(relative_loss(values, known.values)),
        **band(values, known.values),
        "numbers": 0 if method in METHODS and method not in LEARNED else cost.numbers(opt),
        "training": round(training, 1),
        "cost": cost.of_step(task, opt, cell["layers"], key),
        "proven": float(np.max(known.gaps / np.maximum(known.values.mean(), 1e-300))),
    }


def band(values: np.ndarray, least: np.ndarray) -> dict[str, Any]:
    """Quantiles over problems of what R is the mean of; a value not finite is the largest."""
    rises = (np.where(np.isfinite(values), values, np.inf) - least[:, None]) / least.mean()
    low, high = np.quantile(rises, (0.1, 0.9), axis=0, method="nearest")
    nonfinite = int(np.sum(~np.isfinite(values[:, -1])))
    return {"low": rounded(low), "high": rounded(high), "nonfinite": nonfinite}


def rounded(numbers: np.ndarray) -> list[float | None]:
    """Six figures of each; None for what is not finite."""
    return [float(f"{x:.6g}") if np.isfinite(x) else None for x in numbers]


# Expectations, written down before the runs.

PUBLISHED = {  # R of 25 × 50 with the step 1/‖A‖_F², as the figure has it; within a factor of 1.5
    "ISTA, 1/‖A‖_F²": {1: 110, 10: 43, 16: 27, 100: 1.9, 1000: 0.55},
    "FISTA, 1/‖A‖_F²": {1: 110, 10: 17, 16: 5, 100: 0.5},
}
WITHIN = 1.5
MOST = {("LISTA", 5): 0.04, ("LISTA", 25): 0.10, ("ALISTA", 5): 0.03, ("ALISTA", 25): 0.03}
LAYERS = 16  # that the expectations are about


def verdicts(found: Sequence[Record], every: bool = False) -> list[Verdict]:
    """Each expectation on what was run, judged on the mean of R over matrices.

    - `every`: those on what was not run too, as not measured
    """
    if any(r["layers"] != LAYERS for r in found):
        found = []
    said = []
    for method, marks in PUBLISHED.items():
        for k, value in marks.items():
            R = at(found, method, 25, k)
            claim = f"25 × 50: {method} after {k} within {WITHIN:g} × of the published {value}"
            holds = R is not None and value / WITHIN <= R <= value * WITHIN
            said.append(_said(claim, holds, R, f"R = {R or 0:.3g}", "published"))
    for rows in (5, 25) if every else sorted({r["rows"] for r in found}):
        said += _of_size(found, rows)
    return [verdict for verdict in said if every or not verdict.unjudged]


def _said(claim: str, holds: bool, R: float | None, because: str, protocol: Protocol) -> Verdict:
    if R is None:
        return Verdict(claim, False, "no such record", unjudged=NOT_MEASURED, protocol=protocol)
    return Verdict(claim, holds, because, protocol=protocol)


def _of_size(found: Sequence[Record], rows: int) -> list[Verdict]:
    said, size = [], f"{rows} × {2 * rows}"

    def claim(text: str, value: float | None, limit: float | None) -> None:
        known = None if limit is None else value
        holds = value is not None and limit is not None and value <= limit
        because = f"R = {value or 0:.3g}, at most {limit or 0:.3g}"
        said.append(_said(f"{size}: {text}", holds, known, because, "corrected"))

    R = lambda method, k: at(found, method, rows, k)
    part = lambda method, k, share: None if (x := R(method, k)) is None else share * x
    for method in ("LISTA", "ALISTA"):
        claim(f"{method} after 16 layers", R(method, 16), MOST[method, rows])
        claim(f"{method} 7 × below FISTA after 16", R(method, 16), part("FISTA", 16, 1 / 7))
        for k in (50, 100):
            claim(f"{method}, handed over, 3 × below FISTA after {k}", R(method, k),
                  part("FISTA", k, 1 / 3))  # fmt: skip
        claim(f"{method}, handed over, within 4 × of FISTA after 400", R(method, 400),
              part("FISTA", 400, 4.0))  # fmt: skip
    claim("StepLISTA below ISTA after 16", R("StepLISTA", 16), R("ISTA", 16))
    for method in ("ISTA", "FISTA"):
        claim(f"{method} with 1/L below 1/‖A‖_F² after 16", R(method, 16),
              R(f"{method}, 1/‖A‖_F²", 16))  # fmt: skip
    return said


def at(found: Sequence[Record], method: str, rows: int, k: int) -> float | None:
    """The mean of R over matrices after k iterations; None if it was not run, ∞ if it diverged."""
    own = [r for r in found if (r["method"], r["rows"]) == (method, rows) and k in r["at"]]
    values = [r["R"][r["at"].index(k)] for r in own]
    return float(np.mean([np.inf if R is None else R for R in values])) if own else None


# The answer.


def conclude(settings: LassoSizes, rows: Sequence[Row]) -> Conclusion:
    found = records(rows)
    said = verdicts(found)
    tables = [
        f"{size} × {2 * size}: R\n\n{markdown(*table(found, size))}"
        for size in sorted({r["rows"] for r in found})
    ]
    return Conclusion(
        text="\n\n".join(part for part in (*tables, reproduced(said)) if part),
        content={"records": found},
        verdicts=said,
        files={"report.html": functools.partial(write, found, said)},
    )


def table(found: Sequence[Record], rows: int) -> tuple[list[str], list[list[str]]]:
    marks = [k for k in SHOWN_AT if any(k in r["at"] for r in found)]
    head = ["solver", "numbers", *(f"R at {k}" for k in marks), "training, CPU-s", "step, CPU-µs"]
    lines = []
    for method in methods(found):
        own = [r for r in found if (r["method"], r["rows"]) == (method, rows)]
        if own:
            values = [at(found, method, rows, k) for k in marks]
            told = ["–" if R is None else short(R) for R in values]
            training, step = (np.mean([r[name] for r in own]) for name in ("training", "cost"))
            lines.append(
                [method, f"{own[0]['numbers']:,}", *told, f"{training:.0f}", f"{1e6 * step:.3g}"]
            )
    return head, lines


def methods(found: Sequence[Record]) -> list[str]:
    """All that were run, those of the table of methods first."""
    return [*METHODS, *dict.fromkeys(r["method"] for r in found if r["method"] not in METHODS)]


def short(R: float) -> str:
    """Two figures, without an exponent where there is no need of one."""
    return f"{R:.0f}" if R >= 10 else f"{R:.2g}"


def write(found: Sequence[Record], said: Sequence[Verdict], path: Path) -> None:
    """Write the page of the study."""
    sizes = sorted({r["rows"] for r in found})
    write_study_page(
        path,
        title="LASSO: Figure 6, with the right step",
        answer=" ".join(map(functools.partial(sentence, found), sizes))
        + " R is the mean rise above the minimum over the mean minimum. After its last layer a "
        "network is handed over to FISTA.",
        verdicts=said,
        sections=[section(found, rows) for rows in sizes],
        command="steppe reproduce lasso --scale small",
    )


def sentence(found: Sequence[Record], rows: int) -> str:
    """The best network after its last layer, beside FISTA."""
    last = max(r["layers"] for r in found)
    marks = [k for k in MARKS if k <= last]
    R = {m: x for m in METHODS if (x := at(found, m, rows, marks[-1])) is not None}
    learned = min((m for m in UNROLLED if m in R), key=lambda m: R[m], default=None)
    if learned is None or "FISTA" not in R:
        return ""
    return (
        f"Of {rows} × {2 * rows}, {learned} is at R = {R[learned]:.2g} after {marks[-1]} "
        f"iterations, where FISTA is at {R['FISTA']:.2g}."
    )


def section(found: Sequence[Record], rows: int) -> Section:
    drawn = ["ALISTA", "LISTA", "StepLISTA", "FISTA", "ISTA", "FISTA, 1/‖A‖_F²"][:SHOWN]
    drawn = [name for name in drawn if at(found, name, rows, 1) is not None]
    style = styles(drawn)
    by_step, by_time = [], []
    for method in drawn:
        own = [r for r in found if (r["method"], r["rows"]) == (method, rows)]
        marks, step = own[0]["at"][1:], float(np.mean([r["cost"] for r in own]))
        values = [at(found, method, rows, k) for k in marks]
        by_step.append(Curve(method, marks, values))
        by_time.append(Curve(method, [k * step * 1e6 for k in marks], values))

    def logarithmic(words: str):
        def both(axes) -> None:
            axes.set_xscale("log")
            log_axes(axes, words, "R")

        return both

    head, lines = table(found, rows)
    name = f"lasso of {rows} rows"
    return Section(
        f"{rows} × {2 * rows}",
        "Means over matrices. Networks were trained without solutions, by the objective after "
        "each layer.",
        head,
        lines,
        {
            "By iteration.": picture(
                by_step, style, name=f"{name} by step", x="iterations", y="R",
                how=logarithmic("iterations"),
            ),
            "By the processor time of a problem, in batches.": picture(
                by_time, style, name=f"{name} by time", x="CPU-microseconds a problem", y="R",
                how=logarithmic("CPU-microseconds a problem"),
            ),
        },
        style,
    )  # fmt: skip


STUDY = Study(cells, f"{__name__}:run", conclude, keep_programs=True)
