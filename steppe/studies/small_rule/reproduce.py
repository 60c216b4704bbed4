"""The whole study: its cells as far as their data are here, and what the record says.

Everything follows from the rows alone, so that the same record gives the same text.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from ...evaluation.engines import Row, cell_id
from ..flatness.design import Cell
from ..flatness.lines import END, STOP, Key, Result, compared, general
from ..flatness.summary import change
from ..flatness_2.claims import FEWEST, Claim, Word, rival
from ..flatness_2.outcome import looked, plain, said, table, verdict
from ..flatness_2.reproduce import present
from ..study import Conclusion, Study, markdown
from . import design
from .claims import RULE, TECHNIQUE, judged, results
from .design import ADAM, ADAMW, FLAT, MOMENTUM, PLAIN, WORK, Judged


def cells(plan: Judged) -> Iterator[Cell]:
    return design.cells(dataclasses.replace(plan, scale=present(plan.scale)))


def conclude(plan: Judged, rows: Sequence[Row]) -> Conclusion:
    planned, plan = plan, dataclasses.replace(plan, scale=looked(plan.scale, rows))
    learned = results(rows)
    told = judged(plan, learned)
    parts = [
        "> " + answer(told),
        missing(planned, rows),
        *(table(claim, word) for claim, word in told if claim.n),
        by_task(plan, learned),
        tried(rows),
    ]
    return Conclusion(
        "\n\n".join(part for part in parts if part),
        {"claims": [plain(claim, word) for claim, word in told]},
        [verdict(claim, word) for claim, word in told],
    )


def answer(told: Sequence[tuple[Claim, Word]]) -> str:
    words = "; ".join(
        f"{claim.name}, {claim.question}: {said(claim, word)} (n = {claim.n})"
        for claim, word in told
    )
    return f"Is {FLAT}, never tuned, as good as what is made by hand? {words}."


def missing(plan: Judged, rows: Sequence[Row]) -> str:
    """Cells that lack, and those that failed."""
    done = {row.id for row in rows if row.result is not None}
    wanted = {cell_id(cell) for cell in cells(plan)}
    lines = []
    if wanted - done:
        lines.append(f"Missing: {len(wanted - done)} of {len(wanted)} cells.")
    if len(plan.scale.meta_seeds) < FEWEST:
        lines.append(f"Nothing registered is decided with fewer than {FEWEST} pairs.")
    failed = sum(row.result is None for row in rows)
    return "\n".join([*lines, *[f"{failed} of {len(rows)} cells failed."] * bool(failed)])


def by_task(plan: Judged, learned: Mapping[Key, Result]) -> str:
    """Test losses on each task by itself. Nothing here is corrected or decided."""
    scale = plan.scale
    theirs = {"plain twin": PLAIN} | {
        name: rival(name, "untuned", "steps")
        for name in (ADAM, ADAMW, MOMENTUM)
        if name in plan.rivals
    }
    of = lambda arm: (RULE, TECHNIQUE, arm)
    places = [([task], STOP) for task in scale.unseen] + [([task], END) for task in scale.short]
    lines = []
    for tasks, readings in places:
        kept = {key: x for key, x in learned.items() if {*tasks} <= {*x["tasks"]}}
        pairs = [(of(FLAT), of(name)) for name in theirs.values()]
        loss = {"ln test_loss": general(tasks, readings)["ln test_loss"]}
        found = compared(kept, pairs, loss, scale.meta_seeds)
        if all(line.found.n > 1 for line in found):
            lines.append([*tasks, *(change(line) for line in found)])
    if not lines:
        return ""
    head = ["", *(f"less {name}" for name in theirs)]
    return (
        "Test loss task by task, 95 % intervals, nothing corrected; at the validated stop, short "
        f"ones at the last step:\n\n{markdown(head, lines)}"
    )


def tried(rows: Sequence[Row]) -> str:
    """Settings that tuning came to on each task."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row.result is not None and "told" in row.result:
            for label, told in row.result["told"].items():
                place = f"{told['setting']}, {told['lr']:g}{' (edge)' * bool(told['edge'])}"
                found.setdefault(row.cell["optimizer"], []).append(f"{label}: {place}")
    lines = [[name, "; ".join(sorted(found[name]))] for name in sorted(found)]
    if not lines:
        return ""
    head = ["", "task: setting, rate or factor; a line for each division of the data"]
    return f"Tuned with 20 trainings on each task:\n\n{markdown(head, lines)}"


STUDY = Study(cells, WORK, conclude, cost=lambda plan: plan.promised, keep_programs=True)
