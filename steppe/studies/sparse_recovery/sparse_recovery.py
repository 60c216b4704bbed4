"""Recover sparse vectors with every solver there is: Figure 5 of the primer of Open-L2O, corrected.

Networks of T layers beside ISTA, FISTA, AMP, OMP and HyperLISTA, on the same problems, in four
panels: without noise, with noise of 20 dB, for a matrix with correlated columns, and at full size.
Chen et al., "Learning to optimize: a primer and a benchmark", JMLR 2022, has the networks alone, in
one average, in float32.

    steppe reproduce sparse-recovery --scale small

What is expected: `expectations.py`; what came out: `README.md`, both beside this file.
"""

import dataclasses
import functools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax.random as jr
import numpy as np

from ...certificates.certify import certify
from ...evaluation.engines import Row
from ...evaluation.recovery import SUCCESS, Recovery, recovery
from ...report.plots import styles
from .. import cost
from ..page import SHOWN, Curve, Section, picture, write_study_page
from ..study import (
    NOT_MEASURED,
    Cell,
    Conclusion,
    Record,
    Study,
    Verdict,
    markdown,
    records,
    reproduced,
)
from . import methods
from .expectations import EXPECTED, Level, Margin, Share
from .methods import CLASSICAL, METHODS, NUMBERS, OF_PANEL, OMP, Panel
from .settings import SparseRecoverySizes

SNR, CORRELATION, CONDITION = 20.0, 0.8, 50.0
DELTA = 1e-5  # of the certificate
FIRST_SEED = 0
ABOUT = {
    "noiseless": "without noise",
    "noisy": f"noise of {SNR:g} dB",
    "correlated": f"neighbouring columns of A correlated by {CORRELATION}",
    "conditioned": f"singular values of A spread over a factor of {CONDITION:g}",
    "large": "without noise, at full size",
    "large-noisy": f"noise of {SNR:g} dB, at full size",
}
LARGE, NOISY = ("large", "large-noisy"), ("noisy", "large-noisy")


def panel_of(cell: Cell) -> Panel:
    rows, n, layers = cell["sizes"]
    name = cell["panel"]
    task = {
        "rows": rows, "n": n, "density": 0.1, "weight": 0.1,
        "snr": SNR if name in NOISY else None,
        "correlation": CORRELATION if name == "correlated" else 0.0,
        "condition": CONDITION if name == "conditioned" else None,
    }  # fmt: skip
    return Panel(task, layers, cell["stages"], cell["episodes"])


def cells(settings: SparseRecoverySizes) -> Iterator[Cell]:
    """One a panel, method and seed; the dearest first."""
    known = OF_PANEL["noiseless"]
    if unknown := [method for method in settings.methods if method not in known]:
        raise ValueError(f"methods: there is no {unknown[0]!r}, only {', '.join(known)}.")
    for name in sorted(settings.panels, key=lambda name: name not in LARGE):
        large = name in LARGE
        own = (settings.rows, settings.n, settings.layers)
        full = (settings.large_rows, settings.large_n, settings.large_layers)
        there = known if settings.every else OF_PANEL[name]
        wanted = settings.methods or there
        for seed in range(FIRST_SEED, FIRST_SEED + settings.seeds):
            for method in (m for m in there if m in wanted):
                yield {
                    "panel": name,
                    "method": method,
                    "seed": seed,
                    "sizes": list(full if large else own),
                    "stages": list(settings.large_stages if large else settings.stages),
                    "episodes": settings.episodes * methods.EPISODES.get(method, 1),
                    "problems": settings.problems,
                    "certified": settings.certified if name == "large" and method in NUMBERS else 0,
                }


def run(cell: Cell) -> dict[str, Any]:
    """Errors after each layer on test problems that nothing was trained or tuned on."""
    panel, seed, method = panel_of(cell), cell["seed"], cell["method"]
    key = jr.fold_in(jr.key(0x5BA125), seed)
    train, test = (jr.fold_in(key, stream) for stream in (methods.TRAIN, methods.TEST))
    if method == OMP:
        found, seconds, count = methods.pursued(panel.make(seed), panel, cell["problems"], test)
        return {"errors": [plain(found)], "numbers": 0, "cost": seconds, "training": 0.0,
                "settings": {}, "problems_met": count}  # fmt: skip
    began = time.process_time()
    opt, task, chosen = METHODS[method](panel, seed, train)
    training = time.process_time() - began
    x, truth = methods.runs(task, opt, panel.layers, cell["problems"], test)
    each = (x[:, k] for k in range(panel.layers + 1))
    result = {
        "errors": [plain(recovery(y, truth)) | methods.band(y, truth) for y in each],
        "numbers": cost.numbers(opt),
        "cost": cost.of_step(task, opt, panel.layers, test),
        "training": round(training, 1),
        "settings": {name: float(f"{value:.4g}") for name, value in chosen.items()},
        "problems_met": cell["problems"],
    }
    if cell["certified"]:
        result["certificate"] = certified(task, opt, panel.layers, cell)
    return result


