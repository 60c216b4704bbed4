"""The second study of flatness: planted records of known truth, and the order of its cells.

python tests/studies/test_flatness_2.py    writes the part of its README that is from the record
"""

import dataclasses
import json
import math
import random
import re
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from steppe.evaluation.engines import Row, cell_id
from steppe.evaluation.stats import equivalence, interval
from steppe.studies.flatness.design import NONE, NORM, VALID
from steppe.studies.flatness.lines import STOP, differences, general
from steppe.studies.flatness.summary import change
from steppe.studies.flatness_2 import search
from steppe.studies.flatness_2.claims import FEWEST, PLAIN, claims, results, rival
from steppe.studies.flatness_2.design import (
    FIRST,
    LATER,
    MAIN,
    UNTUNED,
    Scale,
    divisions,
    learned,
    untuned,
    with_arm,
)
from steppe.studies.flatness_2.mediation import mediation
from steppe.studies.flatness_2.outcome import conclude
from steppe.studies.flatness_2.reproduce import present
from steppe.studies.flatness_2.scales import SMALL
from steppe.studies.flatness_2.stages import cells, further, stages
from steppe.studies.names import scales
from steppe.studies.shipped_weights.known import second_study
from steppe.studies.study import read
from steppe.zoo.presets import recipe
from steppe.zoo.recipe_json import from_json
from tests.studies.marked import parts, write

RULE = SMALL.rule
RECORD = Path(search.__file__).with_name("small.jsonl")
README = RECORD.with_name("README.md")
PLANTED = dataclasses.replace(  # few tasks, one rule
    SMALL,
    recipes={RULE: SMALL.recipes[RULE]},
    digits={"sigmoid": SMALL.digits["sigmoid"]},
    elsewhere={"wine": SMALL.elsewhere["wine"]},
    short={"sigmoid, short": SMALL.short["sigmoid, short"]},
    later=False,
    levels=(0.2,),
    runs=1,
)
Effect = Callable[[str, str], float]  # arm, metric → shift: of a logarithm, or of accuracy


def row(cell: dict, result: dict | None) -> Row:
    return Row(cell_id(cell), cell, result, None if result else "lost", 1.0, 1, {})


def look(draw: Callable[[str], float], runs: int) -> dict:
    """What `flatness.work.look` says, numbers by `draw`."""
    typical = {"train_loss": 0.1, "test_loss": 0.2, "valid_loss": 0.2, "size": 100.0,
               "trace": 10.0, "top_eigenvalue": 2.0, "test_scaled_loss": 0.2}  # fmt: skip
    value = lambda name: typical[name] * math.exp(draw(name))
    shares = {"test_accuracy": 0.9, "valid_accuracy": 0.9, "test_ece": 0.03}

    def point() -> dict:
        found = {name: [value(name)] * runs for name in typical}
        steps = {"step": [60, *[40] * (runs - 1)]}
        return found | steps | {name: [x + draw(name)] * runs for name, x in shares.items()}

    path = {name: [[0.1]] * runs for name in ("train_loss", "test_loss", "test_accuracy")}
    return {"steps": [500], "path": path, "at": {"0.2": point(), "stop": point(), "end": point()},
            "runs": runs}  # fmt: skip


def planted(cell: dict, effect: Effect, noise: float) -> dict:
    """A result whose pairs differ by `effect` and noise."""
    rng = random.Random(cell_id(cell))
    spread = lambda name: rng.gauss(0, noise * (0.02 if "accuracy" in name else 1))
    arm = cell.get("arm", cell["optimizer"])
    if cell["part"] == "search":
        score = abs(math.log10(cell["weight"] / 3.0)) - 2 if cell["weight"] else 0.0
        tasks = {name: look(lambda m: score * ("loss" in m), 1) for name in cell["tasks"]}
        return {"meta": {"tail_sd": 0.05}, "tasks": tasks}
    runs = cell["runs"] * len(cell.get("meta_seeds", [0]))
    draw = lambda name: effect(arm, name) + spread(name)
    tasks = {name: look(draw, runs) for name in cell["tasks"]}
    if "meta_seeds" in cell:
        for each in tasks.values():
            each["runs"] = cell["runs"]
    return {"meta": {"tail_sd": 0.05}, "tasks": tasks}


