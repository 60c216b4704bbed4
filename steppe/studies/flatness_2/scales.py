"""The sizes of the study: tiny (minutes), small (hours), paper (a cluster). Plain data."""

import dataclasses

from ...zoo.presets import recipe
from ...zoo.recipe import Recipe, change
from ..flatness.design import NORM, VALID, Tasks
from ..flatness.scales import MLP, RELU, SMALL_RECIPES
from .design import GRIDS, MAIN, SEARCH_SEEDS, Scale

STEADY = {  # of docs/steady.md
    "episodes": 6,  # on each of three tasks
    "scaling": 1.0,
    "steps": 1000,
    "keep": "average",
    "validate_every": 0,
}


def steadier(first: Recipe) -> Recipe:
    """The recipe of the first study with more episodes, half the meta-rate, and its mean kept."""
    return change(first, **STEADY, meta_lr=first.meta.lr / 2)


RECIPES = {
    "timed-rnnprop": recipe("rnnprop-steady"),
    "rnnprop": steadier(SMALL_RECIPES["rnnprop"]),
    "dm": steadier(SMALL_RECIPES["dm"]),
    "l2o-scale": steadier(SMALL_RECIPES["l2o-scale"]),
}
OTHERS: Tasks = {
    "tanh": {"name": "digits-relu", "hidden": [32], "activation": "tanh", **MLP},
    "two layers": {"name": "digits-deeper", "hidden": [16, 16], **MLP},
}
BARE = {"curved": False}
LARGE = {**BARE, "runs": 2, "every": 20}
LARGEST = LARGE | {"runs": 1, "horizon": 200}
TABLE = {"every": 10}
SMALL = Scale(
    name="small",
    recipes=RECIPES,
    meta_task=RELU,
    others=OTHERS,
    validation={
        "deeper tanh": {
            "name": "digits-deeper", "hidden": [24, 24], "activation": "tanh", **MLP, **BARE,
        },
        "wrong labels": {"name": "digits-relu", "hidden": [40], "noise": 0.2, **MLP, **BARE},
        "MNIST tanh": {"name": "mnist5k-mlp", "activation": "tanh", **MLP, **LARGE},
    },
    digits={
        "sigmoid": {"name": "digits-mlp", **MLP},
        "deeper": {"name": "digits-deeper", "activation": "relu", **MLP},
        "wider": {"name": "digits-relu", "hidden": [64], **MLP},
        "ConvNet": {"name": "digits-conv", **LARGEST},
    },
    elsewhere={
        "MNIST ReLU": {"name": "mnist5k-relu", **MLP, **LARGE},
        "MNIST deeper tanh": {"name": "mnist5k-deeper", "activation": "tanh", **MLP, **LARGE},
        "MNIST LeNet": {"name": "mnist5k-lenet", **LARGEST},
        "breast cancer": {"name": "breast-cancer-mlp", **TABLE},
        "wine": {"name": "wine-mlp", **TABLE},
        "wrong labels": {"name": "mixture-noisy", **TABLE},
    },
    short={
        "sigmoid, short": {"name": "digits-mlp", **MLP, **BARE, "horizon": 60},
        "MNIST ReLU, short": {
            "name": "mnist5k-relu", **MLP, **LARGE, "every": 10, "horizon": 60,
        },
    },
    meta_seeds=tuple(range(24)),
    search_seeds=SEARCH_SEEDS,
    grids=GRIDS,
    divisions=5,
    later=True,
    trials=True,
    horizon=500,
    every=5,
    levels=(0.2, 0.1, 0.05),
    runs=4,
    tuning_seeds=2,
    promised="about 8 core-hours for what decides first, 50 for all, and 3 GB on two cores",
)  # fmt: skip
TINY = dataclasses.replace(
    SMALL,
    name="tiny",
    recipes={name: change(own, episodes=2, steps=20, horizon=60) for name, own in RECIPES.items()},
    others={"tanh": OTHERS["tanh"]},
    validation={"wrong labels": SMALL.validation["wrong labels"]},
    digits={"sigmoid": SMALL.digits["sigmoid"]},
    elsewhere={"wine": SMALL.elsewhere["wine"]},
    short={"sigmoid, short": SMALL.short["sigmoid, short"] | {"horizon": 20}},
    meta_seeds=(0, 1),
    search_seeds=SEARCH_SEEDS[:1],
    grids={NORM: (0.3,), MAIN: (3.0,), VALID: (0.3,)},
    later=False,
    trials=False,
    horizon=60,
    every=10,
    levels=(1.0, 0.5),
    runs=1,
    tuning_seeds=1,
    promised="about 2 minutes and 2 GB on two cores",
)
MNIST: dict = {"name": "mnist-relu", **MLP}
LOCAL = {**BARE, "runs": 1, "every": 100}
PAPER = dataclasses.replace(
    SMALL,
    name="paper",
    recipes={
        name: change(own, episodes=16, steps=10_000, horizon=1000) for name, own in RECIPES.items()
    },
    meta_task=MNIST,
    others={
        "tanh": {"name": "mnist-relu", "hidden": [32], "activation": "tanh", **MLP},
        "two layers": {"name": "mnist-deeper", "hidden": [16, 16], **MLP},
    },
    validation={
        "deeper tanh": {"name": "mnist-deeper", "activation": "tanh", **MLP, **LOCAL},
        "wrong labels": {"name": "mnist-relu", "hidden": [40], "noise": 0.2, **MLP, **LOCAL},
    },
    digits={
        "sigmoid": {"name": "mnist-mlp", **MLP},
        "deeper": {"name": "mnist-deeper", "activation": "relu", **MLP},
        "wider": {"name": "mnist-relu", "hidden": [100], **MLP},
        "ConvNet": {"name": "mnist-conv", **LOCAL},
    },
    elsewhere={
        "CIFAR-10 ConvNet": {"name": "cifar10-conv3", **LOCAL},
        "Fashion-MNIST ConvNet": {"name": "fashion-conv", **LOCAL},
        "Fashion-MNIST ReLU": {"name": "fashion-relu", **MLP, **LOCAL},
        **{label: SMALL.elsewhere[label] for label in ("breast cancer", "wine", "wrong labels")},
    },
    short={
        "CIFAR-10 ConvNet, short": {"name": "cifar10-conv3", **LOCAL, "horizon": 500},
        "MNIST ReLU, short": {"name": "mnist-relu", **MLP, **LOCAL, "horizon": 400},
    },
    horizon=10_000,
    every=100,
    levels=(0.3, 0.1, 0.03),
    runs=4,
    promised="",
)
SCALES = {scale.name: scale for scale in (TINY, SMALL, PAPER)}
