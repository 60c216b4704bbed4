"""Search for the weight of each penalty, and for the penalty of the study's claims.

    steppe reproduce flatness.search --scale small    # half an hour for the first weights

Every penalty at every weight is meta-trained with meta-seeds that the study does not use, and
looked at on validation splits of tasks that the study does not have (but for the task of
meta-training).

    score = mean over tasks and meta-seeds of ½ (ln loss + ln error), with the penalty less without

The weight of an arm is the one with the lowest score, of equal ones (to 0.01) the largest. Where it
is the least or the largest that was tried, the search goes on beyond it, half a decade at a time,
until the best is neither; at an end of `design.LADDER` it is refused. The search that the study
rests on did not go on: 16 of its 21 weights are such ends (`ends`).

The arm of the claims is the measure of flatness with the lowest mean over its two best weights (so
few meta-seeds tell neighbours badly apart), of those that do make minima flatter: with its weight,
the trace at matched training loss is lower than without. What came out is in `README.md` beside
this file and, as numbers, in `steppe/studies/flatness/scales.py`.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

from ...evaluation.engines import Row, cell_id
from ..study import Conclusion, Study, Verdict, markdown, sentences
from . import design
from .lines import every, matched, mean_log, minus

Place = tuple[str, str, float]  # optimizer, arm, weight


def differences(
    rows: Iterable[Row], point: str = "end"
) -> dict[Place, list[dict[str, float | None]]]:
    """With a penalty less without, one entry a meta-seed; None where a run diverged.

    - `point`: of the trainings, see `evaluation.levels`
    """
    done = {
        (
            row.cell["optimizer"],
            row.cell["arm"],
            row.cell["weight"],
            row.cell["meta_seed"],
        ): row.result
        for row in rows
        if row.result is not None
    }
    found: dict[Place, list[dict[str, float | None]]] = {}
    for (optimizer, arm, weight, seed), result in sorted(done.items()):
        other = done.get((optimizer, design.NONE, 0.0, seed))
        if arm != design.NONE and other is not None:
            found.setdefault((optimizer, arm, weight), []).append(compared(result, other, point))
    return found


def compared(ours: dict, theirs: dict, point: str = "end") -> dict[str, float | None]:
    ends = [[side["tasks"][task]["at"][point] for side in (ours, theirs)] for task in ours["tasks"]]
    losses = [minus(*(mean_log(end["valid_loss"]) for end in pair)) for pair in ends]
    errors = [minus(*(mean_log(missed(end)) for end in pair)) for pair in ends]
    first = next(iter(ours["tasks"]))
    return {
        "score": every([*losses, *errors]),
        **{f"ln loss, {task}": x for task, x in zip(ours["tasks"], losses, strict=True)},
        **{f"ln error, {task}": x for task, x in zip(ours["tasks"], errors, strict=True)},
        "ln trace": matched(ours["tasks"][first], theirs["tasks"][first], "trace"),
    }


def missed(end: dict) -> list[float | None]:
    """Shares of examples classified wrongly, half a thousandth at least."""
    return [None if x is None else max(1 - x, 5e-4) for x in end["valid_accuracy"]]


def chosen(rows: Iterable[Row]) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Arm → optimizer → weight, and the arm of the claims by optimizer. Divergence is worst."""
    found = differences(rows)
    worst = lambda score: math.inf if score is None else score
    score = {p: worst(every([seed["score"] for seed in seeds])) for p, seeds in found.items()}
    by = lambda o, arm: {w: x for (a, b, w), x in score.items() if (a, b) == (o, arm)}
    best = lambda o, arm: max(
        w for w, x in by(o, arm).items() if x <= min(by(o, arm).values()) + 0.01
    )
    mean = lambda o, arm: sum(sorted(by(o, arm).values())[:2]) / 2
    flat = [arm for arm in design.SEARCHED if arm != design.NORM]

    def flatter(o: str, arm: str) -> bool:
        traces = [seed["ln trace"] for seed in found[o, arm, best(o, arm)]]
        known = [x for x in traces if x is not None]  # where both came down to a common level
        return bool(known) and sum(known) < 0

    return (
        {arm: {o: best(o, arm) for o in design.WEIGHTS} for arm in design.SEARCHED},
        {
            o: min((arm for arm in flat if flatter(o, arm)), key=lambda arm: mean(o, arm))
            for o in design.WEIGHTS
        },
    )


