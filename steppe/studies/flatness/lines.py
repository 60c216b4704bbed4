"""One comparison of the study, and the numbers that it is made of.

    value(optimizer, technique, arm, s)     over the runs and tasks of meta-seed s, the unit of all
    difference(s) = value(ours, s) − value(theirs, s)     paired: same weights at the start, same
                                            problems, same networks
    per family: t and bootstrap intervals, Wilcoxon's p, Holm over the family
    (`evaluation.stats`)

Flatness is compared at matched training loss: on each task where the training loss first passes
the lowest level that all runs of both sides pass. Losses and curvatures enter by their logarithms,
so that differences are ratios and no task outweighs another.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ...evaluation.engines import Row
from ...evaluation.stats import PairedTest, paired_tests

Result = Mapping[str, Any]
Number = float | None
Key = tuple[str, str, str, int]  # optimizer, technique, arm, meta-seed
Arm = tuple[str, str, str]  # optimizer, technique, arm
Place = tuple[str, str, str, str, str]  # the first five fields of a `Line`
Learned = Mapping[Key, Result]
Differs = Mapping[str, Callable[[Result, Result], Number]]  # by metric
SURE = 0.05  # Holm's p of what is told as better or worse


@dataclasses.dataclass(frozen=True)
class Line:
    """One comparison: ours minus theirs in `metric`, over meta-seeds."""

    optimizer: str
    technique: str
    ours: str
    theirs: str
    metric: str
    found: PairedTest

    @property
    def better(self) -> bool:
        """Both intervals on the good side of zero, and Holm's p below 5 %."""
        return self.seen and self.found.adjusted < SURE

    @property
    def lost(self) -> bool:
        """Worse by the standard of `better`."""
        return self.worse and self.found.adjusted < SURE

    @property
    def seen(self) -> bool:
        """Both intervals on the good side of zero."""
        return self._beyond(-1 if lower_is_better(self.metric) else 1)

    @property
    def worse(self) -> bool:
        """Both intervals on the bad side of zero."""
        return self._beyond(1 if lower_is_better(self.metric) else -1)

    def _beyond(self, sign: int) -> bool:
        bounds = [
            bound
            for interval in (self.found.difference, self.found.bootstrap)
            for bound in (interval.low, interval.high)
        ]
        return all(bound is not None and sign * bound > 0 for bound in bounds)


def lower_is_better(metric: str) -> bool:
    return "accuracy" not in metric


def family(differences: Mapping[Place, Sequence[Number]]) -> list[Line]:
    """Lines that are corrected together, from their differences by meta-seed."""
    cells = {
        " · ".join(place): (values, [0.0] * len(values)) for place, values in differences.items()
    }
    tests = paired_tests(cells) if cells else {}
    return [Line(*place, tests[" · ".join(place)]) for place in differences]


def differences(
    learned: Learned,
    ours: Arm,
    theirs: Arm,
    how: Callable[[Result, Result], Number],
    seeds: Sequence[int],
) -> list[Number]:
    """By meta-seed; None where either side has no result."""
    both = [(learned.get((*ours, s)), learned.get((*theirs, s))) for s in seeds]
    return [None if a is None or b is None else how(a, b) for a, b in both]


def compared(
    learned: Learned, pairs: Sequence[tuple[Arm, Arm]], metrics: Differs, seeds: Sequence[int]
) -> list[Line]:
    """Ours less theirs in every metric, one family; theirs is named by what differs."""
    return family(
        {
            (*ours, theirs[2] if ours[1] == theirs[1] else " ".join(theirs[1:]), metric): (
                differences(learned, ours, theirs, how, seeds)
            )
            for ours, theirs in pairs
            for metric, how in metrics.items()
        }
    )


def pick(lines: Sequence[Line], **wanted: str) -> Line:
    """The one line with these fields."""
    [line] = [x for x in lines if all(getattr(x, name) == y for name, y in wanted.items())]
    return line


def learned_of(rows: Iterable[Row]) -> dict[Key, Result]:
    """Results of the learned optimizers."""
    kept = (row for row in rows if row.cell["part"] == "learned")
    return {key(row): row.result for row in kept if row.result is not None}