def certified(task, opt, layers: int, cell: Cell) -> dict[str, Any]:
    """The fraction of future vectors that are recovered, at least, and who says so."""
    cert = certify(
        opt,
        task,
        steps=layers,
        metric="nmse",
        tolerances=[SUCCESS],
        delta=DELTA,
        n=cell["certified"],
        seed=1000 + cell["seed"],
    )
    (claim,) = cert.claims
    return {
        "statement": cert.statement,
        "bound": 1 - claim["bound"],
        "observed": 1 - claim["evidence"]["failures"] / claim["n"],
        "n": cell["certified"],
    }


def plain(error: Recovery) -> dict[str, Any]:
    rounded = lambda x: x if not isinstance(x, float) else round(x, 4)
    return {name: rounded(value) for name, value in dataclasses.asdict(error).items()}


# The answer.


def conclude(settings: SparseRecoverySizes, rows: Sequence[Row]) -> Conclusion:
    found = records(rows)
    said = verdicts(found)
    tables = [
        f"{name}: {title(found, name)}\n\n{markdown(*table(found, name))}" for name in panels(found)
    ]
    parts = [*tables, guarantee(found), reproduced(said)]
    return Conclusion(
        text="\n\n".join(part for part in parts if part),
        content={"records": found},
        verdicts=said,
        files={"report.html": functools.partial(write, found, said)},
    )


def panels(found: Sequence[Record]) -> list[str]:
    return [name for name in ABOUT if any(record["panel"] == name for record in found)]


def title(found: Sequence[Record], panel: str) -> str:
    rows, n, layers = next(r["sizes"] for r in found if r["panel"] == panel)
    return f"{ABOUT[panel]}, {rows} × {n}, {layers} layers"


def of(found: Sequence[Record], panel: str, method: str) -> list[Record]:
    """Its records, one a seed."""
    return [r for r in found if (r["panel"], r["method"]) == (panel, method)]


def order(found: Sequence[Record], panel: str) -> list[str]:
    """Methods of a panel, the least mean error first; those without a finite one last."""
    names = dict.fromkeys(r["method"] for r in found if r["panel"] == panel)
    return sorted(names, key=lambda name: last(found, panel, name, "mean_db"))


def last(found: Sequence[Record], panel: str, method: str, what: str) -> float:
    """Mean over seeds of a number after the last layer; ∞ if one seed has none."""
    values = [r["errors"][-1][what] for r in of(found, panel, method)]
    return float("inf") if None in values or not values else float(np.mean(values))


def table(found: Sequence[Record], panel: str) -> tuple[list[str], list[list[str]]]:
    head = ["solver", "numbers", "mean dB", "aggregate dB", "recovered", "not finite",
            "training, CPU-s", "step, CPU-µs"]  # fmt: skip
    lines = []
    for method in order(found, panel):
        own = of(found, panel, method)
        share = np.mean([r["errors"][-1]["success"] for r in own])
        lines.append(
            [
                method,
                f"{own[0]['numbers']:,}",
                spread([r["errors"][-1]["mean_db"] for r in own]),
                spread([r["errors"][-1]["aggregate_db"] for r in own]),
                f"{100 * share:.1f} %",
                str(sum(r["errors"][-1]["nonfinite"] for r in own)),
                f"{np.mean([r['training'] for r in own]):.0f}",
                f"{1e6 * np.mean([r['cost'] for r in own]):.3g}",
            ]
        )
    return head, lines


