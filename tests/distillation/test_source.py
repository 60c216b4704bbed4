"""Generated files: they run alone, take the steps of `Symbolic`, and carry nothing into code."""

import ast
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from steppe.core.expression import parse, rewrite
from steppe.distillation.source import TORCH, code, optax, pytorch
from steppe.optimizers.learned.symbolic import Symbolic

FORMULAS = (
    "-0.01 * g",
    "-0.001 * mn9_999",
    "-0.01 * tanh(1.3 * mn95 + 0.2 * gn95[2] - 0.1 * gn95)",
    "mom5",
    "g[3]",
    "-0.1 * m9[1] / sqrt(v99 + 1e-8) + 0.001 * mom9 * ms9",
    "-0.1 * max(sign5, 0.5) * aq(2, g) + (abs(g) + 1)^-2 - max(g, size5[1])^2 * sqrt(2)",
    "-(0.01 * sign(g)) - 0.02 * asinh(g - 2 * (g[1] - g[2])) * exp(-square(g)) * log(2 + g^2)",
    "0.25",
    "-0.01 * min(g, max(1, 2)) - (-0.5)^3 * abs(g) / 3 - aq(g, aq(3, 4)) * min(-1, g)",
)
SHAPES = ((3, 2), (), (4,))
STEPS = 6
GRADS = [np.random.default_rng(k).normal(size=(STEPS, *s)) for k, s in enumerate(SHAPES)]
PEN = """
import sys
for name in ("steppe", {other}):
    sys.modules[name] = None
import importlib.util, pathlib
import numpy as np
folder = pathlib.Path(sys.argv[1])
grads = list(np.load(folder / "grads.npz").values())
def imported(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
"""
IN_TORCH = (
    PEN.format(other='"jax"')
    + """
import copy, torch
for path in sorted(folder.glob("t*.py")):
    seen = []
    params = [torch.nn.Parameter(torch.zeros(g.shape[1:], dtype=torch.float64)) for g in grads]
    opt = imported(path).Formula(params)
    for t in range(len(grads[0])):
        if t == 4:  # through a file of its state
            other = imported(path).Formula(params)
            other.load_state_dict(copy.deepcopy(opt.state_dict()))
            opt = other
        for p, g in zip(params, grads):
            p.grad = torch.tensor(g[t])
        opt.step()
        seen.append([p.detach().numpy().copy() for p in params])
    np.savez(path.with_suffix(".npz"), *(np.stack(x) for x in zip(*seen)))
"""
)
IN_JAX = (
    PEN.format(other='"torch"')
    + """
import jax
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
import jax.numpy as jnp, optax
for path in sorted(folder.glob("o*.py")):
    params = {str(k): jnp.zeros(g.shape[1:]) for k, g in enumerate(grads)}
    tx, seen = imported(path).formula(), []
    state, step = tx.init(params), jax.jit(tx.update)
    for t in range(len(grads[0])):
        updates, state = step({str(k): jnp.asarray(g[t]) for k, g in enumerate(grads)}, state)
        params = optax.apply_updates(params, updates)
        seen.append(list(params.values()))
    np.savez(path.with_suffix(".npz"), *(np.stack(x) for x in zip(*seen)))
"""
)


@eqx.filter_jit
def trajectory(rule, grads):
    zeros = [jnp.zeros(g.shape[1:]) for g in grads]

    def step(carry, g):
        params, state = carry
        u, state = rule.update(g, state, params)
        params = [p + x for p, x in zip(params, u, strict=True)]
        return (params, state), params

    return jax.lax.scan(step, (zeros, rule.init(zeros)), grads)[1]


