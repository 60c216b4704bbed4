"""What README says of the study is what its record says."""

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from steppe.evaluation.engines import cell_id
from steppe.studies.flatness import design, outcome, summary
from steppe.studies.flatness.findings import findings
from steppe.studies.flatness.picture import ARM, METRIC, picture
from steppe.studies.flatness.rivals import base_rates, further
from steppe.studies.flatness.scales import SMALL
from steppe.studies.flatness.summary import change
from steppe.studies.shipped_weights.known import second_study
from steppe.studies.study import read
from tests.studies.marked import parts
from tests.studies.test_small_rule import concluded as small_rule

FOLDER = Path(outcome.__file__).parent
STUDY = (FOLDER / "README.md").read_text(encoding="utf-8")
FRONT, WHICH = (
    (Path(__file__).parents[2] / name).read_text(encoding="utf-8")
    for name in ("README.md", "docs/which-optimizer.md")
)


@pytest.fixture(scope="module")
def rows():
    return read(FOLDER / "small.jsonl")


@pytest.fixture(scope="module")
def found(rows):
    return findings(SMALL, rows)


@pytest.fixture(scope="module")
def told(rows, found):
    return outcome.tables(SMALL, rows, found)


def test_every_cell_of_the_design_is_on_record_once(rows):
    wanted = {cell_id(cell) for cell in (*design.cells(SMALL), *further(SMALL, rows))}
    assert sorted(row.id for row in rows) == sorted(wanted)
    assert sum(row.result is None for row in rows) <= 1  # one diverged; it is named in README


def test_the_tables_are_those_of_the_record(told):
    assert told in STUDY


@pytest.mark.parametrize("text", [STUDY, FRONT, WHICH], ids=["study", "front page", "which"])
def test_intervals_that_are_quoted_are_those_of_the_tables(text, told):
    prose = text.replace(told, "").split("## Log of tries")[0]
    quoted = re.findall(r"[-+]?\d+\.\d+ \[[-+]?\d+\.\d+, [-+]?\d+\.\d+\]", prose)
    again = re.findall(r"[-+]?\d+\.\d+ (?:times|points) \[[^]]*\]", prose)
    assert len(quoted) + len(again) == len(re.findall(r"\[[-+]?\d+\.\d+, ", prose)) > 0
    studies = (*second_study(), *small_rule())
    second = {change(line) for claim, _ in studies for line in claim.lines}
    later = ("flatness_2", "small_rule")
    told_again = "".join(parts(FOLDER.parent / name / "README.md")[1] for name in later)
    assert [x for x in again if x not in second and x not in told_again] == []
    assert [x for x in quoted if not re.search(rf"(?<![\d.]){re.escape(x)}", told)] == []


def test_counts_and_shares_in_the_sentences_are_those_of_the_record(found):
    by = {}
    for line in found.generalisation:
        by.setdefault((line.optimizer, line.technique, line.ours), {})[line.metric] = line
    of_one = {place: x for place, x in by.items() if place[2] == ARM}
    fall = lambda x: 100 * (1 - math.exp(x[METRIC].found.mean))
    good = [fall(x) for x in of_one.values() if all(line.better for line in x.values())]
    [ninth] = [fall(x) for x in of_one.values() if not all(line.better for line in x.values())]
    assert (len(good), len(of_one)) == (8, 9)
    said = f"{min(good):.0f} to {max(good):.0f} %"
    assert said == "23 to 70 %" and STUDY.count(said) == 1 and FRONT.count(said) == 2
    assert f"test loss falls by {ninth:.0f} %" in STUDY

    flatter, *_ = summary.verdicts(SMALL, found)
    assert not flatter.holds and "in 4 of 9 cells" in flatter.because
    assert "- **Flatter: in 4 of 9 cells**" in STUDY and "intervals, in 7:" in flatter.because
    sure = {x.optimizer for x in found.flatness if x.better and x.metric == "ln trace"}
    assert sure == {"dm", "l2o-scale"}

    losses = [x for x in found.control if x.metric == METRIC]
    sds = [abs(x.found.mean / x.found.d_z) for x in losses]
    seeds = [((1.96 + 0.84) * sd / math.log(1.1)) ** 2 for sd in sds]
    assert min(seeds) > 13 and "takes 14 meta-seeds or more" in STUDY


