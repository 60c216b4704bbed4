"""Can a learned optimizer be read as a formula, does the formula do, and which term makes flat?

- Rules that are formulas themselves, SGD to Lion, are found again from their runs.
- Shipped teachers, and published weights where their folder is given: R² of a linear filter, of the
  template of the paper and of what was chosen; losses of the formula over the teacher's on fresh
  problems, as fitted and after a little tuning, on the teacher's task and on two others.
- Both RNNProps that are shipped in one form, and rules between them: `twins.py`.

    steppe reproduce symbolic --scale small

What is expected: `expectations.py`, written down before the run; what came out: `README.md`.
"""

import dataclasses
import functools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax.random as jr
import numpy as np

from ...core.expression import fill, parse
from ...core.task import AbstractTask
from ...distillation import forms
from ...distillation.distill import compared, distill
from ...distillation.fit import r2
from ...distillation.record import record
from ...distillation.table import tabulate
from ...distillation.template import linear, template, variables_of
from ...distillation.tuning import tuned
from ...distillation.wording import brief, number
from ...evaluation.engines import Row
from ...interop.open_l2o import read as read_published
from ...optimizers.learned.symbolic import Symbolic
from ...tasks import build
from ...zoo import load
from ...zoo.registry import PRETRAINED
from ..study import Cell, Conclusion, Record, Study, markdown, records, sentences, use_cores
from . import cards, expectations, twins
from .settings import PUBLISHED, RULES, Formulas

TASK, OTHERS = "digits-relu", ("digits-mlp", "digits-deeper")
PUBLISHED_TASK = "mnist5k-mlp"
HORIZONS, LONG = (100, 500), 2500
KNOWN = {  # rules by hand, as formulas of the inputs
    "sgd": "-0.05 * g",
    "momentum": "-0.05 * mom9",
    "rmsprop": "-0.003 * gn99",
    "adam": "-0.003 * mn9_999",
    "lion": "-0.003 * sign(0.9 * mom99 + 0.1 * g)",
}
KNOWN_POOL = ("g", "mom9", "mom99", "gn99", "mn9_999", "gn95", "mn95", "m9")
MATCHED = ("trace_matched", "top_matched", "test_matched")
SQUASHED = ("c0 * x0", "c0 * tanh(c1 * x0)", "c0 * tanh(c1 * x0 + c2 * x1)")


def cells(settings: Formulas) -> Iterator[Cell]:
    for rule in RULES:
        yield {"part": "rule", "rule": rule}
    sizes = {"runs": settings.runs, "steps": settings.steps}
    models = {"seeds": settings.seeds, "models": settings.models}
    for judged in twins.JUDGED:
        yield {"part": "twins", "judged": judged, **models, **sizes}
    if settings.published:
        for name in PUBLISHED:
            file = str(Path(settings.published) / f"{name}.npz")
            yield {"part": "published", "teacher": name, "file": file, **sizes}
    more = {name: getattr(settings, name) for name in ("problems", "test", "long", "tune")}
    for name in settings.teachers:
        large = name.startswith("l2o")  # a step takes ten times as long
        fewer = {"problems": 8, "test": 12, "long": 0} if large else {}
        less = {k: min(more[k], x) for k, x in fewer.items()}
        yield {"part": "teacher", "teacher": name, **sizes, **more, **less}


def run(cell: Cell) -> dict[str, Any]:
    use_cores()
    began = time.process_time()
    part = {"rule": known, "twins": pair, "published": published, "teacher": teacher}[cell["part"]]
    return {**part(cell), "cpu_seconds": round(time.process_time() - began, 1)}


def known(cell: Cell) -> dict[str, Any]:
    """A rule that is a formula, found again from its runs."""
    rule = Symbolic(KNOWN[cell["rule"]])
    rows = record(rule, build(TASK, start="he"), runs=10, steps=100, key=jr.key(3))
    pool = [v for name in KNOWN_POOL for v in forms.variables(parse(name))]
    split = tabulate(rows, pool).split()
    found = sorted(forms.short(split, pool, SQUASHED), key=lambda f: f.nodes)
    best = max(f.validation or 0 for f in found)
    kept = next(f for f in found if (f.validation or 0) >= best - 1e-6)
    text = str(fill(kept.expression, kept.coefficients, 4))
    return {
        "formula": text,
        "truth": KNOWN[cell["rule"]],
        "r2": r2(split.test.target, kept(split.test)),
    }


def pair(cell: Cell) -> dict[str, Any]:
    sizes = (cell[name] for name in ("seeds", "models", "runs", "steps"))
    return twins.measured(cell["judged"], *sizes)


def published(cell: Cell) -> dict[str, Any]:
    """R² of linear filter, template and short formulas; no losses."""
    opt, task = read_published(cell["file"]), build(PUBLISHED_TASK)
    rows = record(opt, task, runs=cell["runs"], steps=cell["steps"], key=jr.key(4))
    inputs = variables_of()
    split = tabulate(rows, [*forms.pool(), *inputs]).split()
    value = lambda f: float(r2(split.test.target, f(split.test)) or 0.0)
    short = max(forms.short(split, forms.pool()), key=lambda f: f.validation or 0)
    return {
        "linear": value(linear(split, inputs)),
        "template": value(template(split, inputs)),
        "short": value(short),
        "nodes": short.nodes,
        "formula": str(fill(short.expression, short.coefficients, 4)),
        "task": PUBLISHED_TASK,
    }