@pytest.mark.parametrize(
    ("program", "write", "letter"), [(IN_TORCH, pytorch, "t"), (IN_JAX, optax, "o")]
)
def test_files_run_alone_and_take_the_same_steps(program, write, letter, tmp_path):
    np.savez(tmp_path / "grads.npz", *GRADS)
    for k, text in enumerate(FORMULAS):
        (tmp_path / f"{letter}{k}.py").write_text(write(Symbolic(text), "rnnprop-flat-v1"))
    words = [sys.executable, "-W", "error", "-c", program, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for k, text in enumerate(FORMULAS):
        found = np.load(tmp_path / f"{letter}{k}.npz").values()
        right = trajectory(Symbolic(text), [jnp.asarray(g) for g in GRADS])
        for x, y in zip(found, right, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-12, err_msg=text)


def formula_class(rule):
    names = {}
    exec(compile(pytorch(rule), "formula", "exec"), names)
    return names["Formula"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_parameters_have_a_wide_state_that_survives_a_file(dtype):
    cls, draw = formula_class(Symbolic("-0.1 * mn9_999 - 0.01 * g[2]")), torch.Generator()
    grads = torch.randn(6, 5, generator=draw.manual_seed(0)).to(dtype)

    def run(pause):
        p = torch.nn.Parameter(torch.ones(5, dtype=dtype))
        opt = cls([p], lr=0.5)
        for t, g in enumerate(grads):
            if t == pause:
                kept = opt.state_dict()
                opt = cls([p], lr=0.5)
                opt.load_state_dict(kept)
            p.grad = g.clone()
            opt.step()
        assert {x.dtype for x in opt.state[p].values() if torch.is_tensor(x)} == {torch.float32}
        return p.detach()

    assert torch.equal(run(None), run(3)) and run(None).dtype == dtype


def test_weight_decay_shrinks_and_closures_are_called():
    p = torch.nn.Parameter(torch.full((2,), 2.0))
    opt = formula_class(Symbolic("-1 * g"))([p], lr=0.5, weight_decay=0.1)

    def closure():
        p.grad = torch.ones(2)
        return 7.0

    assert opt.step(closure) == 7.0
    assert torch.allclose(p.detach(), torch.full((2,), 2.0 * 0.95 - 0.5))


def test_a_trained_rule_has_its_trained_numbers():
    rule = eqx.tree_at(lambda r: r.theta, Symbolic("-0.01 * tanh(2 * g)"), jnp.array([1.0, 0.5]))
    assert "u = -0.02 * torch.tanh(3 * g)" in pytorch(rule)
    assert "u = -0.02 * jnp.tanh(3 * g)" in optax(rule)


@pytest.mark.parametrize("write", [pytorch, optax])
@pytest.mark.parametrize(
    "name",
    [
        'a"""\nimport os\nos.abort()\n"""',
        "a\\",
        "'''",
        "{body}",
        "\u2028import os",
        "x" * 10**5,
        '"',
    ],
)
def test_a_name_cannot_leave_the_heading(write, name):
    found, right = ast.parse(write(Symbolic(), name)), ast.parse(write(Symbolic(), "a"))
    assert isinstance(found.body[0], ast.Expr) and len(ast.get_docstring(found)) < 1000
    assert list(map(ast.dump, found.body[1:])) == list(map(ast.dump, right.body[1:]))


@pytest.mark.parametrize(
    "text",
    ["__import__", "os.system", "g; import os", "eval(g)", "exec", "lambda", "t", "torch", "s"],
)
def test_no_name_but_inputs_gets_as_far_as_a_file(text):
    with pytest.raises(ValueError, match="Formula"):
        pytorch(Symbolic(text))


@pytest.mark.parametrize("text", FORMULAS)
def test_lines_are_short_and_names_are_those_of_the_library(text):
    for source, module in ((pytorch(Symbolic(text)), "torch"), (optax(Symbolic(text)), "jnp")):
        tree = ast.parse(source)
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        used = {
            f.attr for f in calls if isinstance(f, ast.Attribute) and ast.unparse(f.value) == module
        }
        assert all(hasattr({"torch": torch, "jnp": jnp}[module], name) for name in used)
        assert max(map(len, source.splitlines())) <= 100
        compile(source, "formula", "exec")


def test_a_long_formula_is_broken_into_lines():
    terms = [f"{0.01 * k:g} * tanh(mn95[{k}] / 0.3)" for k in range(1, 20)]
    source = pytorch(Symbolic(" + ".join(terms)))
    assert max(map(len, source.splitlines())) <= 100
    compile(source, "formula", "exec")


def test_what_has_no_value_is_written_as_what_it_is():
    assert code(parse("sqrt(-1) * g"), TORCH) == 'float("nan") * g'
    assert code(parse("log(0) + g^2"), TORCH) == 'float("-inf") + g**2'
    assert rewrite(parse("g"), lambda x: x) == parse("g")


def test_updates_of_a_tree_keep_its_structure():
    names = {}
    exec(compile(optax(Symbolic("-0.1 * mn95[1]")), "formula", "exec"), names)
    tx, params = names["formula"](0.5), {"a": (jnp.ones(2, jnp.bfloat16), None), "b": jnp.ones(())}
    state = tx.init(params)
    for _ in range(2):
        updates, state = tx.update(params, state)
    assert jax.tree.structure(updates) == jax.tree.structure(params)
    assert updates["a"][0].dtype == jnp.bfloat16
    assert float(updates["b"]) == pytest.approx(-0.05, rel=1e-6)
    assert state.mn95_past["a"][0].shape == (1, 2) and state.mom95["a"][0].dtype == jnp.float32


@pytest.mark.parametrize("write", [pytorch, optax])
def test_a_file_is_of_a_formula(write):
    with pytest.raises(ValueError, match=r"'-0\.01 \* g'"):
        write("-0.01 * g")
