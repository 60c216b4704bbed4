"""A report: one HTML file that opens offline, made from records and metrics alone.

    report_from_folders(["runs/demo"], "report.html")

reads records.jsonl, metrics.jsonl, config.json, env.json, rule.json, curvature.json and
certificate.json of each folder; what is absent leaves its panel out. No script, font or image is
loaded from anywhere.
"""

import os
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from ..certificates.certificate import Certificate
from ..evaluation import compare, curvature_record
from ..evaluation.curvature_record import CurvatureRecord
from ..evaluation.records import Record, read_records
from ..evaluation.update_curve import UpdateCurve, from_plain
from ..store.files import write_atomically
from ..store.untrusted import Source, checked, read_document
from ..train.sinks import flatness, read_rows
from . import answer, certificate_panel, plots

T = TypeVar("T")
TEMPLATE = "report.html.j2"
CERTIFICATE = "certificate.json"


def write_report(
    path: str | os.PathLike,
    *,
    title: str,
    records: Sequence[Record],
    rows: Sequence[Mapping[str, Any]] = (),
    facts: Mapping[str, Any] | None = None,
    verdict: Sequence[str] = (),
    command: str = "",
    rules: Sequence[UpdateCurve] = (),
    curvatures: Sequence[CurvatureRecord] = (),
    certificates: Sequence[Certificate] = (),
) -> Path:
    """Write the report and return its path.

    - `rows`: of meta-training, as in metrics.jsonl
    - `facts`: details and versions, name → value
    - `verdict`: sentences; `compare.sentences(records)` by default
    - `command`: what reproduces it
    - `rules`: update rules to draw, the learned one first
    - `curvatures`: points to tell the curvature of
    - `certificates`: what is guaranteed
    """
    records = list(records)
    style = plots.styles([*plots.order(records), *(rule.optimizer for rule in rules)])
    groups, scored = compare.cases(records), _scored(rows)
    judged = compare.with_stops(groups)
    comparisons = [c for case in judged for c in compare.compare(case)]
    page = render(
        "steppe.report",
        TEMPLATE,
        title=title,
        facts={name: value for name, value in (facts or {}).items() if value not in ("", None)},
        verdict=list(verdict) or compare.sentences(records),
        command=command,
        answers=[(answer.sentence(grid), grid) for grid in answer.grids(judged)],
        legend=[{"name": name, "i": i} for name, i in style.items()],
        cases=[_case(case, style) for case in groups],
        tables=[
            {"name": case.name, "metrics": compare.metrics(case), "rows": compare.table(case)}
            for case in judged
        ],
        glyphs=answer.SIGNS,
        differences=[
            safe(plots.differences(comparisons, style, metric))
            for metric in ("test_loss", "test_accuracy")
            if any(c.metric == metric and c.their_mean for c in comparisons)
        ],
        meta=safe(plots.meta_training(scored)) if scored else None,
        flat=any(flatness(row) is not None for row in scored),
        validated=any("valid_loss" in row for row in scored),
        rules=safe(plots.rules(rules, style)) if rules else None,
        units={rule.optimizer: rule.unit for rule in rules},
        drawn=[{"name": rule.optimizer, "i": style[rule.optimizer]} for rule in rules],
        curvatures=[
            {
                "found": found,
                "sentences": curvature_record.sentences(found),
                "density": safe(plots.density(found)),
                "slices": safe(plots.slices(found)),
                "landscape": safe(plots.landscape(found)),
            }
            for found in curvatures
        ],
        certificates=[
            certificate_panel.panel(cert) | {"success": safe(certificate_panel.success(cert))}
            for cert in certificates
        ],
        losses=losses(judged),
        slowness=slowness(groups),
        fairness=fairness(groups),
        comparisons=len(comparisons),
    )
    return write_page(path, page)


def render(package: str, template: str, **values: Any) -> str:
    """A page from the template of a package, which may extend those that lie beside this file."""
    try:
        import jinja2
    except ModuleNotFoundError as error:
        raise ImportError("A report needs jinja2, which is missing; pip install jinja2.") from error

    def source(name: str) -> str | None:
        found = (files(where).joinpath(name) for where in (package, "steppe.report"))
        return next((file.read_text(encoding="utf-8") for file in found if file.is_file()), None)

    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"figure": compare.figure, "spread": compare.spread, "label": compare.label}
    made.filters["symbol"] = _symbol
    return made.get_template(template).render(**values)


