"""The named tasks: both tables agree, overrides arrive, wrong names get a hint."""

import subprocess
import sys

import jax
import jax.random as jr
import pytest
from examples import pictures

import steppe.tasks
from steppe.core import tree
from steppe.tasks import MLP, NAMES, Classify, Quadratic, build, options, suite
from steppe.tasks.names import SUITES

SHAPES = {"digits": (8, 8), "mnist5k": (28, 28), "mnist": (28, 28), "cifar10": (32, 32, 3)}
COUNTS = {
    "quadratic": 20,
    "quadratic-dm": 1280,
    "wells": 2,
    "quadratic-25": 25,
    "quadratic-50": 50,
    "quadratic-100": 100,
    "quadratic-784": 784,
    "quadratic-1024": 1024,
    "quadratic-2048": 2048,
    "quadratic-noisy": 20,
    "quadratic-50-noisy": 50,
    "quadratic-100-noisy": 100,
    "lasso": 20,
    "lasso-dm": 256,
    "lasso-dm-fixed": 256,
    "rastrigin": 2,
    "rastrigin-dm": 256,
    "square-cos-dm": 256,
    **dict.fromkeys(
        ("bowl-0.1", "bowl-1", "bowl-5", "bowl-5-rotated", *SUITES["test-functions"]), 2
    ),
    **{f"softmax-{d}": 2 * d + 2 for d in (10, 100, 200, 256)},
    "random-mlp-8": 9 * 8 + 8 + 8 * 2 + 2,
    "random-mlp-8-5": 8 * 8 + 8 + 8 * 5 + 5 + 5 * 2 + 2,
    "random-mlp-8-5-3": 12 * 8 + 8 + 8 * 5 + 5 + 5 * 3 + 3 + 3 * 2 + 2,
    "random-mlp-4-5-6": 11 * 4 + 4 + 4 * 5 + 5 + 5 * 6 + 6 + 6 * 2 + 2,
    "random-mlp-4-4-4-4": 5 * 4 + 4 + 4 * 4 + 4 + 4 * 4 + 4 + 4 * 4 + 4 + 4 * 2 + 2,
    "random-mlp-32-64": 8 * 32 + 32 + 32 * 64 + 64 + 64 * 2 + 2,
    "norm-1": 27,
    "norm-2": 25,
    "norm-3": 22,
    "matmul": 2 * 4 * 7,
    "matmul-3": 2 * 9 * 23,
    "min-max-well": 20,
    "dependency-chain": 21,
    "outward-snake": 20,
    "projection-quadratic": 20,
    "log-quadratic": 20,
    "log-bowl": 2,
    "rescaled-quadratic": 25,
    "rescaled-norm": 18,
    "sparse-quadratic": 20,
    "sparse-bowl": 2,
    "sum-quadratics": 60,
    "sum-functions": 18,
    "digits-mlp": 64 * 20 + 20 + 20 * 10 + 10,
    "digits-relu": 64 * 20 + 20 + 20 * 10 + 10,
    "digits-deeper": 64 * 20 + 20 + 20 * 20 + 20 + 20 * 10 + 10,
    "digits-conv": 9 * 16 + 16 + 25 * 16 * 32 + 32 + 4 * 32 * 10 + 10,
    **{
        f"{data}-{network}": count
        for data in ("mnist5k", "mnist")
        for network, count in (
            ("mlp", 15_910),
            ("relu", 15_910),
            ("deeper", 16_330),
            ("conv", 18_122),
        )
    },
    "cifar10-conv": 13_610,
}


@pytest.fixture
def loaded(monkeypatch):
    """Noise of the right shape in place of the data sets; returns what was asked for."""
    asked = []

    def load(name, folder=None):
        asked.append((name, folder))
        return pictures(SHAPES[name], classes=10)

    monkeypatch.setattr(suite, "load", load)
    return asked


def test_the_tables_of_names_agree():
    assert list(NAMES) == list(suite.TASKS) == list(COUNTS)


@pytest.mark.parametrize("name", COUNTS)
def test_every_named_task_has_its_number_of_parameters(name, loaded):
    task = build(name)
    params = jax.eval_shape(lambda key: task.init(task.sample(key), key), jr.key(0))
    assert tree.size(params) == COUNTS[name]


def test_digits_are_really_loaded():
    pytest.importorskip("sklearn")
    assert build("digits-mlp").dataset.name == "digits"


def test_overrides_reach_data_network_and_task(loaded):
    task = build("mnist-mlp", hidden=[50], start="he", batch_size=7, report=9, folder="there")
    assert isinstance(task, Classify) and loaded == [("mnist", "there")]
    assert task.network == MLP(hidden=(50,), start="he")
    assert (task.batch_size, task.report) == (7, 9)
    assert build("quadratic-dm", n=5) == Quadratic(
        n=5, instances=128, data="uniform", start=0.01, factor=1.0
    )


def test_overrides_do_not_stay(loaded):
    build("quadratic", n=3)
    build("mnist-conv", pool=1)
    assert build("quadratic").n == 20 and options("mnist-conv")["pool"] == 2


def test_options_are_what_build_takes(loaded):
    for name in NAMES:
        assert build(name, **options(name)) is not None


def test_a_wrong_name_gets_a_hint():
    with pytest.raises(ValueError, match=r"no task 'digit-mlp'; did you mean 'digits-mlp'\?"):
        build("digit-mlp")
    with pytest.raises(ValueError, match="no task 'xyz'; use one of quadratic, "):
        build("xyz")


def test_a_wrong_option_gets_a_hint(loaded):
    with pytest.raises(ValueError, match=r"digits-mlp has no option 'hiden'; did you mean 'hidden"):
        build("digits-mlp", hiden=(3,))
    with pytest.raises(ValueError, match="digits-mlp has no option 'folder'"):
        build("digits-mlp", folder="there")
    with pytest.raises(ValueError, match="quadratic has no option 'w'; use one of n, rows, "):
        build("quadratic", w=1)
    assert not loaded


def test_importing_the_names_does_not_import_jax():
    code = (
        "import sys, steppe; before = 'jax' in sys.modules; import steppe.tasks.names; "
        "assert ('jax' in sys.modules) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_everything_announced_can_be_imported():
    assert all(getattr(steppe.tasks, name) is not None for name in dir(steppe.tasks))
    with pytest.raises(AttributeError, match="no attribute 'Clasify'"):
        steppe.tasks.Clasify  # noqa: B018
