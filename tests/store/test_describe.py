"""An object described as JSON is rebuilt as the same object without its numbers."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import pytest
from jaxtyping import Array

from steppe.store.checkpoint import CheckpointError, load, save
from steppe.store.describe import describe, rebuild


class Net(eqx.Module):
    weight: Array
    hidden: tuple[int, ...] = eqx.field(static=True)
    scale: float = eqx.field(static=True)

    def __init__(self, hidden, scale=0.5, *, key):
        self.hidden, self.scale = hidden, scale
        self.weight = jr.normal(key, hidden, jnp.float32)


class Scaled(eqx.Module):
    """Looks at the value of an array while it is built."""

    base: eqx.Module
    rho: Array = eqx.field(converter=jnp.asarray)

    def __check_init__(self):
        if not self.rho > 0:
            raise ValueError("rho must be positive")


class Chain(eqx.Module):
    parts: tuple
    rates: dict
    name: str | None = eqx.field(static=True)

    def __init__(self, *parts, name=None, **rates):
        self.parts, self.name = parts, name
        self.rates = {k: jnp.asarray(v, jnp.float32) for k, v in rates.items()}


class Renaming(eqx.Module):
    size: int

    def __init__(self, width):
        self.size = width


class Holder(eqx.Module):
    thing: object


KINDS = {cls.__name__: cls for cls in (Net, Scaled, Chain, Renaming, Holder)}

EXAMPLES = [
    Net((2, 3), key=jr.key(1)),
    Scaled(Net((4,), key=jr.key(1)), 0.1),
    Chain(Net((2,), key=jr.key(1)), Scaled(Holder(None), 2), name="two", lr=0.1, beta=0.9),
    Holder({"sizes": (1, (2, 3)), "on": True}),
]


@pytest.mark.parametrize("obj", EXAMPLES, ids=lambda obj: type(obj).__name__)
def test_rebuilt_object_has_the_same_skeleton(obj):
    description = describe(obj)
    assert json.loads(json.dumps(description)) == description
    skeleton = rebuild(description, KINDS)
    expected = eqx.filter_eval_shape(lambda: obj)
    assert jtu.tree_structure(skeleton) == jtu.tree_structure(expected)
    for a, b in zip(jtu.tree_leaves(skeleton), jtu.tree_leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype) if hasattr(a, "shape") else a == b


def test_description_is_the_constructor_call():
    net = {"kind": "Net", "hyper": {"hidden": [4], "scale": 0.5}}
    assert describe(EXAMPLES[1]) == {
        "kind": "Scaled",
        "hyper": {"base": net, "rho": float(jnp.asarray(0.1))},
    }


def test_checkpoint_rebuilds_its_optimizer_from_the_manifest_alone(tmp_path):
    opt = EXAMPLES[2]
    save(tmp_path / "a", opt, manifest={"opt": describe(opt)})
    manifest = load(tmp_path / "a", opt)[1]
    loaded, _ = load(tmp_path / "a", rebuild(manifest["opt"], KINDS))
    assert eqx.tree_equal(loaded, opt)


def test_rebuild_computes_nothing():
    huge = rebuild({"kind": "Net", "hyper": {"hidden": [10**6, 10**6]}}, KINDS)
    assert huge.weight.shape == (10**6, 10**6)
    assert isinstance(huge.weight, jax.ShapeDtypeStruct)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.int32, jnp.bool_])
def test_scalar_arrays_become_plain_numbers(dtype):
    value = describe(Holder(jnp.array(1, dtype)))["hyper"]["thing"]
    assert value == 1 and type(value) in (bool, int, float)


@pytest.mark.parametrize(
    ("obj", "words"),
    [
        (Renaming(3), "Renaming takes the argument 'width' but has no field"),
        (Holder(jnp.ones(3, jnp.float32)), r"Holder.thing is an array float32\[3\]"),
        (Holder(jnp.ones(3, jnp.bfloat16)), r"an array bfloat16\[3\]"),
        (Holder(jr.key(0)), r"an array key<fry>\[\]"),
        (Holder((1, jnp.tanh)), r"Holder.thing\[1\] is the callable tanh.*name as a string"),
        (Holder({1: 2}), "string keys only"),
        (Holder(Holder(1j)), "Holder.thing is a complex"),
    ],
)
def test_what_cannot_be_described_is_named(obj, words):
    with pytest.raises(CheckpointError, match=words):
        describe(obj)


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ({"kind": "Nett", "hyper": {}}, "kind: found 'Nett', expected a known name such as 'Net'"),
        ({"kind": "Zzz", "hyper": {}}, "one of Chain, Holder, Net, Renaming, Scaled"),
        ({"kind": "Net", "hyper": {"hiden": [1]}}, "Net: found the entry 'hiden', .* 'hidden'"),
        ({"kind": "Net", "hyper": {}}, "Net: found no entry 'hidden'"),
        ({"kind": "Holder", "hyper": {"thing": {"kind": "Nett", "hyper": {}}}}, "'Nett'"),
        ({"hyper": {}}, "found a table of 1, expected a table of the two entries"),
        (None, "found null, expected a table of the two entries"),
    ],
)
def test_what_cannot_be_rebuilt_is_named(description, words):
    with pytest.raises(CheckpointError, match=words):
        rebuild(description, KINDS)


def test_values_are_checked_again_on_rebuilding():
    bad = describe(EXAMPLES[1])
    bad["hyper"]["rho"] = -1.0
    with pytest.raises(ValueError, match="rho must be positive"):
        rebuild(bad, KINDS)
