"""What the record says: the answer, the gate, the registered tables, and what is missing.

Everything follows from the rows alone and names no time, so that the same record gives the same
text. Which sentence stands for which outcome was written down in README.md beforehand.
"""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ...evaluation.engines import Row
from ...runs.steadiness import STEADY
from ..flatness.design import NONE, NORM
from ..flatness.lines import END, STOP, Key, Line, Result, compared, general
from ..flatness.summary import change, label, shown
from ..study import Conclusion, Verdict, markdown
from . import search
from .claims import (
    FEWEST,
    NOT_WORSE,
    PLAIN,
    Claim,
    Word,
    below,
    claims,
    mechanism,
    results,
    secondary,
    short,
)
from .design import FIRST, LATER, MAIN, Scale
from .mediation import Part

SAID: dict[Word, str] = {
    "yes": "yes",
    "worse": "no, it is worse",
    "equivalent": "no, the two are equivalent within the bounds",
    "open": "not shown",
    "not decided": "not decided",
}


def conclude(scale: Scale, rows: Sequence[Row]) -> Conclusion:
    planned, scale = scale, looked(scale, rows)
    learned = results(scale, rows)
    steadiness = gate(learned)
    told = judged(scale, learned)
    through = mechanism(scale, learned)
    parts = [
        "> " + answer(scale, told),
        missing(planned, rows, learned),
        gate_text(steadiness),
        early(scale, learned),
        weights(scale, rows),
        *(table(claim, word) for claim, word in told if claim.n),
        mediated(through),
        secondary_table(scale, learned),
        by_task(scale, learned),
    ]
    content = {
        "claims": [plain(claim, word) for claim, word in told],
        "gate": {f"{rule} {arm}": sd for (rule, arm), sd in steadiness.items()},
        "mechanism": {name: part._asdict() for name, part in through.items()},
        "weights": {rule: found for rule in scale.recipes if (found := best(scale, rule, rows))},
    }
    text = "\n\n".join(part for part in parts if part)
    return Conclusion(text, content, [verdict(claim, word) for claim, word in told])


def judged(scale: Scale, learned: Mapping[Key, Result]) -> list[tuple[Claim, Word]]:
    """Every hypothesis that is tested, and what it comes to."""
    steadiness = gate(learned)
    bad = {rule: unsteady(steadiness, rule) for rule in scale.recipes}
    told: list[tuple[Claim, Word]] = [
        (claim, claim.word(bad[claim.rule])) for claim in claims(scale, learned)
    ]
    last = short(scale, learned)
    return [*told, (last, below(last, [NOT_WORSE], bad[last.rule]))]


def looked(scale: Scale, rows: Sequence[Row]) -> Scale:
    """The scale with those of its tasks that the record has."""
    tasks = {task for row in rows if row.cell["part"] != "search" for task in row.cell["tasks"]}
    groups: dict[str, Any] = {
        name: {label: how for label, how in getattr(scale, name).items() if label in tasks}
        for name in ("digits", "elsewhere", "short")
    }
    return dataclasses.replace(scale, **groups)


def said(claim: Claim, word: Word) -> str:
    """The word in a sentence; where it is open, how many of the tests say what."""
    if word != "open" or len(claim.lines) < 2:
        return SAID[word]
    better, lost = (sum(getattr(line, side) for line in claim.lines) for side in ("better", "lost"))
    return f"{SAID[word]}: better in {better} of {len(claim.lines)} tests, worse in {lost}"


def answer(scale: Scale, told: Sequence[tuple[Claim, Word]]) -> str:
    """The verdicts of the rule that decides, H2 first."""
    own = [pair for pair in told if pair[0].rule == scale.rule]
    words = "; ".join(
        f"{claim.name}, {claim.question}: {said(claim, word)} (n = {claim.n})"
        for claim, word in sorted(own, key=lambda pair: pair[0].name != "H2")
    )
    repeated = [
        f"{claim.rule} {claim.name}: {said(claim, word)}"
        for claim, word in told
        if claim.rule != scale.rule and claim.n
    ]
    again = f" The same of other rules: {'; '.join(repeated)}." if repeated else ""
    return (
        "Does curvature in meta-training make networks never seen better beyond the weights' size? "
        f"{scale.rule} at the scale {scale.name!r}. {words}.{again}"
    )


