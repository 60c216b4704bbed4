"""compare: what the records of a learned optimizer and its baselines say, in rows and words.

A *case* is one task at one horizon. Within a case every learned optimizer is compared with
every other one by the paired differences of their last values, or of those at the *validated
stop*, where each run's validation loss is least. Two records are pairs if they have the same seeds
and the same loss at the start; others are not compared.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from .records import Number, Record
from .stats import Interval, Paired, interval, paired

MERIT = "test_merit"  # of games
SPLITS = ("valid", "test")
WORDED = {"test_ece": "test ECE", "test_scaled_loss": "scaled test loss"}
HIGHER = ("accuracy", "_modes", "_good")  # are better where they are higher
WORDS = {
    "better": "better than",
    "worse": "worse than",
    "no difference seen": "not seen to differ from",
}


@dataclasses.dataclass(frozen=True)
class Case:
    """The records of one task at one horizon, learned optimizers first.

    - `stop`: judged at the validated stop, else at the last step
    - `comparison`: who had trials on the task, see `Record`
    """

    task: str
    horizon: int
    records: list[Record]
    stop: bool = False
    comparison: str = ""

    @property
    def name(self) -> str:
        who = f", {self.comparison.replace('-', ' against ')} trials" if self.comparison else ""
        where = ", at the validated stop" if self.stop else ""
        return f"{self.task}, {self.horizon:,} steps{who}{where}"

    def values(self, record: Record, metric: str) -> list[Number]:
        """Values that a record is judged by, seed by seed."""
        return record.stopped(metric) if self.stop else record.final(metric)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A learned optimizer against a baseline in one metric."""

    case: str
    ours: str
    theirs: str
    metric: str
    our_mean: float | None
    their_mean: float | None
    paired: Paired


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the headline table."""

    case: str
    optimizer: str
    learned: bool
    setting: str  # the numbers found, "" if there are none
    trials: int  # trainings on the task that it took to find them
    values: dict[str, Interval]  # metric → its last value over the seeds
    verdicts: dict[str, str]  # metric → the learned optimizer's verdict against this one
    diverged: int
    seeds: int
    ms_per_step: float
    state_bytes_per_param: float


def cases(records: Sequence[Record]) -> list[Case]:
    """Records by task, horizon and comparison, in the order of their first appearance."""
    groups: dict[tuple[str, int, str], list[Record]] = {}
    for record in records:
        place = record.task, record.horizon, record.comparison
        groups.setdefault(place, []).append(record)
    return [
        Case(task, horizon, sorted(group, key=lambda r: not r.learned), comparison=comparison)
        for (task, horizon, comparison), group in groups.items()
    ]


def with_stops(found: Sequence[Case]) -> list[Case]:
    """Every case, followed by the same at the validated stop, where there is one."""
    stops = lambda case: [dataclasses.replace(case, stop=True)] if validated(case) else []
    return [each for case in found for each in (case, *stops(case))]


def validated(case: Case) -> bool:
    """True where all records have validation losses, of other data than the test losses."""
    losses = [[r.metrics.get(f"{split}_loss") for split in SPLITS] for r in case.records]
    return all(valid for valid, _ in losses) and any(valid != test for valid, test in losses)


def metrics(case: Case) -> list[str]:
    """Names of the compared metrics: the training loss and everything on the test split."""
    shared = [m for m in case.records[0].metrics if all(m in r.metrics for r in case.records)]
    first = [m for m in ("train_loss", "test_loss") if m in shared]
    tested = [m for m in shared if m.startswith("test_") and m not in first]
    return first + [m for m in tested if not (m == MERIT and of_game(case.records))]


def of_game(records: Sequence[Record]) -> bool:
    """True where the losses are the merit of a game, which then stands in the records twice."""
    return all(r.metrics.get(MERIT) == r.metrics.get("test_loss", ()) for r in records)


def lower_is_better(metric: str) -> bool:
    return not metric.endswith(HIGHER)


def pairable(a: Record, b: Record) -> bool:
    """True if equal places in two records are pairs: same seeds, same losses at the start."""
    if a.seeds != b.seeds or a.horizon != b.horizon:
        return False
    starts = [np.array([row[0] for row in r.metrics["train_loss"]], float) for r in (a, b)]
    return bool(np.allclose(*starts, rtol=1e-3, atol=0, equal_nan=True))


def compare(case: Case) -> list[Comparison]:
    """Every learned optimizer against every baseline it shares its starts with, at the end."""
    return [
        _comparison(case, ours, theirs, metric, *(case.values(r, metric) for r in (ours, theirs)))
        for ours, theirs in pairs(case)
        for metric in metrics(case)
    ]


def equal_time(case: Case, metric: str = "test_loss") -> list[tuple[int, Comparison]]:
    """(step, `compare` with the learned optimizer stopped there), at equal wall-clock.

    Measured at the next point where metrics were taken, which favours the learned one: what is
    worse there is worse. Only for baselines whose steps are quicker; the others are favoured by
    equal steps already. None at the validated stop.
    """
    found = []
    if case.stop:
        return found
    for ours, theirs in pairs(case):
        if theirs.ms_per_step >= ours.ms_per_step or metric not in metrics(case):
            continue
        within = theirs.ms_per_step * theirs.horizon / ours.ms_per_step  # steps of ours
        place = min(i for i, step in enumerate(ours.points) if step >= within)
        a, b = [row[place] for row in ours.metrics[metric]], theirs.final(metric)
        found.append((ours.points[place], _comparison(case, ours, theirs, metric, a, b)))
    return found


def pairs(case: Case) -> list[tuple[Record, Record]]:
    """(learned, baseline) for all that share their starts."""
    return [(a, b) for a, b in _all_pairs(case) if pairable(a, b)]


def unpaired(case: Case) -> list[tuple[str, str]]:
    """The pairs of names that `compare` leaves out."""
    return [(a.optimizer, b.optimizer) for a, b in _all_pairs(case) if not pairable(a, b)]


def _all_pairs(case: Case) -> list[tuple[Record, Record]]:
    learned = [r for r in case.records if r.learned]
    return [(a, b) for a in learned for b in case.records if not b.learned]


def _comparison(
    case: Case, ours: Record, theirs: Record, metric: str, a: list[Number], b: list[Number]
) -> Comparison:
    return Comparison(
        case.name,
        ours.optimizer,
        theirs.optimizer,
        metric,
        interval(a).mean,
        interval(b).mean,
        paired(a, b, lower_is_better=lower_is_better(metric)),
    )


def table(case: Case) -> list[Row]:
    """The headline table of a case; verdicts are those of its first learned optimizer."""
    ours = case.records[0].optimizer
    found = {(c.theirs, c.metric): c.paired.verdict for c in compare(case) if c.ours == ours}
    return [
        Row(
            case=case.name,
            optimizer=record.optimizer,
            learned=record.learned,
            setting=setting(record),
            values={metric: interval(case.values(record, metric)) for metric in metrics(case)},
            verdicts={
                metric: found[record.optimizer, metric]
                for metric in metrics(case)
                if (record.optimizer, metric) in found
            },
            trials=record.trials,
            diverged=len(record.diverged),
            seeds=len(record.seeds),
            ms_per_step=record.ms_per_step,
            state_bytes_per_param=record.state_bytes_per_param,
        )
        for record in case.records
    ]


def setting(record: Record) -> str:
    """The numbers found by tuning: "lr 0.01, weight decay 0.1", "factor 0.5, cosine"."""
    if not record.tuning:
        return ""
    name = record.tuning.get("of", "learning rate")
    said = [f"{'lr' if name == 'learning rate' else name} {record.tuning['best']:g}"]
    for other, value in record.tuning.get("setting", {}).items():
        if isinstance(value, bool):
            said += [label(other)] if value else []
        else:
            said.append(f"{label(other)} {value:g}")
    return ", ".join(said)


def trials(case: Case) -> list[str]:
    """A sentence about numbers that were tuned on another task, or with equal trials."""
    if case.comparison == "0-0":
        told: dict[str, list[str]] = {}
        for record in case.records:
            if record.tuning.get("task"):
                told.setdefault(record.tuning["task"], []).append(record.optimizer)
        apart = [
            f"; the rates of {enumeration(names)} are the best on {task}, that of meta-training"
            for task, names in told.items()
        ]
        return [f"{case.name}: no trials{''.join(apart)}."]
    if case.comparison == "k-k":
        each = [f"{record.optimizer} {record.trials}" for record in case.records]
        return [f"{case.name}: trials on this task: {enumeration(each)}."]
    return []


def sentences(records: Sequence[Record]) -> list[str]:
    """Wins and losses of each learned optimizer, one sentence a case."""
    said = []
    for case in with_stops(cases(records)):
        comparisons = compare(case)
        for ours in dict.fromkeys(c.ours for c in comparisons):
            said.append(_sentence(case.name, ours, [c for c in comparisons if c.ours == ours]))
            said.extend(_in_equal_time(case, ours))
            said.extend(_divergence(case, ours) if not case.stop else [])
    return said


def _sentence(case: str, ours: str, comparisons: list[Comparison]) -> str:
    parts = []
    for verdict, words in WORDS.items():
        names = []
        for theirs in dict.fromkeys(c.theirs for c in comparisons):
            about = [
                label(c.metric)
                for c in comparisons
                if c.theirs == theirs and c.paired.verdict == verdict
            ]
            if about:
                names.append(f"{theirs} ({', '.join(about)})")
        if names:
            parts.append(f"{words} {enumeration(names)}")
    return f"{case}: {ours} is {'; '.join(parts)}."


def _in_equal_time(case: Case, ours: str) -> list[str]:
    """Against quicker baselines, where equal steps are not the whole story."""
    slower = [c for _, c in equal_time(case) if c.ours == ours]
    return [_sentence(f"{case.name}, at equal wall-clock", ours, slower)] if slower else []


def _divergence(case: Case, ours: str) -> list[str]:
    broken = [
        f"{r.optimizer} on {len(r.diverged)} of {len(r.seeds)} seeds"
        for r in case.records
        if r.diverged and (r.optimizer == ours or not r.learned)
    ]
    return [f"{case.name}: diverged {enumeration(broken)}."] if broken else []


def counts(case: Case) -> list[str]:
    """Rejections, dismissals and whatever else rules count, one sentence for each rule."""
    said = []
    for record in case.records:
        names = [m for m in record.metrics if not m.startswith(("train_", "valid_", "test_"))]
        ends = {name: interval(record.final(name)).mean for name in names}
        if ends:
            counted = enumeration([f"{figure(mean)} {label(name)}" for name, mean in ends.items()])
            said.append(f"{case.name}: {counted} of {record.optimizer} a run, on average.")
    return said


def label(metric: str) -> str:
    return WORDED.get(metric, metric.replace("_", " "))


def enumeration(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def figure(x: float | None, digits: int = 3) -> str:
    """A number for a reader: three significant digits, an exponent only where it must be.

    >>> [figure(x) for x in (0.12345, 12.0, 1234.5, 1e-5, None)]
    ['0.123', '12.0', '1234', '1.00e-05', '–']
    """
    if x is None:
        return "–"
    if 10**digits <= abs(x) < 1e6:
        return f"{x:.0f}"
    plain = x == 0 or 1e-3 <= abs(x) < 1e6
    return f"{x:#.{digits}g}".rstrip(".") if plain else f"{x:.{digits - 1}e}"


def spread(x: Interval) -> str:
    """ "0.123 ± 0.004": the half width with two digits, the mean to the same place."""
    if x.mean is None or x.half is None:
        return figure(x.mean)
    if not x.half > 0 or not 1e-3 <= abs(x.mean) < 1e4:
        return f"{figure(x.mean)} ± {figure(x.half, 2)}"
    places = max(0, min(6, 1 - int(np.floor(np.log10(x.half)))))
    return f"{x.mean:.{places}f} ± {x.half:.{places}f}"


def text_table(records: Sequence[Record]) -> str:
    """The headline tables of all cases as plain text."""
    blocks = []
    for case in with_stops(cases(records)):
        names = metrics(case)
        head = ["", "trials", *map(label, names), "ms/step", "state B/param"]
        lines = [head]
        for row in table(case):
            title = f"{row.optimizer} {row.setting}".rstrip()
            title += f" ({row.diverged} of {row.seeds} diverged)" if row.diverged else ""
            cost = [figure(row.ms_per_step), figure(row.state_bytes_per_param)]
            values = [spread(row.values[m]) for m in names]
            lines.append([title, str(row.trials), *values, *cost])
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        pad = lambda line, widths=widths: "  ".join(
            [
                line[0].ljust(widths[0]),
                *(x.rjust(w) for x, w in zip(line[1:], widths[1:], strict=True)),
            ]
        )
        rule = "─" * (sum(widths) + 2 * len(widths) - 2)
        counted = [] if case.stop else [*counts(case), *trials(case)]
        blocks.append("\n".join([case.name, rule, *map(pad, lines), *counted]))
    return "\n\n".join(blocks)
