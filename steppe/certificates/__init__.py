"""Guarantees from sampled tasks: what fraction of future ones will be solved, and how fast.

    cert = steppe.certify(solve, steps=100, tolerances=[1e-3], levels=[0.9], delta=0.01)
    cert.save("certificate.json")
    certificates.verify(certificates.load("certificate.json"))     []: nothing is wrong with it

`bounds.py` is the statistics, `claims.py` what can be claimed, `plan.py` how δ is shared, `runs.py`
and `episodes.py` how anything is run and its error read off, `measured.py` and `ends.py` are for
measures where runs end, `twins.py` tells how equal tasks are found; `certify.py` is the verb,
`entries.py` the file, `audit.py` the check by other code; `pac_bayes.py`, `randomised.py` and
`transfer.py` are for tasks that all went into training.
"""

from ..core.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
