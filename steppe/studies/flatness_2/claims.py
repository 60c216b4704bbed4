"""The registered tests: families of lines, and what each hypothesis comes to by its rule.

A line is ours less theirs over meta-seeds (`flatness.lines`): t and bootstrap intervals, Wilcoxon's
p, Holm over the family. The primary outcomes are ln test loss and accuracy at the validated stop,
means over the tasks never seen, and over those of them that are not digits.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from ...evaluation.engines import Row
from ...evaluation.stats import equivalence
from ..flatness.design import NONE, NORM, VALID
from ..flatness.lines import (
    END,
    STOP,
    SURE,
    SURENESS,
    TRAINED,
    Arm,
    Differs,
    Key,
    Learned,
    Line,
    Number,
    Result,
    compared,
    differences,
    flatter,
    general,
    learned_of,
)
from ..flatness.rivals import by_seed
from .design import BOTH, COSTLY, MAIN, PAPERS, TUNED, UNTUNED, Scale
from .mediation import Part, mediation

PLAIN = "plain"  # technique
FEWEST = 20  # pairs under which nothing registered is decided
MARGINS = {"ln test_loss": 0.048790164169432, "test_accuracy": 0.002}  # ln 1.05; 0.2 points
NOT_WORSE = 0.019802627296179713  # ln 1.02, of H7
OTHER_DATA = ", not digits"
Word = Literal["yes", "worse", "equivalent", "open", "not decided"]


@dataclasses.dataclass(frozen=True)
class Claim:
    """A hypothesis of one rule: its lines, and the p-values of equivalence where asked."""

    name: str
    rule: str
    question: str
    lines: list[Line]
    same: list[float] = dataclasses.field(default_factory=list)

    @property
    def n(self) -> int:
        """Pairs of the line that has the fewest."""
        return min((line.found.n for line in self.lines), default=0)

    def word(self, unsteady: Iterable[str]) -> Word:
        """The word that the registered rule gives it.

        - `unsteady`: arms that fail the gate
        """
        arms = {arm for line in self.lines for arm in (line.ours, line.theirs)}
        if self.n < FEWEST or arms & {*unsteady}:
            return "not decided"
        if all(line.better for line in self.lines):
            return "yes"
        if all(line.lost for line in self.lines):
            return "worse"
        if self.same and all(p < SURE for p in self.same):
            return "equivalent"
        return "open"


def results(scale: Scale, rows: Iterable[Row]) -> dict[Key, Result]:
    """Every side of a pair by its name and meta-seed: arms, and rivals as if they were arms."""
    rows = [row for row in rows if row.result is not None]
    found = learned_of(rows)
    for row in rows:
        cell, result = row.cell, row.result
        if result is None or cell["part"] in ("search", "learned"):
            continue
        if cell["part"] == "trials":
            found[cell["optimizer"], PLAIN, tried(cell["arm"]), cell["meta_seed"]] = result
            continue
        name = rival(cell["optimizer"], cell["part"], cell["budget"])
        seeds = cell["meta_seeds"]
        looks = {label: by_seed(look, seeds) for label, look in result["tasks"].items()}
        for s in seeds:
            tasks = {label: look[s] for label, look in looks.items()}
            found[scale.rule, PLAIN, name, s] = {"tasks": tasks}
    return found


def tried(arm: str) -> str:
    """A learned optimizer that was tuned on each task."""
    return f"{arm}, 20 trials"


def rival(name: str, part: str, budget: str) -> str:
    """A rival in a table: what was tuned, and for SAM how long it trained."""
    equal = f", equal {budget}" if name == COSTLY and part == "tuned" else ""
    return f"{name}{equal}, {'0' if part == 'untuned' else '20'} trials"


def primary(scale: Scale) -> Differs:
    """The primary outcomes, on all tasks never seen and on other data than digits."""
    return {**general(list(scale.unseen), STOP), **elsewhere(scale, STOP)}


def elsewhere(scale: Scale, readings: Mapping[str, Callable[[Result], Number]]) -> Differs:
    found = general(list(scale.elsewhere), readings)
    return {f"{metric}{OTHER_DATA}": differ for metric, differ in found.items()}


def secondary(scale: Scale) -> Differs:
    """Outcomes that are told with an interval and not tested."""
    tasks = list(scale.unseen)
    last = {f"{metric}, last step": x for metric, x in general(tasks, END).items()}
    sure, trained = general(tasks, SURENESS), general(tasks, TRAINED)
    return {**last, **sure, **trained, **flatter(tasks)}


def claims(scale: Scale, learned: Learned) -> list[Claim]:
    """All hypotheses with a test, in the order of README."""
    first = scale.rule
    of = lambda rule, arm: (rule, PLAIN, arm)
    found: list[Claim] = []

    def claim(
        name: str,
        rule: str,
        question: str,
        pairs: Sequence[tuple[str, str]],
        metrics: Differs,
        same: bool = False,
    ) -> None:
        both = [(of(rule, ours), of(rule, theirs)) for ours, theirs in pairs]
        lines = compared(learned, both, metrics, scale.meta_seeds)
        ps = [p for pair in both for p in alike(scale, learned, pair, metrics)] if same else []
        found.append(Claim(name, rule, question, lines, ps))

    for rule in scale.recipes:
        main, pair = primary(scale), [(MAIN, NONE)]
        claim("H1", rule, "flatness makes networks never seen better", pair, main, True)
        question = "it does so beyond the weights' size"
        claim("H2", rule, question, [(MAIN, NORM)], main, True)
    stop = general(list(scale.unseen), STOP)
    question = "the paper's own measures do so"
    claim("H3", first, question, [(arm, NONE) for arm in PAPERS], stop)
    pairs = [(VALID, NONE), (BOTH, MAIN)]
    claim("H4", first, "held-out losses as the objective do so", pairs, stop)
    pairs = [(MAIN, rival(name, "untuned", "steps")) for name in UNTUNED]
    claim("H5a", first, "without trials it beats rivals without trials", pairs, stop)
    pairs = [(tried(MAIN), rival(name, "tuned", budget)) for name, budget in TUNED]
    claim("H5b", first, "with 20 trials it beats rivals with 20 trials", pairs, stop)
    return found


def alike(scale: Scale, learned: Learned, pair: tuple[Arm, Arm], metrics: Differs) -> list[float]:
    """p of equivalence in each metric."""
    return [
        equivalence(
            differences(learned, *pair, differ, scale.meta_seeds),
            MARGINS[metric.removesuffix(OTHER_DATA)],
        )
        for metric, differ in metrics.items()
    ]


def short(scale: Scale, learned: Learned) -> Claim:
    """H7: flat less plain where the budget ends before anything overfits, at the last step."""
    metrics = {"ln test_loss": general(list(scale.short), END)["ln test_loss"]}
    pair = ((scale.rule, PLAIN, MAIN), (scale.rule, PLAIN, NONE))
    lines = compared(learned, [pair], metrics, scale.meta_seeds)
    question = "where the budget ends before overfitting it does not lose to its plain twin"
    return Claim("H7", scale.rule, question, lines)


def below(claim: Claim, bounds: Sequence[float], unsteady: Iterable[str] = ()) -> Word:
    """The rule of H7: the upper end of every line's interval is below its bound.

    Worse: the lower end of one is above.
    """
    arms = {arm for line in claim.lines for arm in (line.ours, line.theirs)}
    if claim.n < FEWEST or arms & {*unsteady}:
        return "not decided"
    found = [line.found.difference for line in claim.lines]
    ends = [(x.low, x.high, bound) for x, bound in zip(found, bounds, strict=True)]
    if all(high is not None and high < bound for _, high, bound in ends):
        return "yes"
    over = any(low is not None and low > bound for low, _, bound in ends)
    return "worse" if over else "open"


def mechanism(scale: Scale, learned: Learned) -> dict[str, Part]:
    """H6: the effect of the main arm on ln test loss, by what it goes through."""
    tasks = list(scale.unseen)
    ours, theirs = (scale.rule, PLAIN, MAIN), (scale.rule, PLAIN, NONE)
    of = lambda differ: differences(learned, ours, theirs, differ, scale.meta_seeds)
    curved = [task for task, how in scale.unseen.items() if how.get("curved", True)]
    matched = flatter(curved, ("size", "trace"))
    return mediation(
        of(general(tasks, STOP)["ln test_loss"]),
        {name.removeprefix("ln "): of(differ) for name, differ in matched.items()},
    )
