"""What is said in words is what the numbers say."""

import pytest
from evaluation.samples import LEARNED, SGD, made_up

from steppe.evaluation import compare
from steppe.evaluation.stats import interval

ADAM = made_up()


def test_a_case_is_a_task_at_a_horizon():
    records = [ADAM, LEARNED, made_up(horizon=20), made_up(task="other"), SGD]
    found = compare.cases(records)
    assert [(c.task, c.horizon) for c in found] == [("digits", 10), ("digits", 20), ("other", 10)]
    assert [r.optimizer for r in found[0].records] == ["Learned", "Adam", "SGD"]


def test_the_sentence_says_who_wins():
    said, in_equal_time = compare.sentences([ADAM, SGD, LEARNED])
    assert in_equal_time == (
        "digits, 10 steps, at equal wall-clock: "
        "Learned is worse than Adam (test loss) and SGD (test loss)."
    )
    assert said == (
        "digits, 10 steps: Learned is better than Adam (train loss, test loss, test accuracy); "
        "worse than SGD (train loss, test loss, test accuracy)."
    )


def test_what_is_within_noise_is_not_called():
    noisy = made_up("Momentum", ends=(0.05, 0.21, 0.33))
    said = compare.sentences([LEARNED, noisy])[0]
    assert "not seen to differ from Momentum (train loss, test loss, test accuracy)" in said
    assert "better" not in said and "worse" not in said


def test_divergence_is_said():
    said = compare.sentences([LEARNED, made_up(ends=(0.2, None, 0.4))])
    assert said[-1] == "digits, 10 steps: diverged Adam on 1 of 3 seeds."


def test_other_starts_are_no_pairs():
    moved = [[x + 0.5 if x else x for x in row] for row in ADAM.metrics["train_loss"]]
    other = made_up(metrics=ADAM.metrics | {"train_loss": moved})
    (case,) = compare.cases([LEARNED, other])
    assert compare.compare(case) == []
    assert compare.unpaired(case) == [("Learned", "Adam")]
    (case,) = compare.cases([LEARNED, made_up(seeds=[0, 1, 3])])
    assert compare.compare(case) == []


def test_equal_time_stops_the_slower_one():
    """A step of Learned takes 4 of Adam's: when Adam is done it has made 2.5 of 10 steps.

    The next point after that is step 5, halfway between start and end.
    """
    (case,) = compare.cases([LEARNED, ADAM])
    ((step, found),) = compare.equal_time(case)
    assert step == 5
    assert found.our_mean == pytest.approx((2.1 + 0.2) / 2)
    assert found.their_mean == pytest.approx(0.3)
    assert found.paired.verdict == "worse"


def test_table_rows_hold_the_intervals():
    (case,) = compare.cases([ADAM, LEARNED])
    ours, theirs = compare.table(case)
    assert (ours.optimizer, ours.learned, ours.setting) == ("Learned", True, "")
    assert (theirs.optimizer, theirs.setting) == ("Adam", "lr 0.0316")
    assert theirs.values["test_loss"] == interval([0.2, 0.3, 0.4])
    assert theirs.verdicts["test_accuracy"] == "better"
    assert ours.verdicts == {}


def test_text_table_shows_every_row():
    text = compare.text_table([ADAM, LEARNED, made_up(task="other", ends=(0.2, None, 0.4))])
    assert "Adam lr 0.0316" in text and "0.30 ± 0.25" in text
    assert "(1 of 3 diverged)" in text
    assert text.count("─" * 20) >= 2


@pytest.mark.parametrize(
    ("x", "shown"),
    [(0.0, "0.00"), (0.12345, "0.123"), (12.345, "12.3"), (123.45, "123"), (1e-5, "1.00e-05"),
     (None, "–"), (2.0, "2.00"), (9999.0, "9999"), (1e6, "1.00e+06")],
)  # fmt: skip
def test_figures(x, shown):
    assert compare.figure(x) == shown


def test_spread_keeps_two_digits_of_the_half_width():
    assert compare.spread(interval([0.1, 0.2, 0.3])) == "0.20 ± 0.25"
    assert compare.spread(interval([0.5])) == "0.500"
    assert compare.spread(interval([])) == "–"
    assert compare.spread(interval([1.0, 1.0])) == "1.00 ± 0.0"


def test_enumeration():
    found = [compare.enumeration(list("abc"[:n])) for n in (1, 2, 3)]
    assert found == ["a", "a and b", "a, b and c"]


