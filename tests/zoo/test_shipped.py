"""What is shipped: weights that work, each with a card in its own file."""

import dataclasses
import inspect
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import equinox as eqx
import jax.random as jr
import pytest

from steppe.certificates import verify
from steppe.certificates.certificate import from_document
from steppe.core.episode import begin, unroll
from steppe.core.expression import parse, size
from steppe.core.task import Problem
from steppe.optimizers.learned.symbolic import Symbolic
from steppe.solvers.solver import stranger
from steppe.store.checkpoint import CheckpointError
from steppe.store.manifest import read
from steppe.store.untrusted import Source
from steppe.tasks.suite import build
from steppe.zoo import PRETRAINED, card, load, save
from steppe.zoo import io as pretrained
from steppe.zoo.recipe_json import from_json
from steppe.zoo.registry import WEIGHTS

ROOT = Path(__file__).parents[2]
STEPS = 150
STARTS = range(2**31, 2**31 + 2)  # the study and `ship.py` fold their keys from small numbers


def test_every_name_has_a_small_file_and_every_file_a_name():
    files = {path.stem: path for path in WEIGHTS.iterdir()}
    assert set(files) == set(PRETRAINED)
    assert all(path.stat().st_size < 100_000 for path in files.values())


@pytest.mark.parametrize("name", PRETRAINED)
def test_its_card_says_everything(name):
    found = card(name)
    about = PRETRAINED[name].about
    assert (found.name, found.summary, found.licence) == (name, about, "Apache-2.0")
    for field in dataclasses.fields(found):
        given = getattr(found, field.name)
        assert given not in ("", (), {}, None) or field.name == "others", field.name
    assert 0 < found.kept <= found.meta_steps <= from_json(found.recipe).run.steps
    assert {line.task for line in found.table} == set(found.tasks)
    measured = [line for line in found.table if line.metric.startswith("test")]
    assert found.rivals == ("Adam", "SAM")
    assert all(None not in line.rivals.values() for line in measured)
    assert "local changes" not in found.commit
    horizon = str(from_json(found.recipe).estimator.horizon)
    assert any(horizon in said for said in found.failures)


@pytest.mark.parametrize("name", [name for name in PRETRAINED if "-flat" not in name])
def test_twins_differ_by_the_measure_of_flatness_alone(name):
    plain, flat = card(name), card(name.replace("-v", "-flat-v"))
    assert "penalty" not in plain.recipe and flat.recipe["penalty"]["weight"] > 0
    assert plain.recipe == {key: x for key, x in flat.recipe.items() if key != "penalty"}
    assert (plain.meta_seed, plain.meta_task) == (flat.meta_seed, flat.meta_task)
    assert not eqx.tree_equal(load(name), load(flat.name))
    [ours, its] = ([(x.task, x.metric, x.rivals) for x in c.table] for c in (plain, flat))
    assert ours == its  # the rivals are the same


@eqx.filter_jit
def descent(opt, key):
    """Training loss before and after STEPS steps, from a start that meta-training did not see."""
    task = build("digits-relu", start="he")
    first = begin(task, opt, key)
    last, _ = unroll(task, opt, first, STEPS, lambda step: ())
    whole = Problem(task, first.instance, task.full_batch(first.instance, split="train"), key)
    return whole.value(first.params), whole.value(last.params)


@pytest.mark.parametrize("name", PRETRAINED)
def test_it_halves_the_loss_of_a_network(name):
    opt = load(name)
    left = [after / before for before, after in (descent(opt, jr.key(s)) for s in STARTS)]
    assert sum(left) / len(left) < 0.5


@pytest.mark.parametrize("name", PRETRAINED)
def test_a_formula_that_is_shipped_is_the_one_on_its_card(name):
    found = card(name)
    formula, teacher = found.formula, name.removesuffix("-symbolic")
    assert formula.optimizer == teacher and {x.task for x in formula.likeness} >= {"digits-mlp"}
    e = parse(formula.text)
    assert size(e) == formula.nodes
    opt = load(name)
    if name == teacher:
        assert not isinstance(opt, Symbolic) and formula.r2 is not None
        return
    assert opt.text(4) == formula.text and formula.nodes <= 15
    assert Symbolic(card(teacher).formula.text).formula == opt.formula  # its numbers are tuned
    unseen = [x for x in formula.likeness if x.task != card(teacher).meta_task["name"]]
    assert unseen and all(x.mean <= 1.05 for x in unseen)


