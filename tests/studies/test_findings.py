"""Findings: made-up rows whose answer is known."""

import math

import pytest

from steppe.studies.flatness import design, findings, lines, rivals, summary
from steppe.studies.flatness.reproduce import conclude
from steppe.studies.study import content
from tests.studies.made import SCALE, look, nothing, row, rows, works

CELLS = len(SCALE.recipes) * len(SCALE.techniques)


def of(scale, made):
    return findings.findings(scale, made)


@pytest.fixture(scope="module")
def worked():
    """Rows of an effect, and what is found in them."""
    made = rows(works)
    return made, of(SCALE, made)


@pytest.fixture(scope="module")
def without():
    """Rows of no effect, and what is found in them."""
    made = rows(nothing)
    return made, of(SCALE, made)


def test_an_effect_is_found_with_its_size_and_every_claim_holds(worked):
    _, found = worked
    assert len(found.flatness) == len(found.generalisation) == len(found.control) == 2 * CELLS
    for line in found.flatness:
        assert line.better and line.found.mean == pytest.approx(-0.7, abs=0.03)
    by = {line.metric: line.found.mean for line in found.generalisation}
    assert by["ln test_loss"] == pytest.approx(-0.3, abs=0.03)
    assert by["test_accuracy"] == pytest.approx(0.02, abs=0.003)
    losses = [line.found.mean for line in found.control if line.metric == "ln test_loss"]
    assert losses == pytest.approx([-0.25] * CELLS, abs=0.03)
    against = {(line.optimizer, line.theirs) for line in found.held_out}
    assert against == {(o, c) for o in SCALE.recipes for c in (design.EARLY, design.VALID)}
    assert all(line.better for line in found.held_out if line.metric == "ln test_loss")
    assert all(verdict.holds for verdict in summary.verdicts(SCALE, found))
    assert summary.answer(SCALE, found).startswith(
        "Does flatness-aware meta-training make the trained models generalise? Yes, at the scale"
    )


def test_no_effect_is_told_as_none(without):
    _, found = without
    assert not any(line.better for line in (*found.flatness, *found.generalisation))
    assert not any(verdict.holds for verdict in summary.verdicts(SCALE, found))
    assert "? No, at the scale" in summary.answer(SCALE, found)


def test_flat_without_generalisation_is_told_in_part():
    flat = lambda *what: works(*what) if what[-1] in ("trace", "top_eigenvalue") else 0.0
    said = summary.verdicts(SCALE, of(SCALE, rows(flat)))
    assert [verdict.holds for verdict in said] == [True, False, False]


def test_a_gain_that_small_weights_explain_does_not_count_as_one_of_flatness():
    same = lambda o, t, arm, metric: works(
        o, t, SCALE.flat[o] if arm == design.NORM else arm, metric
    )
    said = summary.verdicts(SCALE, of(SCALE, rows(same)))
    assert [verdict.holds for verdict in said] == [True, True, False]


def test_an_arm_chosen_later_counts_in_the_same_tests_and_is_told():
    scale = design.change(SCALE, later={"rnnprop": "trace"})
    effect = lambda o, t, arm, metric: (
        works(o, t, SCALE.flat[o] if arm == "trace" else "none", metric)
        if o == "rnnprop"
        else works(o, t, arm, metric)
    )
    found = of(scale, rows(effect, scale))
    assert len(found.generalisation) == 2 * (CELLS + len(scale.techniques))
    assert {x.ours for x in found.rivals if x.optimizer == "rnnprop"} == {"jacobian", "trace"}
    said = summary.answer(scale, found)
    assert f"{CELLS} of {CELLS} cells" in said and "rnnprop plain, cl (trace)" in said
    assert "For rnnprop, trace was chosen after its ablation had been seen" in said
    assert all(verdict.holds for verdict in summary.verdicts(scale, found))
    without = summary.verdicts(SCALE, of(SCALE, rows(effect)))
    assert [verdict.holds for verdict in without] == [True, False, False]


def test_worse_is_told_as_worse():
    against = lambda *what: -works(*what)
    found = of(SCALE, rows(against))
    assert all(line.worse and not line.better for line in found.flatness)
    assert "worse" in summary.table("title", found.flatness)