def key(row: Row) -> Key:
    cell = row.cell
    return cell["optimizer"], cell["technique"], cell["arm"], cell["meta_seed"]


# Differences between two results of one meta-seed.


def flatter(tasks: Sequence[str], metrics: Sequence[str] = ("trace", "top_eigenvalue")) -> Differs:
    """ln of the ratio of curvatures at matched training loss, mean over tasks that have one."""

    def differ(metric: str) -> Callable[[Result, Result], Number]:
        def difference(a: Result, b: Result) -> Number:
            found = [matched(a["tasks"][task], b["tasks"][task], metric) for task in tasks]
            return mean([x for x in found if x is not None])

        return difference

    return {f"ln {metric}": differ(metric) for metric in metrics}


# Numbers of one optimizer on one task, from what `work.look` found there with one meta-seed.


def _at(
    point: str, name: str, mean: Callable[[Sequence[Number]], Number]
) -> Callable[[Result], Number]:
    return lambda found: mean(found["at"][point][name])


def _best(found: Result) -> tuple[Number, Number]:
    """ln of the lowest test loss of all looks, and the accuracy there; means over the runs."""
    path = found["path"]
    looks = [
        (loss, accuracy)
        for loss, accuracy in zip(path["test_loss"][0], path["test_accuracy"][0], strict=True)
        if loss is not None and loss > 0
    ]
    loss, accuracy = min(looks, key=lambda look: look[0], default=(None, None))
    return mean_log([loss]), accuracy


Readings = Mapping[str, Callable[[Result], Number]]
END: Readings = {  # at the last step
    "ln test_loss": _at("end", "test_loss", lambda values: mean_log(values)),
    "test_accuracy": _at("end", "test_accuracy", lambda values: every(values)),
}
STOP: Readings = {  # at the look of least validation loss, which early stopping keeps
    "ln test_loss": _at("stop", "test_loss", lambda values: mean_log(values)),
    "test_accuracy": _at("stop", "test_accuracy", lambda values: every(values)),
}
SURENESS: Readings = {  # there too
    "test_ece": _at("stop", "test_ece", lambda values: every(values)),
    "ln test_scaled_loss": _at("stop", "test_scaled_loss", lambda values: mean_log(values)),
}
BEST: Readings = {  # at the look with the lowest test loss, which nobody knows while training
    "ln test_loss": lambda found: _best(found)[0],
    "test_accuracy": lambda found: _best(found)[1],
}
TRAINED: Readings = {"ln train_loss": _at("end", "train_loss", lambda values: mean_log(values))}


def general(tasks: Sequence[str], readings: Readings = END) -> Differs:
    """Differences of the readings, mean over tasks; None if a run diverged."""

    def differ(read: Callable[[Result], Number]) -> Callable[[Result, Result], Number]:
        def difference(a: Result, b: Result) -> Number:
            return every([minus(*(read(side["tasks"][t]) for side in (a, b))) for t in tasks])

        return difference

    return {metric: differ(read) for metric, read in readings.items()}


def matched(a: Result, b: Result, metric: str) -> Number:
    """At the lowest level that all runs of both pass; None if there is none."""
    levels = [level for level in a["at"] if level not in ("stop", "end")]
    for level in sorted(levels, key=float):
        sides = [side["at"][level] for side in (a, b)]
        if all(x is not None for side in sides for x in side["train_loss"]):
            if any(metric not in side for side in sides):
                return None
            return minus(*(mean_log(side[metric]) for side in sides))
    return None


# Means that know nothing of missing numbers.


def mean(values: Sequence[float]) -> Number:
    return math.fsum(values) / len(values) if values else None


def every(values: Sequence[Number]) -> Number:
    """The mean, None if one is missing."""
    known = [x for x in values if x is not None]
    return mean(known) if len(known) == len(values) else None


def mean_log(values: Sequence[Number]) -> Number:
    """The mean of ln x, None if one is missing or not positive."""
    return every([math.log(x) if x is not None and x > 0 else None for x in values])


def minus(a: Number, b: Number) -> Number:
    return None if a is None or b is None else a - b
