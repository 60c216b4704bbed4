"""The closed forms of the horizons experiment, and a quarter of it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steppe.studies.horizons import horizons


def test_the_closed_form_is_the_mean_of_simulated_episodes():
    lr, h, rng = 0.4, np.array(horizons.CURVATURES), np.random.default_rng(0)
    x, total = np.tile(h**-0.5, (20_000, 1)), []
    for _ in range(horizons.HORIZON):
        x -= lr * h * (x - horizons.NOISE * rng.standard_normal(x.shape))
        seen = horizons.NOISE * rng.standard_normal(x.shape)
        total.append(0.5 * (h * (x - seen) ** 2).sum(1))
    per_run = np.mean(total, axis=0)
    error = per_run.std() / len(per_run) ** 0.5
    assert abs(horizons.whole(math.log(lr)) - per_run.mean()) < 4 * error
    assert error < 1e-2 * per_run.mean()


def test_short_windows_are_content_far_from_the_best_rate():
    best, content = horizons.best_rate(False), horizons.content_rate()
    assert abs(horizons.slope_of_windows(math.log(content))) < 1e-8
    assert horizons.whole(math.log(content)) > 1.25 * horizons.whole(math.log(best))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("BPTT, windows of 10", horizons.content_rate),
        ("PES, windows of 10", lambda: horizons.best_rate(True)),
    ],
)
def test_pes_ends_at_the_best_rate_and_truncated_bptt_where_windows_are_content(name, expected):
    lanes = jax.jit(jax.vmap(lambda seed: horizons.curve(name, 1000, seed)))
    log_lr, nonfinite = lanes(jnp.arange(200, 204))
    assert int(nonfinite.sum()) == 0
    assert abs(float(log_lr[:, -500:].mean()) - math.log(expected())) < 0.05
