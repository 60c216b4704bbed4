"""Tables, verdicts and sentences of the study, from its rows.

    value(optimizer, technique, arm, s)     over the runs and tasks of meta-seed s, the unit of all
    difference(s) = value(flat, s) − value(other, s)      paired: same weights at the start, same
                                            problems, same networks
    per table: t and bootstrap intervals, Wilcoxon's p, Holm over the table
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
from .design import COSTLY, NONE, NORM, Scale, ablation_arms, main_arms

Result = Mapping[str, Any]
Number = float | None
Key = tuple[str, str, str, int]  # optimizer, technique, arm, meta-seed


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
        return self.seen and self.found.adjusted < 0.05

    @property
    def seen(self) -> bool:
        """Both intervals on the good side of zero."""
        return self._beyond(-1 if lower_is_better(self.metric) else 1)

    @property
    def worse(self) -> bool:
        return self._beyond(1 if lower_is_better(self.metric) else -1)

    def _beyond(self, sign: int) -> bool:
        bounds = [
            bound
            for interval in (self.found.difference, self.found.bootstrap)
            for bound in (interval.low, interval.high)
        ]
        return all(bound is not None and sign * bound > 0 for bound in bounds)


@dataclasses.dataclass(frozen=True)
class Findings:
    """The tables of the study.

    - `flatness`: the arms of the claims against none, at matched training loss
    - `generalisation`: the same arms against none, on tasks never seen
    - `control`: the same arms against the weight-norm penalty, on tasks never seen
    - `held_out`: the same against meta-training that is given held-out data, plain technique; one
      family a control
    - `ablation`: every arm against none, plain technique, few seeds, nothing corrected
    - `rivals`: the same arms with the plain technique against tuned optimizers, on tasks never seen
    - `by_task`: the same for each task by itself
    """

    flatness: list[Line]
    generalisation: list[Line]
    control: list[Line]
    held_out: list[Line]
    ablation: list[Line]
    rivals: list[Line]
    by_task: dict[str, list[Line]]
    diverged: dict[str, int]  # side → runs that did not end finite
    cells: int  # that the tables rest on


def lower_is_better(metric: str) -> bool:
    return "accuracy" not in metric


def findings(scale: Scale, rows: Iterable[Row]) -> Findings:
    rows = [row for row in rows if row.result is not None]
    learned = {key(row): row.result or {} for row in rows if row.cell["part"] == "learned"}
    classic = [row for row in rows if row.cell["part"] == "classic"]
    seeds = scale.meta_seeds
    unseen = list(scale.tasks)[1:]
    pairs = [
        (o, t, arm) for o in scale.recipes for arm in main_arms(scale, o) for t in scale.techniques
    ]
    plain = [pair for pair in pairs if pair[1] == "plain"]

    def lines(
        combinations: Sequence[tuple[str, str, str]],
        against: str,
        metrics: Mapping[str, Callable[[Result, Result], Number]],
        seeds: Sequence[int],
    ) -> list[Line]:
        """Every combination in every metric; one family."""
        wanted = {(*c, metric): differ for c in combinations for metric, differ in metrics.items()}
        cells = {}
        for (o, t, arm, metric), differ in wanted.items():
            both = [(learned.get((o, t, arm, s)), learned.get((o, t, against, s))) for s in seeds]
            found = [None if a is None or b is None else differ(a, b) for a, b in both]
            cells[f"{o} {t} {arm} {metric}"] = (found, [0.0] * len(found))
        tests = paired_tests(cells)
        return [
            Line(o, t, arm, against, metric, tests[f"{o} {t} {arm} {metric}"])
            for o, t, arm, metric in wanted
        ]

    there = [arm for arm in (*scale.arms, *scale.controls) if arm != NONE]
    ablation = [
        (o, "plain", arm)
        for o in scale.recipes
        for arm in (*main_arms(scale, o), *there, *ablation_arms(scale, o))
    ]
    return Findings(
        flatness=lines(pairs, NONE, flatter(list(scale.tasks)), seeds),
        generalisation=lines(pairs, NONE, general(unseen), seeds),
        control=lines(pairs, NORM, general(unseen), seeds) if NORM in scale.arms else [],
        held_out=[
            line for arm in scale.controls for line in lines(plain, arm, general(unseen), seeds)
        ],
        ablation=lines(
            ablation,
            NONE,
            flatter(list(scale.tasks)) | general(unseen),
            scale.ablation_seeds,
        )
        if scale.ablation
        else [],
        rivals=rivals(scale, learned, classic, unseen),
        by_task={task: rivals(scale, learned, classic, [task]) for task in scale.tasks},
        diverged=diverged(learned),
        cells=len(rows),
    )


def key(row: Row) -> Key:
    cell = row.cell
    return cell["optimizer"], cell["technique"], cell["arm"], cell["meta_seed"]


# Differences between two results of one meta-seed.


def flatter(tasks: Sequence[str]) -> dict[str, Callable[[Result, Result], Number]]:
    """ln of the ratio of curvatures at matched training loss, mean over tasks that have one."""

    def differ(metric: str) -> Callable[[Result, Result], Number]:
        def difference(a: Result, b: Result) -> Number:
            found = [matched(a["tasks"][task], b["tasks"][task], metric) for task in tasks]
            return mean([x for x in found if x is not None])

        return difference

    return {f"ln {metric}": differ(metric) for metric in ("trace", "top_eigenvalue")}


def general(tasks: Sequence[str]) -> dict[str, Callable[[Result, Result], Number]]:
    """ln test loss and test accuracy at the end, mean over tasks; None if a run diverged."""

    def differ(value: Callable[[Result, str], Number]) -> Callable[[Result, Result], Number]:
        def difference(a: Result, b: Result) -> Number:
            return every([minus(value(a, task), value(b, task)) for task in tasks])

        return difference

    end = lambda result, task: result["tasks"][task]["at"]["end"]
    return {
        "ln test_loss": differ(lambda result, task: mean_log(end(result, task)["test_loss"])),
        "test_accuracy": differ(lambda result, task: every(end(result, task)["test_accuracy"])),
    }


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


# Tuned optimizers.


def rivals(
    scale: Scale, learned: Mapping[Key, Result], classic: Sequence[Row], tasks: Sequence[str]
) -> list[Line]:
    """The arms of the claims, plain technique, against every tuned optimizer, mean over `tasks`.

    One family, and one unit: the value of a meta-seed.
    """
    theirs: dict[str, dict[str, dict[int, dict[str, list[Number]]]]] = {}  # rival, task, seed
    for row in classic:
        label = next((x for x in tasks if scale.tasks[x] == row.cell["task"]), None)
        if label is not None and row.result is not None:
            ends = by_seed(row.result["task"], row.cell["meta_seeds"])
            theirs.setdefault(rival(row.cell), {})[label] = ends
    cells, names = {}, []
    for name, found in theirs.items():
        missing = set(tasks) - set(found)
        for optimizer, arm in [(o, arm) for o in scale.recipes for arm in main_arms(scale, o)]:
            results = [learned.get((optimizer, "plain", arm, s)) for s in scale.meta_seeds]
            for metric, of in (("test_loss", mean_log), ("test_accuracy", every)):
                shown = f"ln {metric}" if of is mean_log else metric
                ours = [
                    None
                    if result is None
                    else every([of(result["tasks"][x]["at"]["end"][metric]) for x in tasks])
                    for result in results
                ]
                others = [
                    None if missing else every([of(found[x][s][metric]) for x in tasks])
                    for s in scale.meta_seeds
                ]
                cells[f"{optimizer} {arm} {name} {shown}"] = (ours, others)
                names.append((optimizer, arm, name, shown))
    tests = paired_tests(cells) if cells else {}
    return [
        Line(o, "plain", arm, name, metric, tests[f"{o} {arm} {name} {metric}"])
        for o, arm, name, metric in names
    ]


def rival(cell: Mapping[str, Any]) -> str:
    """Its name in a table: one that takes several gradients a step has two budgets."""
    name = cell["optimizer"]
    return f"{name}, equal {cell['budget']}" if name in COSTLY else name


def by_seed(found: Result, seeds: Sequence[int]) -> dict[int, dict[str, list[Number]]]:
    """The numbers at the end, for each meta-seed its runs."""
    runs, end = found["runs"], found["at"]["end"]
    return {
        seed: {name: values[i * runs : (i + 1) * runs] for name, values in end.items()}
        for i, seed in enumerate(seeds)
    }


def diverged(learned: Mapping[Key, Result]) -> dict[str, int]:
    """Runs whose test loss is not finite, by optimizer, technique and arm, where there are any."""
    found: dict[str, int] = {}
    for (optimizer, technique, arm, _), result in learned.items():
        lost = sum(
            x is None for task in result["tasks"].values() for x in task["at"]["end"]["test_loss"]
        )
        name = f"{optimizer} {technique} {arm}"
        found[name] = found.get(name, 0) + lost
    return {name: count for name, count in found.items() if count}


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
