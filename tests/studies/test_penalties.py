"""The penalties of randomised optimizers: the prior is the best one, equal risk is read right."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import steppe
from steppe.certificates import pac_bayes
from steppe.studies.certificates import penalties
from steppe.studies.certificates.settings import Penalties
from steppe.studies.study import read


def test_risk_is_crossed_between_two_spreads():
    spreads, budgets = [1.0, 10.0, 100.0], [3.0, 2.0, 1.0]
    found = penalties.at_risk(spreads, [0.0, 0.0, 0.4], budgets, 0.2)
    assert found == pytest.approx((math.log(10) * 1.5, 1.5))
    assert penalties.at_risk(spreads, [0.3, 0.0, 0.0], budgets, 0.2) is None
    assert penalties.at_risk(spreads, [0.0, 0.1, 0.2], budgets, 0.2) == (math.log(100), 1.0)


def test_of_noisy_risks_the_first_crossing_counts():
    found = penalties.at_risk([1.0, 10.0, 100.0], [0.1, 0.3, 0.1], [3.0, 2.0, 1.0], 0.2)
    assert found == pytest.approx((math.log(10) / 2, 2.5))


def test_no_other_prior_variance_is_cheaper():
    first = steppe.RNNProp(hidden=(3,), key=jax.random.key(0))
    opt = jax.tree.map(lambda x: x + 0.1 if isinstance(x, jax.Array) else x, first)
    posterior, places = penalties.spread(opt, first, 1e-3)
    leaves = list(
        zip(
            jax.tree.leaves(posterior.mean),
            jax.tree.leaves(posterior.prior_mean),
            posterior.log_prior,
            places,
            strict=True,
        )
    )
    total = 0.0
    for mean, start, log_prior, place in leaves:
        m, m0 = (np.asarray(x, float).ravel() for x in (mean, start))
        kl = lambda a, m=m, m0=m0: pac_bayes.gaussian_divergence(
            m,
            np.full(m.shape, 1e-3),
            m0,
            np.full(m.shape, pac_bayes.C * math.exp(-a / pac_bayes.B)),
        )
        assert kl(place) <= min(kl(place - 1), kl(place + 1)) + 1e-6 * kl(place)
        assert math.exp(log_prior) == pytest.approx(
            pac_bayes.C * math.exp(-place / pac_bayes.B), rel=1e-5
        )
        total += kl(place)
    assert posterior.exact_divergence() == pytest.approx(total, rel=1e-4)
    for s in jax.tree.leaves(posterior.log_variance):
        assert jnp.allclose(s, math.log(1e-3))


def test_twins_are_compared_seed_by_seed():
    cells = list(penalties.cells(Penalties()))
    assert len({(c["optimizer"], c["arm"], c["meta_seed"]) for c in cells}) == len(cells) == 54
    sizes = [{k: v for k, v in c.items() if k not in ("arm", "recipe")} for c in cells[:3]]
    assert sizes[0] == sizes[1] == sizes[2]  # but for what is added to meta-training


def test_readme_has_the_table_of_the_record():
    folder = Path(penalties.__file__).parent
    assert penalties.table(read(folder / "penalties.jsonl")) in (folder / "README.md").read_text()