def test_matched_is_at_the_lowest_level_that_both_sides_reach():
    side = lambda levels, x: {
        "at": {
            level: {"train_loss": [0.1, y], "trace": [x, x] if y else [None, None]}
            for level, y in levels.items()
        }
    }
    far = side({"0.2": 0.2, "0.05": 0.05, "end": 0.01}, 4.0)
    near = side({"0.2": 0.2, "0.05": None, "end": 0.1}, 8.0)
    nowhere = side({"0.2": None, "0.05": None, "end": 0.3}, 1.0)
    assert lines.matched(far, near, "trace") == pytest.approx(math.log(0.5))
    assert lines.matched(far, nowhere, "trace") is None
    assert lines.matched(far, near, "rise") is None  # not measured on this task


def test_what_is_missing_is_counted_and_nothing_stands_in_for_it():
    made = rows(works)
    lost = next(
        r for r in made if r.cell.get("arm") == SCALE.flat["dm"] and r.cell["meta_seed"] == 3
    )
    lost.result["tasks"]["MNIST"]["at"]["end"]["test_loss"][1] = None
    gone = next(r for r in made if r.cell.get("arm") == design.NONE and r.cell["meta_seed"] == 4)
    made.remove(gone)
    made.append(row(gone.cell, None, "MetaTrainingError: …"))
    found = of(SCALE, made)
    [line] = [
        x
        for x in found.generalisation
        if (x.optimizer, x.technique, x.metric) == ("dm", "plain", "ln test_loss")
    ]
    assert (line.found.n, line.found.missing) == (8, 2)
    assert found.diverged == {f"dm plain {SCALE.flat['dm']}": 1}
    assert f"dm plain {SCALE.flat['dm']}: 1" in summary.text(SCALE, found)


def test_tuned_optimizers_are_compared_on_equal_networks(without):
    made, found = without
    names = {line.theirs for line in found.rivals}
    assert {"adam", "sam, equal steps", "sam, equal gradients"} < names
    assert list(found.by_task) == list(SCALE.tasks)
    for compared in (found.rivals, *found.by_task.values()):
        assert len(compared) == CELLS * 2 * 8  # metrics, rivals with budgets
    said = summary.winners(found)
    assert len(said) == 8 and any(s.startswith("Against tuned adam: ") for s in said)

    # By hand, for one rival on one task: what `made.py` wrote, seed by seed.
    wanted = {"optimizer": "dm", "technique": "plain", "theirs": "adam", "metric": "ln test_loss"}
    line = lines.pick(found.by_task["MNIST"], **wanted)
    task, flat = SCALE.tasks["MNIST"], SCALE.flat["dm"]
    [adam] = [
        r.result["task"]
        for r in made
        if (r.cell["optimizer"], r.cell.get("task")) == ("adam", task)
    ]
    theirs = [
        sum(map(math.log, adam["at"]["end"]["test_loss"][2 * s : 2 * s + 2])) for s in range(10)
    ]
    dm = {
        r.cell["meta_seed"]: sum(
            map(math.log, r.result["tasks"]["MNIST"]["at"]["end"]["test_loss"])
        )
        for r in made
        if r.cell.get("arm") == flat
        and (r.cell["optimizer"], r.cell["technique"]) == ("dm", "plain")
    }
    differences = [(dm[s] - theirs[s]) / 2 for s in range(10)]
    assert line.found.mean == pytest.approx(sum(differences) / 10)


def test_who_wins_against_a_tuned_optimizer_goes_by_both_metrics():
    ours = {"test_loss": -1.0, "test_accuracy": 0.2}
    for sign, tuned in ((1, False), (-1, True)):
        shifted = lambda o, t, arm, metric: sign * ours.get(metric, 0.0)  # noqa: B023
        said = summary.winners(of(SCALE, rows(shifted)))
        assert all("wins in both (" in sentence for sentence in said), said
        assert all(("the tuned one" in sentence) == tuned for sentence in said), said


def test_runs_of_a_meta_seed_are_those_at_its_place():
    import random

    draw = random.Random(0)
    made = look(draw, draw, nothing, 6, 0.1, 3)
    split = rivals.by_seed(made, [7, 8, 9])
    assert split[8]["at"]["end"]["trace"] == made["at"]["end"]["trace"][2:4]
    assert split[9]["path"]["test_loss"] == made["path"]["test_loss"][2:]


def test_the_tables_are_plain_values_and_text(worked):
    import json

    made, found = worked
    again = json.loads(json.dumps(content(conclude(SCALE, made)), allow_nan=False))
    assert [v["holds"] for v in again["verdicts"]] == [True, True, True]
    lines = summary.text(SCALE, found).splitlines()
    assert lines[0].startswith("Does flatness-aware meta-training")
    assert any(line.startswith(f"dm plain {SCALE.flat['dm']}") for line in lines)