def table(rows: Iterable[Row]) -> str:
    found = differences(rows)
    names = list(next(iter(found.values()))[0])
    mean = lambda seeds, name: every([seed[name] for seed in seeds])
    order = lambda place: (place[0], math.inf if (s := mean(found[place], "score")) is None else s)
    lines = []
    for place in sorted(found, key=order):
        seeds = found[place]
        values = ["–" if (x := mean(seeds, name)) is None else f"{x:+.3f}" for name in names]
        lines.append([*map(str, place), str(len(seeds)), *values])
    return markdown(["optimizer", "arm", "weight", "n", *names], lines)


def tried(rows: Iterable[Row]) -> dict[tuple[str, str], list[float]]:
    """Optimizer and arm → the weights with a result, in order."""
    weights: dict[tuple[str, str], set[float]] = {}
    for optimizer, arm, weight in differences(rows):
        weights.setdefault((optimizer, arm), set()).add(weight)
    return {place: sorted(found) for place, found in weights.items()}


def ends(rows: Sequence[Row]) -> dict[tuple[str, str], str]:
    """Optimizer and arm → "lowest" or "highest", where the best weight is that of those tried."""
    weights, _ = chosen(rows)
    sides = {}
    for (optimizer, arm), grid in tried(rows).items():
        best = weights[arm][optimizer]
        if best in (grid[0], grid[-1]):
            sides[optimizer, arm] = "lowest" if best == grid[0] else "highest"
    return sides


def further(scale: design.Scale, rows: Sequence[Row]) -> Iterator[design.Cell]:
    """The cells beyond the grids of the design: those reached, and the next where one is short.

    None while a cell of those grids has no result: a score needs all its meta-seeds.
    """
    first = list(design.search(scale))
    known = {cell_id(cell) for cell in first}
    if known - {row.id for row in rows if row.result is not None}:
        return
    at = ends(rows)
    for (optimizer, arm), grid in tried(rows).items():
        steps = [*grid, *beyond(grid, at.get((optimizer, arm), ""))]
        for weight in sorted({*steps} - {*design.WEIGHTS[optimizer]}):
            for seed in design.SEARCH_SEEDS:
                yield design.searched(scale, optimizer, arm, seed, weight)


def beyond(grid: Sequence[float], side: str) -> list[float]:
    """The next weight of the ladder beyond an end of an ascending grid; [] inside, and at its end.

    - `side`: "lowest", "highest", or "" for inside
    """
    lower = [weight for weight in design.LADDER if weight < grid[0]][-1:]
    higher = [weight for weight in design.LADDER if weight > grid[-1]][:1]
    return {"lowest": lower, "highest": higher}.get(side, [])


def conclude(scale: design.Scale, rows: Sequence[Row]) -> Conclusion:
    """Weights and arms of the claims; None for a weight that lies at an end of its grid."""
    weights, flat = chosen(rows)
    at = ends(rows)
    kept = {
        arm: {o: None if (o, arm) in at else weight for o, weight in found.items()}
        for arm, found in weights.items()
    }
    arms = {o: None if (o, arm) in at else arm for o, arm in flat.items()}
    refused = [f"{arm} of {o} ({weights[arm][o]:g}, {side})" for (o, arm), side in at.items()]
    verdict = Verdict(
        "the best weight of every penalty lies within its grid",
        not at,
        f"{len(at)} of {len(tried(rows))} at an end{': ' * bool(at)}{', '.join(refused)}",
    )
    text = f"{table(rows)}\n\n{sentences([verdict])}\nweights: {kept}\narms of the claims: {arms}"
    refusals = {f"{o} {arm}": {"weight": weights[arm][o], "end": at[o, arm]} for o, arm in at}
    return Conclusion(text, {"weights": kept, "flat": arms, "refused": refusals}, [verdict])


STUDY = Study(design.search, design.WORK, conclude, keep_programs=True, further=further)