def teacher(cell: Cell) -> dict[str, Any]:
    """A shipped optimizer as a formula, and its losses."""
    name = cell["teacher"]
    opt, task = load(name), build(TASK, start="he")
    found = distill(
        opt, task, horizons=HORIZONS, runs=cell["runs"], steps=cell["steps"],
        problems=cell["problems"], test=2, name=name, task_name=TASK,
    )  # fmt: skip
    rules = {"chosen": found.rule, "tuned": tuned(found.rule, task, cell["tune"], key=jr.key(5))}
    ratios: dict[str, list[dict]] = {arm: [] for arm in rules}
    for k, (label, there) in enumerate(places(task).items()):
        far = cell["long"] > 1 and not k  # on their own task
        horizons = (*HORIZONS, LONG) if far else HORIZONS
        seen = compared(
            label, there, list(rules.values()), opt, horizons, cell["test"],
            max(cell["long"], 2), jr.fold_in(jr.key(6), k),
        )  # fmt: skip
        for arm, rows in zip(ratios, seen, strict=True):
            ratios[arm] += [dataclasses.asdict(r) for r in rows]
    return {
        "task": TASK,
        "formula": found.text,
        "tuned_formula": rules["tuned"].text(4),
        "nodes": found.nodes,
        "state": found.state,
        "held": found.held.pooled,
        "linear": found.linear,
        "template": found.template,
        "cost": found.cost,
        "front": [
            {"nodes": r.nodes, "r2": r.validation, "gain": r.gain, "ratios": list(r.ratios),
             "formula": r.text if r.nodes <= 20 else "", "kept": r.kept}
            for r in found.front
        ],
        "ratios": ratios,
    }  # fmt: skip


def places(task: AbstractTask) -> dict[str, AbstractTask]:
    """The teachers' task, and others that none of them has seen."""
    return {TASK: task, **{name: build(name) for name in OTHERS}}


def conclude(settings: Formulas, rows: Sequence[Row]) -> Conclusion:
    found = records(rows)
    said = expectations.verdicts(found)
    of = lambda part: [r for r in found if r["part"] == part]
    tables = [
        ("Rules made by hand, found again from ten runs", rules_table(of("rule"))),
        (
            "Teachers: R² on held-out runs, and the formula that was chosen",
            teachers_table([*of("published"), *of("teacher")]),
        ),
        (
            "Loss of the formula over the teacher's on fresh problems: geometric mean [95 %]",
            losses_table(of("teacher")),
        ),
        ("The RNNProps in one form: u = a · gn95 + b · mn95", twins_table(of("twins"))),
    ]
    text = [part for title, table in tables if table for part in (title, table)]
    files = {
        f"{r['teacher']}.safetensors": functools.partial(cards.release, record=r)
        for r in of("teacher")
        if r["teacher"] in PRETRAINED
    }
    return Conclusion("\n\n".join([*text, sentences(said)]), {"records": found}, said, files)


def rules_table(found: Sequence[Record]) -> str:
    lines = [[r["rule"], f"`{r['truth']}`", f"`{r['formula']}`", f"{r['r2']:.5f}"] for r in found]
    return markdown(["rule", "is", "found", "R²"], lines) if lines else ""


def teachers_table(found: Sequence[Record]) -> str:
    lines = []
    for r in found:
        own = r.get("held", r.get("short"))
        cells = (number(x) for x in (r["linear"], r["template"], own))
        formula = f"`{brief(r['formula'], 90)}`"
        lines.append([expectations.label(r), *cells, str(r["nodes"]), formula])
    head = ["teacher", "linear", "template", "formula", "nodes", ""]
    return markdown(head, lines) if lines else ""


def losses_table(found: Sequence[Record]) -> str:
    lines = []
    for r in found:
        for arm, ratios in r["ratios"].items():
            for task in dict.fromkeys(x["task"] for x in ratios):
                here = {(x["part"], x["steps"]): x for x in ratios if x["task"] == task}
                cells = [
                    interval(here.get((part, steps)))
                    for part in ("test", "train")
                    for steps in (*HORIZONS, LONG)
                ]
                lines.append([r["teacher"], arm, task, *cells])
    heads = [f"{part} {steps}" for part in ("test", "training") for steps in (*HORIZONS, LONG)]
    return markdown(["teacher", "formula", "task", *heads], lines) if lines else ""


def interval(x: dict | None) -> str:
    if x is None or x["mean"] is None:
        return "–"
    return f"{number(x['mean'])} [{number(x['low'])}, {number(x['high'])}]"


def twins_table(found: Sequence[Record]) -> str:
    return "\n\n".join(map(twins_of_task, found))


def twins_of_task(r: Record) -> str:
    fits = ", ".join(
        f"{twin}: a = {a:.4g}, b = {b:.4g} (R² {r['r2'][twin]:.2f})"
        for twin, (a, b) in r["coefficients"].items()
    )
    lines = []
    for arm, models in r["models"].items():
        mean = lambda of, models=models: np.exp(np.mean(np.log([x for x in models[of] if x])))
        lines.append([
            arm, *(f"{mean(of):.3g}" for of in ("train", "test")),
            f"{np.mean(models['accuracy']):.3f}",
            *(f"{mean(of):.3g}" for of in ("trace", *MATCHED)),
        ])  # fmt: skip
    head = ["rule", "training loss", "test loss", "test accuracy", "tr H", "tr H at equal loss",
            "λ at equal loss", "test loss at equal loss"]  # fmt: skip
    return f"{fits}; models of {r['judged']}\n\n" + markdown(head, lines)


def cost(settings: Formulas) -> str:
    return "days" if settings.test > 100 else "20 CPU-minutes" if settings.test > 10 else ""


STUDY = Study(cells, f"{__name__}:run", conclude, cost, keep_programs=True)
