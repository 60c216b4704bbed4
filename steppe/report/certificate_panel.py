"""The certificates of a report: the table of claims, and how many tasks are solved by when."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..certificates import bounds
from ..certificates.audit import verify, words
from ..certificates.certificate import Certificate, CertificateError, load
from ..certificates.claims import percent
from .plots import DASHES, INK, SERIES, WIDTHS, svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWN = 6  # tolerances


def read(path: Path) -> Certificate:
    """The certificate of a file, if its evidence bears out all that it says."""
    cert = load(path)
    if wrong := verify(cert):
        raise CertificateError(f"{path}: {wrong[0]} Certify again.")
    return cert


def panel(cert: Certificate) -> dict[str, Any]:
    """The entries of one certificate on the page."""
    # The curves are of fresh tasks: not those that a posterior was trained on.
    tolerances = cert.counts["tolerances"][:DRAWN] if cert.kind == "holdout" else []
    return {
        "title": f"{named(cert.optimizer)} on {named(cert.tasks)}",
        "confidence": percent(1 - cert.joint_delta),
        "together": cert.simultaneous != "pointwise",
        "claims": [
            claim
            | {
                "statement": words(cert, claim),
                "confidence": percent(1 - claim["delta"]),
                "seen": seen(claim),
            }
            for claim in cert.claims
        ],
        "cert": cert,
        "legend": [{"name": f"{e:g}", "i": i} for i, e in enumerate(tolerances)],
        "pointwise": percent(1 - cert.claims[0]["delta"]),
    }


def named(about: Mapping[str, Any]) -> str:
    """The name of a task or optimizer with its options, e.g. "digits-relu, start he"."""
    given = about.get("options")
    options = [f"{name} {x}" for name, x in given.items()] if isinstance(given, dict) else []
    return ", ".join([str(about.get("name", "?")), *options])


def seen(claim: Mapping[str, Any]) -> str:
    """The evidence in a few words."""
    evidence, n = claim["evidence"], claim["n"]
    if "failures" in evidence:
        return f"{n - evidence['failures']} of {n}"
    if "failures_of_members" in evidence:
        return f"{percent(1 - claim['on_tasks'])} of {n}"
    if "rows" in evidence:
        inf = lambda x: np.inf if x is None else x
        inside = [
            all(map(np.less_equal, map(inf, row), map(inf, claim["bound"])))
            for row in evidence["rows"]
        ]
        return f"{sum(inside)} of {n} within all"
    values = [(np.inf if x is None else x, count) for x, count in evidence["values"]]
    if claim["type"] == "mean_iterations":
        return f"mean {sum(x * c for x, c in values) / n:.4g} over {n}"
    place = math.ceil(claim["level"] * (n - 1))
    below = np.cumsum([count for _, count in values])
    return f"{values[np.searchsorted(below, place, side='right')][0]:.4g} in the sample of {n}"


def success(cert: Certificate) -> str:
    """Share of tasks within each tolerance after k steps, and below it what is certified of it."""
    delta, n = cert.claims[0]["delta"], cert.n

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        for i, failures in list(enumerate(cert.counts["failures"][:DRAWN]))[::-1]:
            failed = np.array(failures)
            worst = {int(f): bounds.clopper_pearson(int(f), n, delta) for f in np.unique(failed)}
            certain = 1 - np.array([worst[int(f)] for f in failed])
            k = np.arange(len(failed))
            axes.fill_between(k, certain, 1 - failed / n, color=SERIES[i], alpha=0.15, lw=0)
            axes.plot(k, 1 - failed / n, color=SERIES[i], lw=WIDTHS[i], ls=DASHES[i])
            axes.plot(k, certain, color=SERIES[i], lw=0.9, ls=DASHES[i])
        drawn = cert.counts["tolerances"][:DRAWN]
        for claim in cert.claims:
            bound = claim["bound"]
            if claim["type"] == "iterations" and bound is not None and claim["tolerance"] in drawn:
                ring = SERIES[drawn.index(claim["tolerance"])]
                axes.plot(bound, claim["level"], "o", ms=7, mfc="none", mec=ring, mew=1.8, zorder=5)
        axes.axhline(1, color=INK, lw=0.6, alpha=0.4)
        axes.set_ylim(-0.02, 1.04)
        axes.set_xlabel("iterations")
        axes.set_ylabel(f"share of tasks, {cert.metric['name']} within tolerance")

    return svg(draw, f"success-{cert.digest[:12]}", (9.6, 3.6))
