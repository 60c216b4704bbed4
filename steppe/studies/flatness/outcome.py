"""The tables of `README.md`, from the record of the study alone.

A ratio of losses or curvatures is exp of the mean difference of logarithms over meta-seeds;
accuracy is in points. In bold what is better, in italics what is worse: in both 95 % intervals and
after Holm's correction over the table (over the lines of one rival, or of one control).
"""

from collections.abc import Sequence

from ...evaluation.engines import Row
from ..study import markdown
from . import posthoc_tables
from .design import SEARCHED, WEIGHTS, Scale, main_arms
from .findings import Findings
from .lines import END, Line, learned_of, pick
from .posthoc import Collapse, collapses
from .rivals import rival
from .summary import answer, change, contests, label, leader, shown


def tables(scale: Scale, rows: Sequence[Row], found: Findings) -> str:
    """Claims that the study was designed for, and below them what was looked at afterwards."""
    return f"{registered(scale, rows, found)}\n\n{posthoc_tables.tables(scale, rows, found)}"


def registered(scale: Scale, rows: Sequence[Row], found: Findings) -> str:
    failed = [row for row in rows if row.result is None]
    hours = sum(row.seconds or 0.0 for row in rows) / 3600
    return "\n\n".join(
        [
            "> " + answer(scale, found),
            claims(scale, found),
            edges(scale),
            "Less held-out data in meta-training, to choose the optimizer that is kept (early) or "
            "as the objective (valid); plain technique:",
            held_out(found.held_out),
            *broken(scale, rows, found),
            against_tuned(scale, found),
            rates_at_ends(rows),
            f"Single measures less none, plain technique, n = {len(scale.ablation_seeds)}, nothing "
            "corrected:",
            ablation(found.ablation),
            f"{len(rows)} cells, {hours:.1f} core-hours; failed: "
            f"{'; '.join(map(lost, failed)) or 'none'}.",
        ]
    )


def lost(row: Row) -> str:
    names = [str(row.cell.get(name)) for name in ("optimizer", "technique", "arm", "meta_seed")]
    return f"{' '.join(names)} ({(row.error or '').split('. ')[0]})"


def edges(scale: Scale) -> str:
    """The weights at an end of the grid that was searched: those of the claims, and how many."""
    grids = {o: grid for o, grid in WEIGHTS.items() if o in scale.recipes}
    at = {
        (o, arm): "lowest" if weight == min(grid) else "highest"
        for arm in SEARCHED
        for o, grid in grids.items()
        if (weight := scale.weights[arm][o]) in (min(grid), max(grid))
    }
    said = [
        f"{arm} of {o} ({scale.weights[arm][o]:g}, {at[o, arm]})"
        for o in scale.recipes
        for arm in (*scale.arms, *main_arms(scale, o))
        if (o, arm) in at
    ]
    return (
        f"Weights: {len(at)} of {len(SEARCHED) * len(grids)} that were searched lie at an end of "
        f"their grid, so that a better one may lie beyond; of the arms above: {', '.join(said)}."
    )


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
                shown(pick(lines, optimizer=optimizer, technique=technique, ours=arm, metric=name))
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
    columns = [(c, m) for c in controls for m in ("ln test_loss", "test_accuracy")]
    heads = [f"{label(m)} less {c}" for c, m in columns]
    rows = [
        [
            f"{o} {arm}",
            *(shown(pick(lines, optimizer=o, ours=arm, theirs=c, metric=m)) for c, m in columns),
        ]
        for o, arm in keys
    ]
    return markdown(["", *heads], rows)


def broken(scale: Scale, rows: Sequence[Row], found: Findings) -> list[str]:
    """A sentence for each control that collapses on a task."""
    return [
        f"{at.optimizer} {at.arm} is a broken control: on the task {at.task} it collapses in "
        f"{at.count} of {len(at.accuracy)} meta-seeds (accuracies "
        f"{' '.join('–' if x is None else f'{x:.2f}' for x in at.accuracy)}). Without that task, "
        f"post hoc: {', '.join(without(scale, at, found.post_hoc.but_collapsed))}."
        for at in collapses(scale, learned_of(rows))
    ]


def without(scale: Scale, at: Collapse, lines: Sequence[Line]) -> list[str]:
    own = {"optimizer": at.optimizer, "theirs": at.arm}
    return [
        f"{arm} {' and '.join(shown(pick(lines, **own, ours=arm, metric=m)) for m in END)}"
        for arm in main_arms(scale, at.optimizer)
    ]


def against_tuned(scale: Scale, found: Findings) -> str:
    """The flat optimizer of the lowest test loss beside every rival, with every technique."""
    optimizer, arm = leader(scale, found)
    lines = [x for x in found.rivals if (x.optimizer, x.ours) == (optimizer, arm)]
    rivals = list(dict.fromkeys(line.theirs for line in lines))
    columns = [(t, m) for t in scale.techniques for m in ("ln test_loss", "test_accuracy")]
    rows = [
        [r, *(shown(pick(lines, theirs=r, technique=t, metric=m)) for t, m in columns)]
        for r in rivals
    ]
    return (
        f"Less optimizers tuned for each task, on tasks never seen: {optimizer} with {arm}, of all "
        "flat ones that of the lowest test loss, which has nothing tuned:\n\n"
        + markdown(["", *(f"{t}: {label(m)}" for t, m in columns)], rows)
        + f"\n\n{both(found)}"
    )


def both(found: Findings) -> str:
    """Winners in test loss and accuracy: the best flat optimizer and technique, or a rival."""
    made = contests(found)
    named = lambda kept: ", ".join(kept) or "none"
    ours = ", ".join(dict.fromkeys(at.ours for at in made))
    return (
        f"Of all flat optimizers and techniques the best in test loss is {ours}. In both, test "
        f"loss and accuracy, it wins against: {named([at.rival for at in made if at.won])}; it "
        f"loses to: {named([at.rival for at in made if at.lost])}."
    )


def rates_at_ends(rows: Sequence[Row]) -> str:
    at = [
        f"{rival(row.cell)} on {task_of(row, rows)}"
        for row in rows
        if row.cell["part"] == "classic" and row.result is not None and row.result["edge"]
    ]
    return f"Rivals whose best rate is at the end of its grid: {', '.join(at) or 'none'}."


def task_of(row: Row, rows: Sequence[Row]) -> str:
    tasks = next(r.cell["tasks"] for r in rows if r.cell["part"] == "learned")
    return next(label for label, how in tasks.items() if how == row.cell["task"])


def ablation(lines: Sequence[Line]) -> str:
    names = list(dict.fromkeys(line.metric for line in lines))
    keys = dict.fromkeys((line.optimizer, line.ours) for line in lines)
    by = {(line.optimizer, line.ours, line.metric): line for line in lines}
    return markdown(
        ["", *map(label, names)],
        [[f"{o} {arm}", *(mean(by[o, arm, name]) for name in names)] for o, arm in keys],
    )


def mean(line: Line) -> str:
    """The mean alone: of three meta-seeds an interval says little."""
    if line.found.mean is None:
        return "–"
    missing = f" (n = {line.found.n})" if line.found.missing else ""
    return change(line).split(" ")[0] + missing