def missing(scale: Scale, rows: Sequence[Row], learned: Mapping[Key, Result]) -> str:
    """Seeds that an arm still lacks, cells that failed, and tasks that were left out."""
    lines = []
    seeds = len(scale.meta_seeds)
    for rule in scale.recipes:
        arms = scale.arms if rule == scale.rule else FIRST if scale.later else ()
        has = {arm: sum((rule, PLAIN, arm, s) in learned for s in scale.meta_seeds) for arm in arms}
        lacking = [f"{arm} {count} of {seeds}" for arm, count in has.items() if count < seeds]
        if lacking:
            lines.append(f"Missing, {rule}: meta-seeds of {', '.join(lacking)}.")
    if len(lines):
        lines.append(f"Nothing registered is decided with fewer than {FEWEST} pairs.")
    own = looked(scale, rows)
    out = {*scale.unseen, *scale.short} - {*own.unseen, *own.short}
    if out and (own.unseen or own.short):
        lines.append(f"Left out, since their data are not here: {', '.join(sorted(out))}.")
    failed = [row for row in rows if row.result is None]
    if failed:
        lines.append(f"{len(failed)} of {len(rows)} cells failed.")
    return "\n".join(lines)


# The gate.


def gate(learned: Mapping[Key, Result]) -> dict[tuple[str, str], float | None]:
    """Rule and arm → median over meta-seeds of the sd of the last quarter; None if not finite."""
    found: dict[tuple[str, str], list[float | None]] = {}
    for (rule, _, arm, _), result in learned.items():
        if "meta" in result:
            found.setdefault((rule, arm), []).append(result["meta"]["tail_sd"])
    known = {place: [x for x in sds if x is not None] for place, sds in found.items()}
    return {
        place: statistics.median(known[place]) if len(known[place]) == len(sds) else None
        for place, sds in sorted(found.items())
    }


def unsteady(steadiness: Mapping[tuple[str, str], float | None], rule: str) -> list[str]:
    """Arms of a rule that fail the gate."""
    return [
        arm for (r, arm), sd in steadiness.items() if r == rule and (sd is None or sd >= STEADY)
    ]


def gate_text(steadiness: Mapping[tuple[str, str], float | None]) -> str:
    if not steadiness:
        return ""
    percent = lambda sd: "not finite" if sd is None else f"{sd:.1%}"
    word = lambda sd: "no" if sd is None or sd >= STEADY else "yes"
    rows = [[*place, percent(sd), word(sd)] for place, sd in steadiness.items()]
    head = ["rule", "arm", "sd of the last quarter, median", f"below {STEADY:.0%}"]
    return "Gate:\n\n" + markdown(head, rows)


def early(scale: Scale, learned: Mapping[Key, Result]) -> str:
    """Share of the short runs without a penalty whose validation loss still falls at the end."""
    at = [
        (step, how["horizon"])
        for (rule, _, arm, _), result in learned.items()
        if (rule, arm) == (scale.rule, NONE)
        for label, how in scale.short.items()
        for step in result["tasks"][label]["at"]["stop"]["step"]
    ]
    if not at:
        return ""
    last = sum(step == end for step, end in at) / len(at)
    return f"Short tasks: validation loss is least at the last look in {last:.0%} of plain runs."


# Tables.