def record(effect: Effect, noise: float = 0.02, scale: Scale = PLANTED) -> list[Row]:
    """Every cell of the study, stage by stage as `reproduce` asks for them."""
    rows = [row(cell, planted(cell, effect, noise)) for cell in cells(scale)]
    while True:
        there = {r.id for r in rows}
        new = [cell for cell in further(scale, rows) if cell_id(cell) not in there]
        if not new:
            return rows
        rows += [row(cell, planted(cell, effect, noise)) for cell in new]


def words(rows: list[Row], scale: Scale = PLANTED) -> dict[str, str]:
    found = conclude(scale, rows).content["claims"]
    return {claim["hypothesis"]: claim["word"] for claim in found}


def helps(arm: str, metric: str) -> float:
    """Relative trace is 20 % better than ‖θ‖², which is 10 % better than none and than rivals."""
    by = {MAIN: 2, NORM: 1}.get(arm, 0)
    return {"test_loss": -0.15 * by, "test_accuracy": 0.01 * by}.get(metric, 0.0)


def like(arm: str, metric: str) -> float:
    """Relative trace and ‖θ‖² do the same, and none is worse."""
    return helps(MAIN if arm == NORM else arm, metric)


def hurts(arm: str, metric: str) -> float:
    return -helps(arm, metric)


@pytest.fixture(scope="module")
def whole() -> list[Row]:
    return record(helps)


def test_a_planted_effect_is_found(whole):
    assert words(whole) == {"H1": "yes", "H2": "yes", "H3": "not decided", "H4": "not decided",
                            "H5a": "yes", "H5b": "yes", "H7": "yes"}  # fmt: skip
    told = conclude(PLANTED, whole)
    answer = told.text.splitlines()[0]
    assert answer.startswith("> ") and "beyond the weights' size: yes (n = 24)" in answer
    assert "least at the last look in 100% of plain runs" in told.text
    line = next(c for c in told.content["claims"] if c["hypothesis"] == "H2")["lines"][0]
    assert line["found"]["difference"]["mean"] == pytest.approx(-0.15, abs=0.02)
    assert json.loads(json.dumps(told.content, allow_nan=False))
    assert told.text == conclude(PLANTED, list(reversed(whole))).text


def test_two_arms_that_do_the_same_are_equivalent():
    rows = record(like)
    assert words(rows)["H2"] == "equivalent" and words(rows)["H1"] == "yes"
    assert "beyond the weights' size: no, the two are equivalent" in conclude(PLANTED, rows).text


def test_noise_shows_nothing_and_is_no_equivalence():
    """Standard errors of 0.2 · √2 / √24 in ln loss: wider than the margin of 5 %."""
    found = words(record(lambda *_: 0.0, noise=0.4))
    assert found["H1"] == found["H2"] == found["H5a"] == "open" and found["H7"] == "open"


def test_harm_is_said():
    found = words(record(hurts))
    assert found["H1"] == found["H2"] == found["H7"] == "worse"


def test_a_permuted_record_shows_nothing(whole):
    """Arms dealt anew within each meta-seed, so that names mean nothing."""
    rng, by_seed = random.Random(1), {}
    for r in whole:
        if r.cell["part"] == "learned":
            by_seed.setdefault(r.cell["meta_seed"], []).append(r)
    dealt = [r for r in whole if r.cell["part"] != "learned"]
    for own in by_seed.values():
        others = rng.sample(own, len(own))
        dealt += [
            Row(a.id, a.cell, b.result, None, 1.0, 1, {}) for a, b in zip(own, others, strict=True)
        ]
    found = words(dealt)
    assert found["H1"] == found["H2"] == "open"


