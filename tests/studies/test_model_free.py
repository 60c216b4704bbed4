"""The studies of model-free optimizers and of the Jacobian regularizer: numbers from records."""

import math

import numpy as np
import pytest

from steppe.core.episode import begin
from steppe.evaluation.engines import Row
from steppe.optimizers.classic.from_optax import sgd
from steppe.studies.jacobian import jacobian
from steppe.studies.jacobian import summary as jacobian_summary
from steppe.studies.jacobian.settings import SCALES as JACOBIAN_SCALES
from steppe.studies.model_free import methods, model_free, problems, summary
from steppe.studies.model_free.settings import SCALES
from steppe.studies.suite import missing, read_expectations
from steppe.zoo.presets import PRESETS

SMALL = SCALES["small"]


def row(suite, panel, method, values, **more):
    """A cell with one record whose marks are 1, 100 and 1000."""
    cell = {"suite": suite, "panels": [panel], "meta_seed": more.pop("meta_seed", 0)}
    cell |= {"steps": more.pop("steps", 1000), "functions": 128}
    record = {
        "panel": panel, "method": method, "kind": "learned", "at": [0, 1, 100, 1000],
        "values": values, "lost": 0, "of": len(values), "last": [], "accuracy": [0.5],
        "parameters": 7, "gradients": 1, "training_s": 2.0, "step_us": None, **more,
    }  # fmt: skip
    return Row("", cell, {"rows": [record]}, None, None, 1, {})


def test_means_are_arithmetic_on_functions_and_geometric_on_networks():
    runs = [[4.0, 4.0, 2.0, 1.0], [4.0, 4.0, 4.0, 9.0]]
    found = summary.quantities([row("Q1", "10", "dm", runs), row("N1", "relu", "dm", runs)])
    assert found["Q1.10.dm.1000"] == pytest.approx(5.0)
    assert found["N1.relu.dm.1000"] == pytest.approx(3.0)
    assert found["N1.relu.dm.100"] == pytest.approx(math.sqrt(8))
    assert found["N1.relu.dm.accuracy"] == 0.5


def test_meta_seeds_are_one_sample_and_what_diverged_is_not_left_out():
    near, far = [[4.0, 4.0, 2.0, 1.0]], [[4.0, 4.0, 2.0, None]]
    rows = [row("N1", "relu", "dm", near), row("N1", "relu", "dm", far, meta_seed=1, lost=1)]
    found = summary.quantities([*rows, row("Q1", "10", "dm", far, lost=1)])
    assert found["N1.relu.dm.1000"] == pytest.approx(math.sqrt(summary.LARGEST))
    assert found["N1.relu.dm.lost"] == 1 and found["Q1.10.dm.1000"] == math.inf
    assert summary.costs(rows)[0].training_s == 2.0 and len(summary.costs(rows)) == 1
    (panel,) = summary.panels([row("Q1", "10", "dm", far)])
    assert panel.lines[0].at == (1, 100, 1000) and panel.lines[0].middle == (4.0, 2.0, None)


def test_runs_of_other_sizes_are_shown_and_not_judged():
    rows = [row("R1", "2", "adam", [[9.0] * 4], steps=100)]
    assert summary.quantities(rows) == {} and len(summary.panels(rows)) == 1
    assert "| adam | 9 |" in summary.tables(rows)[0]


def oracle(last, bounds=(0.0, 1.0)):
    return row("R1", "2", "restarts", [], last=list(last), bounds=list(bounds), start=23.0)


def test_the_oracle_is_the_lowest_of_all_methods_on_each_function():
    rows = [
        row("R1", "2", "adam", [[9.0] * 4], last=[3.0, 5.0]),
        row("R1", "2", "dm", [[9.0] * 4], last=[4.0, 2.0]),
        oracle([1.0, 6.0]),
    ]
    found = summary.quantities(rows)
    assert found["R1.2.oracle"] == 1.5 and found["R1.2.bound"] == 0.5
    assert found["R1.2.adam.gap"] == 2.5 and found["R1.2.closest"] == found["R1.2.dm.gap"] == 1.5
    text = "\n".join(summary.tables(rows))
    assert "Lowest of all methods and restarts: 1.50" in text and "| dm | 9 |" in text


def test_every_expectation_is_about_a_number_that_the_small_run_has():
    """A slip in the name of a number would leave its line unmeasured for ever."""
    names = set()
    for cell in model_free.cells(SMALL):
        for panel in cell["panels"]:
            for method in cell["methods"]:
                kinds = ["lost", "gap", *map(str, problems.MARKS), "accuracy"]
                names |= {f"{cell['suite']}.{panel}.{method}.{kind}" for kind in kinds}
            names |= {f"R1.{panel}.{known}" for known in ("start", "closest", "oracle", "bound")}
    assert missing(read_expectations(model_free.EXPECTATIONS), names) == []
    arms = [
        jacobian_summary.arm({**cell, "way": way})
        for cell in jacobian.cells(JACOBIAN_SCALES["small"])
        for way in jacobian.WAYS
    ]
    known = [".".join(("J1", *arm, m)) for arm in arms for m in jacobian_summary.MEASURED]
    assert missing(read_expectations(jacobian.EXPECTATIONS), known) == []


