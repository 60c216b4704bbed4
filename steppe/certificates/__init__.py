"""Guarantees from sampled tasks: what fraction of future ones will be solved, and how fast.

    cert = steppe.certify(solve, steps=100, tolerances=[1e-3], levels=[0.9], delta=0.01)
    cert.save("certificate.json")
    certificates.verify(certificates.load("certificate.json"))     []: nothing is wrong with it

`bounds.py` is the statistics, `claims.py` what can be claimed and how δ is shared, `runs.py` and
`episodes.py` how anything is run and its error read off, `certify.py` the verb, `audit.py` the
check by other code; `pac_bayes.py`, `posterior.py` and `randomised.py` are for tasks that all went
into training.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .audit import recheck, verify
    from .certificate import Certificate, load
    from .claims import Holds, Iterations, MeanIterations, Quantile, Success
    from .episodes import Episodes
    from .runs import Calls, FixedPoint, Metric

FILES = {
    "Calls": "runs",
    "Certificate": "certificate",
    "Episodes": "episodes",
    "FixedPoint": "runs",
    "Holds": "claims",
    "Iterations": "claims",
    "MeanIterations": "claims",
    "Metric": "runs",
    "Quantile": "claims",
    "Success": "claims",
    "load": "certificate",
    "recheck": "audit",
    "verify": "audit",
}

__all__ = [
    "Calls",
    "Certificate",
    "Episodes",
    "FixedPoint",
    "Holds",
    "Iterations",
    "MeanIterations",
    "Metric",
    "Quantile",
    "Success",
    "load",
    "recheck",
    "verify",
]


def __getattr__(name: str):
    if name not in FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{FILES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