def write_page(path: str | os.PathLike, page: str) -> Path:
    """Write a page that is complete whenever it is there."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page)
    return path


def report_from_folders(folders: Sequence[str | os.PathLike], out: str | os.PathLike) -> Path:
    """The report of one run folder, or of several together.

    Title, command, metrics and rules are those of the first folder that has them. Where two
    folders hold the same optimizer on the same task, the later one gets its folder's name.
    """
    if not folders:
        raise ValueError("report_from_folders: no folder was given; name at least one run folder.")
    records: list[Record] = []
    config: dict[str, Any] = {}
    env: dict[str, Any] = {}
    rows: list[dict] = []
    rules: list[UpdateCurve] = []
    curvatures: list[CurvatureRecord] = []
    certificates: list[Certificate] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is no folder; give the folder of a finished run.")
        if (folder / "records.jsonl").exists():
            found, where = read_records(folder / "records.jsonl")
            records += _renamed(found, records, folder.resolve().name)
            env = env or where
        config = config or _read(folder / "config.json", dict) or {}
        if len(folders) == 1:
            env = env | (_read(folder / "env.json", dict) or {})
        rows = rows or read_rows(folder / "metrics.jsonl")
        rule, point = folder / "rule.json", folder / "curvature.json"
        rules = rules or [from_plain(x, _source(rule)) for x in _read(rule, list) or []]
        if (measured := _read(point, dict)) is not None:
            curvatures.append(curvature_record.from_plain(measured, _source(point)))
        if (folder / CERTIFICATE).exists():
            certificates.append(certificate_panel.read(folder / CERTIFICATE))
    if not records and not rows and not certificates:
        raise ValueError(
            f"{', '.join(map(str, folders))}: neither records.jsonl, metrics.jsonl nor "
            f"{CERTIFICATE} was found; run an evaluation first."
        )
    env = env or dict(certificates[0].environment if certificates else {})
    return write_report(
        out,
        title=str(config.get("title", _title(folders, certificates if not records else []))),
        records=records,
        rows=rows,
        facts=facts(config, env),
        command=str(config.get("command", "")),
        rules=rules,
        curvatures=curvatures,
        certificates=certificates,
    )


def _title(folders: Sequence[str | os.PathLike], certificates: Sequence[Certificate]) -> str:
    if certificates:
        return f"A guarantee for {certificates[0].optimizer.get('name', 'a solver')}"
    return "Report of " + ", ".join(Path(f).name for f in folders)


def facts(config: Mapping[str, Any], env: Mapping[str, Any]) -> dict[str, str]:
    """Facts at the head of a report, from config.json and env.json; nested entries are left out."""
    plain = {
        name: str(value)
        for name, value in config.items()
        if name not in ("title", "command") and isinstance(value, str | int | float)
    }
    versions, seconds = (
        {name: x for name, x in part.items() if isinstance(x, kind)}
        if isinstance(part := env.get(key), dict)
        else {}
        for key, kind in (("versions", str), ("seconds", int | float))
    )
    around = {
        "device": ", ".join(str(env[k]) for k in ("device", "processor") if env.get(k)),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "python": str(env.get("python", "")),
        "commit": str(env.get("commit", "")),
        "date": str(env.get("date", "")),
        "time": ", ".join(f"{part} {value:.0f} s" for part, value in seconds.items()),
    }
    return plain | {name: value for name, value in around.items() if value}


def losses(groups: Sequence[compare.Case]) -> list[tuple[str, compare.Comparison]]:
    """(case, comparison) wherever the learned optimizer is worse, in equal steps or equal time."""
    found = []
    for case in groups:
        found += [(case.name, c) for c in compare.compare(case)]
        found += [
            (f"{case.name}, at equal wall-clock with {c.theirs} ({step:,} steps)", c)
            for step, c in compare.equal_time(case)
        ]
    return [(where, c) for where, c in found if c.paired.verdict == "worse"]


def slowness(groups: Sequence[compare.Case]) -> list[str]:
    """Ratio of the time of a learned step to that of a baseline, a sentence a task."""
    said = {}
    for case in groups:
        for ours in (r for r in case.records if r.learned):
            ratios = [
                f"{ours.ms_per_step / theirs.ms_per_step:.1f} times one of {theirs.optimizer}"
                for theirs in case.records
                if not theirs.learned and theirs.ms_per_step < ours.ms_per_step
            ]
            if ratios:
                said[case.task, ours.optimizer] = (
                    f"{case.task}: a step of {ours.optimizer} takes {compare.enumeration(ratios)}."
                )
    return list(said.values())


def fairness(groups: Sequence[compare.Case]) -> list[tuple[bool, str]]:
    """Points in favour of the fairness of a comparison (True), and against it (False)."""
    said: list[tuple[bool, str]] = []
    for case in groups:
        apart = compare.unpaired(case)
        for ours, theirs in apart:
            said.append(
                (False, f"{case.name}: {ours} and {theirs} began from other starts; not compared.")
            )
        if not apart:
            count = len(case.records[0].seeds)
            said.append((True, f"{case.name}: same starts and batches for all, {count} seeds."))
        for record in case.records:
            found = record.tuning
            if not found and not record.learned:
                said.append((False, f"{case.name}: {record.optimizer} was not tuned."))
            if found and found.get("edge"):
                said.append(
                    (
                        False,
                        f"{case.name}: the {of(found)} of {record.optimizer} lies at the "
                        f"{found['edge']} end of its grid; a wider one may do better.",
                    )
                )
            if found and found.get("split") != "valid":
                said.append(
                    (
                        False,
                        f"{case.name}: {record.optimizer} was tuned on the "
                        f"{found.get('split')} split.",
                    )
                )
    tuned = [r.tuning for case in groups for r in case.records if r.tuning]
    if tuned:
        trials = sum(t["trials"] for t in tuned)
        said.append(
            (
                True,
                f"Learning rates tuned for each case on the validation split: "
                f"{len(tuned)} grids, {trials} inner trainings, seeds of their own.",
            )
        )
    if groups:
        said.append(gradients(groups))
    said += [(True, line) for case in groups for line in compare.trials(case)]
    said += [(True, line) for case in groups for line in compare.counts(case)]
    return said


def of(tuning: Mapping[str, Any]) -> str:
    """The word for the number that was tuned."""
    name = tuning.get("of", "learning rate")
    return "rate" if name == "learning rate" else name


def gradients(groups: Sequence[compare.Case]) -> tuple[bool, str]:
    """Gradients of the loss in a step of each optimizer; whether all take equally many."""
    takers: dict[int | None, list[str]] = {}
    for record in (record for case in groups for record in case.records):
        names = takers.setdefault(record.gradients_per_step, [])
        if record.optimizer not in names:
            names.append(record.optimizer)
    fixed = sorted(count for count in takers if count is not None)
    if not takers.keys() - {*fixed} and len(fixed) == 1:
        return True, f"Gradients a step: {fixed[0]} for all."
    parts = [f"{count} for {compare.enumeration(takers[count])}" for count in fixed]
    if None in takers:
        parts.append(f"not fixed for {compare.enumeration(takers[None])}")
    return False, f"Gradients a step: {compare.enumeration(parts)}; equal steps cost unequally."


def _case(case: compare.Case, style: Mapping[str, int]) -> dict[str, Any]:
    return {
        "name": case.name,
        "records": case.records,
        "by_step": safe(plots.training(case, style, by="step")),
        "by_time": safe(plots.training(case, style, by="time")),
        "train_test": safe(plots.train_test(case, style)),
        "seeds": len(case.records[0].seeds),
    }


def _symbol(text: str):
    """λ_max with its index below the line."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"_(\w+)", r"<sub>\1</sub>", str(escape(text))))


def safe(svg: str):
    """Our own SVG, which escapes the names in it, past jinja2's escaping."""
    from markupsafe import Markup

    return Markup(svg)


def _scored(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for row in rows if "step" in row and "meta_loss" in row]


def _renamed(found: list[Record], known: list[Record], folder: str) -> list[Record]:
    """`found` without repeats of `known`, namesakes marked with their folder."""
    from dataclasses import replace

    place = lambda r: (r.task, r.horizon, r.comparison)
    taken = {(*place(r), r.optimizer) for r in known}
    fresh = []
    for r in found:
        if any((place(r), r.metrics) == (place(k), k.metrics) for k in known):
            continue
        clash = (*place(r), r.optimizer) in taken
        fresh.append(replace(r, optimizer=f"{r.optimizer} ({folder})") if clash else r)
    return fresh


def _read(path: Path, kind: type[T]) -> T | None:
    """The table or list in a JSON file, None where there is no file."""
    if not path.exists():
        return None
    return checked(read_document(path, _source(path), nonfinite=True), kind, _source(path))


def _source(path: Path) -> Source:
    return Source(str(path), "mend it, or take it out of the folder")
