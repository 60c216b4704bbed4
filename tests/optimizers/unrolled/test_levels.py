"""Recovery errors of untrained and searched networks, in float64, beside published figures.

Those of trained ones are in the record of the study `sparse_recovery`.
"""

from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.rollout import episodes
from steppe.evaluation.recovery import recovery
from steppe.evaluation.search import search
from steppe.optimizers.unrolled.hyperlista import HyperLISTA
from steppe.optimizers.unrolled.lamp import LAMP
from steppe.tasks.inverse.recovery import SparseRecovery
from tests.optimizers.unrolled.layers import path

PUBLISHED = Path(__file__).parents[4] / "shared" / "reference" / "sparse-recovery" / "alista.npz"


@eqx.filter_jit
def ends(task, opt, keys):
    see = lambda episode, _: (episode.params, episode.instance.sparse)
    return episodes(task, opt, keys, opt.layers, see, batch_size=len(keys)).looks


def fresh(task, opt, vectors, seed=1):
    return recovery(*ends(task, opt, jr.split(jr.key(seed), vectors)))


def searched(task, layers, **how):
    opt = HyperLISTA.from_task(task, layers=layers)
    assert np.prod([len(values) for values in opt.candidates().values()]) <= 100
    return search(task, opt, opt.candidates(), horizon=layers, key=jr.key(0), **how)[0]


def test_amp_and_usual_numbers_recover_as_they_should():
    """Twice as many measurements for each unknown as at 64 × 128, so that few vectors do."""
    task = SparseRecovery(rows=32, n=48, density=0.08, seed=0)
    amp = fresh(task, LAMP.from_task(task, layers=6), 64)
    hyper = fresh(task, HyperLISTA.from_task(task, layers=6), 64)
    assert amp.mean_db is not None and -36 < amp.mean_db < -26
    assert hyper.mean_db is not None and hyper.mean_db < amp.mean_db - 10
    assert amp.nonfinite == hyper.nonfinite == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_three_numbers_reach_60_db_at_64_128(seed):
    task = SparseRecovery(rows=64, n=128, seed=seed)
    found = fresh(task, searched(task, 10), 10_000)  # a few vectors decide the aggregate
    assert found.mean_db is not None and found.mean_db <= -60
    assert found.aggregate_db is not None and found.aggregate_db <= -25
    assert found.nonfinite == 0


@pytest.mark.slow
def test_three_numbers_at_full_size_and_on_other_vectors_than_those_they_were_found_on():
    """256 × 512, and the same numbers for the published dictionary of ALISTA and its vectors."""
    task = SparseRecovery(rows=256, n=512, seed=0)
    opt = searched(task, 16)
    found = fresh(task, opt, 500)
    assert found.mean_db is not None and found.mean_db <= -100
    assert found.aggregate_db is not None and found.aggregate_db <= -65
    if not PUBLISHED.exists():
        pytest.skip("the published vectors are not beside the repository")
    with np.load(PUBLISHED) as file:
        A, x = file["D"].astype(np.float64), file["x"].T.astype(np.float64)
    numbers = {name: float(getattr(opt, name)) for name in ("c1", "c2", "c3")}
    opt = HyperLISTA.from_dictionary(A, layers=16, **numbers)
    rng = np.random.default_rng(0)
    denser = rng.standard_normal(x.shape) * (rng.random(x.shape) < 0.15)
    ends = lambda x: path(opt, jnp.asarray(A), jnp.asarray(x @ A.T), 16)[:, -1]
    run = lambda x: recovery(ends(x), x).mean_db or 0.0
    levels = {"as drawn": run(x), "denser": run(denser), "larger": run(3 * x)}
    assert levels["as drawn"] <= -100 and levels["denser"] <= -60 and levels["larger"] <= -100


@pytest.mark.slow
def test_three_numbers_with_noise_are_half_a_decibel_better_than_published_networks():
    task = SparseRecovery(rows=256, n=512, seed=0, snr=20.0)
    found = fresh(task, searched(task, 16, problems=64), 500)
    assert found.mean_db == pytest.approx(-20.5, abs=0.5)
