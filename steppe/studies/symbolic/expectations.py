"""Expectations, written down before the run.

Numbers are those of the specification: R² of the published paper's table, the surrogate's loss, and
the aim of a short formula within 5 % of its teacher. A ratio is a geometric mean over fresh
problems; after 100 and 500 steps, test loss.
"""

import math
from collections.abc import Sequence

from ...evaluation.stats import paired
from ..study import Record, Verdict

KNOWN = 0.999  # R² of rules that are formulas
KNOWN_SIGN = 0.95  # of Lion, whose sign is a steep tanh
TEMPLATE, GAIN, GAP = 0.80, 0.03, 0.2
SURROGATE, AS_GOOD, SHORT = 1.2, 1.05, 15
SAME = "no difference seen"
HALF = 0.5  # of the difference in ln tr H that one coefficient accounts for


def verdicts(found: Sequence[Record]) -> list[Verdict]:
    """The claims that these records can speak for."""
    rules = [r for r in found if r["part"] == "rule"]
    teachers = [r for r in found if r["part"] == "teacher"]
    published = {r["teacher"]: r for r in found if r["part"] == "published"}
    twins = [r for r in found if r["part"] == "twins"]
    said = []
    if rules:
        low = {r["rule"]: r["r2"] for r in rules}
        bar = lambda name: KNOWN_SIGN if name == "lion" else KNOWN
        said.append(Verdict(
            f"SGD, momentum, RMSProp and Adam are found again (R² ≥ {KNOWN}), Lion ≥ {KNOWN_SIGN}",
            all(x is not None and x >= bar(name) for name, x in low.items()),
            ", ".join(f"{name} {x:.4f}" for name, x in low.items()),
        ))  # fmt: skip
    for r in [*teachers, *published.values()]:
        if "rnnprop" in r["teacher"]:
            said.append(Verdict(
                f"{label(r)}: R² of the template ≥ {TEMPLATE} and ≥ linear + {GAIN}",
                r["template"] >= max(TEMPLATE, r["linear"] + GAIN),
                f"{r['template']:.3f}, linear {r['linear']:.3f}",
            ))  # fmt: skip
    if len(published) == 2:
        gap = published["rnnprop"]["template"] - published["dm"]["template"]
        said.append(Verdict(
            f"Published weights: R² of RNNProp is above that of DM by {GAP}",
            gap >= GAP, f"{gap:.2f}",
        ))  # fmt: skip
    for r in teachers:
        worst = max((x["mean"] or math.inf for x in own(r, "chosen")), default=math.inf)
        said.append(Verdict(
            f"{r['teacher']}: loss of the formula ≤ {SURROGATE} of the teacher's",
            worst <= SURROGATE, f"{r['nodes']} nodes, at most {worst:.2f}",
        ))  # fmt: skip
    if teachers:
        pairs = [(r, arm) for r in teachers for arm in ("chosen", "tuned")]
        good = [(r["teacher"], arm) for r, arm in pairs if stands(r, arm)]
        said.append(Verdict(
            f"At least one formula of ≤ {SHORT} nodes is within 5 % of its teacher",
            bool(good), ", ".join(f"{name} ({arm})" for name, arm in good) or "none",
        ))  # fmt: skip
        good = [
            f"{r['teacher']} ({arm}, at most {worst:.2f})"
            for r, arm in pairs if r["nodes"] <= SHORT and (worst := elsewhere(r, arm)) <= AS_GOOD
        ]  # fmt: skip
        said.append(Verdict(
            f"At least one of ≤ {SHORT} nodes is so on the tasks that neither has seen",
            bool(good), ", ".join(good) or "none",
        ))  # fmt: skip
    for r in twins:
        said += of_twins(r)
    return said


def label(r: Record) -> str:
    return ("published " if r["part"] == "published" else "") + r["teacher"]


def own(r: Record, arm: str, steps: Sequence[int] = (100, 500)) -> list[dict]:
    """Test-loss ratios on the teacher's own task."""
    return [
        x for x in r["ratios"][arm]
        if x["task"] == r["task"] and x["part"] == "test" and x["steps"] in steps
    ]  # fmt: skip


def stands(r: Record, arm: str) -> bool:
    """True for a short formula within 5 % of its teacher's test loss at every horizon."""
    seen = own(r, arm, (100, 500, 2500))
    return (
        r["nodes"] <= SHORT
        and bool(seen)
        and all(x["mean"] is not None and x["mean"] <= AS_GOOD for x in seen)
    )


def elsewhere(r: Record, arm: str) -> float:
    """The largest ratio of test losses on other tasks than the teacher's, ∞ if there is none."""
    seen = [x for x in r["ratios"][arm] if x["task"] != r["task"] and x["part"] == "test"]
    return max((x["mean"] or math.inf for x in seen), default=math.inf)


def logs(r: Record, arm: str, of: str) -> list[float | None]:
    """ln of a number of the models of an arm, seed by seed."""
    values = r["models"][arm][of]
    return [math.log(x) if x is not None and x > 0 else None for x in values]


def of_twins(r: Record) -> list[Verdict]:
    """Claims about flatness, at equal training loss."""
    of, on = "trace_matched", r["judged"]
    ratio = lambda a, b: paired(logs(r, a, of), logs(r, b, of))
    teachers, formulas = ratio("flat teacher", "plain teacher"), ratio("flat", "plain")
    said = [
        verdict(f"{on}: the flat teacher's minima are flatter than the plain one's", teachers),
        verdict(f"{on}: so are those of the flat formula", formulas),
    ]
    whole = formulas.difference.mean or math.nan
    for arm in ("plain, m of flat", "plain, g of flat"):
        part = ratio(arm, "plain")
        share = (part.difference.mean or 0.0) / whole
        said.append(Verdict(
            f"{on}, {arm}: it accounts for half of the formulas' difference in ln tr H",
            part.verdict == formulas.verdict != SAME and share >= HALF,
            f"a share of {share:.2f}; {wording(part)}",
        ))  # fmt: skip
    return said


def verdict(claim: str, found) -> Verdict:
    return Verdict(claim, found.verdict == "better", wording(found))


def wording(found) -> str:
    d = found.difference
    if d.mean is None or d.low is None or d.high is None:
        return "not comparable"
    return "tr H × {:.2f} [{:.2f}, {:.2f}], n = {}".format(
        *(math.exp(x) for x in (d.mean, d.low, d.high)), d.n
    )
