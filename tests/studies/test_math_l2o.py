"""The study of Math-L2O: gaps, verdicts, its page; and all of it, very small."""

import dataclasses
import json

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from sklearn.linear_model import Lasso

from steppe.studies.math_l2o import math_l2o, problems, summary
from steppe.studies.math_l2o.settings import SCALES
from steppe.studies.study import reproduce
from steppe.tasks.inverse.recovery import Measured, Measuring


def record(method, first, last, seed=0, rises=0.0, **more):
    """Gaps that fall evenly on a logarithmic scale."""
    found = np.geomspace(first, last, len(summary.MARKS)).tolist()
    kind = {"mean": found, "rises": rises, "iterations": {"1e-06": 50.0}}
    kinds = dict.fromkeys(summary.KINDS, kind)
    return {"method": method, "seed": seed, "step": None, "kinds": kinds, **more}


def clock(pa, fista):
    row = lambda steps, ms: {"iterations": steps, "ms": ms, "ms_of_64": ms}
    return {"n": 40, "pa": row(*pa), "fista-restart": row(*fista), "scikit-learn": {"ms": 0.1}}


FISTA = [
    {**record(name, 0.5, 1e-9, seed=None), "step": step}
    for name, step in (("fista-plain", 1.0), ("fista", 1.4))
]


def test_verdicts_go_by_the_median_of_the_seeds():
    good, bad = record("pa", 0.01, 1e-12, 0), record("pa", 10.0, 1.0, 1)
    holds = lambda found: {v.claim.split(", ")[0]: v.holds for v in summary.verdicts(found)}
    assert all(holds([*FISTA, good, good, bad]).values())
    assert not any(holds([*FISTA, good, bad, bad]).values())
    assert holds([good]) == {"As in training": True, "On patches": True}


def test_each_expectation_can_be_met_and_missed():
    def said(wrong):
        black = (1e-5, 1e-6) if wrong else (1.0, 0.1)
        ours = (1.0, 0.5) if wrong else (0.01, 1e-9)
        times = clock((60, 0.05), (50, 1.0)) if wrong else clock((20, 5.0), (50, 1.0))
        names = ("pa", "pa-monotone", "pa-logistic")
        found = [record(name, *ours, rises=float(wrong), clock=[times]) for name in names]
        found += [record(name, *black) for name in ("rnnprop", "dm")]
        found += [record(name, *(black if wrong else (1.0, 0.5))) for name in ("p", "a")]
        return summary.verdicts([*FISTA, *found])

    met, missed = said(False), said(True)
    assert len(met) == len(missed) == 21
    assert all(v.holds for v in met) and not any(v.holds for v in missed)


def test_gaps_are_those_to_the_minimum_and_absolute_where_it_is_zero():
    task = problems.lasso(6, 10)
    key = jr.key(0)
    x = np.array([np.zeros(10), np.linspace(-1, 1, 10), np.full(10, np.nan)])
    made = task.sample(key)
    A, b = np.asarray(made.own.A), np.asarray(made.b)
    F = lambda x: np.sum((A @ x - b) ** 2) / 2 + 0.1 * np.abs(x).sum()
    best = F(Lasso(0.1 / 6, fit_intercept=False, tol=1e-14, max_iter=10**6).fit(A, b).coef_)
    found = problems.gaps(task, made, x)
    np.testing.assert_allclose(found[:2], [F(x[0]) / best - 1, F(x[1]) / best - 1], rtol=1e-9)
    assert found[2] == problems.MOST
    nothing = Measured(jnp.zeros(6), jnp.zeros(10), Measuring(made.own.A, made.own.lipschitz))
    F0 = np.sum((A @ x[1]) ** 2) / 2 + 0.1 * np.abs(x[1]).sum()
    np.testing.assert_allclose(problems.gaps(task, nothing, x[:2]), [problems.FLOOR, F0], rtol=1e-9)


def test_the_page_has_curves_by_iteration_and_by_the_clock(tmp_path):
    found = [
        *FISTA,
        record("fista-restart", 0.5, 1e-9),
        record("pa", 0.01, 1e-9, clock=[clock((20, 5.0), (50, 1.0))]),
    ]
    summary.write(found, summary.verdicts(found), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("<svg") >= 7 and "By the clock" in page and "milliseconds" in page
    assert "L2O-PA" in page and "http-equiv" not in page


@pytest.mark.slow
def test_all_of_it_very_small(tmp_path):
    small = dataclasses.replace(
        SCALES["tiny"],
        methods=("pa", "fista"),
        rows=4,
        n=8,
        updates=5,
        problems=2,
        steps=100,
        clock=(8,),
    )
    conclusion, grid = reproduce(
        math_l2o.STUDY, small, tmp_path, engine="serial", say=lambda _: None
    )
    assert not grid.failed and (tmp_path / "page.html").is_file()
    assert "L2O-PA" in conclusion.text and json.dumps(conclusion.content["records"])
