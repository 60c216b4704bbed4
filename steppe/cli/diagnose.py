"""What the folder of a run says about its health. Standard library only.

The rows are judged by `runs/findings.py`; what a probe found at the end of the run is read from
`findings.json`.
"""

import dataclasses
import json
from pathlib import Path

from ..evaluate.records import read_records
from ..runs import folder as folders
from ..runs.errors import BadInput
from ..runs.findings import Finding, of_rows
from ..store.manifest import CheckpointError, read
from .evaluate import RECORDS
from .output import finite


def diagnose(folder: Path) -> list[Finding]:
    """All checks on the folder of a run."""
    compared = (folder / RECORDS).exists()
    if not (compared or (folder / folders.METRICS).exists() or folders.begun(folder)):
        raise BadInput(
            f"{folder} is no run folder, it has neither {folders.CONFIG} nor {folders.METRICS}; "
            "give a folder that `steppe train` wrote."
        )
    tuning = [tuned(folder / RECORDS)] if compared else []
    if compared and not folders.begun(folder):  # of `steppe eval --out`
        return tuning
    rows, cut = read_metrics(folder / folders.METRICS)
    checks = [*tuning, whole_lines(cut), checkpoints(folder)]
    options = folders.read_json(folder / folders.CONFIG).get("options")
    if isinstance(options, dict):  # else it is of another command
        checks.append(finished(folder, options))
    if not rows:
        fix = "let it run on; compiling alone can take a minute"
        return [*checks, Finding("rows", False, "metrics.jsonl has no row yet", fix)]
    return [*checks, *of_rows(rows), *probed(folder)]


def keep(folder: Path, findings: list[Finding]) -> None:
    """Write `findings.json`."""
    content = [finite(dataclasses.asdict(finding)) for finding in findings]
    folders.write_json(folder / folders.FINDINGS, {"findings": content})


def probed(folder: Path) -> list[Finding]:
    """What the probe at the end of the run found; nothing of a file that does not say."""
    kept = folders.read_json(folder / folders.FINDINGS).get("findings")
    try:
        findings = [Finding(**finding) for finding in kept or []]
        return [finding for finding in findings if finding.what.startswith("probe")]
    except (TypeError, AttributeError):
        return []


def line(finding: Finding) -> str:
    mark = "FAIL" if not finding.ok else "note" if finding.fix else "ok  "
    fix = f"\n        → {finding.fix}" if finding.fix else ""
    return f"{mark}  {finding.what}: {finding.evidence}{fix}"


def tuned(path: Path) -> Finding:
    """Whether the hand-made optimizers of a comparison had their learning rates tuned."""
    try:
        records, _ = read_records(path)
    except ValueError as error:
        return Finding("baselines", False, str(error), "evaluate again, into another folder")
    by_hand = [r for r in records if not r.learned]
    untuned = sorted({r.optimizer for r in by_hand if not r.tuning})
    edge = sorted({f"{r.optimizer} ({r.tuning['edge']})" for r in by_hand if r.tuning.get("edge")})
    found = {"baselines": len({r.optimizer for r in by_hand}), "untuned": len(untuned)}
    if untuned:
        fix = "compare again without --no-tune: what beats an untuned baseline has shown nothing"
        return Finding("baselines", False, f"not tuned: {', '.join(untuned)}", fix, found)
    if edge:
        text = f"best learning rate at the edge of those tried: {', '.join(edge)}"
        return Finding("baselines", True, text, "a better one may lie beyond", found)
    return Finding("baselines", True, f"{found['baselines']}, all tuned", numbers=found)


def read_metrics(path: Path) -> tuple[list[dict], bool]:
    """The complete rows, and whether the last line was cut short."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return [], False
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if not isinstance(row["step"], int):
                raise ValueError("step is no whole number")
            rows.append(row)
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                return rows, True
            raise BadInput(
                f"{path}, line {number}: no row of metrics ({error}); mend or remove that line."
            ) from error
    return rows, False


def whole_lines(cut: bool) -> Finding:
    if not cut:
        return Finding("metrics file", True, "every line is complete")
    fix = "harmless: the run was killed while writing, and resuming it drops that line"
    return Finding("metrics file", False, "the last line is cut short", fix)


def checkpoints(folder: Path) -> Finding:
    """Whether every checkpoint in the folder is intact."""
    paths = sorted(folder.glob("*.safetensors"))
    broken = []
    for path in paths:
        try:
            read(path)
        except CheckpointError:
            broken.append(path.name)
    if broken:
        fix = "resume: broken checkpoints are passed over; then delete them"
        return Finding("checkpoints", False, f"damaged: {', '.join(broken)}", fix)
    return Finding("checkpoints", True, f"{len(paths)} files, all intact")


def finished(folder: Path, options: dict) -> Finding:
    done, steps = folders.done_steps(folder), options.get("steps", 0)
    if (folder / folders.MODEL).exists() and done >= steps:
        return Finding("finished", True, f"{done} meta-steps, and the model is saved")
    found = f"not finished: {done} of {steps} meta-steps are safe"
    return Finding("finished", True, found, f"steppe train --resume {folder}")
