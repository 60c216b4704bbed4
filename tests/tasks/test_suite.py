"""The named tasks: both tables agree, overrides arrive, wrong names get a hint."""

import functools
import itertools
import subprocess
import sys

import jax
import jax.random as jr
import pytest
from tasks.text.tiny import CONFIG, encoder, texts

import steppe.tasks
from examples import pictures
from steppe.core import tree
from steppe.tasks import MLP, TASKS, Classify, Quadratic, build, options, suite
from steppe.tasks.names import SUITES
from steppe.tasks.text import prompts

SHAPES = {
    "digits": (8, 8),
    "mnist5k": (28, 28),
    "mnist": (28, 28),
    "cifar10": (32, 32, 3),
    "fashion": (28, 28),
}
TABLES = {"breast-cancer": ((30,), 2), "wine": ((13,), 3), "mixture": ((10,), 4)}
WIDTHS = (1, 16, 16, 32, 32, 64, 64)
VGG_6 = sum(9 * a * b + b for a, b in itertools.pairwise(WIDTHS))
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
    **{
        f"{kind}-m-l2o{sigma}": 1280
        for kind in ("lasso", "quadratic")
        for sigma in ("", "-10", "-100")
    },
    "rastrigin": 2,
    "rastrigin-dm": 256,
    "square-cos-dm": 256,
    "rastrigin-m-l2o": 1280,
    "rastrigin-shifted": 2,
    "rastrigin-shifted-10": 10,
    "rastrigin-shifted-20": 20,
    **dict.fromkeys(
        ("bowl-0.1", "bowl-1", "bowl-5", "bowl-5-rotated", *SUITES["test-functions"]), 2
    ),
    "rosenbrock-m-l2o": 256,
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
    "lasso-sparse": 40,
    "sparse-recovery": 128,
    "logistic-l1": 50,
    "image-patches": 128,
    "logistic-breast-cancer": 30,
    "logistic-odd-digits": 64,
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
    **dict.fromkeys(SUITES["games"], 2),
    "matrix-game-5": 10,
    "bilinear-game": 10,
    "gan-ring": (4 * 32 + 32 * 32 + 32 * 2 + 66) + (2 * 32 + 32 * 32 + 32 + 65),
    "digits-mlp": 64 * 20 + 20 + 20 * 10 + 10,
    "digits-relu": 64 * 20 + 20 + 20 * 10 + 10,
    "digits-deeper": 64 * 20 + 20 + 20 * 20 + 20 + 20 * 10 + 10,
    "digits-conv": 9 * 16 + 16 + 25 * 16 * 32 + 32 + 4 * 32 * 10 + 10,
    "digits-conv-unpooled": 9 * 8 + 8 + 25 * 8 * 8 + 8 + 64 * 8 * 10 + 10,
    "digits-nas": 160 + 6_960 + 170,
    "digits-vgg": VGG_6 + 64 * 10 + 10,
    "digits-resnet": 75_290 - 2 * 9 * 16,
    **{
        f"{data}-{network}": count
        for data in ("mnist5k", "mnist")
        for network, count in (
            ("mlp", 15_910),
            ("relu", 15_910),
            ("deeper", 16_330),
            ("conv", 18_122),
            ("conv-constant", 18_122),
            ("conv-unpooled", 9 * 8 + 8 + 25 * 8 * 8 + 8 + 28 * 28 * 8 * 10 + 10),
            ("lenet", 61_706 - 400 * 120 + 256 * 120),  # 61 706: with images padded to 32x32
            ("nas", 160 + 6_960 + 170),
            ("vgg", VGG_6 + 9 * 64 * 10 + 10),
            ("resnet", 75_290 - 2 * 9 * 16),
        )
    },
    "cifar10-relu": 3072 * 20 + 20 + 20 * 10 + 10,
    "cifar10-conv": 13_610,
    "cifar10-conv-constant": 13_610,
    "cifar10-conv-unpooled": 27 * 16 + 16 + 25 * 16 * 16 + 16 + 32 * 32 * 16 * 10 + 10,
    "cifar10-lenet": 62_006,
    "cifar10-nas": 7_578,
    "cifar10-vgg": VGG_6 + 2 * 9 * 16 + 16 * 64 * 10 + 10,
    "cifar10-vgg16": 14_714_688 + 512 * 10 + 10,
    "cifar10-resnet": 75_290,
    "cifar10-resnet20": 269_722,
    "cifar10-conv3": 27 * 16 + 16 + 9 * 16 * 32 + 32 + 9 * 32 * 32 + 32 + 16 * 32 * 10 + 10,
    "fashion-relu": 15_910,
    "fashion-conv": 18_122,
    "fashion-lenet": 61_706 - 400 * 120 + 256 * 120,
    "fashion-resnet": 75_290 - 2 * 9 * 16,
    "breast-cancer-mlp": 30 * 20 + 20 + 20 * 2 + 2,
    "wine-mlp": 13 * 20 + 20 + 20 * 3 + 3,
    **dict.fromkeys(("mixture-mlp", "mixture-noisy"), 10 * 50 + 50 + 50 * 4 + 4),
    # embeddings, blocks of attention and MLP with two norms, norm, head
    "next-letter": (16 + 32) * 32
    + 2 * (32 * 96 + 96 + 32 * 32 + 32 + 32 * 64 + 64 + 64 * 32 + 32 + 2 * 64)
    + 64
    + 32 * 16
    + 16,
    "newsgroups-prompt": 8 * 384 + 384 * 4 + 4,
}


