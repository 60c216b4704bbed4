"""The study of the small rule: planted records of known truth, its cells, and what came out.

python tests/studies/test_small_rule.py    writes the part of its README that is from the record
"""

import dataclasses
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from steppe.evaluation.engines import Row, cell_id
from steppe.studies.flatness.design import Tasks
from steppe.studies.flatness.summary import change
from steppe.studies.flatness_2.claims import FEWEST, tried
from steppe.studies.small_rule import claims
from steppe.studies.small_rule.claims import side
from steppe.studies.small_rule.design import (
    FLAT,
    PLAIN,
    SCALES,
    SMALL,
    Judged,
    cells,
    groups,
)
from steppe.studies.small_rule.reproduce import conclude
from steppe.studies.study import read
from tests.studies.marked import parts, write
from tests.studies.test_flatness_2 import look, row

RECORD = Path(claims.__file__).with_name("small.jsonl")
README = RECORD.with_name("README.md")
PLANTED = dataclasses.replace(
    SMALL,
    scale=dataclasses.replace(
        SMALL.scale,
        digits={"sigmoid": SMALL.scale.digits["sigmoid"]},
        elsewhere={"wine": SMALL.scale.elsewhere["wine"]},
        short={"sigmoid, short": SMALL.scale.short["sigmoid, short"]},
        runs=1,
    ),
)
UNTRIED = ("look", "start")
NAMES = ("S1", "S2", "S3", "S4", "S5", "S6")
Effect = Callable[[str, str], float]  # side of a pair, metric → shift: of ln loss, or of accuracy


def record(effect: Effect, noise: float = 0.02, plan: Judged = PLANTED) -> list[Row]:
    rows = []
    for cell in cells(plan):
        told = {"lr": 1.0, "edge": "", "setting": "cosine"}
        own = {} if cell["part"] in UNTRIED else {"told": dict.fromkeys(cell["tasks"], told)}
        tasks = {label: together(cell, label, effect, noise) for label in cell["tasks"]}
        rows.append(row(cell, {"tasks": tasks} | own))
    return rows


def together(cell: dict, label: str, effect: Effect, noise: float) -> dict:
    """A look with one run for each seed, whose noise is its own."""
    looks = []
    for s in cell["meta_seeds"]:
        rng = random.Random(f"{cell_id(cell)} {label} {s}")
        spread = lambda name, rng=rng: rng.gauss(0, noise * (0.02 if "accuracy" in name else 1))
        looks.append(look(lambda name, spread=spread: effect(side(cell), name) + spread(name), 1))
    at = {
        point: {name: [x for one in looks for x in one["at"][point][name]] for name in values}
        for point, values in looks[0]["at"].items()
    }
    path = {name: [x for one in looks for x in one["path"][name]] for name in looks[0]["path"]}
    return looks[0] | {"at": at, "path": path}


def words(rows: list[Row], plan: Judged = PLANTED) -> dict[str, str]:
    return {x["hypothesis"]: x["word"] for x in conclude(plan, rows).content["claims"]}


def ahead(side: str, metric: str) -> float:
    """Ours is 10 % better than everything."""
    ours = side in (FLAT, tried(FLAT))
    return {"test_loss": -0.1 * ours, "test_accuracy": 0.01 * ours}.get(metric, 0.0)


def test_what_is_planted_is_found():
    assert words(record(ahead)) == dict.fromkeys(NAMES, "yes")
    behind = words(record(lambda side, metric: -2 * ahead(side, metric)))
    assert behind == dict.fromkeys(NAMES, "worse")


def test_a_lower_accuracy_is_no_win():
    traded = lambda side, metric: (-1 if "accuracy" in metric else 1) * ahead(side, metric)
    found = words(record(traded))
    assert (found["S1"], found["S2"], found["S5"]) == ("open", "open", "open")
    assert (found["S3"], found["S4"]) == ("yes", "yes")  # of losses alone


def test_level_is_no_win_but_is_within_the_bounds():
    found = words(record(lambda side, metric: 0.0, noise=0.01))
    assert found == {"S1": "open", "S2": "open", "S3": "yes", "S4": "yes", "S5": "open",
                     "S6": "open"}  # fmt: skip