def looked(optimizer, valid, test):
    """A record whose validation and test losses are these, one row a seed."""
    rows = {"train_loss": [[2.0, 1.0, 0.5]] * len(test), "valid_loss": valid, "test_loss": test}
    return made_up(optimizer, metrics=rows, ms_per_step=1.0)


def test_the_validated_stop_is_where_the_validation_loss_is_least():
    """And not where the test loss is: seed by seed, another look each."""
    valid = [[2.0, 0.4, 0.6], [2.0, 0.9, 0.7], [None, None, None]]
    test = [[2.1, 0.5, 0.3], [2.1, 0.8, 0.9], [2.1, 0.1, 0.2]]
    record = looked("Adam", valid, test)
    assert record.stopped("test_loss") == [0.5, 0.9, None]
    assert record.final("test_loss") == [0.3, 0.9, 0.2]


def test_a_case_is_judged_at_the_end_and_at_the_validated_stop():
    """Learned is ahead by 0.2 at its stop, and behind by 0.4 at the end."""
    valid = [[2.0, 0.4, 0.9]] * 3
    ends = [(0.50, 1.10), (0.51, 1.12), (0.52, 1.11)]
    ours = looked("Learned", valid, [[2.0, a, b] for a, b in ends])
    theirs = looked("Adam", valid, [[2.0, a + 0.2, b - 0.4 + a / 9] for a, b in ends])
    end, stop = compare.with_stops(compare.cases([ours, theirs]))
    assert (end.name, stop.name) == (
        "digits, 10 steps",
        "digits, 10 steps, at the validated stop",
    )
    verdicts = [{c.metric: c.paired.verdict for c in compare.compare(case)} for case in (end, stop)]
    assert [found["test_loss"] for found in verdicts] == ["worse", "better"]
    said = compare.sentences([ours, theirs])
    assert said[0].startswith("digits, 10 steps: Learned is worse than Adam (test loss)")
    assert said[1].startswith("digits, 10 steps, at the validated stop: Learned is better than")
    assert "at the validated stop\n" in compare.text_table([ours, theirs])


def test_what_has_no_validation_data_of_its_own_has_no_stop():
    same = looked("Learned", [[2.0, 0.4, 0.9]] * 3, [[2.0, 0.4, 0.9]] * 3)
    assert len(compare.with_stops(compare.cases([same]))) == 1
    assert len(compare.with_stops(compare.cases([ADAM, LEARNED]))) == 1  # of an older evaluation


ELSEWHERE = ADAM.tuning | {"task": "digits-relu, start he"}
SCALED = {"best": 0.5, "grid": [0.5, 1.0], "scores": [0.1, 0.2], "seeds": 2, "trials": 4,
          "horizon": 10, "split": "valid", "edge": "lowest", "of": "factor",
          "setting": {"cosine": True}}  # fmt: skip


def test_comparisons_with_other_trials_are_cases_of_their_own():
    """The trials of each side stand in the table, and in words whose they were."""
    untuned = made_up(comparison="0-0", tuning=ELSEWHERE)
    ours = made_up("Learned", comparison="k-k", tuning=SCALED)
    setting = ADAM.tuning | {"setting": {"weight_decay": 0.1}}
    theirs = made_up(comparison="k-k", tuning=setting)
    records = [ADAM, LEARNED, untuned, made_up("Learned", comparison="0-0"), ours, theirs]
    found = compare.cases(records)
    assert [case.name for case in found] == [
        "digits, 10 steps",
        "digits, 10 steps, 0 against 0 trials",
        "digits, 10 steps, k against k trials",
    ]
    rows = [[(row.setting, row.trials) for row in compare.table(case)] for case in found]
    assert rows == [
        [("", 0), ("lr 0.0316", 4)],
        [("", 0), ("lr 0.0316", 0)],
        [("factor 0.5, cosine", 4), ("lr 0.0316, weight decay 0.1", 4)],
    ]
    text = compare.text_table(records)
    assert (
        "digits, 10 steps, 0 against 0 trials: no trials; the rates of Adam are the best on "
        "digits-relu, start he, that of meta-training."
    ) in text
    assert "k against k trials: trials on this task: Learned 4 and Adam 4." in text
    heads = [line.split()[0] for line in text.splitlines() if "ms/step" in line]
    assert heads == ["trials"] * 3
    assert compare.trials(found[0]) == []
