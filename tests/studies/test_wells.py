"""The regularizer reaches θ with the right sign: the wells experiment, made small."""

import numpy as np
import pytest

from steppe.studies.wells.experiment import experiment


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "strength", "rises"),
    [("trace", 0.1, True), ("entropy, τ = 1e-8", 10.0, False)],
    ids=["trace", "entropy at temperature 1e-8"],
)
def test_the_share_of_wide_wells_rises_with_curvature_and_not_with_cold_entropy(
    name, strength, rises
):
    runs = experiment(name, 2, (0.0, strength), seeds=4, meta_steps=100, episodes=64, tests=400)
    plain, flat = ([r.wide for r in runs if r.strength == s] for s in (0.0, strength))
    rise = np.mean(np.subtract(flat, plain))
    assert all(r.nonfinite == 0 for r in runs)
    assert rise > 0.05 if rises else abs(rise) < 0.025