@pytest.mark.parametrize(
    ("rival", "behind", "word"),
    [
        ("adamw-cosine, 20 trials", 0.03, "yes"),
        ("adamw-cosine, 20 trials", 0.08, "worse"),
        ("momentum-cosine, 20 trials", 0.08, "yes"),
        ("momentum-cosine, 20 trials", 0.12, "worse"),
    ],
)
def test_each_rival_has_a_bound_of_its_own(rival, behind, word):
    shift = lambda side, metric: -behind * (side == rival and metric == "test_loss")
    assert words(record(shift))["S3"] == word


def test_fewer_than_twenty_pairs_decide_nothing():
    seeds = tuple(range(FEWEST - 1))
    few = dataclasses.replace(PLANTED, scale=dataclasses.replace(PLANTED.scale, meta_seeds=seeds))
    assert set(words(record(ahead, plan=few), few).values()) == {"not decided"}


def test_a_record_that_is_not_complete_says_so_and_decides_nothing():
    rows = record(ahead)
    assert set(words(rows[:10]).values()) == {"not decided"}  # one group and a half
    first = [r for r in rows if r.cell["part"] in UNTRIED]
    found = words(first)
    assert found["S3"] == "not decided" and found["S1"] == "yes"
    assert (
        f"Missing: {len(rows) - len(first)} of {len(rows)} cells" in conclude(PLANTED, first).text
    )
    lost = [r if k else row(r.cell, None) for k, r in enumerate(rows)]
    assert "1 of" in conclude(PLANTED, lost).text and words(lost)["S1"] != "yes"


def test_no_test_example_of_the_digits_was_seen_in_meta_training():
    scale = SMALL.scale

    def seen(tasks: Tasks) -> None:
        for how in tasks.values():
            if str(how["name"]).startswith("digits"):
                assert how["split"] == 0

    met: dict[str, list[int]] = {}
    for seeds, tasks in groups(scale, scale.unseen | scale.short):
        seen(tasks)
        for label, how in tasks.items():
            met.setdefault(label, []).extend(seeds)
            digits = str(how["name"]).startswith("digits")
            assert digits or {s % scale.divisions for s in seeds} == {how["split"]}
    assert met.keys() == {*scale.unseen, *scale.short}
    assert all(sorted(seeds) == list(scale.meta_seeds) for seeds in met.values())


def test_all_sides_see_the_same_and_have_as_many_trials():
    by: dict[str, list[dict]] = {}
    for cell in cells(SMALL):
        by.setdefault(side(cell), []).append(cell)
    shared = ("meta_seeds", "tasks", "horizon", "every", "levels", "runs")
    places = lambda own: [{name: cell[name] for name in shared} for cell in own]
    looks = [places(own) for own in by.values() if own[0]["part"] in UNTRIED]
    tuned = [places(own) for own in by.values() if own[0]["part"] not in UNTRIED]
    assert all(x == looks[0] for x in looks) and all(x == tuned[0] for x in tuned)
    assert len(looks) == 7 and len(tuned) == 3
    assert FLAT in by and PLAIN in by
    assert {cell_id(c) for c in cells(SCALES["tiny"])}.isdisjoint(map(cell_id, cells(SMALL)))


def concluded():
    """Hypotheses, and what each came to."""
    return claims.judged(SMALL, claims.results(read(RECORD)))


def from_record() -> str:
    return conclude(SMALL, read(RECORD)).text


def test_every_cell_of_the_record_is_of_the_study():
    assert {r.id for r in read(RECORD)} <= {cell_id(cell) for cell in cells(SMALL)}


def test_readme_has_what_the_record_says():
    assert parts(README)[1] == from_record(), (
        "write it anew: python tests/studies/test_small_rule.py"
    )


def test_intervals_in_the_prose_are_those_of_the_record():
    before, between, after = parts(README)
    quoted = re.findall(r"[-+]?\d+\.\d+ (?:times|points) \[[^]]*\]", before + after)
    known = {change(line) for claim, _ in concluded() for line in claim.lines}
    assert quoted and [x for x in quoted if x not in known and x not in between] == []


if __name__ == "__main__":
    write(README, from_record())
