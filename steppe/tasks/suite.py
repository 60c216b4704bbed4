"""The named tasks: `build("mnist5k-mlp", hidden=(50,))`.

Networks and sizes are those of the papers' experiments (`networks.py`), with linear logits;
`build("mnist-conv", relu_logits=True)` is the published one. On 8x8 digits the ConvNet pads.
"""

import dataclasses
import difflib
from collections.abc import Iterable
from typing import Any

from ..core.task import AbstractTask
from ..data.images import load
from .classify import Classify
from .networks import MLP, AbstractNetwork, ConvNet
from .synthetic.table import SYNTHETIC

DEEPER = {"hidden": (20, 20)}
CLASSIFIERS: dict[
    str, tuple[str, type[AbstractNetwork], dict]
] = {  # name: data, network, arguments
    "digits-mlp": ("digits", MLP, {}),
    "digits-relu": ("digits", MLP, {"activation": "relu"}),
    "digits-deeper": ("digits", MLP, DEEPER),
    "digits-conv": ("digits", ConvNet, {}),
    "mnist5k-mlp": ("mnist5k", MLP, {}),
    "mnist5k-relu": ("mnist5k", MLP, {"activation": "relu"}),
    "mnist5k-deeper": ("mnist5k", MLP, DEEPER),
    "mnist5k-conv": ("mnist5k", ConvNet, {"padding": "VALID"}),
    "mnist-mlp": ("mnist", MLP, {}),
    "mnist-relu": ("mnist", MLP, {"activation": "relu"}),
    "mnist-deeper": ("mnist", MLP, DEEPER),
    "mnist-conv": ("mnist", ConvNet, {"padding": "VALID"}),
    "cifar10-conv": ("cifar10", ConvNet, {"padding": "VALID", "strides": (2, 2)}),
}
TASKS = (*SYNTHETIC, *CLASSIFIERS)


def build(name: str, **overrides) -> AbstractTask:
    """The task of this name, with some of its `options` changed."""
    given = options(name)
    for option in overrides:
        if option not in given:
            raise ValueError(f"The task {name} has no option {option!r}; {hint(option, given)}")
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
    raise ValueError(f"There is no task {name!r}; {hint(name, TASKS)}")


def defaults(cls: type) -> dict[str, Any]:
    """The constructor arguments that have a default, with it."""
    return {
        field.name: field.default
        for field in dataclasses.fields(cls)
        if field.default is not dataclasses.MISSING
    }


def hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(known)}."
