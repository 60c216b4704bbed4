"""The tables of `README.md`, from the record of the study alone.

A ratio of losses or curvatures is exp of the mean difference of logarithms over meta-seeds;
accuracy is in points. In bold what is better in both 95 % intervals and after Holm's correction.
Against tuned optimizers nothing but the intervals decides who wins.
"""

from collections.abc import Sequence

from ...evaluation.engines import Row
from ..study import markdown
from .design import Scale, main_arms
from .findings import Findings, Line, findings
from .summary import answer, change, winners


def tables(scale: Scale, rows: Sequence[Row]) -> str:
    found = findings(scale, rows)
    failed = [row for row in rows if row.result is None]
    hours = sum(row.seconds or 0.0 for row in rows) / 3600
    return "\n\n".join(
        [
            "> " + answer(scale, found),
            claims(scale, found),
            "Less held-out data in meta-training, to choose the optimizer that is kept (early) or "
            "as the objective (valid); plain technique:",
            held_out(found.held_out),
            "Against tuned optimizers, on tasks never seen:",
            "\n".join(f"- {said}." for said in winners(found)),
            f"Single measures less none, plain technique, n = {len(scale.ablation_seeds)}:",
            ablation(found.ablation),
            f"{len(rows)} cells, {hours:.1f} core-hours; failed: "
            f"{'; '.join(map(lost, failed)) or 'none'}.",
        ]
    )


def lost(row: Row) -> str:
    names = [str(row.cell.get(name)) for name in ("optimizer", "technique", "arm", "meta_seed")]
    return f"{' '.join(names)} ({(row.error or '').split('. ')[0]})"


def claims(scale: Scale, found: Findings) -> str:
    """A row an optimizer and technique, with the penalty less without and less ‖θ‖²."""
    columns = {
        "trace": (found.flatness, "ln trace"),
        "top eigenvalue": (found.flatness, "ln top_eigenvalue"),
        "test loss": (found.generalisation, "ln test_loss"),
        "accuracy": (found.generalisation, "test_accuracy"),
        "test loss less ‖θ‖²": (found.control, "ln test_loss"),
        "accuracy less ‖θ‖²": (found.control, "test_accuracy"),
    }
    rows = [
        [
            f"{optimizer} {technique}, {arm}",
            *(
                shown(pick(lines, (optimizer, technique, arm, name)))
                for lines, name in columns.values()
            ),
        ]
        for optimizer in scale.recipes
        for arm in main_arms(scale, optimizer)
        for technique in scale.techniques
    ]
    return markdown(["", *columns], rows)


def held_out(lines: Sequence[Line]) -> str:
    controls = list(dict.fromkeys(line.theirs for line in lines))
    keys = dict.fromkeys((line.optimizer, line.ours) for line in lines)
    by = {(line.optimizer, line.ours, line.theirs, line.metric): line for line in lines}
    columns = [(c, m) for c in controls for m in ("ln test_loss", "test_accuracy")]
    heads = [f"{m.removeprefix('ln ').replace('_', ' ')} less {c}" for c, m in columns]
    rows = [[f"{o} {arm}", *(shown(by[o, arm, *column]) for column in columns)] for o, arm in keys]
    return markdown(["", *heads], rows)


def ablation(lines: Sequence[Line]) -> str:
    names = list(dict.fromkeys(line.metric for line in lines))
    keys = dict.fromkeys((line.optimizer, line.ours) for line in lines)
    by = {(line.optimizer, line.ours, line.metric): line for line in lines}
    heads = [name.removeprefix("ln ").replace("_", " ") for name in names]
    return markdown(
        ["", *heads],
        [[f"{o} {arm}", *(mean(by[o, arm, name]) for name in names)] for o, arm in keys],
    )


def pick(lines: Sequence[Line], wanted: tuple[str, str, str, str]) -> Line:
    [line] = [x for x in lines if (x.optimizer, x.technique, x.ours, x.metric) == wanted]
    return line


def shown(line: Line) -> str:
    text = (
        "–"
        if line.found.mean is None
        else change(line).replace(" times", "").replace(" points", "")
    )
    return f"**{text}**" if line.better else text


def mean(line: Line) -> str:
    """The mean alone: of three meta-seeds an interval says little."""
    if line.found.mean is None:
        return "–"
    missing = f" (n = {line.found.n})" if line.found.missing else ""
    return change(line).split(" ")[0] + missing