def test_the_small_run_has_cells_for_two_workers():
    cells = list(model_free.cells(SMALL))
    assert len(cells) == len({str(cell) for cell in cells}) > 20
    assert {cell["suite"] for cell in cells} == set(model_free.LETTERS)


def test_lambda_counts_the_sum_over_the_steps_of_an_unroll():
    cell = {"optimizer": "rnnprop", "updates": 10, "horizon": 100, "weight": 1e-2}
    penalty = jacobian.how(cell).penalty
    assert (penalty.weight, penalty.where, penalty.every) == (0.2, "steps", 1)
    assert jacobian.how({**cell, "weight": 0.0}).penalty.kind == "none"


def test_the_bound_of_a_function_is_below_its_values_and_of_the_functions_that_are_run():
    task = problems.problem("R1", "2")
    bound = problems.bounds(task, 1, 3)
    points = np.random.default_rng(0).normal(0, 1, (200, 1, 2))
    for key, least in zip(problems.keys_of(1, 3), bound, strict=True):
        instance = begin(task, sgd(0.1), key).instance
        A, y, c = (np.asarray(x)[0] for x in (instance.bowl.W, instance.bowl.y, instance.c))
        f = lambda x, A=A, y=y, c=c: (
            0.5 * np.sum((A @ x - y) ** 2) + 10 * (2 - c @ np.cos(2 * np.pi * x))
        )
        values = [f(x[0]) for x in points]
        assert least == pytest.approx(10 * (2 - np.abs(c).sum()))
        assert min(values) >= least


def test_the_numbers_of_the_jacobian_are_means_over_meta_seeds():
    def cell(seed, gradient):
        record = {
            "way": "all", "gradient": gradient, "loss": 1.0, "accuracy": 0.9, "moved_share": 1.0,
            "at": [0.0, 1.0], "losses": [2.0, 1.0], "squares": [gradient, None], "lost": 0,
            "gradients": 1, "training_s": 3.0, "parameters": 5,
        }  # fmt: skip
        given = {"suite": "J1", "optimizer": "rnnprop", "weight": 1e-3, "seed": seed,
                 "updates": 100}  # fmt: skip
        return Row("", given, {"rows": [record]}, None, None, 1, {})

    rows = [cell(0, 1.0), cell(1, 3.0)]
    assert jacobian_summary.quantities(rows)["J1.rnnprop.1e-3.all.gradient"] == 2.0
    squares, losses = jacobian_summary.panels(rows)
    assert squares.lines[0].name == "λ = 1e-3" and squares.lines[0].low == (1.0, None)
    assert losses.lines[0].middle == (2.0, 1.0)
    said = jacobian.conclude(JACOBIAN_SCALES["small"], rows)
    assert "| RNNProp | 1e-3 | all | 2 [1, 3] |" in said.text and "not measured" in said.text


def test_curves_are_those_of_gradient_descent_in_numpy_from_one_start_and_from_several():
    task, marks = problems.problem("Q1", "2"), [0, 1, 2, 5]
    found = problems.look(task, sgd(0.1), 1, 2, 5)
    several = problems.look(task, sgd(0.1), 1, 2, 5, starts=2)
    assert found.at == (0, 1, 2, 5) and several.at == (0, 2) and found.of == 2
    curves = []
    for key in problems.keys_of(1, 2):
        episode = begin(task, sgd(0.1), key)
        W, y = (np.asarray(part)[0] for part in (episode.instance.W, episode.instance.y))
        x, own = np.asarray(episode.params)[0], []
        for _ in range(6):
            own.append(np.sum((W @ x - y) ** 2))
            x = x - 0.1 * 2 * W.T @ (W @ x - y)
        curves.append(np.array(own)[marks])
    np.testing.assert_allclose(found.values, np.mean(curves, 0)[None], rtol=1e-10)
    np.testing.assert_allclose(found.last, [curve[-1] for curve in curves], rtol=1e-10)
    # Near zero all starts are alike: the lowest of two is a little lower than one.
    assert several.values[0, 0] == pytest.approx(found.values[0, 0], rel=0.1)


def test_every_recipe_of_the_small_run_can_be_made():
    made = {}
    for cell in model_free.cells(SMALL):
        for name in set(cell["methods"]) & set(PRESETS):
            make = methods.on_networks if cell["suite"] == "N1" else methods.on_functions
            made[cell["suite"], name] = make(name, cell)
    assert len(made) == 3 + 2 + 5
    assert made["N1", "dm-cl-il"].curriculum.horizons == (100, 200, 500)
    assert made["N1", "dm-cl-il"].run.steps == made["N1", "dm"].run.steps
    assert made["N1", "l2o-scale"].run.steps == SMALL.meta_steps // 3
    assert made["R1", "dm"].estimator.episodes == SMALL.episodes


@pytest.mark.slow
def test_the_regularizer_lowers_gradients_along_trainings_by_thirty_percent():
    """RNNProp on digits-relu, of a meta-seed that the study does not count."""
    cell = {"optimizer": "rnnprop", "seed": 100, "updates": 120, "horizon": 100, "runs": 8}
    found = [jacobian.run({**cell, "weight": weight})["rows"][0] for weight in (0.0, 1e-2)]
    assert found[1]["gradient"] < 0.7 * found[0]["gradient"]
    assert found[1]["loss"] < 1.2 * found[0]["loss"]
