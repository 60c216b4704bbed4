"""Comparisons, statistics and expectations that decide, written down before the run.

A value is the mean of ln loss over the adaptations and problems of a seed: a difference of two is
the logarithm of a ratio of geometric means. Arms are compared in pairs, seed by seed. A comparison
is significant if Wilcoxon's exact test says so at 5 % after Holm's correction over all of
`PLANNED`, which is done for the losses after 100 steps and for those after 500, and the BCa
bootstrap interval of the mean difference does not contain 0. All else on the page is description.

Expected ratios are those of the specification's own runs (six seeds, another implementation), where
it has them.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ...evaluation.stats import PairedTest, bootstrap, differences, interval, paired_tests
from ..study import Record, Verdict
from .settings import BASES, CONTROL, EXACT, TRANSFER

HARD, NEAR = "100", "1"  # spreads: what the claim is about, and one of those trained on
AFTER, STEPS = "5", ("100", "500")  # updates of adaptation, and where losses are compared
PLANNED = {  # claims about what is behind a gain: ours, theirs
    "M-L2O as published beats fair transfer": ("next", "transfer"),
    "its control, which never adapts in training, does too": ("next-0", "transfer"),
    "M-L2O as published beats its own control": ("next", "next-0"),
    "a larger α on the next window beats the control": ("next-large", "next-0"),
    "M-L2O on the same window beats transfer": ("same", "transfer"),
    "a larger α on the same window beats transfer": ("same-large", "transfer"),
    "trained by the adaptation that is used, M-L2O beats transfer": ("adam", "transfer"),
    "second order beats transfer": ("second", "transfer"),
    "second order and a larger α beat transfer": ("second-large", "transfer"),
    "learned rates beat transfer": ("learned", "transfer"),
    "transfer with twice the updates beats transfer": ("transfer-2x", "transfer"),
}
CLOSE = math.log(1.1)  # of two arms that are called equal: ratios within 10 %


class Limit(NamedTuple):
    """The geometric mean over seeds of ours over theirs is at most `most`, and at least `least`.

    - `surely`: its bootstrap interval, too
    """

    claim: str
    ours: tuple[str, str]  # arm, updates of adaptation
    theirs: tuple[str, str]
    spread: str
    step: str
    most: float
    surely: bool = False
    least: float = 0.0


EXPECTED = (
    Limit("After 5 updates at σ = 100, M-L2O at most 0.2 of vanilla after 100 steps",
          ("next", "5"), ("vanilla", "5"), HARD, "100", 0.2),
    Limit("After 5 updates at σ = 10, M-L2O at most 0.6 of vanilla after 100 steps",
          ("next", "5"), ("vanilla", "5"), "10", "100", 0.6),
    Limit("As in training (σ = 1, no updates), M-L2O at most 1.15 of transfer after 100 steps",
          ("next", "0"), ("transfer", "0"), NEAR, "100", 1.15),
    Limit("5 updates help fair transfer at σ = 100",
          ("transfer", "5"), ("transfer", "0"), HARD, "100", 1.0),
    Limit("Tuned Adam at most half of M-L2O as published at σ = 100 after 500 steps",
          ("tuned", "0"), ("next", "5"), HARD, "500", 0.5),
)  # fmt: skip
for base, name in {"transfer": "transfer", "shipped": "rnnprop-v1"}.items():
    for how, words in {"self-adapting": "", "unguarded": " and with no guard"}.items():
        ours = (f"{base}-{how}", "0")
        EXPECTED += (
            Limit(f"Adapting while it runs{words}, {name} within 2 of tuned Adam at σ = 100 after "
                  "500 steps", ours, ("tuned", "0"), HARD, "500", 2.0),
            Limit(f"Adapting while it runs{words}, {name} surely at most 1 % above itself at σ = 1",
                  ours, (base, "0"), NEAR, "500", 1.01, surely=True),
        )  # fmt: skip
    EXPECTED += (
        Limit(f"At rate 0, {name} within 1 % of itself at σ = 100",
              (f"{base}-still", "0"), (base, "0"), HARD, "500", 1.01, least=0.99),
        Limit("Most of the gain is the size of updates: Adam of σ = 1, adapting while it runs, "
              f"within 2 of {name} that does, at σ = 100",
              ("near-self-adapting", "0"), (f"{base}-self-adapting", "0"), HARD, "500", 2.0),
    )  # fmt: skip
ASKED = {  # of adapting while it runs, at σ = 100 after 500 steps: nothing was expected
    f"{words}, {name}": (f"{base}-{ours}", f"{base}-{theirs}")
    for base, name in {"transfer": "transfer", "shipped": "rnnprop-v1"}.items()
    for words, ours, theirs in (
        ("Moving each tensor beats the size of updates alone", "tensors", "self-adapting"),
        ("A memory of 0.9 beats none", "self-adapting", "last-update"),
    )
}
WITHIN = 0.05  # of the predicted gain


def logs(found: Sequence[Record], arm: str, updates: str, spread: str, step: str) -> list[float]:
    """ln loss by seed."""
    own = sorted(
        (r for r in found if r.get("arm") == arm and "spreads" in r), key=lambda r: r["seed"]
    )
    looks = [r["spreads"].get(spread, {}).get(updates) for r in own]
    return [look["ln_loss"][step] for look in looks if look and step in look["ln_loss"]]


def ratio_of(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """The geometric mean of ratios, in pairs, and its bootstrap interval."""
    seen = bootstrap(differences(ours, theirs))
    power = lambda x: math.nan if x is None else math.exp(x)
    return power(seen.mean), power(seen.low), power(seen.high)


Tests = Mapping[tuple[str, str], PairedTest]  # by claim and step


def tests(found: Sequence[Record]) -> Tests:
    """The planned comparisons of which there are records, by claim and step."""
    tested = {}
    for step in STEPS:
        pairs = {
            claim: tuple(logs(found, arm, AFTER, HARD, step) for arm in arms)
            for claim, arms in PLANNED.items()
        }
        cells = {claim: (a, b) for claim, (a, b) in pairs.items() if len(a) == len(b) > 1}
        tested |= {(claim, step): test for claim, test in paired_tests(cells).items()}
    return tested


def verdicts(found: Sequence[Record], tested: Tests) -> list[Verdict]:
    """The open questions of `PLANNED` and `ASKED`, and what was expected."""
    planned = [
        Verdict(f"After 5 updates at σ = 100, {step} steps: {claim}", significant(test), said(test),
                expected=False)
        for (claim, step), test in tested.items()
    ]  # fmt: skip
    return [
        *planned, *asked(found), *same_as_control(tested), *no_gain(tested), *limits(found),
        *predictions(found), *families(found),
    ]  # fmt: skip


def significant(test: PairedTest) -> bool:
    """Ours is smaller, and it is no chance."""
    high = test.bootstrap.high
    return test.adjusted < 0.05 and high is not None and high < 0


def said(test: PairedTest) -> str:
    seen = test.bootstrap
    ratio, low, high = (
        math.exp(x) if x is not None else math.nan for x in (seen.mean, seen.low, seen.high)
    )
    between = f"[{shown(low)}, {shown(high)}]"
    return f"ratio {shown(ratio)} {between}, p = {test.adjusted:.2g}, {test.n} seeds"


def shown(ratio: float) -> str:
    """Two digits after the point, or of all where it is large."""
    return f"{ratio:.2f}" if ratio < 100 else f"{ratio:.1e}"


def same_as_control(tested: Tests) -> list[Verdict]:
    """The gain of the published form is that of the later window, not of adaptation."""
    claim = "M-L2O as published beats its own control"
    seen = [tested[claim, step] for step in STEPS if (claim, step) in tested]
    if not seen:
        return []
    close = all(abs(test.mean or 0) <= CLOSE for test in seen)
    because = "; ".join(f"after {s} steps {said(t)}" for s, t in zip(STEPS, seen, strict=False))
    return [
        Verdict(
            "The published α = 1e-3 changes nothing: within 10 % of the control", close, because
        )
    ]


def no_gain(tested: Tests) -> list[Verdict]:
    """Nor does the step on the same window help."""
    claim = "M-L2O on the same window beats transfer"
    return [
        Verdict(f"On the same window at α = 1e-3 no better than transfer after {step} steps",
                not significant(tested[claim, step]), said(tested[claim, step]))
        for step in STEPS if (claim, step) in tested
    ]  # fmt: skip


def asked(found: Sequence[Record]) -> list[Verdict]:
    pairs = {
        claim: tuple(logs(found, arm, "0", HARD, STEPS[-1]) for arm in arms)
        for claim, arms in ASKED.items()
    }
    cells = {claim: (a, b) for claim, (a, b) in pairs.items() if len(a) == len(b) > 1}
    return [
        Verdict(f"While running at σ = 100: {claim}", significant(test), said(test), expected=False)
        for claim, test in paired_tests(cells).items()
    ]


def limits(found: Sequence[Record]) -> list[Verdict]:
    said = []
    for each in EXPECTED:
        pair = [logs(found, *who, each.spread, each.step) for who in (each.ours, each.theirs)]
        if pair[0] and len(pair[0]) == len(pair[1]):
            ratio, low, high = ratio_of(*pair)
            because = f"{ratio:.3g} [{low:.3g}, {high:.3g}], {len(pair[0])} seeds"
            most = high if each.surely else ratio
            said.append(Verdict(each.claim, most <= each.most and ratio >= each.least, because))
    return said


def predictions(found: Sequence[Record]) -> list[Verdict]:
    """Verdicts on the family where theory says what the gain is."""
    own = {arm: predicted_loss(found, arm) for arm in (TRANSFER, CONTROL, EXACT)}
    if None in own.values():
        return []
    known = {arm: x for arm, x in own.items() if x is not None}
    expected = next(r for r in found if r["part"] == "predicted")["predicted"]["ratio"]
    off = lambda arm: known[arm] / known[TRANSFER] / expected - 1
    words = f"ratio {known[EXACT] / known[TRANSFER]:.4f}, predicted {expected:.4f}"
    control = f"ratio {known[CONTROL] / known[TRANSFER]:.4f}"
    return [
        Verdict("On three curvatures the gain is the predicted one within 5 %",
                abs(off(EXACT)) <= WITHIN, words),
        Verdict("There the control, α = 0, does not have it", abs(off(CONTROL)) > WITHIN, control),
    ]  # fmt: skip


def predicted_loss(found: Sequence[Record], arm: str) -> float | None:
    """Mean over seeds."""
    own = [r["loss"] for r in found if r["part"] == "predicted" and r["arm"] == arm]
    return float(np.mean(own)) if own else None


# Other families.

WAYS = {  # of adapting, each against the optimizer as it is
    "5 updates of `steppe.adapt` help": "adapted",
    "adapting while it runs helps": "running",
}


def elsewhere(
    found: Sequence[Record], base: str, family: str, ours: str, theirs: str, step: str
) -> list[float]:
    """Differences of ln loss between two ways to run a start on a family, by seed."""
    own = sorted(
        (r for r in found
         if r["part"] == "elsewhere" and r["arm"] == base and r["family"] == family),
        key=lambda r: r["seed"],
    )  # fmt: skip
    of = lambda r, name: r["looks"][name]["ln_loss"]
    return [of(r, ours)[step] - of(r, theirs)[step] for r in own if step in of(r, ours)]


def families(found: Sequence[Record]) -> list[Verdict]:
    """Never above as it is, expected of the guard; and whether either way helps, asked."""
    said = []
    for base, family in sorted(
        {(r["arm"], r["family"]) for r in found if r["part"] == "elsewhere"}
    ):
        for claim, way in WAYS.items():
            for step in STEPS:
                seen = interval(elsewhere(found, base, family, way, "given", step))
                if seen.mean is None or seen.low is None or seen.high is None:
                    continue
                ratio, low, high = map(math.exp, (seen.mean, seen.low, seen.high))
                because = f"{ratio:.3g} [{low:.3g}, {high:.3g}], {seen.n} seeds"
                where = f"On {family}, {BASES[base]}, {step} steps"
                said.append(Verdict(f"{where}: {claim}", high < 1, because, expected=False))
                if way == "running":
                    never = f"{where}: adapting while it runs surely at most 1 % above itself"
                    said.append(Verdict(never, high <= 1.01, because))
    return said