def test_fewer_than_twenty_pairs_decide_nothing(whole):
    few = [r for r in whole if r.cell.get("meta_seed", 100) >= 100 or r.cell["meta_seed"] < 19]
    few = [r for r in few if "meta_seeds" not in r.cell]
    assert {*words(few).values()} == {"not decided"}
    told = conclude(PLANTED, few)
    assert f"meta-seeds of none 19 of 24, norm 19 of 24, {MAIN} 19 of 24" in told.text
    assert all(v.word == "not measured" for v in told.verdicts) and FEWEST == 20
    assert {*words([]).values()} == {"not decided"} and conclude(PLANTED, []).text


def test_an_unsteady_arm_decides_nothing(whole):
    shaken = [
        r if r.cell.get("arm") != NORM else row(r.cell, r.result | {"meta": {"tail_sd": 0.2}})
        for r in whole
    ]
    found = words(shaken)
    assert found["H2"] == "not decided" and found["H1"] == "yes"


def test_a_run_that_diverged_is_a_pair_less(whole):
    rows = list(whole)
    at = next(i for i, r in enumerate(rows) if r.cell.get("arm") == MAIN
              and r.cell["part"] == "learned")  # fmt: skip
    result = json.loads(json.dumps(rows[at].result))
    result["tasks"]["wine"]["at"]["stop"]["test_loss"] = [None]
    rows[at] = row(rows[at].cell, result)
    [h1] = [c for c in claims(PLANTED, results(PLANTED, rows)) if c.name == "H1"]
    assert [line.found.n for line in h1.lines] == [23, 24, 23, 24]


# The order of the cells.


def test_stages_come_in_the_order_of_what_they_decide(whole):
    parts = list(dict.fromkeys(r.cell["part"] for r in whole))
    assert parts == ["search", "learned", "untuned", "tuned", "trials"]
    seeds = [r.cell for r in whole if r.cell["part"] == "learned"]
    assert [c["arm"] for c in seeds[:6]] == [*FIRST, *FIRST]  # any prefix is balanced
    assert all(c["meta_task"]["split"] == c["meta_seed"] % 5 for c in seeds)
    for cell in seeds:
        splits = {how["split"] for group in ("tasks", "others") for how in cell[group].values()}
        assert splits == {cell["meta_seed"] % 5}
    untuned = [r.cell for r in whole if r.cell["part"] == "untuned"]
    for cell in untuned:
        assert {s % 5 for s in cell["meta_seeds"]} == {cell["meta_task"]["split"]}


def test_a_search_goes_on_until_the_best_is_inside_and_its_weight_is_taken(whole):
    assert search.found(PLANTED, RULE, NORM, whole).best == 3.0
    assert list(search.found(PLANTED, RULE, NORM, whole).scores)[-1] == 10.0
    assert search.found(PLANTED, RULE, NORM, whole).edge == ""
    taken = {(r.cell["arm"], r.cell["weight"]) for r in whole if r.cell["part"] == "learned"}
    assert taken == {(NONE, 0.0), (NORM, 3.0), (MAIN, 3.0)}
    cell = next(r.cell for r in whole if r.cell["part"] == "learned" and r.cell["arm"] == NORM)
    assert from_json(cell["recipe"]).penalty.weight == 3.0


