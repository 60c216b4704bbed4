"""The findings in words: tables as plain text, one verdict a claim, the answer first."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from ..study import Verdict
from .design import NONE, NORM, Scale
from .findings import Findings
from .lines import Arm, Line
from .posthoc import TITLES, headline


def verdicts(scale: Scale, found: Findings) -> list[Verdict]:
    """The claims in the order of the question: flatter? generalises? more than small weights do?

    One standard of proof for all: both intervals, and Holm's correction over the table.
    """
    cells = len(scale.recipes) * len(scale.techniques)
    needed = math.ceil(2 * cells / 3)
    flatter, flatter_seen = _cells(found.flatness), _cells(found.flatness, seen=True)
    general = {
        o: _cells([x for x in found.generalisation if x.optimizer == o]) for o in scale.recipes
    }
    beyond = {o: _cells([x for x in found.control if x.optimizer == o]) for o in scale.recipes}
    said = [
        Verdict(
            f"flatter at matched training loss in at least {needed} of {cells} cells",
            _places(flatter) >= needed,
            f"top eigenvalue and trace both lower after Holm's correction in {_places(flatter)} of "
            f"{cells} cells{_listed(flatter)}; before correction, 95 % intervals, in "
            f"{_places(flatter_seen)}{_listed(flatter_seen)}",
        ),
        Verdict(
            "better test loss and accuracy on tasks never seen, for each optimizer",
            all(general.values()),
            f"both better after Holm's correction in {sum(map(_places, general.values()))} of "
            f"{cells} cells{_listed([c for cs in general.values() for c in cs])}",
        ),
    ]
    if found.control:
        seen = _cells(found.control, seen=True)
        said.append(
            Verdict(
                "the gain stands against a penalty on the weights' size, for each optimizer",
                all(set(beyond[o]) & set(general[o]) for o in scale.recipes),
                f"both better than with that penalty in {sum(map(_places, beyond.values()))} of "
                f"{cells} cells{_listed([c for cs in beyond.values() for c in cs])}; before "
                f"correction, 95 % intervals, in {_places(seen)}{_listed(seen)}",
            )
        )
    return said


def answer(scale: Scale, found: Findings) -> str:
    """The first paragraph of every report: yes or no, and on what."""
    said = verdicts(scale, found)
    held = [v for v in said if v.holds]
    word = "Yes" if len(held) == len(said) else "In part" if held else "No"
    sides = "; ".join(f"{v.claim}: {'yes' if v.holds else 'no'} ({v.because})" for v in said)
    seeds = len(scale.meta_seeds)
    later = "".join(
        f" For {o}, {arm} was chosen after its ablation had been seen; it counts in the same tests."
        for o, arm in scale.later.items()
    )
    return (
        f"Does flatness-aware meta-training make the trained models generalise? {word}, at the "
        f"scale {scale.name!r} with {seeds} meta-seeds. {sides[:1].upper()}{sides[1:]}.{later}"
    )


@dataclasses.dataclass(frozen=True)
class Contest:
    """The best flat learned optimizer, of all arms and techniques, and one tuned rival.

    - `ours`: its name; best is the lowest mean test loss on tasks never seen
    - `both`: test loss and accuracy; `won`, `lost`: better, or worse, in both
    """

    rival: str
    ours: str
    both: list[Line]

    @property
    def won(self) -> bool:
        return all(line.better for line in self.both)

    @property
    def lost(self) -> bool:
        return all(line.lost for line in self.both)


def contests(found: Findings) -> list[Contest]:
    made = []
    for name in dict.fromkeys(line.theirs for line in found.rivals):
        lines = [line for line in found.rivals if line.theirs == name]
        losses = [
            (mean, line)
            for line in lines
            if line.metric == "ln test_loss" and (mean := line.found.mean) is not None
        ]
        if losses:
            _, best = min(losses, key=lambda pair: pair[0])
            ours = f"{best.optimizer} {best.technique} with {best.ours}"
            made.append(Contest(name, ours, [x for x in lines if _place(x) == _place(best)]))
    return made


def winners(found: Findings) -> list[str]:
    """Winners on tasks never seen, the best flat learned optimizer or a tuned one; one sentence
    each. Who wins in both, test loss and accuracy, does so after Holm's correction.
    """
    return [
        f"Against tuned {at.rival}: "
        f"{at.ours if at.won else 'the tuned one' if at.lost else 'neither'} wins in both "
        f"({at.ours}: {', '.join(f'{label(x.metric)} {change(x)}' for x in at.both)})"
        for at in contests(found)
    ]


def leader(scale: Scale, found: Findings) -> tuple[str, str]:
    """Optimizer and flat arm of the lowest test loss on tasks never seen, mean over techniques.

    The first of the design while there are no rivals to measure by.
    """
    first = next(iter(scale.recipes))
    means: dict[tuple[str, str], list[float]] = {}
    for line in found.rivals:
        if line.metric == "ln test_loss":
            mean = math.inf if line.found.mean is None else line.found.mean
            means.setdefault((line.optimizer, line.ours), []).append(mean)
    return min(means, key=lambda ours: sum(means[ours]), default=(first, headline(scale, first)))


def change(line: Line) -> str:
    """The difference with its interval for a reader: a ratio of losses, points of accuracy."""
    found = line.found.difference
    ratio = line.metric.startswith("ln ")
    bounds = [
        math.nan if x is None else math.exp(x) if ratio else 100 * x
        for x in (found.mean, found.low, found.high)
    ]
    form = "{:.2f} times [{:.2f}, {:.2f}]" if ratio else "{:+.2f} points [{:+.2f}, {:+.2f}]"
    return form.format(*bounds)


def shown(line: Line) -> str:
    """The same in a table: bold if better, in italics if worse."""
    if line.found.mean is None:
        return "–"
    text = change(line).replace(" times", "").replace(" points", "")
    return f"**{text}**" if line.better else f"*{text}*" if line.lost else text


def label(metric: str) -> str:
    return metric.removeprefix("ln ").replace("_", " ")


def text(scale: Scale, found: Findings) -> str:
    """All tables."""
    parts = [
        answer(scale, found),
        table("Flatness at matched training loss, with the penalty less without", found.flatness),
        table("Tasks never seen, with the penalty less without", found.generalisation),
        table("Tasks never seen, flatness less a penalty on ‖θ‖²", found.control),
        table("Tasks never seen, flatness less held-out data", found.held_out),
        table("Every arm less none, plain technique; exploratory, not corrected", found.ablation),
        table("Tasks never seen, learned less tuned", found.rivals),
        *winners(found),
        *(
            table(f"The same on {task}, where intervals tell them apart", differing(lines))
            for task, lines in found.by_task.items()
        ),
        *(
            table(f"Post hoc: {title}", getattr(found.post_hoc, name))
            for name, title in TITLES.items()
        ),
    ]
    if found.diverged:
        lost = ", ".join(f"{name}: {count}" for name, count in found.diverged.items())
        parts.append(f"Runs that did not end finite (their pairs are missing): {lost}.")
    return "\n\n".join(part for part in parts if part)


def differing(lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if line.seen or line.worse]


def table(title: str, lines: Sequence[Line]) -> str:
    """One row a comparison; "" for none."""
    if not lines:
        return ""
    head = ["", "metric", "n", "difference", "95 % t", "95 % bootstrap", "p", "Holm", "d_z", ""]
    rows = [head, *map(cells_of, lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    shown = [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([title, "─" * max(map(len, shown)), *shown])


def cells_of(line: Line) -> list[str]:
    found = line.found
    name = f"{line.optimizer} {line.technique} {line.ours}"
    if line.theirs not in (NONE, NORM) or line.ours == NORM:
        name += f" − {line.theirs}"
    missing = f" ({found.missing} missing)" if found.missing else ""
    sides = ("better", line.better, line.seen), ("worse", line.lost, line.worse)
    verdict = next((word + ", p" * (not sure) for word, sure, seen in sides if seen), "")
    return [
        name,
        line.metric,
        f"{found.n}{missing}",
        number(found.mean),
        _interval(found.difference),
        _interval(found.bootstrap),
        f"{found.p:.3f}",
        f"{found.adjusted:.3f}",
        number(found.d_z, ".1f"),
        verdict,
    ]


def content(scale: Scale, found: Findings) -> dict[str, Any]:
    """The same as plain values."""
    return {
        "scale": scale.name,
        "answer": answer(scale, found),
        **{name: plain(lines) for name, lines in vars(found).items() if isinstance(lines, list)},
        "winners": winners(found),
        "post_hoc": {name: plain(lines) for name, lines in vars(found.post_hoc).items()},
        "by_task": {task: plain(lines) for task, lines in found.by_task.items()},
        "diverged": found.diverged,
        "cells": found.cells,
    }


def plain(lines: Sequence[Line]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(line) | {"better": line.better} for line in lines]


def number(x: float | None, form: str = "+.4f") -> str:
    return "–" if x is None or not math.isfinite(x) else format(x, form)


def _interval(found: Any) -> str:
    return f"[{number(found.low)}, {number(found.high)}]"


def _place(line: Line) -> Arm:
    return line.optimizer, line.technique, line.ours


def _cells(lines: Sequence[Line], *, seen: bool = False) -> list[Arm]:
    """Cells in which every metric is better."""
    by: dict[Arm, list[bool]] = {}
    for line in lines:
        by.setdefault(_place(line), []).append(line.seen if seen else line.better)
    return [place for place, good in by.items() if all(good)]


def _places(found: Sequence[Arm]) -> int:
    """(optimizer, technique) with one arm at least."""
    return len({place[:2] for place in found})


def _listed(found: Sequence[Arm]) -> str:
    """The end of a sentence: techniques by optimizer and arm."""
    by: dict[tuple[str, str], list[str]] = {}
    for optimizer, technique, arm in found:
        by.setdefault((optimizer, arm), []).append(technique)
    shown = [f"{o} {', '.join(techniques)} ({arm})" for (o, arm), techniques in by.items()]
    return f": {'; '.join(shown)}" if shown else ""
