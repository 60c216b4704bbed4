"""Certify a solver of one's own: how many future problems will it solve, and in how many steps?

pip install steppe
python examples/certify_solver.py
"""

import numpy as np

import steppe


def solve(rng):
    """Draw a least-squares problem, run 100 gradient steps, return the error after each."""
    A, b = rng.standard_normal((20, 10)), rng.standard_normal(20)
    best, x, errors = np.linalg.lstsq(A, b)[0], np.zeros(10), []
    for _ in range(101):
        errors.append(np.linalg.norm(x - best) / np.linalg.norm(best))
        x -= A.T @ (A @ x - b) / np.linalg.norm(A, 2) ** 2
    return errors


certificate = steppe.certify(solve, steps=100, tolerances=[0.1], levels=[0.9], delta=0.01, n=500)
print(certificate.statement)
print(steppe.certificates.verify(certificate) or "Each bound was worked out again by other code.")
