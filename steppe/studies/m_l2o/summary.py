"""Tables, the answer and the page of the study, from its records."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...report.plots import styles
from ..page import Curve, Section, picture, write_study_page
from ..study import Record, Verdict, markdown
from . import expectations
from .expectations import AFTER, HARD, PLANNED, STEPS, Tests, logs, predicted_loss, ratio_of
from .settings import ARMS, BASES, PREDICTED, RUNNING, TRANSFER

DRAWN = ("transfer", "next", "next-0", "vanilla", "tuned", "transfer-self-adapting")
TITLES = {
    "transfer": "transfer with α = 0",
    "control": "M-L2O with α = 0, the control",
    "exact": "M-L2O",
}

COMPARED = (
    f"Ratios of losses at σ = {HARD} after {AFTER} updates of adaptation, geometric means over "
    "seeds: below 1 ours is better. The interval is a bootstrap's, p is Wilcoxon's with Holm's "
    "correction."
)
PREDICTION = "A learned rate on three curvatures; one step of adaptation before the judging."
WHILE = (
    "With no problems to adapt to. Ratios of losses after 500 steps, seed by seed, with a "
    "bootstrap interval."
)
ELSEWHERE = (
    "Losses after 100 and 500 steps, geometric means: as it is, after 5 updates chosen by "
    "`steppe.adapt` (for 100 steps), adapting while it runs, and Adam with the best of 21 rates."
)
PRICE = (
    "Processor time and memory of a run, as multiples of those of rnnprop-v1 as it is: the median "
    "of pairs of runs with their 10th and 90th percentile, and XLA's count of bytes."
)
EFFORT = "Each gradient is that of one window of one episode."


def arms(found: Sequence[Record]) -> list[str]:
    return [arm for arm in ARMS if any(r["arm"] == arm and "spreads" in r for r in found)]


def keys(found: Sequence[Record], of: int) -> list[str]:
    """Spreads (of = 0) or numbers of updates (of = 1) in the records, ascending."""
    looks = [r["spreads"] for r in found if "spreads" in r]
    names = (
        set().union(*looks) if of == 0 else {n for s in looks for look in s.values() for n in look}
    )
    return sorted(names, key=float)


# The answer.


def answer(tested: Tests) -> str:
    """One or two sentences: whether M-L2O beats fair transfer, and why."""
    claims = tuple(PLANNED)
    of = lambda claim: [tested[claim, step] for step in STEPS if (claim, step) in tested]
    main, control = of(claims[0]), of(claims[2])
    if not main or not control:
        return "The records do not hold the arms that the question is about."
    wins = [expectations.significant(test) for test in main]
    ratio = " and ".join(f"{math.exp(test.mean or 0):.2f}" for test in main)
    verb = (
        "beats" if all(wins) else "does not significantly beat" if not any(wins) else "partly beats"
    )
    apart = " and ".join(f"{math.exp(test.mean or 0):.2f}" for test in control)
    owed = any(expectations.significant(test) for test in control)
    why = (
        "and its control, which never adapts in training, does not: the adaptation is what helps"
        if owed
        else "and its control, which never adapts in training, does as well: what gain there is "
        "comes from windows one later, not from adaptation"
    )
    return (
        f"At σ = {HARD}, after {AFTER} updates, M-L2O as published {verb} fair transfer (ratio of "
        f"losses {ratio} after {' and '.join(STEPS)} steps), {why} (ratio to it {apart})."
    )


def answer_while_running(found: Sequence[Record]) -> str:
    """One sentence on adapting while it runs; "" without records."""
    theirs = logs(found, "tuned", "0", HARD, STEPS[-1])
    ends = []
    for base in (TRANSFER, "shipped"):
        ours = logs(found, f"{base}-self-adapting", "0", HARD, STEPS[-1])
        if ours and len(ours) == len(theirs):
            ends.append(f"{ratio_of(ours, theirs)[0]:.2f} ({BASES[base]})")
    if not ends:
        return ""
    return (
        " Adapting while it runs, with no problems to adapt to, ends there at "
        f"{' and '.join(ends)} times tuned Adam's loss after {STEPS[-1]} steps, by the size of the "
        "update alone."
    )


# Tables.


def number(x: float) -> str:
    return f"{math.exp(x):.2g}"


def table(found: Sequence[Record], spread: str, step: str) -> tuple[list[str], list[list[str]]]:
    """The geometric mean of losses over seeds, by arm and number of updates."""
    counts = keys(found, 1)
    head = ["", *(f"{count} updates" for count in counts), "seeds"]
    lines = []
    for arm in arms(found):
        own = {count: logs(found, arm, count, spread, step) for count in counts}
        shown = [number(float(np.mean(own[c]))) if own[c] else "–" for c in counts]
        lines.append([ARMS[arm], *shown, str(max(map(len, own.values())))])
    return head, lines


def best_table(found: Sequence[Record], spread: str) -> tuple[list[str], list[list[str]]]:
    """The lowest loss along the way, after `AFTER` updates, beside that at the last step."""
    head = ["", "lowest along the way", "at the end", "θ moved by adaptation, %"]
    lines = []
    for arm in arms(found):
        own = [r["spreads"].get(spread, {}) for r in found if r["arm"] == arm and "spreads" in r]
        looks = [look.get(AFTER, look.get("0")) for look in own]
        looks = [look for look in looks if look]
        if looks:
            low = number(float(np.mean([look["ln_best"] for look in looks])))
            end = number(float(np.mean([list(look["ln_loss"].values())[-1] for look in looks])))
            moved = f"{100 * float(np.mean([look['moved'] for look in looks])):.2g}"
            lines.append([ARMS[arm], low, end, moved])
    return head, lines


def ratios(found: Sequence[Record], tested: Tests) -> tuple[list[str], list[list[str]]]:
    """The planned comparisons."""
    head = ["ours", "theirs", "steps", "ratio", "95 %", "better in", "p, Holm"]
    lines = []
    for (claim, step), test in tested.items():
        ours, theirs = PLANNED[claim]
        pair = [logs(found, arm, AFTER, HARD, step) for arm in (ours, theirs)]
        wins = sum(a < b for a, b in zip(*pair, strict=True))
        low, high = (math.exp(x or 0) for x in (test.bootstrap.low, test.bootstrap.high))
        lines.append(
            [ARMS[ours], ARMS[theirs], step, expectations.shown(math.exp(test.mean or 0)),
             f"{expectations.shown(low)} – {expectations.shown(high)}", f"{wins} of {test.n}",
             f"{test.adjusted:.2g}"]
        )  # fmt: skip
    return head, lines


def effort(found: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    """Cost of meta-training, and the effect of adaptation there."""
    head = [
        "",
        "gradients of a window, thousands",
        "processor seconds",
        "adaptation takes off the loss, %",
    ]
    lines = []
    for arm in arms(found):
        own = [r for r in found if r["arm"] == arm and "window_gradients" in r]
        if own:
            gain = np.mean([r.get("gain", 0.0) for r in own])
            seconds = np.median([r["cpu_seconds"] for r in own])
            thousands = f"{own[0]['window_gradients'] / 1000:g}"
            lines.append([ARMS[arm], thousands, f"{seconds:.0f}", f"{100 * gain:.2g}"])
    return head, lines


def running_table(found: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    """Against itself as it is at every spread, and against tuned Adam at the largest."""
    spreads, last = keys(found, 0), STEPS[-1]
    head = [
        "",
        *(f"to itself, σ = {s}" for s in spreads),
        *(f"to tuned Adam, σ = {s}" for s in spreads),
    ]
    lines = []
    for arm in arms(found):
        if arm in RUNNING:
            pairs = [(s, arm.partition("-")[0]) for s in spreads] + [(s, "tuned") for s in spreads]
            shown = [
                between(logs(found, arm, "0", s, last), logs(found, other, "0", s, last))
                for s, other in pairs
            ]
            lines.append([ARMS[arm], *shown])
    return head, lines


def between(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The ratio of ours to theirs and its interval."""
    if not ours or len(ours) != len(theirs):
        return "–"
    return "{:.3g} [{:.3g}, {:.3g}]".format(*ratio_of(ours, theirs))


