"""The study of swarms: numbers from records, and what its expectations are about."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.evaluation.engines import Row
from steppe.optimizers.classic.from_optax import sgd
from steppe.studies.suite import missing, read_expectations
from steppe.studies.swarms import methods, summary, swarms
from steppe.studies.swarms.settings import LEARNED, SCALES

SMALL = SCALES["small"]


def row(method, best, n=10, gradients=True, seed=0, **more):
    """A cell with one record whose marks are 30, 96 and 300."""
    cell = {"suite": "R2", "method": method, "sizes": [n], "seed": seed}
    record = {
        "n": n, "at": [30, 96, 300], "best": best, "lost": 0, "particles": 4, "seconds": 2.0,
        "gradients": gradients, "about": {}, "parameters": 7, "step_us": None, **more,
    }  # fmt: skip
    return Row("", cell, {"rows": [record]}, None, None, 1, {})


def test_numbers_are_means_of_the_best_and_the_harder_count_ends_earlier():
    rows = [row("lois", [[9.0, 4.0, 1.0], [7.0, 6.0, 3.0]]), row("lois", [[8.0, 8.0, 8.0]], seed=1)]
    found = summary.quantities([*rows, row("pso", [[9.0, 5.0, 4.0]], gradients=False)])
    assert found["R2.10.lois.30"] == 8 and found["R2.10.lois.best"] == 4
    assert found["R2.10.lois.harder"] == 6  # at 96, the last mark up to a third of 300
    assert found["R2.10.lois.median"] == 3
    assert found["R2.10.pso.harder"] == found["R2.10.pso.best"] == 4


def test_a_run_without_a_number_is_infinite_and_counted():
    rows = [row("dm", [[9.0, 4.0, None], [7.0, 6.0, 3.0]], lost=1)]
    found = summary.quantities(rows)
    assert found["R2.10.dm.best"] == np.inf and found["R2.10.dm.lost"] == 1
    (panel,) = summary.panels(rows)
    assert panel.lines[0].middle == (8.0, 5.0, None) and panel.lines[0].at == (30, 96, 300)
    assert "1 of 2" in summary.tables(rows)[0]
    (price,) = summary.costs([row("pso", [[1.0] * 3], gradients=False, about={"tried": {}})])
    assert (price.gradients, price.values, price.kind) == (None, 4, "by hand")


def test_every_expectation_is_about_a_number_that_the_small_run_has():
    cells, names = list(swarms.cells(SMALL)), set()
    assert len(cells) == len(LEARNED) * SMALL.seeds + len(methods.RIVALS) * len(SMALL.sizes)
    for cell in cells:
        for n in cell["sizes"]:
            kinds = ("best", "harder", "median", "lost", *methods.marks(SMALL.evaluations))
            names |= {f"R2.{n}.{cell['method']}.{kind}" for kind in kinds}
    assert missing(read_expectations(swarms.EXPECTATIONS), names) == []
    assert set(summary.NAMES) == {cell["method"] for cell in cells}


def test_rivals_are_tuned_on_other_problems_and_all_meet_the_same():
    streams = [jr.key_data(methods.streams(2, s)).tolist() for s in (methods.TRAIN,
               methods.TUNE, methods.TEST)]  # fmt: skip
    assert len({tuple(key) for key in streams}) == 3
    task = methods.problem(2, 3)
    keys = jr.split(methods.streams(2, methods.TEST), 5)
    still = methods.bests(task, sgd(0.0), keys, 4)
    assert still.shape == (5, 4) and np.all(still == still[:, :1])
    moving = methods.bests(task, lambda x: sgd(*x), keys, 4, (jnp.full(5, 1e-3),))
    np.testing.assert_allclose(moving[:, 0], still[:, 0])
    assert np.all(np.diff(moving, axis=1) < 0)


@pytest.mark.slow
def test_a_training_of_every_arm_and_a_tuning_of_every_rival():
    for name in LEARNED:
        formation = name in methods.FORMATIONS
        make = methods.formed if formation else methods.trained
        method = make(name, 4, 2, 0, *((2,) if formation else ()))
        assert len(method.about["losses"]) == (2 if formation else 1)
    for name in methods.RIVALS:
        method = methods.tuned(name, 2, 40, 2)
        assert set(method.about["tried"]) == set(methods.RIVALS[name].particles)