@pytest.mark.parametrize("name", PRETRAINED)
def test_loading_and_saving_keeps_every_bit(name, tmp_path):
    assert eqx.tree_equal(load(name), load(name))
    about = card(name), pretrained.certificate(name)
    pretrained.write_shipped(tmp_path / "again", load(name), *about)
    (again, bits), (shipped, theirs) = read(tmp_path / "again"), read(pretrained.path(name))
    assert bits == theirs and again.tensors == shipped.tensors
    hyper = again.manifest["hyper"]  # arguments that came since have their defaults
    defaults = inspect.signature(type(load(name))).parameters
    came = hyper.keys() - shipped.manifest["hyper"].keys()
    since = json.loads(json.dumps({name: defaults[name].default for name in came}))
    assert hyper == shipped.manifest["hyper"] | since
    assert again.manifest | {"hyper": 0} == shipped.manifest | {"hyper": 0}
    same = (tmp_path / "again").read_bytes() == pretrained.path(name).read_bytes()
    assert same or since


TWINS = [name for name in PRETRAINED if not name.endswith("-symbolic")]


@pytest.mark.parametrize("name", TWINS)
def test_a_certificate_of_flatness_and_of_the_gap_is_inside_and_holds(name):
    cert = from_document(pretrained.certificate(name), Source(name))
    assert verify(cert) == [] and stranger(cert, load(name)) is None
    (claim,) = cert.claims
    names = [m["name"] for m in claim["measures"]]
    assert names == ["test loss", "test error", "gap", "trace", "top eigenvalue"]
    assert (claim["level"], cert.joint_delta, claim["at_loss"]) == (0.9, 0.01, None)
    task = dict(card(name).meta_task)
    assert (cert.tasks["name"], cert.tasks["options"]) == (task.pop("name"), task)
    assert cert.steps == card(name).horizon
    said = pretrained.certified(pretrained.manifest(name))
    assert said == [cert.statement, *cert.warnings]
    assert stranger(cert, load(next(twin for twin in TWINS if twin != name))) is not None


def test_a_certificate_made_before_an_argument_came_is_of_the_same_optimizer():
    opt, document = load("rnnprop-v1"), pretrained.certificate("rnnprop-v1")
    cert = from_document(document, Source("rnnprop-v1"))
    hyper = {**cert.optimizer["hyper"]}
    since = hyper.pop("weight_decay")
    assert since == 0.0
    older = dataclasses.replace(cert, optimizer={**cert.optimizer, "hyper": hyper})
    assert stranger(older, opt) is None
    other = {**hyper, "beta1": 0.9}
    assert stranger(dataclasses.replace(cert, optimizer={**cert.optimizer, "hyper": other}), opt)
    hyper.pop("scale")  # 0.03 there, and 0.01 by default
    other = dataclasses.replace(cert, optimizer={**cert.optimizer, "hyper": hyper})
    assert "of another optimizer" in stranger(other, opt)


def test_failures_are_where_the_table_says_so():
    for name in PRETRAINED:
        found = card(name)
        for line in found.table:
            adam = line.rivals["Adam"]
            if line.metric == "test loss" and line.ours is not None and adam is not None:
                said = any(f"{line.task}: its test loss" in said for said in found.failures)
                assert said == (line.ours > 1.1 * adam), (name, line)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rnprop-v1", "no pretrained optimizer 'rnprop-v1'; did you mean 'rnnprop-v1'"),
        ("zzz", "no pretrained optimizer 'zzz'; use one of dm-v1, dm-flat-v1, "),
    ],
)
def test_a_wrong_name_is_one_sentence(name, words):
    for ask in (load, card):
        with pytest.raises(CheckpointError, match=words):
            ask(name)


def test_a_file_without_a_card_is_refused(tmp_path):
    opt = load("dm-v1")
    save(tmp_path / "dm-v1.safetensors", opt)
    with pytest.raises(CheckpointError, match="has no card"):
        card(tmp_path / "dm-v1.safetensors")


def test_cards_are_read_without_jax():
    code = "import sys, steppe; steppe.card('dm-v1'); sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_wheel_takes_the_weights_along():
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    kept = wheel["targets"]["wheel"]
    assert kept["packages"] == ["steppe"]
    assert all(part.startswith("/steppe/studies/") for part in kept.get("exclude", ()))
    ignored = (ROOT / ".gitignore").read_text()  # hatch leaves out what git ignores
    assert "safetensors" not in ignored and "weights" not in ignored
