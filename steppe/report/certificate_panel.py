"""The certificates of a report: the table of claims, and how many tasks are solved by when."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..certificates import bounds
from ..certificates.certificate import Certificate
from ..certificates.claims import percent
from .plots import DASHES, INK, SERIES, WIDTHS, svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWN = 6  # tolerances


def panel(cert: Certificate) -> dict[str, Any]:
    """The entries of one certificate on the page."""
    tolerances = cert.counts["tolerances"][:DRAWN]
    return {
        "title": f"{named(cert.optimizer)} on {named(cert.tasks)}",
        "confidence": percent(1 - cert.joint_delta),
        "together": cert.simultaneous != "pointwise",
        "claims": [
            claim | {"confidence": percent(1 - claim["delta"]), "seen": seen(claim)}
            for claim in cert.claims
        ],
        "cert": cert,
        "legend": [{"name": f"{e:g}", "i": i} for i, e in enumerate(tolerances)],
        "pointwise": percent(1 - cert.claims[0]["delta"]),
    }


def named(about: Mapping[str, Any]) -> str:
    """The name of a task or optimizer with its options, e.g. "digits-relu, start he"."""
    options = [f"{name} {x}" for name, x in (about.get("options") or {}).items()]
    return ", ".join([str(about.get("name", "?")), *options])


def seen(claim: Mapping[str, Any]) -> str:
    """The evidence in a few words."""
    evidence, n = claim["evidence"], claim["n"]
    if "failures" in evidence:
        return f"{n - evidence['failures']} of {n}"
    values = [(np.inf if x is None else x, count) for x, count in evidence["values"]]
    if claim["type"] == "mean_iterations":
        return f"mean {sum(x * c for x, c in values) / n:.4g} over {n}"
    middle = np.repeat([x for x, _ in values], [c for _, c in values])
    return f"{np.quantile(middle, claim['level'], method='higher'):.4g} in the sample of {n}"


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
