"""A network that is run on another matrix of the same shape than it was made for."""

import warnings

import jax.random as jr
import numpy as np
import pytest

from steppe.certificates.episodes import Episodes
from steppe.evaluation.run import evaluate
from steppe.optimizers.classic.proximal import ISTA
from steppe.optimizers.guarded import Guarded
from steppe.optimizers.unrolled.base import warn_of_matrix
from steppe.optimizers.unrolled.coupled import ALISTA
from steppe.optimizers.unrolled.hyperlista import HyperLISTA
from steppe.optimizers.unrolled.lista import LISTA
from steppe.optimizers.unrolled.na_alista import NAALISTA
from steppe.optimizers.unrolled.tista import TISTA
from steppe.tasks.inverse.recovery import SparseRecovery
from steppe.tasks.synthetic.quadratic import Quadratic

KEY = jr.key(4)
TASK, OTHER = (SparseRecovery(rows=6, n=10, seed=seed) for seed in (0, 5))


@pytest.mark.parametrize("kind", [ALISTA, HyperLISTA, TISTA, NAALISTA])
@pytest.mark.parametrize("condition", [None, 1e4])
def test_a_network_knows_the_matrix_that_it_was_made_for(kind, condition):
    A, other = (
        np.array(SparseRecovery(rows=6, n=10, seed=seed, condition=condition).shared.A)
        for seed in (1, 8)
    )
    opt = kind.from_dictionary(A, layers=2, **({"key": KEY} if kind is NAALISTA else {}))
    assert opt.fits(A) and opt.fits(A.astype(np.float32)) and not opt.fits(other)
    assert not opt.fits(A[:, ::-1]) and not opt.fits(A[:5])


def test_trained_matrices_do_not_tell():
    assert LISTA.from_task(TASK, layers=2).fits(OTHER.shared.A) is None


def test_it_is_told_of_before_anything_runs():
    opt = ALISTA.from_task(TASK, layers=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for task in (TASK, Quadratic(n=3)):  # the latter has none: refused where it is solved
            warn_of_matrix(opt, task)
        warn_of_matrix(ISTA(), OTHER)
    how = {"name": "", "task_name": "", "horizon": 2, "seeds": 1, "key": KEY}
    for run in (lambda x: Episodes(OTHER, x), lambda x: evaluate(OTHER, x, ms_per_step=1.0, **how)):
        with pytest.warns(UserWarning, match="was made for another matrix A than that of Sparse"):
            run(Guarded(opt, ISTA()))
