"""The page "add your own": its blocks run, do what they say, and are short."""

import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import steppe
from steppe.core.task import draw
from steppe.zoo import TABLES

PAGE = Path(__file__).parents[1] / "docs" / "add_your_own.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
MODULE = "rates"  # the block that the page says is a file


def lines(block):
    """Lines of code, imports aside."""
    kept = [line for line in block.splitlines() if line.strip()]
    return [line for line in kept if not line.startswith(("import ", "from "))]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Names that the page defines, its blocks run one after the other."""
    folder, names = tmp_path_factory.mktemp("page"), {"__name__": "page"}
    known = {what: dict(table) for what, table in TABLES.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        for block in BLOCKS:
            if "def train(cell)" in block:
                (folder / f"{MODULE}.py").write_text(block, encoding="utf-8")
            else:
                exec(compile(block, PAGE.name, "exec"), names)
        yield names
        sys.modules.pop(MODULE, None)
    for what, table in known.items():
        TABLES[what].clear()
        TABLES[what].update(table)


def test_each_takes_ten_lines_at_most():
    assert len(BLOCKS) >= 8
    assert max(len(lines(block)) for block in BLOCKS) <= 10


def test_the_optimizer_moves_along_signs(page):
    opt = page["Signed"](jnp.log(0.5))
    updates, _ = opt.update(jnp.array([3.0, -0.1]), opt.init(jnp.zeros(2)), jnp.zeros(2))
    assert updates == pytest.approx(np.array([-0.5, 0.5]))


def test_the_task_was_trained_on(page):
    assert page["opt"].log_lr != jnp.log(0.1)
    task = page["Bowl"]()
    instance = task.sample(jr.key(0))
    problem = draw(task, instance, jr.key(1), split="train")
    assert problem.grad(jnp.ones(3)) == pytest.approx(np.asarray(instance))


def test_ista_comes_to_the_minimum_of_the_structured_problem(page):
    task = page["Recovery"]()
    instance = task.sample(jr.key(0))
    loss = draw(task, instance, jr.key(1), split="train").loss()
    x = jax.lax.fori_loop(0, 3000, lambda _, x: page["ista"](loss, x), jnp.ones(8))
    system = instance[0]
    slope = system.adjoint(system.forward(x) - system.b)  # −slope is in 0.1 ∂‖x‖₁
    assert jnp.all(jnp.abs(slope) <= 0.1 + 1e-8)
    assert slope[x != 0] == pytest.approx(-0.1 * np.sign(x[x != 0]), abs=1e-8)


def test_the_family_is_solved_to_its_proven_minimum(page):
    least, last = page["least"], page["last"]
    assert least.gap <= 1e-13 and 0 < np.count_nonzero(least.x) < 30
    np.testing.assert_allclose(last.params, least.x, atol=1e-6)


def test_the_measure_is_the_largest_slope(page):
    bowl = lambda x: jnp.sum(x**2)
    found = page["LargestGradient"]()(bowl, jnp.array([1.0, -3.0]), key=jr.key(0))
    assert found == pytest.approx(6.0)


def test_what_is_registered_is_saved_and_loaded(page):
    assert page["again"].log_lr == page["opt"].log_lr
    assert type(page["again"]) is page["Signed"] and type(page["task"]) is page["Bowl"]


def test_the_optimizer_that_readme_invents_is_saved_and_loaded(page, tmp_path):
    text = (PAGE.parents[1] / "README.md").read_text(encoding="utf-8")
    [block] = [b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "class " in b]
    names = {"__name__": "readme"}
    steppe.zoo.OPTIMIZERS.pop("signed")  # that of the page has the same name
    exec(compile(block, "README.md", "exec"), names)
    steppe.save(tmp_path / "a.safetensors", names["Signed"](jnp.log(0.5)))
    again = steppe.load(tmp_path / "a.safetensors")
    assert type(again) is names["Signed"] and again.log_lr == jnp.log(0.5)


def test_the_study_goes_on_from_what_is_done(page):
    text = page["answer"].text
    assert "0.01" in text and "0.1" in text
    again = page["reproduce"](page["study"], 2, "runs/rates", engine="serial")[1]
    assert len(again.done) == 4 and page["answer"].text == text
