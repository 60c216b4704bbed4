"""Weights of ALISTA that follow from the matrix alone.

    minimise  Σ_{i≠j} (wᵢᵀ aⱼ)²    subject to wᵢᵀ aᵢ = 1:   wᵢ = G aᵢ / aᵢᵀ G aᵢ,  G = (A Aᵀ)⁻¹
    minimise  max_{i≠j} |wᵢᵀ aⱼ|   subject to wᵢᵀ aᵢ = 1:   a linear program for each i

The columns of W tell the unknowns apart as well as A allows. The first is what is used in practice
(published by projected gradient, to 0.2 %; the closed form is our own), the second is the
definition. Liu, Chen, Wang & Yin, "ALISTA: analytic weights are as good as learned weights in
LISTA", ICLR 2019. W is invariant to A → M A, so that bad conditioning of A does no harm.
"""

import numpy as np
import scipy.linalg
import scipy.optimize
from jaxtyping import Float

Matrix = Float[np.ndarray, "rows n"]

RIDGE = 1e-12  # times the mean eigenvalue, so that a matrix without full rank has weights too
SMALL = 100  # unknowns up to which linear programs take seconds


def closed_form(A: Matrix) -> Matrix:
    """The weights of least total coherence, in float64.

    - `A`: finite, without a zero column
    """
    rows, n = A.shape
    A = A / (scale := np.abs(A).max())
    # G A, by the smaller of the two Gram matrices: (A Aᵀ + r)⁻¹ A = A (Aᵀ A + r)⁻¹.
    gram = A @ A.T if rows <= n else A.T @ A
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram)
    factor = scipy.linalg.cho_factor(gram)
    W = scipy.linalg.cho_solve(factor, A if rows <= n else A.T)
    W = W if rows <= n else W.T
    return W / np.sum(W * A, axis=0) / scale


def linear_program(A: Matrix) -> Matrix:
    """The weights of least largest coherence, in float64: `SMALL` columns at most.

    - `A`: finite, without a zero column
    """
    rows, n = A.shape
    if n > SMALL:
        raise ValueError(
            f"ALISTA: weights='linear-program' takes {n} linear programs for {n} unknowns, which "
            f"is slow beyond {SMALL}; take weights='closed-form'."
        )
    W = np.zeros((rows, n))
    for i in range(n):
        others = np.delete(A, i, axis=1).T
        # Unknowns (w, t): minimise t with ±wᵀaⱼ ≤ t and wᵀaᵢ = 1.
        bounds = np.block([[others, -np.ones((n - 1, 1))], [-others, -np.ones((n - 1, 1))]])
        found = scipy.optimize.linprog(
            np.append(np.zeros(rows), 1.0),
            A_ub=bounds,
            b_ub=np.zeros(2 * (n - 1)),
            A_eq=np.append(A[:, i], 0.0)[None],
            b_eq=[1.0],
            bounds=[(None, None)] * rows + [(0, None)],
        )
        W[:, i] = found.x[:rows] / (found.x[:rows] @ A[:, i])
    return W


def coherence(W: Matrix, A: Matrix) -> float:
    """max_{i≠j} |wᵢᵀ aⱼ|"""
    found = np.abs(W.T @ A)
    np.fill_diagonal(found, 0)
    return float(found.max())
