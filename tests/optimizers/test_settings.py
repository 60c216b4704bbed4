"""Settings without JAX are those of the constructors; the shapes they imply, of the weights."""

import dataclasses
import inspect
import random
import typing

import equinox as eqx
import jax.random as jr
import jax.tree_util as jtu
import pytest

from steppe.optimizers import settings
from steppe.optimizers.learned.dm import DM
from steppe.optimizers.learned.rnnprop import RNNProp
from steppe.optimizers.learned.scale import Scale
from steppe.optimizers.learned.small_mlp import SmallMLP
from steppe.optimizers.learned.symbolic import Symbolic
from steppe.store.describe import hints_of

CLASSES: dict[str, typing.Callable] = {
    "DM": DM,
    "RNNProp": RNNProp,
    "Scale": Scale,
    "SmallMLP": SmallMLP,
    "Symbolic": Symbolic,
}
FORMULAS = (
    {"formula": "-0.01 * tanh(1.3 * mn95)"},
    {"formula": "c0 * g + 3", "coefficients": (0.5,)},
    {"formula": "g", "coefficients": ()},
)


def options(kind: str, rng: random.Random) -> dict:
    """Settings drawn at random among those that the constructor takes."""
    layers = tuple(rng.randint(0, 4) for _ in range(rng.randint(0, 3)))
    extras = {"time_scales": tuple(rng.uniform(1, 99) for _ in range(rng.randint(0, 2)))}
    extras |= {"horizon": rng.choice([None, 500]), "weight_decay": rng.choice([0.0, 1e-3])}
    if kind == "DM":
        return {"hidden": layers, "preprocess": rng.choice(["log_and_sign", "none"]), **extras}
    if kind == "RNNProp":
        return {"hidden": layers, "features": rng.randint(1, 4), **extras}
    if kind == "SmallMLP":
        layers, betas = (rng.randint(1, 4), rng.randint(1, 4)), (0.5,) * rng.randint(1, 3)
        del extras["horizon"]
        return {"hidden": layers, "betas": betas, **extras}
    if kind == "Symbolic":
        return rng.choice(FORMULAS)
    made: dict = {"levels": tuple(rng.randint(1, 4) for _ in range(rng.randint(1, 3)))}
    made["scales"] = rng.randint(1, 4)
    flags = [f.name for f in dataclasses.fields(settings.Scale) if f.type in (bool, "bool")]
    made |= {name: rng.random() < 0.5 for name in flags}
    return made if made["dynamic"] else made | dict.fromkeys(LOOKING, False)


LOOKING = ("relative_lr", "extreme", "lr_shortcut")  # at learning rates, which `dynamic` brings


@pytest.mark.parametrize(
    ("kind", "count"),
    [("DM", 6), ("RNNProp", 6), ("Scale", 14), ("SmallMLP", 6), ("Symbolic", 3)],
)
def test_shapes_are_those_of_the_weights(kind, count):
    rng = random.Random(kind)
    for _ in range(count):
        given = options(kind, rng)
        key = {} if kind == "Symbolic" else {"key": jr.key(0)}
        opt = eqx.filter_eval_shape(lambda given=given | key: CLASSES[kind](**given))
        arrays = {jtu.keystr(where): x.shape for where, x in jtu.tree_leaves_with_path(opt)}
        assert settings.KINDS[kind](**given).shapes == arrays, given


@pytest.mark.parametrize("kind", CLASSES)
def test_names_hints_and_defaults_are_those_of_the_constructor(kind):
    known = settings.KINDS[kind]
    arguments = dict(inspect.signature(CLASSES[kind]).parameters)
    arguments.pop("key", None)
    assert [field.name for field in dataclasses.fields(known)] == list(arguments)
    assert {n: a.default for n, a in arguments.items()} == dataclasses.asdict(known())
    assert hints_of(known) == hints_of(CLASSES[kind])