def test_nothing_is_asked_twice_and_a_stage_waits_for_the_one_before(whole):
    ids = [r.id for r in whole]
    assert len({*ids}) == len(ids) and {cell_id(c) for c in further(PLANTED, whole)} <= {*ids}
    cut = whole[: len(ids) // 2]
    rest = [r.id for r in whole if r not in cut]
    asked = [cell_id(c) for c in further(PLANTED, cut) if cell_id(c) not in {r.id for r in cut}]
    assert asked and {*asked} <= {*rest}


def test_later_arms_and_rules_come_last():
    few = {"meta_seeds": (0, 1), "search_seeds": (100,), "trials": False}
    scale = dataclasses.replace(PLANTED, later=True, recipes=SMALL.recipes, **few)
    rows = record(helps, scale=scale)
    arms = list(dict.fromkeys(r.cell["arm"] for r in rows if r.cell["part"] == "learned"))
    assert arms == [*FIRST, *LATER]
    rules = list(dict.fromkeys(r.cell["optimizer"] for r in rows if r.cell["part"] == "learned"))
    assert rules == list(SMALL.recipes)
    both = next(r.cell for r in rows if r.cell.get("arm") == f"{VALID}+{MAIN}")
    recipe = from_json(both["recipe"])
    assert recipe.objective.batch == "valid" and recipe.penalty.weight == 3.0
    assert recipe.meta.lr == pytest.approx(3.0 * SMALL.recipes[RULE].meta.lr)
    assert len(list(stages(scale, rows))) > 8


def test_the_search_never_sees_a_seed_or_a_task_of_the_study():
    for scale in scales("flatness-2").values():
        assert not {*scale.search_seeds} & {*scale.meta_seeds}
        study = [*scale.unseen.values(), *scale.short.values(), scale.meta_task]
        assert not [how for how in scale.validation.values() if how in study]
        trained = [scale.meta_task, *scale.others.values()]
        assert not [how for how in scale.unseen.values() if how in trained]


def test_every_arm_ends_with_the_mean_of_the_last_quarter_and_no_validation():
    for arm in (*FIRST, *LATER):
        made = with_arm(SMALL.recipes[RULE], arm, dict.fromkeys((*FIRST, *LATER), 1.0))
        assert made.run.keep == "average" and made.run.validate_every == 0
        assert made.task.scaling == 1.0 and made.meta.decay == "cosine"
    assert learned(SMALL, RULE, NONE, {}, 7)["meta_task"]["split"] == 2


def test_every_cell_of_the_record_is_of_the_study():
    rows = read(RECORD)
    reached = {cell_id(cell) for cell in further(SMALL, rows)}
    early = {cell_id(untuned(SMALL, name, k)) for k in divisions(SMALL) for name in UNTUNED}
    assert {r.id for r in rows} <= reached | early


def test_what_readme_tells_of_the_first_meta_seed_is_so():
    found = results(SMALL, read(RECORD))
    differ = general(list(SMALL.unseen), STOP)["ln test_loss"]
    arm = lambda name: (RULE, PLAIN, name)
    adam = arm(rival("adam", "untuned", "steps"))
    [none], [size], [trace] = (differences(found, arm(x), adam, differ, [0]) for x in FIRST)
    ratios = [f"{math.exp(x):.2f}" for x in (none, size, trace)]
    said = "`none` {}, `norm` {} and `relative-trace` {} times".format(*ratios)
    assert said in README.read_text(encoding="utf-8")


def from_record() -> str:
    return conclude(SMALL, read(RECORD)).text


@pytest.fixture(scope="module")
def told():
    return second_study()


def test_readme_has_what_the_record_says():
    assert parts(README)[1] == from_record(), (
        "write it anew: python tests/studies/test_flatness_2.py"
    )


def test_prose_says_what_the_hypotheses_came_to(told):
    before, between, after = parts(README)
    said = {claim.name: word for claim, word in told if claim.rule == RULE}
    lines = {
        (claim.name, line.metric): line
        for claim, _ in told
        if claim.rule == RULE
        for line in claim.lines
    }
    quoted = re.findall(r"[-+]?\d+\.\d+ (?:times|points) \[[^]]*\]", before + after)
    known = {change(line) for claim, _ in told for line in claim.lines}
    assert len(quoted) == 14
    assert [x for x in quoted if x not in known and x not in between] == []
    assert {"H2": "yes", "H1": "open", "H5a": "open", "H7": "worse"}.items() <= said.items()
    for metric in ("test_accuracy", "test_accuracy, not digits"):
        assert lines["H1", metric].lost
    for metric in ("ln test_loss", "ln test_loss, not digits"):
        assert not lines["H1", metric].lost and not lines["H1", metric].better


def test_prose_says_on_which_tasks_it_pays():
    found = results(SMALL, read(RECORD))
    arm = lambda name: (RULE, PLAIN, name)
    means = lambda theirs, metric: {
        task: statistics.fmean(
            differences(
                found, arm(MAIN), arm(theirs), general([task], STOP)[metric], SMALL.meta_seeds
            )
        )
        for task in SMALL.unseen
    }
    loss, accuracy = means(NONE, "ln test_loss"), means(NONE, "test_accuracy")
    images = {"deeper", "wider", "ConvNet", "MNIST ReLU", "MNIST deeper tanh", "MNIST LeNet"}
    ahead = {task for task, x in loss.items() if x < 0}
    assert ahead == images and all(accuracy[task] > 0 for task in images)
    ends = [math.exp(f(loss[task] for task in images)) for f in (min, max)]
    assert "flat has {:.2f} to {:.2f} times".format(*ends) in README.read_text()
    front = README.parents[3].joinpath("README.md").read_text()
    assert (
        "test loss is {:.0f} to {:.0f} % lower".format(*(100 * (1 - x) for x in ends[::-1]))
        in front
    )
    size = means(NORM, "ln test_loss")
    behind = {task for task, x in size.items() if x > 0}
    assert behind == {"MNIST ReLU", "MNIST deeper tanh", "ConvNet"}  # the last not beyond chance


def test_the_preset_is_the_recipe_with_the_weight_that_was_found():
    weights = search.weights(SMALL, RULE, (MAIN,), read(RECORD))
    assert recipe("rnnprop-flat") == with_arm(SMALL.recipes[RULE], MAIN, weights)


def test_tasks_without_their_data_are_left_out(monkeypatch, whole):
    assert list(present(SMALL).unseen) == list(SMALL.unseen)
    monkeypatch.delenv("STEPPE_DATA", raising=False)
    paper = scales("flatness-2")["paper"]
    kept = list(present(paper).unseen)
    assert kept == [label for label in paper.unseen if label in SMALL.elsewhere]
    wanted = dataclasses.replace(PLANTED, elsewhere=SMALL.elsewhere)
    told = conclude(wanted, whole)
    assert "Left out, since their data are not here: MNIST LeNet, MNIST ReLU" in told.text
    assert told.content["claims"] == conclude(PLANTED, whole).content["claims"]


# Statistics.


def test_equivalence_is_the_90_percent_interval_within_the_margin():
    from scipy.stats import t, ttest_1samp

    rng = np.random.default_rng(0)
    for shift in (0.0, 0.02, 0.045, 0.2):
        x = [float(v) for v in shift + 0.05 * rng.standard_normal(12)]
        sides = [(-0.05, "greater"), (0.05, "less")]
        one_sided = [np.asarray(ttest_1samp(x, at, alternative=side))[1] for at, side in sides]
        assert equivalence(x, 0.05) == pytest.approx(max(one_sided))
        half = float(t.ppf(0.95, 11)) * np.std(x, ddof=1) / math.sqrt(12)
        inside = abs(float(np.mean(x))) + half < 0.05
        assert (equivalence([*x, None], 0.05) < 0.05) is bool(inside)
    assert equivalence([0.01], 0.05) == 1.0 and equivalence([0.0, 0.0], 0.05) == 0.0
    assert interval([0.0]).n == 1
    with pytest.raises(ValueError, match="margin must be positive"):
        equivalence([0.0, 1.0], 0.0)


def test_mediation_gives_back_planted_paths():
    rng = np.random.default_rng(3)
    size = -0.5 + 0.2 * rng.standard_normal(200)
    trace = -0.3 + 0.2 * rng.standard_normal(200)
    y = -0.1 + 0.6 * size + 0.0 * trace + 0.02 * rng.standard_normal(200)
    found = mediation(list(y), {"size": list(size), "trace": list(trace)})
    assert found["direct"].low < -0.1 < found["direct"].high
    assert found["size"].low < 0.6 * -0.5 < found["size"].high
    assert found["trace"].low < 0.0 < found["trace"].high
    whole = found["direct"].value + found["size"].value + found["trace"].value
    assert whole == pytest.approx(found["total"].value)
    assert mediation([0.1] * 5, {"size": [0.2] * 5}) == {}
    assert mediation([None, *y], {"size": [1.0, *size], "trace": [0.0, *trace]}) == found


if __name__ == "__main__":
    write(README, from_record())
