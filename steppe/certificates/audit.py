"""Check a certificate: every bound is worked out anew, by code of another kind.

    share of failures      the binomial tail is added up, term by term: ≤ δ at the bound
    mean of capped counts  n · kl(mean‖bound) ≥ ln(1/δ), kl by its textbook formula
    order statistic        the rank from the tail added up, the value from the stored counts

Nothing is imported from `bounds.py`. `recheck` also runs the tasks again from the seed.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .certificate import Certificate
from .certify import issue
from .claims import KINDS, AbstractClaim, Holds, Item, Plan
from .runs import AbstractRun

ROOM = 1e-9  # relative, for the rounding of both sides


def verify(cert: Certificate) -> list[str]:
    """List the faults of a certificate, a sentence each; [] if there are none."""
    found = []
    for i, claim in enumerate(cert.claims, start=1):
        try:
            found += [f"Claim {i} ({claim['type']}): {wrong}" for wrong in faults(cert, claim)]
            if (said := words(cert, claim)) != claim["statement"]:
                found.append(f"Claim {i} says {claim['statement']!r}, its numbers say {said!r}.")
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            found.append(f"Claim {i} does not hold together ({type(error).__name__}: {error}).")
    return found + shares(cert)


def recheck(
    cert: Certificate, run: AbstractRun, holds: Mapping[str, Callable] | None = None
) -> list[str]:
    """Verify a certificate and run its tasks again; list all faults, a sentence each.

    - `run`: what was certified: Episodes, FixedPoint or Calls with the same arguments
    - `holds`: the properties of its claims of that kind, by name
    """
    found = verify(cert)
    for name in ("optimizer", "tasks"):
        if run.described()[name] != getattr(cert, name):
            found.append(f"The {name} given is not that of the certificate.")
    if found:
        return found
    claims = [rebuild_claim(claim, holds or {}) for claim in cert.claims]
    again = issue(
        run,
        Plan(
            tuple(
                Item(claim, entry["delta"], entry["method"])
                for claim, entry in zip(claims, cert.claims, strict=True)
            ),
            cert.joint_delta,
            cert.n,
        ),
        seed=cert.seed,
        steps=cert.steps,
        simultaneous=cert.simultaneous,
        candidates=cert.candidates,
        stage=cert.stage,
        repeats=cert.repeats,
    )
    if (again.counts, again.diverged) != (cert.counts, cert.diverged):
        found.append("The runs came out otherwise: their counts are not those that are written.")
    for i, (ours, theirs) in enumerate(zip(again.claims, cert.claims, strict=True), start=1):
        if ours != theirs:
            found.append(f"Claim {i} ({theirs['type']}) came out otherwise.")
    return found


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


def words(cert: Certificate, claim: Mapping[str, Any]) -> str:
    """The statement that the numbers of a claim give."""
    named = {claim["name"]: len} if claim["type"] == Holds.kind else {}
    bound = math.inf if claim["bound"] is None else claim["bound"]
    return rebuild_claim(claim, named).statement(bound, cert.metric["name"], cert.steps)


def faults(cert: Certificate, claim: Mapping[str, Any]) -> list[str]:
    """Faults of one claim, given its counts."""
    kind, n, delta = claim["type"], claim["n"], claim["delta"]
    if not (0 < delta < 1 and n >= 1):
        return [f"delta {delta} or n {n} is impossible."]
    if claim["method"] == "pac_bayes":
        return pac_bayes(cert, claim, n, delta)
    if "failures" in claim["evidence"]:
        return share(claim, claim["evidence"]["failures"], n, delta)
    values = claim["evidence"]["values"]
    if sum(count for _, count in values) != n:
        return [f"its values are not of {n} tasks."]
    if kind == "mean_iterations":
        total = sum((cert.steps if x is None else x) * count for x, count in values)
        return mean(claim["bound"], total / (n * cert.steps), n, delta, claim["method"])
    return order_statistic(claim["bound"], values, claim["level"], n, delta)


def share(claim: Mapping[str, Any], failures: int, n: int, delta: float) -> list[str]:
    """Faults of a bound of the share of failures."""
    bound, method = claim["bound"], claim["method"]
    if not 0 <= failures <= n:
        return [f"{failures} failures of {n} are impossible."]
    if method != "clopper_pearson":
        return mean(bound, failures / n, n, delta, method)
    if failures == n:
        return [] if bound == 1 else [f"all failed, so the bound is 1 and not {bound}."]
    if not 0 < bound <= 1 or log_tail(failures, n, bound) > math.log(delta) + ROOM:
        return [f"{failures} failures of {n} do not bear out the bound {bound}."]
    return []


def pac_bayes(cert: Certificate, claim: Mapping[str, Any], n: int, delta: float) -> list[str]:
    """Faults of a PAC-Bayes bound: from the runs to the N tasks, from these to future ones."""
    about, on_tasks, budget, bound = (
        cert.posterior, claim["on_tasks"], claim["budget"], claim["bound"]
    )  # fmt: skip
    places = about.get("grid", {}).get("places", [])
    least = about["divergence"] + math.log(2 * math.sqrt(about["tasks"]) / delta)
    least += sum(math.log(math.pi**2 / 6) + 2 * math.log(a) for a in places)
    if not (about["divergence"] >= 0 and budget >= least / about["tasks"] * (1 - ROOM)):
        return [f"a divergence of {about['divergence']:g} does not bear out the budget {budget}."]
    if about["kind"] == "finite":
        seen = zip(about["posterior"], claim["evidence"]["failures_of_members"], strict=True)
        risk = math.fsum(q * f / n for q, f in seen)
        paid = math.fsum(
            q * math.log(q / p)
            for q, p in zip(about["posterior"], about["prior"], strict=True)
            if q > 0
        )
        good = on_tasks >= risk * (1 - ROOM) and about["divergence"] >= paid - ROOM
    else:
        failures = claim["evidence"]["failures"]
        good = on_tasks == 1 or log_tail(failures, n, on_tasks) <= math.log(delta) + ROOM
    if not good:
        return [f"the runs do not bear out a risk of {on_tasks} on the tasks."]
    if bound < 1 and not (bound >= on_tasks and entropy(on_tasks, bound) >= budget * (1 - 1e-6)):
        return [f"a risk of {on_tasks} on the tasks does not bear out the bound {bound}."]
    return []


def mean(bound: float, seen: float, n: int, delta: float, method: str) -> list[str]:
    """Faults of a bound of a mean in [0, 1] whose sample mean is `seen`."""
    nats = math.log((2 if method == "kl2" else 1) / delta) / n
    if method in ("hoeffding", "dkw"):
        good = bound >= min(1.0, seen + math.sqrt(nats / 2)) * (1 - ROOM)
    else:
        good = bound == 1 or (seen <= bound < 1 and entropy(seen, bound) >= nats * (1 - 1e-6))
    return [] if good else [f"a mean of {seen:.6g} does not bear out the bound {bound}."]


def order_statistic(
    bound: float | None, values: Sequence[Sequence[Any]], level: float, n: int, delta: float
) -> list[str]:
    """Faults of a bound of a quantile: the smallest value with at least r at or below it."""
    rank = smallest_rank(n, level, delta)
    order = sorted(values, key=lambda pair: math.inf if pair[0] is None else pair[0])
    right, below = None, 0
    for value, count in order:
        below += count
        if rank is not None and below >= rank:
            right = value
            break
    worst = lambda x: math.inf if x is None else x
    if worst(bound) >= worst(right):
        return []
    return [f"the counts bear out a bound of {right}, not of {bound}."]


def shares(cert: Certificate) -> list[str]:
    """Faults of the sum of all δ against the joint δ of the certificate."""
    if cert.simultaneous == "uniform":
        groups = {(c["type"], c.get("k")) if c["method"] == "dkw" else i: c["delta"]
                  for i, c in enumerate(cert.claims)}  # fmt: skip
        spent = sum(groups.values())
    else:
        spent = sum(c["delta"] for c in cert.claims)
    if spent > cert.joint_delta * (1 + ROOM):
        return [f"The claims spend delta {spent:g} together, and {cert.joint_delta:g} is said."]
    return []


def log_tail(failures: int, n: int, p: float) -> float:
    """ln P[Bin(n, p) ≤ failures]."""
    if p >= 1:
        return 0.0 if failures >= n else -math.inf
    return add_up(terms_of(range(failures + 1), n, p))


def smallest_rank(n: int, level: float, delta: float) -> int | None:
    """The smallest r ≤ n with P[Bin(n, level) ≥ r] ≤ δ."""
    tail, rank = 0.0, None
    for r in range(n, 0, -1):
        tail += math.exp(terms_of(range(r, r + 1), n, level)[0])
        if tail > delta * (1 + ROOM):
            break
        rank = r
    return rank


def terms_of(which: range, n: int, p: float) -> list[float]:
    """Logarithms of the binomial probabilities P[Bin(n, p) = i] for i in `which`."""
    log_p, log_q = math.log(p), math.log1p(-p)
    whole = math.lgamma(n + 1)
    return [
        whole - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * log_p + (n - i) * log_q
        for i in which
    ]


def add_up(terms: Sequence[float]) -> float:
    """ln Σ exp(terms)."""
    top = max(terms)
    return top + math.log(math.fsum(math.exp(term - top) for term in terms))


def entropy(q: float, p: float) -> float:
    """kl(q‖p) as the textbook has it."""
    first = q * math.log(q / p) if q > 0 else 0.0
    second = (1 - q) * math.log((1 - q) / (1 - p)) if q < 1 else 0.0
    return first + second
