"""What the rows of a run say about its health. Standard library only.

Every check is a function of the rows (and of the folder) that returns a finding. The
thresholds are rules of thumb, named here and said in the findings.
"""

import dataclasses
import itertools
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from ..core.manifest import CheckpointError, read
from . import folder as folders
from .errors import BadInput

BAD_SHARE = 0.01  # of the episodes
EXPLODED = 1e3  # × the median of the gradient norms
EARLY = 0.1  # of the meta-steps done
FEW = 10  # rows or validations under which a trend is not judged


@dataclasses.dataclass(frozen=True)
class Finding:
    check: str
    ok: bool
    found: str
    fix: str = ""  # what to do about it, if not ok


def diagnose(folder: Path) -> list[Finding]:
    """All checks on the folder of a run."""
    if not (folder / folders.METRICS).exists() and not folders.begun(folder):
        raise BadInput(
            f"{folder} is no run folder, it has neither {folders.CONFIG} nor {folders.METRICS}; "
            "give a folder that `steppe train` wrote."
        )
    rows, cut = read_metrics(folder / folders.METRICS)
    checks = [whole_lines(cut), checkpoints(folder)]
    options = folders.read_json(folder / folders.CONFIG).get("options")
    if isinstance(options, dict):  # else it is of another command
        checks.append(finished(folder, options))
    if not rows:
        fix = "let it run on; compiling alone can take a minute"
        return [*checks, Finding("rows", False, "metrics.jsonl has no row yet", fix)]
    return [*checks, *trends(rows)]


def trends(rows: Sequence[dict]) -> list[Finding]:
    return [zero_gradient(rows), nonfinite(rows), exploded(rows), moving(rows), best_early(rows)]


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


def zero_gradient(rows: Sequence[dict]) -> Finding:
    norms = numbers(rows, "grad_norm")
    zeros = sum(norm == 0 for norm in norms)
    if zeros == 0:
        return Finding("meta-gradient", True, f"never zero in {len(norms)} rows")
    fix = (
        "the updates do not depend on the weights: a saturated or dead output layer; use a smaller "
        "--meta-lr, another --seed, or --clip"
    )
    return Finding("meta-gradient", False, f"exactly zero in {zeros} of {len(norms)} rows", fix)


def nonfinite(rows: Sequence[dict]) -> Finding:
    bad = sum(numbers(rows, "nonfinite"))
    share = bad / max(sum(numbers(rows, "episodes")), 1)
    found = f"{share:.1%} of the episodes were not finite"
    fix = "the optimizer makes problems diverge: lower --meta-lr, clip harder, shorten --unroll"
    return Finding("divergence", share <= BAD_SHARE, found, fix if share > BAD_SHARE else "")


def exploded(rows: Sequence[dict]) -> Finding:
    norms = [norm for norm in numbers(rows, "grad_norm") if norm > 0]
    median = statistics.median(norms) if norms else 0.0
    high = [norm for norm in norms if norm > EXPLODED * median]
    if not high:
        return Finding("gradient norm", True, f"median {median:.3g}, no row over 1000 times that")
    found = f"{len(high)} rows over 1000 times the median {median:.3g}, up to {max(high):.3g}"
    fix = "the unroll is chaotic: shorten --unroll, or keep --clip on"
    return Finding("gradient norm", False, found, fix)


def moving(rows: Sequence[dict]) -> Finding:
    """Whether the last fifth of the meta-losses is lower than the first, beyond their noise."""
    losses = numbers(rows, "meta_loss")
    if len(losses) < FEW:
        return Finding("meta-loss", True, f"too early to say after {len(losses)} rows")
    n = max(len(losses) // 5, 2)
    first, last = losses[:n], losses[-n:]
    drop = statistics.fmean(first) - statistics.fmean(last)
    # Standard error of a difference of two means, the noise taken from neighbouring rows.
    steps = [b - a for a, b in itertools.pairwise(losses)]
    error = math.sqrt(statistics.fmean(s * s for s in steps) / n)
    found = f"{statistics.fmean(first):.4g} at first, {statistics.fmean(last):.4g} at last"
    if drop > 2 * error:
        return Finding("meta-loss", True, found)
    fix = "not moving: raise --meta-lr, train for more --steps, or look at the meta-gradient"
    return Finding("meta-loss", False, f"{found}, a change within the noise", fix)


def best_early(rows: Sequence[dict]) -> Finding:
    scores = [(row["valid_loss"], row["step"]) for row in rows if _is_number(row, "valid_loss")]
    if len(scores) < FEW:
        return Finding("best checkpoint", True, f"too early to say after {len(scores)} validations")
    _, step = min(scores)
    last = rows[-1]["step"]
    found = f"meta-step {step} of {last}"
    if step > EARLY * last:
        return Finding("best checkpoint", True, found)
    fix = "training made it worse from there: lower --meta-lr, lengthen --horizon, more --episodes"
    return Finding("best checkpoint", False, f"{found}, very early", fix)


def numbers(rows: Sequence[dict], name: str) -> list[float]:
    """The finite values of a column."""
    return [row[name] for row in rows if _is_number(row, name)]


def _is_number(row: dict, name: str) -> bool:
    value = row.get(name)
    return isinstance(value, (int, float)) and math.isfinite(value)
