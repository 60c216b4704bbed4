"""The design: what is compared, and that pairs differ in nothing but their arm."""

import json

import pytest

from steppe.evaluation.grid import cell_id
from steppe.studies.flatness import design
from steppe.studies.flatness.reproduce import estimate
from steppe.studies.flatness.scales import PAPER, SCALES, SMALL, TINY
from steppe.tasks.suite import options
from steppe.zoo.recipe_json import from_json


@pytest.mark.parametrize("name", SCALES)
def test_cells_are_plain_and_no_two_are_the_same(name):
    cells = list(design.cells(SCALES[name]))
    assert json.loads(json.dumps(cells)) == cells
    assert len({cell_id(cell) for cell in cells}) == len(cells)


@pytest.mark.parametrize("name", SCALES)
def test_recipes_and_tasks_can_be_made(name):
    looking = {"name", "curved", "runs", "every", "horizon"}
    for cell in design.cells(SCALES[name]):
        tasks = cell["tasks"].values() if cell["part"] == "learned" else [cell["task"]]
        for how in tasks:
            assert set(how) - looking <= set(options(how["name"]))
            steps = how.get("horizon", cell["horizon"])
            assert steps % how.get("every", cell["every"]) == 0
        if cell["part"] == "learned":
            from_json(cell["recipe"])


def test_the_small_study_is_what_was_promised():
    learned = [cell for cell in design.cells(SMALL) if cell["part"] == "learned"]
    main = [
        c for c in learned if c["arm"] in (design.NONE, design.NORM, SMALL.flat[c["optimizer"]])
    ]
    cells = {(c["optimizer"], c["technique"]) for c in main}
    assert len(cells) == 9 and len(SMALL.meta_seeds) == 12
    assert len(main) == 9 * 3 * 12
    arms = {c["arm"] for c in learned}
    assert {*design.FLAT, design.NORM, design.EARLY, design.VALID} - arms == {"adaptive-trace"}
    assert any(arm.startswith("valid+") for arm in arms)
    rivals = {(c["optimizer"], c["budget"]) for c in design.cells(SMALL) if c["part"] == "classic"}
    assert {("adam", "steps"), ("sam", "steps"), ("sam", "gradients")} <= rivals


def test_pairs_differ_in_their_penalty_alone():
    none, flat, norm = (
        design.learned(SMALL, "dm", "cl", arm, 3) for arm in (design.NONE, "trace", design.NORM)
    )
    assert "penalty" not in none["recipe"]
    for other in (flat, norm):
        bare = {k: v for k, v in other["recipe"].items() if k != "penalty"}
        assert other | {"arm": design.NONE, "recipe": bare} == none
    both = design.with_penalty(SMALL, SMALL.recipes["dm"], "valid+trace")
    assert both.objective.batch == "valid"
    assert both.penalty.kind == "gauss-newton"


def test_meta_training_sees_held_out_data_in_two_controls_alone():
    for cell in design.cells(SMALL):
        if cell["part"] == "learned":
            how = from_json(cell["recipe"])
            looks = how.run.validate_by == "valid" or how.objective.batch == "valid"
            assert looks == bool({design.EARLY, design.VALID} & {*cell["arm"].split("+")})
            assert how.penalty.kind == "none" or how.penalty.normalise == "log1p"


def test_controls_are_looked_at_with_every_meta_seed():
    learned = [cell for cell in design.cells(SMALL) if cell["part"] == "learned"]
    for arm in (design.EARLY, design.VALID):
        cells = [(c["optimizer"], c["technique"]) for c in learned if c["arm"] == arm]
        assert sorted(cells) == sorted((o, "plain") for o in SMALL.recipes for _ in range(12))


def test_the_search_never_sees_a_seed_or_a_task_of_the_evaluation():
    cells = list(design.search(SMALL))
    assert not {c["meta_seed"] for c in cells} & {*SMALL.meta_seeds}
    assert all(c["part"] == "search" for c in cells)  # scored on the validation split
    looked = [how for c in cells for how in c["tasks"].values()]
    assert [how for how in looked if how in SMALL.tasks.values()] == len(cells) * [SMALL.meta_task]
    for optimizer, weights in design.WEIGHTS.items():
        asked = {(c["arm"], c["weight"]) for c in cells if c["optimizer"] == optimizer}
        assert len(asked) == 1 + len(design.SEARCHED) * len(weights)


def test_estimates_grow_with_the_scale():
    tiny, small, paper = (estimate(s)["core_hours"] for s in (TINY, SMALL, PAPER))
    assert tiny < 0.5 < small < 20 < paper
