"""The comparison on many LASSO problems: its bounds, and that all come to the gap."""

import numpy as np
import pytest

from steppe.core.loss import Composite, LeastSquares
from steppe.core.regularizer import L1
from steppe.studies.speed import lasso
from steppe.tasks.inverse.optimum import optimum

RNG = np.random.default_rng(0)
A = RNG.normal(size=(6, 9))
A /= np.linalg.norm(A, axis=0)
B = np.concatenate([RNG.normal(size=(3, 6)), np.zeros((1, 6))])


def minimum(b):
    loss = Composite(LeastSquares(A, b), L1(lasso.WEIGHT), np.linalg.norm(A, 2) ** 2)
    return optimum(loss)


def test_bounds_are_just_below_the_minima():
    least = lasso.bounds(A, B, np.zeros((4, 9)))
    best = np.array([minimum(b).value for b in B])
    assert (least <= best + 1e-12).all() and (best - least <= 1e-7 * best + 1e-12).all()
    ends = np.stack([minimum(b).x for b in B])
    assert lasso.gaps(A, B, ends, least).max() <= 1e-6
    assert lasso.gaps(A, B, 1.01 * ends, least)[:3].min() > 1e-6


def test_coordinate_descent_comes_to_the_gap():
    least = lasso.bounds(A, B, np.zeros((4, 9)))
    for gram in (False, True):
        solve = lasso.descent(A, gram)
        tolerance = lasso.loosest(A, B, least, solve)
        assert lasso.gaps(A, B, solve(B, tolerance), least).max() <= lasso.GAP


@pytest.mark.slow
def test_all_contenders():
    found = lasso.contest(rows=32, n=64, problems=80, batch=40, peers=4, train=1.0)
    told = lasso.summary(found)
    assert set(told["table"]) == {"FISTA", "StepFISTA", "scikit-learn", "scikit-learn, Gram"}
    assert min(row["share_within"] for row in told["table"].values()) > 0.9
