"""The tables of `README.md`, from the record of the study alone.

    python -m steppe.studies.flatness.outcome

A ratio of losses or curvatures is exp of the mean difference of logarithms over meta-seeds;
accuracy is in points. In bold what is better in both 95 % intervals and after Holm's correction.
Against tuned optimizers nothing but the intervals decides who wins.
"""

from collections.abc import Sequence
from pathlib import Path

from ...evaluate.engines import Row
from ...evaluate.grid import read_rows
from .design import claimed
from .findings import Findings, Line, findings
from .scales import SMALL
from .summary import answer, change, winners

RECORDS = Path(__file__).parent / "small.jsonl"


def tables(rows: Sequence[Row]) -> str:
    found = findings(SMALL, rows)
    failed = [row for row in rows if row.result is None]
    return "\n\n".join(
        [
            "> " + answer(SMALL, found),
            claims(found),
            "Less held-out data in meta-training, to choose the optimizer that is kept (early) or "
            "as the objective (valid); plain technique:",
            held_out(found.held_out),
            "Against tuned optimizers, on tasks never seen:",
            "\n".join(f"- {said}." for said in winners(found)),
            f"Single measures less none, plain technique, n = {len(SMALL.ablation_seeds)}:",
            ablation(found.ablation),
            f"{len(rows)} cells, {sum(row.seconds for row in rows) / 3600:.1f} core-hours; failed: "
            f"{'; '.join(map(lost, failed)) or 'none'}.",
        ]
    )


def lost(row: Row) -> str:
    names = [str(row.cell.get(name)) for name in ("optimizer", "technique", "arm", "meta_seed")]
    return f"{' '.join(names)} ({(row.error or '').split('. ')[0]})"


def claims(found: Findings) -> str:
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
                told(pick(lines, (optimizer, technique, arm, name)))
                for lines, name in columns.values()
            ),
        ]
        for optimizer in SMALL.recipes
        for arm in claimed(SMALL, optimizer)
        for technique in SMALL.techniques
    ]
    return markdown(["", *columns], rows)


def held_out(lines: Sequence[Line]) -> str:
    controls = list(dict.fromkeys(line.theirs for line in lines))
    keys = dict.fromkeys((line.optimizer, line.ours) for line in lines)
    by = {(line.optimizer, line.ours, line.theirs, line.metric): line for line in lines}
    columns = [(c, m) for c in controls for m in ("ln test_loss", "test_accuracy")]
    heads = [f"{m.removeprefix('ln ').replace('_', ' ')} less {c}" for c, m in columns]
    rows = [[f"{o} {arm}", *(told(by[o, arm, *column]) for column in columns)] for o, arm in keys]
    return markdown(["", *heads], rows)


def ablation(lines: Sequence[Line]) -> str:
    names = list(dict.fromkeys(line.metric for line in lines))
    keys = dict.fromkeys((line.optimizer, line.ours) for line in lines)
    by = {(line.optimizer, line.ours, line.metric): line for line in lines}
    shown = [name.removeprefix("ln ").replace("_", " ") for name in names]
    return markdown(
        ["", *shown],
        [[f"{o} {arm}", *(mean(by[o, arm, name]) for name in names)] for o, arm in keys],
    )


def pick(lines: Sequence[Line], wanted: tuple[str, str, str, str]) -> Line:
    [line] = [x for x in lines if (x.optimizer, x.technique, x.ours, x.metric) == wanted]
    return line


def told(line: Line) -> str:
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


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    print(tables(read_rows(RECORDS)))