@pytest.fixture
def loaded(monkeypatch):
    """Noise of the right shape in place of the data sets; returns what was asked for."""
    asked = []

    def load(name, folder=None):
        asked.append((name, folder))
        if name in TABLES:
            shape, classes = TABLES[name]
            return pictures(shape, classes=classes)
        return pictures(SHAPES[name], classes=10)

    @functools.wraps(prompts.newsgroups)
    def newsgroups(folder=None, encoder_folder=None, *, topics, sizes, length, **settings):
        asked.append(("newsgroups", folder))
        wide = CONFIG | {"hidden_size": 384, "num_hidden_layers": 1}
        return prompts.PromptTuning(texts(names=topics), encoder(config=wide), **settings)

    monkeypatch.setattr(suite, "load", load)
    monkeypatch.setattr(prompts, "newsgroups", newsgroups)
    return asked


def test_the_tables_of_names_agree():
    assert list(TASKS) == list(COUNTS)


@pytest.mark.parametrize("name", COUNTS)
def test_every_named_task_has_its_number_of_parameters(name, loaded):
    task = build(name)
    params = jax.eval_shape(lambda key: task.init(task.sample(key), key), jr.key(0))
    assert tree.size(params) == COUNTS[name]


def test_digits_are_really_loaded():
    pytest.importorskip("sklearn")
    assert build("digits-mlp").dataset.name == "digits"


def test_arguments_of_a_constructor_are_options():
    assert options("sparse-recovery")["snr"] is None
    task = build("sparse-recovery", rows=5, n=8, snr=20.0)
    assert (task.rows, task.n, task.snr, task.seed) == (5, 8, 20.0, 0)


def test_overrides_reach_data_network_and_task(loaded):
    task = build("mnist-mlp", hidden=[50], start="he", batch_size=7, report=9, folder="there")
    assert isinstance(task, Classify) and loaded == [("mnist", "there")]
    assert task.network == MLP(hidden=(50,), start="he")
    assert (task.batch_size, task.report) == (7, 9)
    assert build("quadratic-dm", n=5) == Quadratic(
        n=5, instances=128, data="uniform", start=0.01, factor=1.0
    )


def test_the_division_the_noise_and_the_size_of_data_are_options(loaded):
    one, other = (build("digits-mlp", split=k, noise=0.5, train=9).dataset for k in (0, 1))
    assert one.splits == other.splits == ((0, 9), (9, 109), (109, 209))
    assert not jax.numpy.array_equal(one.x, other.x)
    assert options("mixture-noisy")["noise"] == 0.2 and options("mixture-mlp")["noise"] == 0.0
    assert build("next-letter", split=1).text.letters.shape == (1536, 33)
    with pytest.raises(ValueError, match="split must be a whole number from 0"):
        build("digits-mlp", split=-1)


def test_overrides_do_not_stay(loaded):
    build("quadratic", n=3)
    build("mnist-conv", pool=1, split=2)
    assert build("quadratic").n == 20 and options("mnist-conv")["pool"] == 2


def test_options_are_what_build_takes(loaded):
    for name in TASKS:
        assert build(name, **options(name)) is not None


def test_a_wrong_name_gets_a_hint():
    with pytest.raises(ValueError, match=r"no task 'digit-mlp'; did you mean 'digits-mlp'\?"):
        build("digit-mlp")
    with pytest.raises(ValueError, match=r"no task 'xyz'; the closest are .* see `steppe list`"):
        build("xyz")


def test_a_wrong_option_gets_a_hint(loaded):
    with pytest.raises(ValueError, match=r"digits-mlp has no option 'hiden'; did you mean 'hidden"):
        build("digits-mlp", hiden=(3,))
    with pytest.raises(ValueError, match="digits-mlp has no option 'folder'"):
        build("digits-mlp", folder="there")
    with pytest.raises(ValueError, match="quadratic has no option 'w'; use one of n, rows, "):
        build("quadratic", w=1)
    assert not loaded


def test_networks_that_do_not_fit_their_images_say_so(loaded):
    words = "VGG: images of the shape .8, 8. are 8x8, too small to halve 4 times; use fewer stages"
    with pytest.raises(ValueError, match=words):
        build("digits-vgg", stages=[[8], [8], [8], [8]])
    with pytest.raises(ValueError, match=r'too small for kernel 5.* or padding="SAME"'):
        build("digits-conv", padding="VALID")


@pytest.mark.parametrize("data", SHAPES)
def test_the_suite_of_a_data_set_holds_the_tasks_on_it(data, loaded):
    assert suite.suite(data) == tuple(
        name
        for name, entry in TASKS.items()
        if "network" in entry.arguments and entry.family in SHAPES and on(name, loaded) == data
    )


def on(name, loaded):
    build(name)
    return loaded[-1][0]


def test_the_published_evaluation_has_linear_logits_and_batches_of_128():
    for name in suite.suite("published-evaluation"):
        assert options(name)["batch_size"] == 128 and not options(name).get("relu_logits")


def test_l2o_scale_trains_on_batches_of_64_where_it_convolves():
    sizes = [options(name)["batch_size"] for name in suite.suite("l2o-scale-training")]
    assert sizes == [128, 64, 64]


def test_a_wrong_suite_gets_a_hint():
    with pytest.raises(ValueError, match=r"no suite 'digit'; did you mean 'digits'\?"):
        suite.suite("digit")
    with pytest.raises(ValueError, match=r"no suite 'xyz'; the closest are .* see `steppe list`"):
        suite.suite("xyz")


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
