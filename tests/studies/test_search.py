"""The weights of the study are those that the recorded search chose; a search goes on at an end."""

import math
from pathlib import Path

import pytest

from steppe.evaluation.engines import Row, cell_id
from steppe.studies.flatness import design, search
from steppe.studies.flatness.scales import CHOSEN, SMALL, WEIGHTS
from steppe.studies.study import Study, read, reproduce


def test_the_record_is_that_of_the_search_and_chooses_what_stands_in_the_scales():
    rows = read(Path(search.__file__).with_name("search.jsonl"))
    wanted = [(c["optimizer"], c["arm"], c["weight"], c["meta_seed"]) for c in design.search(SMALL)]
    done = [
        (c["optimizer"], c["arm"], c["weight"], c["meta_seed"])
        for c in (row.cell for row in rows if row.result is not None)
    ]
    assert sorted(done) == sorted(wanted)
    weights, flat = search.chosen(rows)
    assert flat == CHOSEN
    assert weights == {arm: WEIGHTS[arm] for arm in weights}


def test_of_the_record_16_of_21_weights_lie_at_an_end_and_are_refused():
    """Counted here by hand: the lowest of the two-seed means, of equal ones the largest."""
    rows = read(Path(search.__file__).with_name("search.jsonl"))
    at = search.ends(rows)
    assert len(at) == 16 and len(search.tried(rows)) == 21
    by_hand = {
        (o, arm): "lowest" if WEIGHTS[arm][o] == min(grid) else "highest"
        for o, grid in design.WEIGHTS.items()
        for arm in design.SEARCHED
        if WEIGHTS[arm][o] in (min(grid), max(grid))
    }
    assert at == by_hand
    told = search.conclude(SMALL, rows)
    [verdict] = told.verdicts
    assert not verdict.holds and "16 of 21" in verdict.because
    assert told.content["weights"][design.NORM] == {"dm": None, "rnnprop": None, "l2o-scale": 0.3}
    assert told.content["flat"]["rnnprop"] is None and told.content["flat"]["dm"] == CHOSEN["dm"]
    planned = list(search.further(SMALL, rows))
    assert len(planned) == 2 * 16  # meta-seeds
    beyond = {(c["optimizer"], c["arm"], c["weight"]) for c in planned}
    assert {("dm", design.NORM, 0.1), ("rnnprop", "relative-trace", 10.0)} < beyond


VALLEY = {design.NORM: 0.01, "trace": 1.0, "relative-trace": 30.0, "entropy": math.inf}


def valley(cell):
    """A loss whose logarithm is least at the weight in `VALLEY`, or falls for ever."""
    least, weight = VALLEY.get(cell["arm"], 1.0), cell["weight"]
    steps = 0.0
    if weight:
        steps = -math.log(weight) if least == math.inf else abs(math.log(weight / least)) - 9
    loss = 0.2 * math.exp(0.1 * steps)
    end = {"valid_loss": [loss], "valid_accuracy": [0.9], "train_loss": [0.1], "trace": [loss]}
    return {"tasks": {"same task": {"at": {"0.2": end, "end": end}}}}


def test_a_search_goes_on_until_its_best_weight_is_within_the_grid(tmp_path):
    few = design.change(SMALL, recipes={"dm": SMALL.recipes["dm"]})
    study = Study(design.search, f"{__name__}:valley", search.conclude, further=search.further)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(design, "WEIGHTS", {"dm": design.WEIGHTS["dm"]})
        found, grid = reproduce(study, few, tmp_path, engine="serial", say=lambda _: None)
        weights = {arm: by["dm"] for arm, by in found.content["weights"].items()}
        assert weights == {arm: VALLEY.get(arm, 1.0) for arm in weights} | {"entropy": None}
        assert found.content["refused"] == {
            "dm entropy": {"weight": max(design.LADDER), "end": "highest"}
        }
        reached = search.tried(grid.done)
        assert reached["dm", "norm"] == [0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0]
        assert reached["dm", "relative-trace"][-1] == 100.0 and len(reached["dm", "trace"]) == 3
        again = reproduce(study, few, tmp_path, engine="serial", say=lambda _: None)[1]
        assert {row.id for row in again.done} == {row.id for row in grid.done}
        assert not grid.failed

        lost = next(row for row in grid.done if row.cell["weight"] == 0.3)
        rest = [row for row in grid.done if row is not lost]
        assert not list(
            search.further(few, [*rest, Row(lost.id, lost.cell, None, "…", 1.0, 1, {})])
        )
        assert cell_id(lost.cell) == lost.id
