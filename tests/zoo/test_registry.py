"""One entry is all that a named thing needs."""

import json
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import pytest

import steppe
from steppe.core import loss
from steppe.core.entry import Entry, find
from steppe.core.optimizer import AbstractOptimizer
from steppe.store.manifest import CheckpointError
from steppe.zoo import TABLES, build, load, manifest, registry, save
from steppe.zoo.presets import recipe
from steppe.zoo.registry import PRETRAINED

DOCS = Path(__file__).parents[2] / "docs" / "names.md"
ENTRIES = [(what, entry) for what, table in TABLES.items() for entry in table.values()]


class Halving(AbstractOptimizer):
    """A rule of a user's own."""

    rate: jnp.ndarray
    steps: int = eqx.field(static=True)

    def __init__(self, rate: float = 0.5, steps: int = 3):
        self.rate, self.steps = jnp.asarray(rate), steps

    def init(self, params, *, key=None):
        return ()

    def update(self, grads, state, params, **extra):
        return grads, state


class HalfWayRule(AbstractOptimizer):
    """Half of the way.

    A field of its own keeps the array that it is given.
    """

    rate: jnp.ndarray

    def init(self, params, *, key=None):
        return ()

    def update(self, grads, state, params, **extra):
        return grads, state


def test_an_optimizer_of_ones_own_is_registered_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "OPTIMIZERS", optimizers := dict(registry.OPTIMIZERS))
    assert steppe.register(HalfWayRule) is HalfWayRule is steppe.register(HalfWayRule)
    assert optimizers["half-way-rule"].line == "learned: Half of the way."
    opt = build("half-way-rule", rate=jnp.array(0.25))
    steppe.save(tmp_path / "a.safetensors", opt)
    assert eqx.tree_equal(steppe.load(tmp_path / "a.safetensors"), opt)
    with pytest.raises(
        ValueError, match=r"an optimizer 'adam' already, .*HalfWayRule another name"
    ):
        steppe.register(HalfWayRule, "adam")
    other = type(
        "DM", (AbstractOptimizer,), {"init": HalfWayRule.init, "update": HalfWayRule.update}
    )
    with pytest.raises(ValueError, match="an optimizer 'dm' already, DM; give your class DM"):
        steppe.register(other, "mine")
    with pytest.raises(ValueError, match=r"takes a subclass of steppe\.AbstractOptimizer, got 3"):
        steppe.register(3)


def test_another_process_is_told_the_line_that_is_missing(tmp_path):
    """One process: saved by a class, loaded by one of the same name that was not registered."""
    code = """
import jax.numpy as jnp, steppe
class Mine(steppe.AbstractOptimizer):
    rate: jnp.ndarray
    init = lambda self, params, *, key=None: ()
    update = lambda self, grads, state, params, **extra: (grads, state)
steppe.save("a.safetensors", Mine(jnp.array(0.5)))
try:
    steppe.load("a.safetensors")
except ValueError as error:
    print(error)
steppe.register(Mine)
print(steppe.load("a.safetensors").rate)
"""
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    said, rate = done.stdout.splitlines()
    assert "the line steppe.register(Mine) is missing" in said and rate == "0.5", done.stderr


@pytest.fixture
def added(monkeypatch):
    entry = Entry("halving", "half of the way", f"{__name__}:Halving", tunable=("rate",))
    monkeypatch.setitem(TABLES["optimizers"], entry.name, entry)
    return entry


def test_an_entry_is_in_the_list_is_built_suggested_saved_and_loaded(added, capsys, tmp_path):
    from steppe.cli.main import main

    assert main(["list", "optimizers", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["optimizers"]["halving"] == "half of the way: rate"
    opt = build("halving", rate=0.25)
    assert isinstance(opt, Halving) and opt.rate == 0.25
    with pytest.raises(ValueError, match="no optimizer 'halvin'; did you mean 'halving'"):
        build("halvin")
    with pytest.raises(ValueError, match="halving has no option 'rat'; did you mean 'rate'"):
        build("halving", rat=1.0)
    save(tmp_path / "a.safetensors", opt, note="mine")
    assert manifest(tmp_path / "a.safetensors")["kind"] == "Halving"
    assert eqx.tree_equal(load(tmp_path / "a.safetensors"), opt)


def test_a_class_without_an_entry_is_not_rebuilt(tmp_path):
    save(tmp_path / "a.safetensors", Halving())
    with pytest.raises(
        CheckpointError,
        match=r"kind: found 'Halving', expected one of .* steppe.register.Halving. is missing",
    ):
        load(tmp_path / "a.safetensors")


@pytest.mark.parametrize(("what", "entry"), ENTRIES, ids=lambda x: getattr(x, "name", x))
def test_an_entry_is_true(what, entry):
    made = entry.load()
    assert callable(made) and entry.about and "\n" not in entry.about
    assert find(what, TABLES[what], entry.name) is entry
    if entry.needs:
        assert issubclass(getattr(loss, entry.needs), loss.AbstractLoss)
    if what == "optimizers":  # a rule to train is in the folder of those
        folders = ("steppe.optimizers.learned.", "steppe.optimizers.unrolled.")
        found_by_trying = hasattr(made, "candidates")
        assert entry.learned == (made.__module__.startswith(folders) and not found_by_trying)


def test_entries_of_presets_and_weights_say_how_to_get_them():
    assert eqx.tree_equal(PRETRAINED["dm-v1"].load()("dm-v1"), load("dm-v1"))
    for name, entry in TABLES["presets"].items():
        assert entry.load()(name) == recipe(name)
        assert entry.load()(name).optimizer.name == entry.family


def page():
    """docs/names.md, from the entries."""
    lines = [
        "# Names",
        "",
        "Made from the entries of `steppe.zoo.TABLES`; `steppe list` says the same.",
    ]
    for what, table in TABLES.items():
        lines += [
            "",
            f"## {what.capitalize()}",
            "",
            "| name | family | | needs |",
            "|---|---|---|---|",
        ]
        for entry in table.values():
            line = entry.line.replace("|", "\\|")
            lines.append(f"| `{entry.name}` | {entry.family} | {line} | {entry.needs} |")
    return "\n".join(lines) + "\n"


def test_docs_name_everything():
    written = DOCS.read_text(encoding="utf-8") == page()
    assert written, "write docs/names.md anew: python tests/zoo/test_registry.py"


def test_all_tables_are_read_without_jax_and_numpy():
    code = (
        "import sys, steppe.zoo.registry as r; [e.line for t in r.TABLES.values() for e in "
        "t.values()]; sys.exit(bool({'jax', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


if __name__ == "__main__":
    DOCS.write_text(page(), encoding="utf-8")
