"""Check a certificate: nothing in it may contradict the rest.

    bounds       worked out anew from the counts, by other code           audit_bounds.py
    counts       against each other and the evidence of the claims        audit_counts.py
    plan         shares of δ, methods, stages as `plan` settles them      below
    words        statements, warnings and assumptions from the numbers    below

`recheck` also runs the tasks again from the seed.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.arguments import told
from . import audit_bounds, audit_counts
from .audit_bounds import NEAR, near
from .certificate import ASSUMPTIONS, Certificate, well_formed
from .claims import AbstractClaim, Holds
from .entries import LEAST_TASKS, SHARES, B, C
from .kinds import KINDS
from .plan import BANDS, Item, Plan
from .wording import OTHER, ROSE, SET, reservations, summary, taken_from_a_set, too_coarse

if TYPE_CHECKING:
    from .runs import AbstractRun


def verify(cert: Certificate) -> list[str]:
    """List the faults of a certificate, a sentence each; [] if there are none."""
    if not isinstance(cert, Certificate):
        raise ValueError(f"verify takes a certificate, as `load` reads one, got {told(cert)}.")
    if (wrong := well_formed(cert)) is not None:
        return [wrong]
    counts = list(audit_counts.of_certificate(cert))
    if counts:
        return counts
    failures = {
        tolerance: np.array(row)
        for tolerance, row in zip(cert.counts["tolerances"], cert.counts["failures"], strict=True)
    }
    found = list(posterior_faults(cert))
    if found:
        return found
    for i, claim in enumerate(cert.claims, start=1):
        wrong = faults(cert, claim, failures)
        found += [f"Claim {i} ({claim['type']}): {fault}" for fault in wrong]
        if not wrong and (said := words(cert, claim)) != claim["statement"]:
            found.append(f"Claim {i} says {claim['statement']!r}, its numbers say {said!r}.")
    found += plan_faults(cert)
    if not found:
        found += weight_faults(cert)
    if not found:
        found += audit_counts.of_all(cert, failures)
    if not found:
        found += word_faults(cert, failures)
    return found


def recheck(
    cert: Certificate, run: "AbstractRun", holds: Mapping[str, Callable] | None = None
) -> list[str]:
    """Verify a certificate and run its tasks again; list all faults, a sentence each.

    - `run`: what was certified: Episodes, FixedPoint or Calls with the same arguments
    - `holds`: the properties of its claims of that kind, by name
    """
    found = verify(cert)
    if found:
        return found
    if cert.kind != "holdout":
        raise ValueError(
            "A PAC-Bayes certificate is made again by certify_randomised with the same posterior "
            "and tasks; recheck runs those of `certify`."
        )
    if not hasattr(run, "described"):
        raise ValueError(f"recheck takes the run that was certified, got {told(run)}.")
    for name in ("optimizer", "tasks"):
        if run.described()[name] != getattr(cert, name):
            found.append(f"The {name} given is not that of the certificate.")
    if found:
        return found
    claims = [rebuild_claim(claim, holds or {}) for claim in cert.claims]
    again = issue_again(cert, run, claims)
    if isinstance(again, str):
        return [again]
    if (again.counts, again.diverged) != (cert.counts, cert.diverged):
        found.append("The runs came out otherwise: their counts are not those that are written.")
    for i, (ours, theirs) in enumerate(zip(again.claims, cert.claims, strict=True), start=1):
        if ours != theirs:
            found.append(f"Claim {i} ({theirs['type']}) came out otherwise.")
    return found


def issue_again(
    cert: Certificate, run: "AbstractRun", claims: list[AbstractClaim]
) -> Certificate | str:
    """The certificate of the same plan, or the sentence that says why there is none."""
    from .certify import issue

    items = tuple(
        Item(claim, entry["delta"], entry["method"])
        for claim, entry in zip(claims, cert.claims, strict=True)
    )
    try:
        return issue(
            run,
            Plan(items, cert.joint_delta, cert.n),
            seed=cert.seed,
            steps=cert.steps,
            simultaneous=cert.simultaneous,
            candidates=cert.candidates,
            stage=cert.stage,
            repeats=cert.repeats,
        )
    except ValueError as error:
        return f"Its runs cannot be made again: {error}"


def rebuild_claim(entry: Mapping[str, Any], holds: Mapping[str, Callable]) -> AbstractClaim:
    """The claim of an entry; `holds` has the properties of claims of that kind, by name."""
    kind = KINDS[entry["type"]]
    names = {field.name for field in dataclasses.fields(kind)} - {"holds"}  # pyright: ignore
    given = {name: entry[name] for name in names}
    if kind is Holds:
        if entry["name"] not in holds:
            raise ValueError(
                f"The certificate claims {entry['name']!r}; give that property in `holds`."
            )
        given["holds"] = holds[entry["name"]]
    return kind(**given)


def statement(cert: Certificate) -> str:
    """The sentence of a certificate, made anew from the numbers of its claims."""
    return summary([words(cert, claim) for claim in cert.claims], cert.joint_delta)


def words(cert: Certificate, claim: Mapping[str, Any]) -> str:
    """The statement that the numbers of a claim give."""
    named = {claim["name"]: len} if claim["type"] == Holds.kind else {}
    known = lambda x: math.inf if x is None else x
    given = claim["bound"]
    bound = tuple(map(known, given)) if isinstance(given, list) else known(given)
    return rebuild_claim(claim, named).statement(bound, cert.metric["name"], cert.steps)


# One claim.


def faults(cert: Certificate, claim: Mapping[str, Any], failures: Mapping) -> list[str]:
    """Faults of one claim, given the counts."""
    found = list(number_faults(cert, claim)) or [*audit_counts.of_claim(cert, claim, failures)]
    return found or list(bound_faults(cert, claim))


def number_faults(cert: Certificate, claim: Mapping[str, Any]) -> Iterator[str]:
    """Numbers of a claim that no certificate of this kind has."""
    if claim["n"] != cert.n:
        yield f"it is of {claim['n']} tasks, and the certificate of {cert.n}."
    if claim.get("k", 0) > cert.steps:
        yield f"it is about iteration {claim['k']} of runs of {cert.steps}."
    if claim.get("tolerance", 1) <= 0 and not cert.metric["signed"]:
        yield f"an error ≤ {claim['tolerance']:g} is impossible, as none is negative."
    if (claim["method"] == "pac_bayes") != (cert.kind == "pac_bayes"):
        yield f"its bound is by {claim['method']}, and the certificate is {cert.kind}."
    band = cert.simultaneous == "uniform" and claim["type"] == "success"
    if (claim["method"] == "dkw") != band:
        yield f"its bound is by {claim['method']}, and the shares of delta are {cert.simultaneous}."
    if claim["method"] in BANDS and claim["delta"] > 0.5:
        yield f"the bound {claim['method']} needs delta ≤ 0.5, and has {claim['delta']:g}."
    if cert.kind == "pac_bayes":
        finite = cert.posterior["kind"] == "finite"
        name = "failures_of_members" if finite else "failures"
        if set(claim["evidence"]) != {name}:
            yield f"a {cert.posterior['kind']} posterior has {name} for evidence."
        elif finite and len(claim["evidence"][name]) != len(cert.posterior["prior"]):
            yield f"it does not have the failures of all {len(cert.posterior['prior'])} members."


def bound_faults(cert: Certificate, claim: Mapping[str, Any]) -> Iterator[str]:
    """The bound of a claim against its evidence."""
    n, delta, bound, method = (claim[name] for name in ("n", "delta", "bound", "method"))
    evidence = claim["evidence"]
    if method == "pac_bayes":
        yield from pac_bayes_faults(cert, claim)
    elif "failures" in evidence:
        failures = evidence["failures"]
        if not audit_bounds.of_failures(bound, failures, n, delta, method):
            yield f"{failures} failures of {n} do not bear out the bound {bound}."
    elif claim["type"] == "mean_iterations":
        seen = sum(x * count for x, count in evidence["values"]) / (n * cert.steps)
        if not audit_bounds.of_mean(bound, seen, n, delta, method):
            yield f"a mean of {seen:.6g} of all iterations does not bear out the bound {bound}."
    elif "rows" in evidence:
        if not audit_bounds.of_box(bound, evidence["rows"], claim["level"], delta):
            yield f"its rows bear out other bounds than {bound}."
    elif all(bound != x for x, _ in evidence["values"]):
        yield f"a bound is one of the values that were seen, and not of {bound}."
    elif not audit_bounds.of_order(bound, evidence["values"], claim["level"], n, delta):
        yield f"the counts bear out another of the values, not of {bound}."


def pac_bayes_faults(cert: Certificate, claim: Mapping[str, Any]) -> Iterator[str]:
    """A PAC-Bayes bound: from the runs to the N tasks, from these to future ones."""
    about, n, delta, bound = cert.posterior, claim["n"], claim["delta"], claim["bound"]
    on_tasks, budget, evidence = claim["on_tasks"], claim["budget"], claim["evidence"]
    places = about.get("grid", {}).get("places", [])
    right = audit_bounds.budget(about["divergence"], about["tasks"], delta, places)
    if not near(budget, right):
        yield f"a divergence of {about['divergence']:g} does not bear out the budget {budget}."
    if about["kind"] == "finite":
        seen = zip(about["posterior"], evidence["failures_of_members"], strict=True)
        good = near(on_tasks, min(1.0, math.fsum(q * f / n for q, f in seen)))
    else:
        good = audit_bounds.of_failures(on_tasks, evidence["failures"], n, delta, "clopper_pearson")
    if not good:
        yield f"the runs do not bear out a risk of {on_tasks} on the tasks."
    if not audit_bounds.of_entropy(bound, on_tasks, budget):
        yield f"a risk of {on_tasks} on the tasks does not bear out the bound {bound}."


# The whole.


def posterior_faults(cert: Certificate) -> Iterator[str]:
    """The posterior of a PAC-Bayes certificate, and what else goes with one."""
    about = cert.posterior
    if (cert.kind == "pac_bayes") != bool(about):
        yield f"The certificate is {cert.kind} and {'has a' if about else 'has no'} posterior."
        return
    if not about:
        return
    if (cert.simultaneous, cert.candidates, cert.stage, cert.repeats) != ("grid", 1, None, True):
        yield (
            "A PAC-Bayes certificate shares delta as a grid, is of one candidate and no stage, and "
            "its tasks may repeat."
        )
    if about["tasks"] < LEAST_TASKS:
        yield f"A PAC-Bayes bound needs {LEAST_TASKS} tasks at least, not {about['tasks']}."
    if about["kind"] == "gaussian":
        if (about["grid"]["b"], about["grid"]["c"]) != (B, C):
            yield f"The grid of prior variances is not that of steppe, b = {B:g} and c = {C:g}."
        return
    prior, posterior = about["prior"], about["posterior"]
    if about["tasks"] != cert.n:
        yield f"Its members ran on {cert.n} tasks, and {about['tasks']} are said."
    if len(prior) != len(posterior):
        yield f"The prior is of {len(prior)} members, the posterior of {len(posterior)}."
        return
    for name, weights in (("prior", prior), ("posterior", posterior)):
        if abs(math.fsum(weights) - 1) > NEAR:
            yield f"The weights of the {name} add up to {math.fsum(weights):.9g}, and not to 1."
    paid = audit_bounds.divergence(posterior, prior)
    if abs(about["divergence"] - paid) > 1e-9 * max(1, paid):
        yield f"Posterior and prior diverge by {paid:g}, and {about['divergence']:g} is said."


def weight_faults(cert: Certificate) -> Iterator[str]:
    """The weights of a finite posterior against the failures of its members."""
    about = cert.posterior
    if about.get("kind") == "finite":
        failures = np.array([c["evidence"]["failures_of_members"] for c in cert.claims])
        risks = failures.mean(axis=0) / cert.n
        if not audit_bounds.is_gibbs(about["posterior"], about["prior"], risks, cert.n):
            yield "The weights of the posterior are not ∝ prior · exp(−β n risk) for a β it tries."


def plan_faults(cert: Certificate) -> Iterator[str]:
    """Shares of δ, the number of tasks and the methods, as `plan` settles them."""
    keys = [("success", c["k"]) if c["method"] == "dkw" else i for i, c in enumerate(cert.claims)]
    groups = len(set(keys))
    share = cert.joint_delta / groups
    if cert.posterior.get("kind") == "gaussian":
        share /= 2  # the other half is that of the bound
    given = [c["delta"] for c in cert.claims]
    if any(not near(delta, share, 1e-12) for delta in given):
        spent = sum(dict(zip(keys, given, strict=True)).values())
        if not near(spent, groups * share, 1e-12):
            yield f"The claims spend delta {spent:g} together, and {cert.joint_delta:g} is said."
        else:
            yield f"The claims do not share delta equally, {share:g} each."
    looks = 1 if cert.stage is None else (math.pi * cert.stage) ** 2 / 6
    whole = cert.joint_delta * cert.candidates * looks
    whole /= groups if cert.simultaneous == "pointwise" else 1
    if whole >= 1 + 1e-9:
        yield (
            f"With {cert.candidates} candidates and stage {cert.stage} a joint delta of "
            f"{cert.joint_delta:g} is the share of one, and all would have {whole:g}."
        )
    if cert.stage is not None and cert.n % 2 ** (cert.stage - 1):
        yield f"Stage {cert.stage} takes a multiple of {2 ** (cert.stage - 1)} tasks, not {cert.n}."
    named = ("type", "tolerance", "k", "level", "semantics", "name", "at_loss", "measures")
    if len({str([c.get(name) for name in named]) for c in cert.claims}) < len(cert.claims):
        yield "Two of its claims are the same."
    if not set.intersection(*map(methods, cert.claims)):
        yield "Its bounds are of several methods, where one is chosen for all claims."


def methods(claim: Mapping[str, Any]) -> set[str]:
    """The methods, one of which was chosen for all claims, that come to that of this claim."""
    method = claim["method"]
    if claim["type"] == "mean_iterations":
        return {"clopper_pearson", "kl"} if method == "kl" else {method}
    return {method} if method in SHARES else {*SHARES, method}


def word_faults(cert: Certificate, failures: Mapping) -> Iterator[str]:
    """Statement, assumptions and warnings against the numbers."""
    if cert.statement != (said := statement(cert)):
        yield f"It says {cut(cert.statement)!r}, and its claims say {cut(said)!r}."
    if cert.assumptions != list(ASSUMPTIONS[cert.kind]):
        yield f"Its assumptions are not those of a {cert.kind} certificate."
    told = [m for warning in cert.warnings if (m := ROSE.match(warning))]
    returned = int(told[0][1]) if told else 0
    least, most = audit_counts.left_again(cert, failures)
    if not least <= returned <= most:
        yield (
            f"{returned} runs are said to have risen above a tolerance again, and by the counts it "
            f"was {least} at least and {most} at most."
        )
    due = reservations(
        n=cert.n,
        steps=cert.steps,
        diverged=cert.diverged,
        returned=returned,
        coarse=too_coarse(
            cert.environment.get("dtype", ""), cert.metric["signed"], cert.counts["tolerances"]
        ),
        late=[
            (c["tolerance"], sum(m for x, m in c["evidence"]["values"] if x is None) / cert.n)
            for c in cert.claims
            if c["type"] == "iterations"
        ],
    )
    if absent := [warning for warning in due if warning not in cert.warnings]:
        yield f"Its numbers ask for the warning {absent[0]!r}."
    elif cert.warnings[: len(due)] != due:
        yield "Its warnings are not in the order that they are written in."
    yield from note_faults(cert, cert.warnings[len(due) :])


def note_faults(cert: Certificate, notes: list[str]) -> Iterator[str]:
    """Warnings that do not follow from the numbers: a set of tasks, and a run's own notes."""
    for i, note in enumerate(notes):
        population = int(found[1]) if (found := SET.match(note)) else None
        if population is not None and (i or note != taken_from_a_set(population)):
            yield f"The warning {cut(note)!r} is none that steppe writes there."
        elif population is not None and population < cert.n:
            yield f"{cert.n} tasks cannot be taken from a set of {population}."
        elif OTHER.match(note):
            yield f"The warning {cut(note)!r} does not follow from its numbers."


def cut(text: str) -> str:
    return text if len(text) <= 300 else text[:299] + "…"