def spread(values: Sequence[float | None]) -> str:
    """The mean over seeds, and least to largest where there are several."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    mean = f"{np.mean(known):.1f}"
    return mean if len(known) < 2 else f"{mean} [{min(known):.1f}, {max(known):.1f}]"


def best_certified(found: Sequence[Record]) -> Record | None:
    """The record with a certificate whose error on the *test problems* is least."""
    own = [r for r in found if r.get("certificate")]
    return min(own, key=lambda r: (-r["errors"][-1]["success"], r["method"]), default=None)


def guarantee(found: Sequence[Record]) -> str:
    best = best_certified(found)
    if best is None:
        return ""
    return (
        f"Certificate of {best['method']}, which recovers most test vectors of the large panel: "
        f"{best['certificate']['statement']}"
    )


def verdicts(found: Sequence[Record], every: bool = False) -> list[Verdict]:
    """Each expectation of the sizes that were run, where all that it needs was run.

    - `every`: the others too, as not measured
    """
    said = []
    for expected in EXPECTED:
        sizes = {tuple(r["sizes"]) for r in found if r["panel"] == expected.panel}
        margin = isinstance(expected, Margin)
        needed = (*expected.better, expected.worse) if margin else (expected.method,)
        there = all(of(found, expected.panel, method) for method in needed)
        if sizes == {expected.sizes} and there:
            said.append(judge(found, expected))
        elif every:
            said.append(Verdict(claim(expected), False, "no such records", unjudged=NOT_MEASURED))
    return said


def claim(expected: Level | Margin | Share) -> str:
    """The expectation in words."""
    if isinstance(expected, Level):
        words = f"{expected.method} at most {expected.most:g} dB, {expected.average}"
    elif isinstance(expected, Share):
        words = f"{expected.method} recovers at least {100 * expected.least:g} %"
    else:
        names = ", ".join(expected.better)
        words = f"{names} at least {expected.by:g} dB below {expected.worse}, every seed"
    return f"{expected.panel}: {words}"


def judge(found: Sequence[Record], expected: Level | Margin | Share) -> Verdict:
    panel = expected.panel
    if isinstance(expected, Level):
        value = last(found, panel, expected.method, f"{expected.average}_db")
        return Verdict(claim(expected), value <= expected.most, f"{value:.1f} dB")
    if isinstance(expected, Share):
        share = last(found, panel, expected.method, "success")
        return Verdict(claim(expected), share >= expected.least, f"{100 * share:.1f} %")
    gaps = {
        method: min(margins(found, panel, expected.worse, method)) for method in expected.better
    }
    least = min(gaps, key=lambda method: gaps[method])
    because = f"least: {least}, {gaps[least]:.1f} dB"
    return Verdict(claim(expected), gaps[least] >= expected.by, because)


def margins(found: Sequence[Record], panel: str, worse: str, better: str) -> list[float]:
    """Decibels by which the mean error of `better` is lower, seed by seed."""
    error = lambda r: np.inf if (x := r["errors"][-1]["mean_db"]) is None else x
    theirs = {r["seed"]: error(r) for r in of(found, panel, worse)}
    return [float(theirs[r["seed"]] - error(r)) for r in of(found, panel, better)]


# The page.

CHOSEN = ("HyperLISTA", "TISTA", "ALISTA", "LISTA-CPSS", "LAMP", "LISTA", "AMP", "FISTA")


def write(found: Sequence[Record], said: Sequence[Verdict], path: Path) -> None:
    """Write the page of the study."""
    write_study_page(
        path,
        title="Sparse recovery: Figure 5, corrected",
        answer="Mean errors after the last layer: "
        + "; ".join(sentence(found, panel) for panel in panels(found))
        + ".",
        verdicts=said,
        sections=[*(section(found, panel) for panel in panels(found)), *promised(found)],
        command="steppe reproduce sparse-recovery --scale small",
    )


def sentence(found: Sequence[Record], panel: str) -> str:
    """The best network and the best classical solver of a panel."""
    error = lambda method: f"{method} {last(found, panel, method, 'mean_db'):.1f} dB"
    ranked = order(found, panel)
    ours = [error(method) for method in ranked if method not in CLASSICAL][:1]
    theirs = [error(method) for method in ranked if method in CLASSICAL][:1]
    return f"{ABOUT[panel]}, {', '.join([*ours, *theirs])}"


def section(found: Sequence[Record], panel: str) -> Section:
    drawn = [name for name in CHOSEN if of(found, panel, name)][:SHOWN]
    style = styles(drawn)
    by_step, by_time = [], []
    for method in drawn:
        own = of(found, panel, method)[0]
        y = [error["mean_db"] for error in own["errors"]]
        x = range(len(y))
        by_step.append(Curve(method, list(x), y))
        by_time.append(Curve(method, [k * own["cost"] * 1e6 for k in x[1:]], y[1:]))
    name, y = f"sparse recovery {panel}", "error, dB (mean)"
    head, rows = table(found, panel)
    return Section(
        title(found, panel)[:1].upper() + title(found, panel)[1:],
        "Errors are 10 log₁₀ ‖x − x♯‖²/‖x♯‖², in float64. The mean is over the errors of vectors; "
        "the aggregate is of the sums, which a few bad vectors decide. Recovered: below "
        f"{SUCCESS:g} dB. {', '.join(m for m in CLASSICAL if of(found, panel, m))} are classical.",
        head,
        rows,
        {
            "By iteration.": picture(by_step, style, name=f"{name} by step", x="iterations", y=y),
            "By the processor time of a problem, in batches.": picture(
                by_time,
                style,
                name=f"{name} by time",
                x="CPU-microseconds a problem",
                y=y,
                how=lambda axes: axes.set_xscale("log"),
            ),
        },
        style,
    )


def promised(found: Sequence[Record]) -> list[Section]:
    text = guarantee(found)
    return [Section("A certificate of recovery", text)] if text else []


def promised_time(settings: SparseRecoverySizes) -> str:
    return "days" if settings.n > 128 else ""


STUDY = Study(cells, f"{__name__}:run", conclude, promised_time, keep_programs=True)
