"""docs/which-optimizer.md says what the records say."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from steppe.core import tree
from steppe.evaluation.compare import figure
from steppe.studies.shipped_weights import cifar10
from steppe.studies.study import read, records
from steppe.zoo.io import load
from steppe.zoo.presets import PRESETS
from steppe.zoo.registry import PRETRAINED

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "which-optimizer.md").read_text(encoding="utf-8")


def test_twenty_eight_intervals_are_quoted():
    """That they are those of the tables: test_outcome.py."""
    assert len(re.findall(r"\[[-+]?\d+\.\d+, ", PAGE)) == 28


def test_what_is_said_of_the_convnet_is_what_was_seen():
    rows = records(read(Path(cifar10.__file__).with_name("cifar10.jsonl")))
    loss = {row["optimizer"]: row["test_loss"] for row in rows if "lr" not in row}
    assert len(rows) == len({(row["optimizer"], row.get("lr")) for row in rows})  # one seed
    flat, plain = figure(loss["rnnprop-flat-v1"]), figure(loss["rnnprop-v1"])
    assert f"ends at a test loss of {flat} and its plain\ntwin at {plain}" in PAGE
    for family in ("dm", "l2o-scale"):
        assert loss[f"{family}-flat-v1"] < loss[f"{family}-v1"]
    [weights] = {row["weights"] for row in rows}
    assert f"one ConvNet of {weights:,}" in PAGE


def test_every_name_on_the_page_exists():
    shipped = set(re.findall(r"`([a-z0-9-]+-v\d+(?:-symbolic)?)`", PAGE))
    assert shipped and shipped <= set(PRETRAINED)
    presets = set(re.findall(r"(?:--preset |or `)([a-z]+-[a-z-]+)", PAGE))
    assert presets == {"rnnprop-flat", "rnnprop-steady", "small-mlp-flat"} <= set(PRESETS)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rnnprop-v1", "The shipped RNNProp keeps {} numbers for each parameter"),
        ("rnnprop-flat-v1", "The shipped RNNProp keeps {} numbers for each parameter"),
        ("rnnprop-flat-v1-symbolic", "(`-symbolic`) keeps {} numbers"),
    ],
)
def test_the_state_of_a_parameter_is_as_said(name, said):
    n = 1024  # one block, without padding
    opt = load(name)
    state = jax.eval_shape(lambda: opt.init(jnp.zeros(n)))
    assert said.format(tree.size(state) // n) in PAGE
