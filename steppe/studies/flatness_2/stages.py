"""The order of the cells: stage by stage, in the order of what they decide.

Within a stage cells go seed by seed across all arms, so that any prefix of the record is balanced.
A stage begins when the one before is complete, since its cells follow from what was found there.
"""

from collections.abc import Iterator, Sequence

from ...evaluation.engines import Row, cell_id
from ..flatness.design import NONE, Cell
from . import search
from .design import (
    FIRST,
    GRID,
    LATER,
    MAIN,
    TUNED,
    UNTUNED,
    Scale,
    divisions,
    learned,
    parts,
    searching,
    trials,
    tuned,
    untuned,
)


def cells(scale: Scale) -> Iterator[Cell]:
    """The first stage: everything else follows from what it finds (`further`)."""
    yield from searched(scale, scale.rule, FIRST[1:], {})


def further(scale: Scale, rows: Sequence[Row]) -> Iterator[Cell]:
    """The cells of the stages reached, and of the next one where a stage is complete."""
    there = {row.id for row in rows}
    for stage in stages(scale, rows):
        known = True
        for cell in stage:
            known &= cell_id(cell) in there
            yield cell
        if not known:
            return


def stages(scale: Scale, rows: Sequence[Row]) -> Iterator[list[Cell]]:
    """Stages in order; one that rests on others may be asked for only when they are complete."""
    first = scale.rule
    yield from widened(scale, first, FIRST[1:], rows)
    yield trained(scale, first, FIRST, rows)
    yield [untuned(scale, name, k) for k in divisions(scale) for name in UNTUNED]
    if scale.trials:
        yield [tuned(scale, *which, k) for k in divisions(scale) for which in TUNED]
        yield [trials(scale, cell) for cell in trained(scale, first, (MAIN,), rows)]
    if scale.later:
        own = tuple(arm for arm in LATER if "+" not in arm)
        yield from widened(scale, first, own, rows)
        yield trained(scale, first, LATER, rows)
        for rule in list(scale.recipes)[1:]:
            yield from widened(scale, rule, FIRST[1:], rows)
            yield trained(scale, rule, FIRST, rows)


def widened(
    scale: Scale, rule: str, arms: Sequence[str], rows: Sequence[Row]
) -> Iterator[list[Cell]]:
    """The rounds of a search: its grids, and what lies beyond an end that is best."""
    wider: dict[str, list[float]] = {}
    while True:
        yield list(searched(scale, rule, arms, wider))
        more = {arm: search.beyond(search.found(scale, rule, arm, rows)) for arm in arms}
        if not any(more.values()):
            return
        wider = {arm: [*wider.get(arm, []), *beyond] for arm, beyond in more.items()}


def searched(
    scale: Scale, rule: str, arms: Sequence[str], wider: dict[str, list[float]]
) -> Iterator[Cell]:
    """The search of some arms, seed by seed."""
    for seed in scale.search_seeds:
        yield searching(scale, rule, NONE, 0.0, seed)
        for arm in arms:
            for weight in sorted({*scale.grids.get(arm, GRID), *wider.get(arm, [])}):
                yield searching(scale, rule, arm, weight, seed)


def trained(scale: Scale, rule: str, arms: Sequence[str], rows: Sequence[Row]) -> list[Cell]:
    """Every arm that has its weights, seed by seed."""
    weights = search.weights(scale, rule, (*FIRST, *LATER), rows)
    ready = [arm for arm in arms if all(part in weights for part in parts(arm))]
    return [learned(scale, rule, arm, weights, s) for s in scale.meta_seeds for arm in ready]