def best(scale: Scale, rule: str, rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Arm → its weight, and the end of the grid that it is at."""
    found = {
        arm: search.found(scale, rule, arm, rows)
        for arm in (*FIRST, *LATER)
        if arm != NONE and "+" not in arm
    }
    return {
        arm: {
            "weight": x.best,
            "edge": x.edge,
            "scores": {f"{w:g}": s for w, s in x.scores.items()},
        }
        for arm, x in found.items()
        if x.scores
    }


def weights(scale: Scale, rows: Sequence[Row]) -> str:
    lines = []
    for rule in scale.recipes:
        for arm, at in best(scale, rule, rows).items():
            scores = [f"{w}: {'–' if s is None else f'{s:+.3f}'}" for w, s in at["scores"].items()]
            weight = "–" if at["weight"] is None else f"{at['weight']:g}"
            inside = at["edge"] or ("inside" if len(scores) > 1 else "one alone")
            lines.append([rule, arm, weight, inside, ", ".join(scores)])
    if not lines:
        return ""
    head = ["rule", "arm", "weight", "in its grid", "weight: score less none"]
    return "Search:\n\n" + markdown(head, lines)


def table(claim: Claim, word: Word) -> str:
    rows = [
        [
            f"{line.ours} less {line.theirs}",
            label(line.metric),
            shown(line),
            f"{line.found.adjusted:.3g}",
            f"{claim.same[i]:.3g}" if claim.same else "",
            str(line.found.n),
        ]
        for i, line in enumerate(claim.lines)
        if line.found.n
    ]
    head = ["", "outcome", "difference", "Holm's p", "p of equivalence", "n"]
    title = f"{claim.name}, {claim.rule}: {claim.question}? {said(claim, word).capitalize()}."
    return f"{title}\n\n{markdown(head, rows)}"


def mediated(through: Mapping[str, Part]) -> str:
    if not through:
        return ""
    rows = [
        [name, f"{part.value:+.3f} [{part.low:+.3f}, {part.high:+.3f}]"]
        for name, part in through.items()
    ]
    title = f"H6, what the effect of {MAIN} on ln test loss goes through (an estimate, no test):"
    return f"{title}\n\n{markdown(['', 'part'], rows)}"


def secondary_table(scale: Scale, learned: Mapping[Key, Result]) -> str:
    """Nothing here is corrected or decided."""
    pairs = [
        ((rule, PLAIN, MAIN), (rule, PLAIN, other)) for rule in scale.recipes for other in FIRST[:2]
    ]
    lines = compared(learned, pairs, secondary(scale), scale.meta_seeds)
    rows = [
        [line.optimizer, f"{line.ours} less {line.theirs}", label(line.metric), bare(line)]
        for line in lines
        if line.found.n > 1
    ]
    if not rows:
        return ""
    head = ["rule", "", "outcome", "difference"]
    return f"Secondary outcomes, 95 % intervals, nothing tested:\n\n{markdown(head, rows)}"


def by_task(scale: Scale, learned: Mapping[Key, Result]) -> str:
    """Differences between the arms that decide, on each task by itself."""
    places = {"all": general(list(scale.unseen), STOP)}
    places |= {task: general([task], STOP) for task in scale.unseen}
    places |= {task: general([task], END) for task in scale.short}
    pairs = [(MAIN, NONE), (MAIN, NORM), (NORM, NONE)]
    of = lambda arm: (scale.rule, PLAIN, arm)
    rows = []
    for place, metrics in places.items():
        lines = compared(learned, [(of(a), of(b)) for a, b in pairs], metrics, scale.meta_seeds)
        if all(line.found.n > 1 for line in lines):
            rows.append([place, *(change(line) for line in lines)])
    if not rows:
        return ""
    head = ["", *(f"{a} less {b}: {x}" for a, b in pairs for x in ("test loss", "accuracy"))]
    return (
        f"Task by task, {scale.rule}; looked at afterwards, 95 % intervals, nothing corrected. At "
        f"the validated stop, short ones at the last step:\n\n{markdown(head, rows)}"
    )


def bare(line: Line) -> str:
    return f"{change(line)}, n = {line.found.n}"


# Plain values.


def verdict(claim: Claim, word: Word) -> Verdict:
    because = "; ".join(
        f"{line.ours} less {line.theirs}, {label(line.metric)}: {change(line)}"
        for line in claim.lines
        if line.found.n
    )
    unjudged = "not measured" if word == "not decided" else ""
    text = f"{claim.name}, {claim.rule}: {claim.question}"
    because = f"n = {claim.n}; {said(claim, word)}" + f"; {because}" * bool(because)
    return Verdict(text, word == "yes", because, expected=False, unjudged=unjudged)


def plain(claim: Claim, word: Word) -> dict[str, Any]:
    lines = [dataclasses.asdict(line) | {"better": line.better} for line in claim.lines]
    own = {"hypothesis": claim.name, "rule": claim.rule, "word": word, "n": claim.n}
    return own | {"lines": lines, "equivalence": claim.same}