def test_what_is_said_of_rivals_and_of_the_shipped_arm_is_so(found):
    ahead = {
        x.theirs
        for x in found.rivals
        if (x.optimizer, x.technique, x.ours, x.metric) == ("rnnprop", "cl", ARM, METRIC) and x.lost
    }
    assert ahead == {"adam", "momentum", "sam, equal steps", "entropy-sgd, equal steps"}
    assert not any(x.lost for x in found.rivals if x.ours == ARM and "accuracy" in x.metric
                   and x.optimizer == "rnnprop")  # fmt: skip
    pooled = {(x.optimizer, x.metric): x for x in found.post_hoc.pooled}
    assert pooled["rnnprop", METRIC].better and pooled["rnnprop", "test_accuracy"].better
    assert pooled["l2o-scale", METRIC].lost
    worse = {x.metric for x in found.control if x.optimizer == "dm" and x.lost}
    assert worse == {METRIC, "test_accuracy"}
    assert not any(x.lost for x in found.control if x.optimizer == "l2o-scale")


def test_what_is_said_of_no_trials_on_either_side_is_so(rows, found):
    assert base_rates(SMALL, rows) == {"adam": 0.01}
    at = {
        (x.technique, x.ours, x.metric): x
        for x in found.post_hoc.untuned
        if x.optimizer == "rnnprop"
    }
    assert len(at) == 18 and {x.found.n for x in at.values()} == {len(SMALL.meta_seeds)}
    for technique in SMALL.techniques:
        for metric in (METRIC, "test_accuracy"):
            assert at[technique, design.NONE, metric].lost
            assert not at[technique, design.NORM, metric].lost  # nor after correction
            assert not (x := at[technique, ARM, metric]).lost and not x.better
        assert at[technique, design.NORM, METRIC].worse  # in both intervals


def test_how_long_arms_were_meta_trained_is_so(rows):
    kept = {}
    for row in rows:
        if row.cell["part"] == "learned" and row.result is not None:
            place = (row.cell["optimizer"], row.cell["technique"], row.cell["arm"])
            kept.setdefault(place, []).append(row.result["meta"]["best_step"])
    assert sorted(set(kept["rnnprop", "plain", design.NORM])) == [250, 300]
    flat = sorted(kept["rnnprop", "plain", ARM])
    assert (flat[0], flat[-1], flat[len(flat) // 2]) == (50, 200, 100)


def test_a_smaller_weight_of_the_control_was_no_better_in_the_pilot():
    score = {}
    log = lambda values: sum(map(math.log, values)) / len(values)
    for row in read(FOLDER / "pilot.jsonl"):
        if row.cell["arm"] == design.NORM and row.result is not None:
            looks = row.result["tasks"].values()
            value = sum(log(look["at"]["end"]["valid_loss"]) for look in looks) / len(looks)
            score.setdefault((row.cell["optimizer"], row.cell["weight"]), []).append(value)
    assert {len(x) for x in score.values()} == {4}
    mean = {place: sum(x) / len(x) for place, x in score.items()}
    for optimizer in ("dm", "rnnprop"):
        assert mean[optimizer, 0.1] > mean[optimizer, 0.3]


def test_the_picture_of_readme_is_drawn_from_the_record(found):
    """Made again from the rows, it is the same; what it colours is what the tables call better."""
    text = picture(found)
    assert text == (Path(__file__).parents[2] / "docs" / "flatness.svg").read_text()
    root = ElementTree.fromstring(text)
    kinds = [dot.get("class") for dot in root.iter("{http://www.w3.org/2000/svg}circle")]
    kept = [x for x in found.generalisation if (x.ours, x.metric) == (ARM, METRIC)]
    assert kinds.count("good") == sum(line.better for line in kept) == 9  # of both other blocks 0
    assert kinds.count("bad") == 10 and kinds.count("open") == 8
    assert "<script" not in text and len(text) < 10_000
