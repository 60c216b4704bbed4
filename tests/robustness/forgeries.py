"""Kinds of forged certificates: what is changed, and words of the sentence that has to say so.

Each begins with a valid certificate of `forged.valid`; its statements and its digest are made right
again afterwards, so that the contradiction is all there is to find.
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

from steppe.certificates import audit, bounds, pac_bayes

Document = dict[str, Any]


class Forgery(NamedTuple):
    """A change of a valid certificate, and words of the sentence that refuses it."""

    base: str
    change: Callable[[Document], object]
    words: str
    signs: bool = True  # else statements stay as the change leaves them


def claim(document: Document, kind: str, i: int = 0) -> Document:
    return [c for c in document["claims"] if c["type"] == kind][i]


def put(kind: str, i: int = 0, **entries: Any) -> Callable[[Document], object]:
    """Put entries into the i-th claim of a type."""
    return lambda document: claim(document, kind, i).update(entries)


def top(**entries: Any) -> Callable[[Document], object]:
    return lambda document: document.update(entries)


def shift(kind: str, name: str, factor: float, i: int = 0) -> Callable[[Document], object]:
    def change(document: Document) -> None:
        claim(document, kind, i)[name] *= factor

    return change


def values(kind: str, change: Callable[[list], object], i: int = 0) -> Callable:
    return lambda document: change(claim(document, kind, i)["evidence"]["values"])


def rows(change: Callable[[list], object], i: int = 0) -> Callable:
    """Change the rows of all claims about ends, or of the i-th alone with i > 0."""
    found = lambda d: [c for c in d["claims"] if c["type"] == "ends"]
    return lambda d: [change(c["evidence"]["rows"]) for c in found(d)[i : len(found(d))]]


def counts(change: Callable[[list], object]) -> Callable[[Document], object]:
    return lambda document: change(document["counts"]["failures"])


def every(**entries: Any) -> Callable[[Document], object]:
    """Put entries into all claims."""
    return lambda document: [c.update(entries) for c in document["claims"]]


def posterior(**entries: Any) -> Callable[[Document], object]:
    return lambda document: document["posterior"].update(entries)


def without(kind: str, i: int = 0) -> Callable[[Document], object]:
    return lambda document: document["claims"].remove(claim(document, kind, i))


def cheap_success(document: Document) -> None:
    """No failures where there were some, with the bound that none would have."""
    one = claim(document, "success")
    one["evidence"]["failures"] = 0
    one["bound"] = bounds.clopper_pearson(0, one["n"], one["delta"])


def whole_delta(document: Document) -> None:
    """Bounds at the whole of δ each, which would be right for pointwise ones."""
    for one in document["claims"]:
        one["delta"] = document["joint_delta"]
        if "failures" in one["evidence"]:
            one["bound"] = bounds.clopper_pearson(
                one["evidence"]["failures"], one["n"], one["delta"]
            )


def hundredfold(document: Document) -> None:
    """All counts a hundred times, with their bound, but for the counts of the runs."""
    document["n"] *= 100
    for one in document["claims"]:
        one["n"] *= 100
        if "failures" in one["evidence"]:
            one["evidence"]["failures"] *= 100
            one["bound"] = bounds.clopper_pearson(
                one["evidence"]["failures"], one["n"], one["delta"]
            )
        else:
            for pair in one["evidence"]["values"]:
                pair[1] *= 100


def tenth(document: Document) -> None:
    """All errors of the quantiles a tenth of what they were, and their bounds too."""
    for i in range(2):
        one = claim(document, "quantile", i)
        one["bound"] = one["bound"] / 10
        for pair in one["evidence"]["values"]:
            pair[0] = None if pair[0] is None else pair[0] / 10


def sooner(document: Document) -> None:
    """The first runs to come to 0.1 came one iteration earlier."""
    for kind, i in (("iterations", 0), ("iterations", 1), ("mean_iterations", 0)):
        claim(document, kind, i)["evidence"]["values"][0][0] -= 1
    mean = claim(document, "mean_iterations")
    seen = sum(x * count for x, count in mean["evidence"]["values"])
    seen /= mean["n"] * document["steps"]
    mean["bound"] = bounds.kl_bound(seen, mean["n"], mean["delta"])


def better_posterior(document: Document) -> None:
    """All weight on the better member, the divergence left as it was."""
    failures = claim(document, "success")["evidence"]["failures_of_members"]
    document["posterior"]["posterior"] = [float(f == min(failures)) for f in failures]


def other_weights(document: Document) -> None:
    """Weights that no temperature gives, and all that follows from them."""
    about = document["posterior"]
    q, p = [0.02, 0.98], about["prior"]
    about.update(posterior=q, divergence=audit.audit_bounds.divergence(q, p))
    for one in document["claims"]:
        failed = one["evidence"]["failures_of_members"]
        one["on_tasks"] = sum(w * f / one["n"] for w, f in zip(q, failed, strict=True))
        one["budget"] = pac_bayes.budget(about["divergence"], about["tasks"], one["delta"])
        one["bound"] = pac_bayes.risk_bound(one["on_tasks"], one["budget"])


def shrink(one: Document, factor: float) -> None:
    one["bound"] = [x * factor for x in one["bound"]]


def min_row(found: list) -> int:
    """The number of a row far below any bound."""
    return min(range(len(found)), key=lambda i: (found[i][0] is None, found[i][0]))


FORGERIES: dict[str, Forgery] = {
    # Types and ranges.
    "no claims": Forgery("grid", top(claims=[]), "claims: found a length of 0"),
    "claims null": Forgery("grid", top(claims=None), "claims: found null, expected a list"),
    "a claim is a number": Forgery("grid", top(claims=[1]), "found 1, expected a table"),
    "a type that is none": Forgery("grid", put("success", type="always"), "found 'always'"),
    "a method that is none": Forgery("grid", put("success", method="trust"), "found 'trust'"),
    "a method for a mean on a share": Forgery("grid", put("holds", method="dkw"), "found 'dkw'"),
    "n true": Forgery("grid", put("success", n=True), "n: found true, expected a whole number"),
    "n a float": Forgery("grid", top(n=60.0), "n: found 60.0, expected a whole number"),
    "n beyond all runs": Forgery("grid", top(n=10**9), "n: found 1000000000, expected a number"),
    "n of 400 digits": Forgery("grid", top(n=10**400), "found a whole number of 1329 bits"),
    "seed below 0": Forgery("grid", top(seed=-1), "seed: found -1"),
    "k a half": Forgery("grid", put("success", k=3.5), "k: found 3.5, expected a whole number"),
    "failures a float": Forgery(
        "grid", put("success", evidence={"failures": 1.0}), "failures: found 1.0, expected a whole"
    ),
    "failures below 0": Forgery(
        "grid", put("success", evidence={"failures": -1}), "failures: found -1"
    ),
    "no evidence": Forgery("grid", put("success", evidence={}), "no entry 'failures'"),
    "evidence of another type": Forgery(
        "grid", put("quantile", evidence={"failures": 0}), "the entry 'failures'"
    ),
    "a count below 1": Forgery(
        "grid", values("iterations", lambda v: v[0].__setitem__(1, 0)), r"values\[0\]\[1\]: found 0"
    ),
    "delta words": Forgery("grid", put("success", delta="0.01"), "delta: found '0.01'"),
    "delta 0": Forgery("grid", every(delta=0.0), "delta: found 0.0"),
    "joint delta 7": Forgery("grid", top(joint_delta=7.0), "joint_delta: found 7.0"),
    "level 1": Forgery("grid", put("quantile", level=1.0), "level: found 1.0"),
    "a bound above 1": Forgery("grid", put("success", bound=1.5), "bound: found 1.5"),
    "a bound of words": Forgery("grid", put("quantile", bound="0"), "bound: found '0'"),
    "semantics that are none": Forgery(
        "grid", put("iterations", semantics="ever"), "semantics: found 'ever'"
    ),
    "an entry more": Forgery("grid", top(approved_by="nist"), "the entry 'approved_by'"),
    "an entry less": Forgery("grid", lambda d: d.pop("diverged"), "no entry 'diverged'"),
    "a name that clears the screen": Forgery(
        "grid", lambda d: d["metric"].update(name="\x1b[2Jloss"), "metric.name: found .*one line"
    ),
    "half a character": Forgery("grid", top(statement="\ud800"), "half a character", signs=False),
    # Bounds and their evidence.
    "a bound a little lower": Forgery(
        "grid", shift("success", "bound", 1 - 1e-8), "do not bear out the bound"
    ),
    "a bound that is higher": Forgery(
        "grid", shift("success", "bound", 1.01), "do not bear out the bound"
    ),
    "a bound of 0": Forgery("grid", put("success", bound=0.0), "do not bear out the bound 0"),
    "a lower bound by kl": Forgery(
        "kl", shift("success", "bound", 1 - 1e-8), "do not bear out the bound"
    ),
    "a lower bound by Hoeffding": Forgery(
        "hoeffding", shift("success", "bound", 1 - 1e-8), "do not bear out the bound"
    ),
    "a lower band": Forgery("uniform", shift("success", "bound", 0.99), "do not bear out"),
    "a property that holds more often": Forgery(
        "grid", shift("holds", "bound", 0.5), "do not bear out the bound"
    ),
    "fewer iterations": Forgery("grid", put("iterations", bound=1.0), "not of 1.0"),
    "iterations that no run took": Forgery("grid", put("iterations", bound=2.5), "values that"),
    "an error of no run": Forgery("grid", shift("quantile", "bound", 0.9), "values that were seen"),
    "nothing instead of an error": Forgery("grid", put("quantile", bound=None), "not of None"),
    "a lower mean": Forgery(
        "grid", shift("mean_iterations", "bound", 0.99), "does not bear out the bound"
    ),
    "more failures than runs": Forgery(
        "grid", put("success", evidence={"failures": 61}), "61 failures of 60 are impossible"
    ),
    "no failures": Forgery("grid", cheap_success, "0 failures, and the counts have"),
    "no failures by the counts either": Forgery(
        "grid",
        lambda d: (cheap_success(d), d["counts"]["failures"][1].__setitem__(8, 0)),
        "Claim 3",
    ),
    "a run less among the values": Forgery(
        "grid", values("quantile", lambda v: v.pop()), "values are not of 60 tasks"
    ),
    "values in another order": Forgery(
        "grid", values("quantile", lambda v: v.reverse()), "values are not in order"
    ),
    "a value twice": Forgery(
        "grid", values("iterations", lambda v: v.insert(0, [v[0][0], 1])), "not of 60 tasks"
    ),
    "half an iteration": Forgery(
        "grid", values("iterations", lambda v: v[0].__setitem__(0, 0.5)), "are no iterations"
    ),
    "an iteration beyond the run": Forgery(
        "grid", values("mean_iterations", lambda v: v[-1].__setitem__(0, 9.0)), "are no iterations"
    ),
    "a negative error": Forgery(
        "grid", values("quantile", lambda v: v[0].__setitem__(0, -1.0)), "cannot be negative"
    ),
    "runs that came sooner": Forgery("grid", sooner, "runs came to 0.1 within"),
    "one of two equal claims that came sooner": Forgery(
        "grid",
        values("iterations", lambda v: v[0].__setitem__(0, v[0][0] - 1), 1),
        "are of the same runs, and their values differ",
    ),
    "a mean of other runs": Forgery(
        "grid",
        values("mean_iterations", lambda v: (v[0].__setitem__(1, 1), v[1].__setitem__(1, 1))),
        "Claim 8",
    ),
    "errors of a tenth": Forgery("grid", tenth, "of its values are above 0.1, and the counts have"),
    # Measures where runs end.
    "a box a little smaller": Forgery(
        "ends", lambda d: shrink(claim(d, "ends"), 1 - 1e-12), "bear out other bounds"
    ),
    "a box that is larger": Forgery(
        "ends", lambda d: shrink(claim(d, "ends"), 1.01), "bear out other bounds"
    ),
    "the box of a lower level": Forgery(
        "ends", lambda d: put("ends", bound=claim(d, "ends", 0)["bound"], i=1)(d), "other bounds"
    ),
    "nothing about a measure": Forgery(
        "ends", lambda d: claim(d, "ends")["bound"].__setitem__(1, None), "bear out other bounds"
    ),
    "a bound less": Forgery("ends", lambda d: claim(d, "ends")["bound"].pop(), "not of 2 measures"),
    "a run less among the rows": Forgery("ends", rows(lambda r: r.pop()), "are of 59 tasks"),
    "a row of one measure": Forgery("ends", rows(lambda r: r[3].pop()), "not of 2 measures"),
    "rows of one of two claims": Forgery(
        "ends", rows(lambda r: r[min_row(r)].__setitem__(0, -9.0), 1), "their measures differ"
    ),
    "a measure that cannot be negative": Forgery(
        "ends", rows(lambda r: r[min_row(r)].__setitem__(1, -1.0)), "trace cannot be negative"
    ),
    "a measure under two names": Forgery(
        "ends",
        lambda d: [c["measures"][1].update(name="gap") for c in d["claims"]],
        "have one name|hold together",
    ),
    "measures of runs that diverged": Forgery(
        "ends", rows(lambda r: [row.__setitem__(0, 0.0) for row in r if row[0] is None]), "fewer"
    ),
    "another training loss": Forgery(
        "ends", put("ends", at_loss=0.5), "and their measures differ"
    ),
    "measures of words": Forgery("ends", rows(lambda r: r[0].__setitem__(0, "0")), "found '0'"),
    # Numbers of the whole.
    "a claim of fewer tasks": Forgery("grid", put("success", n=59), "of 59 tasks, and the cert"),
    "twice the tasks": Forgery("grid", top(n=120), "of 60 tasks, and the certificate of 120"),
    "a hundred times the tasks": Forgery("grid", hundredfold, "the counts have"),
    "fewer steps": Forgery("grid", top(steps=5), "each tolerance and iteration 0 to 5"),
    "an iteration that was not run": Forgery("grid", put("success", k=9), "iteration 9 of runs"),
    "counts above n": Forgery(
        "grid", counts(lambda f: f[0].__setitem__(0, 61)), "More runs are counted as failed"
    ),
    "counts that a tolerance contradicts": Forgery(
        "grid", counts(lambda f: f[0].__setitem__(8, 0)), "above a larger tolerance"
    ),
    "counts of another tolerance": Forgery(
        "grid", lambda d: d["counts"].update(tolerances=[1e-6, 0.2]), "not those of the claims"
    ),
    "a tolerance that was not counted": Forgery(
        "grid", put("success", tolerance=0.5), "not those of the claims"
    ),
    "a claim left out": Forgery("grid", without("success", 1), "not those of the claims"),
    "more runs lost than there are": Forgery("grid", top(diverged=61), "61 of 60 runs cannot"),
    "no runs lost": Forgery("grid", top(diverged=0), "only 0 diverged"),
    "counts rise again": Forgery(
        "grid", counts(lambda f: f[1].__setitem__(6, 60)), "runs came to 0.1 within"
    ),
    # The share of δ.
    "a joint delta of a tenth": Forgery("grid", top(joint_delta=0.01), "spend delta"),
    "a joint delta ten times": Forgery("grid", top(joint_delta=0.99), "spend delta"),
    "every claim at the whole of delta": Forgery("grid", whole_delta, "another of the values"),
    "shares that are not equal": Forgery(
        "grid",
        lambda d: (shift("holds", "delta", 0.5)(d), shift("success", "delta", 1.5)(d)),
        "bear out|share delta equally",
    ),
    "pointwise claims said to hold together": Forgery(
        "pointwise", top(simultaneous="grid", joint_delta=0.01), "spend delta"
    ),
    "pointwise called uniform": Forgery("pointwise", top(simultaneous="uniform"), "uniform"),
    "uniform called a grid": Forgery("uniform", top(simultaneous="grid"), "by dkw, and the shares"),
    "a claim left out, its delta kept": Forgery("grid", without("holds"), "spend delta"),
    "a thousand candidates": Forgery("candidates", top(candidates=1000), "With 1000 candidates"),
    "a late stage": Forgery("stage", top(stage=40), "stage 40 a joint delta"),
    "a stage of another number of tasks": Forgery("stage", top(stage=4), "multiple of 8 tasks"),
    "the same claim twice": Forgery(
        "grid", lambda d: d["claims"].insert(0, copy.deepcopy(d["claims"][0])), "spend delta|same"
    ),
    "kl among Clopper–Pearson bounds": Forgery(
        "grid",
        lambda d: claim(d, "holds").update(
            method="kl",
            bound=bounds.failure_bound(
                claim(d, "holds")["evidence"]["failures"], 60, claim(d, "holds")["delta"], "kl"
            ),
        ),
        "of several methods",
    ),
    # Words.
    "a guarantee of everything": Forgery(
        "grid", top(statement="With confidence 99.9999 %: all of it."), "It says", signs=False
    ),
    "a claim that says more": Forgery(
        "grid", put("success", statement="all tasks are solved"), "its numbers say", signs=False
    ),
    "warnings left out": Forgery("grid", top(warnings=[]), "0 runs are said to have risen"),
    "a warning of fewer lost runs": Forgery(
        "grid",
        lambda d: d["warnings"].__setitem__(0, "1 of 60 runs diverged; they count as failures."),
        "ask for the warning",
    ),
    "a warning of fewer that rose": Forgery(
        "grid",
        lambda d: d.update(
            warnings=[
                f"In 1 of{w.partition(' of')[2]}" if w.startswith("In ") else w
                for w in d["warnings"]
            ]
        ),
        "risen above a tolerance again",
    ),
    "a set smaller than the sample": Forgery(
        "set",
        lambda d: d.update(warnings=[w.replace("of 80 ", "of 40 ") for w in d["warnings"]]),
        "cannot be taken from a set of 40",
    ),
    "assumptions left out": Forgery("grid", top(assumptions=[]), "assumptions are not those"),
    "an assumption less": Forgery(
        "grid", lambda d: d["assumptions"].pop(2), "assumptions are not those"
    ),
    "assumptions of the other kind": Forgery(
        "gaussian", lambda d: d["assumptions"].pop(1), "assumptions are not those"
    ),
    # PAC-Bayes.
    "a posterior on fresh tasks": Forgery("grid", top(kind="pac_bayes"), "has no posterior"),
    "fresh tasks said of trained ones": Forgery("gaussian", top(kind="holdout"), "has a posterior"),
    "a divergence of 0": Forgery("gaussian", posterior(divergence=0.0), "bear out the budget"),
    "a divergence below 0": Forgery("gaussian", posterior(divergence=-1.0), "divergence: found"),
    "more tasks": Forgery("gaussian", posterior(tasks=10_000), "bear out the budget"),
    "fewer tasks than the bound needs": Forgery("gaussian", posterior(tasks=7), "needs 8 tasks"),
    "half the budget": Forgery(
        "gaussian", shift("success", "budget", 0.5), "does not bear out the budget"
    ),
    "a budget and its bound": Forgery(
        "gaussian",
        lambda d: claim(d, "success").update(
            budget=0.01,
            bound=bounds.kl_upper(claim(d, "success")["on_tasks"], 0.01).item(),
        ),
        "does not bear out the budget 0.01",
    ),
    "half the risk": Forgery("gaussian", shift("success", "on_tasks", 0.5), "a risk of"),
    "a lower PAC-Bayes bound": Forgery(
        "gaussian", shift("success", "bound", 1 - 1e-8), "does not bear out the bound"
    ),
    "fewer failing pairs": Forgery(
        "gaussian", put("success", evidence={"failures": 0}), "of 0 failures, and the counts"
    ),
    "a grid of variances that is none": Forgery(
        "gaussian", lambda d: d["posterior"]["grid"].update(b=1e9), "grid of prior variances"
    ),
    "a place on the grid": Forgery(
        "gaussian", lambda d: d["posterior"]["grid"].update(places=[]), "bear out the budget"
    ),
    "evidence of members": Forgery(
        "gaussian",
        put("success", evidence={"failures_of_members": [0]}),
        "gaussian posterior has failures for evidence",
    ),
    "PAC-Bayes for candidates": Forgery("gaussian", top(candidates=3), "is of one candidate"),
    "all weight on the better member": Forgery("finite", better_posterior, "diverge by"),
    "weights that exceed 1": Forgery(
        "finite", posterior(posterior=[0.9, 0.9]), "weights of the posterior add up to 1.8"
    ),
    "a prior made afterwards": Forgery("finite", posterior(prior=[0.5, 0.5]), "diverge by"),
    "a prior of three": Forgery("finite", posterior(prior=[0.5, 0.3, 0.2]), "of 3 members"),
    "other weights, with their divergence": Forgery(
        "finite",
        other_weights,
        "weights of the posterior are not",
    ),
    "a member without failures": Forgery(
        "finite", put("success", evidence={"failures_of_members": [0, 0]}), "of 0 failures"
    ),
    "fewer members in the evidence": Forgery(
        "finite", put("success", evidence={"failures_of_members": [0]}), "of all 2 members"
    ),
    "more tasks than runs": Forgery("finite", posterior(tasks=240), "ran on 24 tasks, and 240"),
}  # fmt: skip
