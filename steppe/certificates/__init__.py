"""Guarantees from sampled tasks: what fraction of future ones will be solved, and how fast.

    certify(run, steps=100, tolerances=[1e-3], levels=[0.9], delta=0.01, n=1000) → Certificate

`bounds.py` is the statistics, `runs.py` how anything is run and its error read off, `certify.py`
the verb, `verify.py` the check by independent code.
"""
