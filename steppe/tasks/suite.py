"""The named tasks, `build("mnist5k-mlp", hidden=(50,))`, and lists of them, `suite("digits")`.

Networks and sizes are those of the papers' experiments (`networks/`), with linear logits;
`build("mnist-conv", relu_logits=True)` is the published one. On 8x8 digits the ConvNet pads.
"""

import dataclasses
from typing import Any

from ..core.messages import did_you_mean
from ..core.task import AbstractTask
from ..data.images import load
from .classify import Classify
from .names import SUITES
from .networks import MLP, VGG, AbstractNetwork, ConvNet, LeNet, NASCell, ResNet
from .networks.vgg import SIXTEEN
from .synthetic.table import SYNTHETIC

DEEPER = {"hidden": (20, 20)}
CONSTANT = {"padding": "VALID", "norm": "constant"}
UNPOOLED = {"channels": (8, 8), "pool": 1, "norm": "none", "batch_size": 64}
CLASSIFIERS: dict[
    str, tuple[str, type[AbstractNetwork], dict]
] = {  # name: data, network, arguments
    "digits-mlp": ("digits", MLP, {}),
    "digits-relu": ("digits", MLP, {"activation": "relu"}),
    "digits-deeper": ("digits", MLP, DEEPER),
    "digits-conv": ("digits", ConvNet, {}),
    "digits-conv-unpooled": ("digits", ConvNet, UNPOOLED),
    "digits-nas": ("digits", NASCell, {}),
    "digits-vgg": ("digits", VGG, {}),
    "digits-resnet": ("digits", ResNet, {}),
    "mnist5k-mlp": ("mnist5k", MLP, {}),
    "mnist5k-relu": ("mnist5k", MLP, {"activation": "relu"}),
    "mnist5k-deeper": ("mnist5k", MLP, DEEPER),
    "mnist5k-conv": ("mnist5k", ConvNet, {"padding": "VALID"}),
    "mnist5k-conv-constant": ("mnist5k", ConvNet, CONSTANT),
    "mnist5k-conv-unpooled": ("mnist5k", ConvNet, UNPOOLED),
    "mnist5k-lenet": ("mnist5k", LeNet, {}),
    "mnist5k-nas": ("mnist5k", NASCell, {}),
    "mnist5k-vgg": ("mnist5k", VGG, {}),
    "mnist5k-resnet": ("mnist5k", ResNet, {}),
    "mnist-mlp": ("mnist", MLP, {}),
    "mnist-relu": ("mnist", MLP, {"activation": "relu"}),
    "mnist-deeper": ("mnist", MLP, DEEPER),
    "mnist-conv": ("mnist", ConvNet, {"padding": "VALID"}),
    "mnist-conv-constant": ("mnist", ConvNet, CONSTANT),
    "mnist-conv-unpooled": ("mnist", ConvNet, UNPOOLED),
    "mnist-lenet": ("mnist", LeNet, {}),
    "mnist-nas": ("mnist", NASCell, {}),
    "mnist-vgg": ("mnist", VGG, {}),
    "mnist-resnet": ("mnist", ResNet, {}),
    "cifar10-relu": ("cifar10", MLP, {"activation": "relu"}),
    "cifar10-conv": ("cifar10", ConvNet, {"padding": "VALID", "strides": (2, 2)}),
    "cifar10-conv-constant": ("cifar10", ConvNet, CONSTANT | {"strides": (2, 2)}),
    "cifar10-conv-unpooled": ("cifar10", ConvNet, UNPOOLED | {"channels": (16, 16)}),
    "cifar10-lenet": ("cifar10", LeNet, {}),
    "cifar10-nas": ("cifar10", NASCell, {}),
    "cifar10-vgg": ("cifar10", VGG, {}),
    "cifar10-vgg16": ("cifar10", VGG, {"stages": SIXTEEN}),
    "cifar10-resnet": ("cifar10", ResNet, {}),
    "cifar10-resnet20": ("cifar10", ResNet, {"blocks": 3}),
}
TASKS = (*SYNTHETIC, *CLASSIFIERS)


def suite(name: str) -> tuple[str, ...]:
    """The names of the tasks in this list.

    >>> suite("l2o-scale-large")
    ('quadratic-784', 'quadratic-1024', 'quadratic-2048')
    """
    if name not in SUITES:
        raise ValueError(f"There is no suite {name!r}; {did_you_mean(name, SUITES)}")
    return SUITES[name]


def build(name: str, **overrides) -> AbstractTask:
    """The task of this name, with some of its `options` changed."""
    given = options(name)
    for option in overrides:
        if option not in given:
            raise ValueError(
                f"The task {name} has no option {option!r}; {did_you_mean(option, given)}"
            )
    given |= overrides
    if name in SYNTHETIC:
        return SYNTHETIC[name][0](**given)
    data, network, _ = CLASSIFIERS[name]
    dataset = load(data, given.pop("folder", None))
    around = {option: given.pop(option) for option in ("batch_size", "report")}
    return Classify(dataset, network(**given), **around)


def options(name: str) -> dict[str, Any]:
    """What `build` takes for this task, with the values it takes if nothing is said.

    >>> options("quadratic-dm")["instances"]
    128
    """
    if name in SYNTHETIC:
        cls, arguments = SYNTHETIC[name]
        return defaults(cls) | arguments
    if name in CLASSIFIERS:
        data, network, arguments = CLASSIFIERS[name]
        folder = {"folder": None} if data in ("mnist", "cifar10") else {}
        return folder | defaults(Classify) | defaults(network) | arguments
    raise ValueError(f"There is no task {name!r}; {did_you_mean(name, TASKS)}")


def defaults(cls: type) -> dict[str, Any]:
    """The constructor arguments that have a default, with it."""
    return {
        field.name: field.default
        for field in dataclasses.fields(cls)
        if field.default is not dataclasses.MISSING
    }