def elsewhere_table(found: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    ways = {
        "given": "as it is",
        "adapted": "5 updates",
        "running": "while it runs",
        "tuned": "Adam, tuned",
    }
    head = ["", "start", "steps", *ways.values(), "updates kept"]
    own = [r for r in found if r["part"] == "elsewhere"]
    lines = []
    for family, base in dict.fromkeys((r["family"], r["arm"]) for r in own):
        here = [r["looks"] for r in own if (r["family"], r["arm"]) == (family, base)]
        kept = " ".join(str(r["kept"]) for r in own if (r["family"], r["arm"]) == (family, base))
        for step in STEPS:
            if any(step not in looks["given"]["ln_loss"] for looks in here):
                continue
            logs = [[looks[way]["ln_loss"][step] for looks in here] for way in ways]
            means = [number(float(np.mean(values))) for values in logs]
            lines.append([family, BASES[base], step, *means, kept])
    return head, lines


def price_table(found: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    head = ["", "task", "time", "memory"]
    lines = []
    for r in found:
        for name, cost in r.get("price", {}).items():
            time = f"{cost['time']:.2f} ({cost['low']:.2f} – {cost['high']:.2f})"
            lines.append([name, r["task"], time, f"{cost['memory']:.2f}"])
    return head, lines


def further(found: Sequence[Record]) -> list[Section]:
    """Sections beside those on M-L2O itself, as far as there are records."""
    sections = [
        Section("Adapting while it runs", WHILE, *running_table(found)),
        Section("Other families", ELSEWHERE, *elsewhere_table(found)),
        Section("The price of adapting while it runs", PRICE, *price_table(found)),
    ]
    return [section for section in sections if section.rows]


def predicted_table(found: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    head = ["", "start found", "loss after one step", "ratio to transfer", "predicted"]
    lines = []
    for arm in PREDICTED:
        own = [r for r in found if r["part"] == "predicted" and r["arm"] == arm]
        loss, base = predicted_loss(found, arm), predicted_loss(found, TRANSFER)
        if own and loss is not None and base:
            theta = float(np.mean([r["theta"] for r in own]))
            expected = own[0]["predicted"]["ratio"] if arm == "exact" else 1.0
            shown = [f"{theta:.4f}", f"{loss:.4f}", f"{loss / base:.4f}", f"{expected:.4f}"]
            lines.append([TITLES[arm], *shown])
    return head, lines


def tables(found: Sequence[Record], tested: Tests) -> list[str]:
    parts = [answer(tested) + answer_while_running(found)]
    parts.append(
        f"Planned comparisons: σ = {HARD}, {AFTER} updates\n\n{markdown(*ratios(found, tested))}"
    )
    for spread in keys(found, 0):
        for step in STEPS:
            title = f"Loss after {step} steps, σ = {spread}"
            parts.append(f"{title}\n\n{markdown(*table(found, spread, step))}")
    if HARD in keys(found, 0):
        parts.append(f"σ = {HARD}, {AFTER} updates\n\n{markdown(*best_table(found, HARD))}")
    parts += [f"{s.title}\n\n{markdown(s.head, s.rows)}" for s in further(found)]
    parts.append(f"What meta-training took\n\n{markdown(*effort(found))}")
    parts.append(f"Where theory predicts the gain\n\n{markdown(*predicted_table(found))}")
    return parts


# The page.


def write(found: Sequence[Record], tested: Tests, said: Sequence[Verdict], path: Path) -> None:
    """Write the page of the study."""
    write_study_page(
        path,
        title="M-L2O: does training to adapt help?",
        answer=answer(tested) + answer_while_running(found),
        verdicts=said,
        sections=[
            Section("Planned comparisons", COMPARED, *ratios(found, tested)),
            *(section(found, spread) for spread in keys(found, 0)),
            *further(found),
            Section("Where theory predicts the gain", PREDICTION, *predicted_table(found)),
            Section("What meta-training took", EFFORT, *effort(found)),
        ],
        command="steppe reproduce m-l2o --scale small",
    )


def section(found: Sequence[Record], spread: str) -> Section:
    drawn = [arm for arm in DRAWN if arm in arms(found)]
    style = styles([ARMS[arm] for arm in drawn])
    pictures = {}
    for count in ("0", AFTER):
        curves = [curve(found, arm, spread, count) for arm in drawn]
        name = f"Losses at σ = {spread} after {count} updates of adaptation"
        pictures[f"After {count} updates."] = picture(
            curves, style, name=name, x="steps", y="loss", how=logarithmic
        )
    head, rows = table(found, spread, STEPS[0])
    text = f"Geometric means over seeds; the table is after {STEPS[0]} steps."
    return Section(f"σ = {spread}", text, head, rows, pictures, style)


def curve(found: Sequence[Record], arm: str, spread: str, count: str) -> Curve:
    """Without updates of adaptation an arm has the same curve in all pictures."""
    own = [r["spreads"].get(spread, {}) for r in found if r["arm"] == arm and "spreads" in r]
    looks = [look for each in own if (look := each.get(count) or each.get("0"))]
    marks = list(looks[0]["ln_loss"]) if looks else []
    y = [math.exp(float(np.mean([look["ln_loss"][mark] for look in looks]))) for mark in marks]
    return Curve(ARMS[arm], [float(mark) for mark in marks], y)


def logarithmic(axes) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
