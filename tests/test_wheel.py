"""The wheel in two clean environments: PyTorch without JAX, JAX without PyTorch. Needs an index."""

import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TORCH = """
import importlib.util, torch
assert importlib.util.find_spec("jax") is None
from steppe.torch import LearnedOptimizer
x = torch.nn.Parameter(torch.ones(3))
for name in ("dm-v1", "rnnprop-flat-v1", "l2o-scale-v1"):
    opt = LearnedOptimizer([x], name)
    x.square().sum().backward()
    opt.step()
assert bool(x.isfinite().all()) and not bool((x == 1).any())
import steppe
try:
    steppe.BPTT
except ImportError as error:
    print(error)
assert "jax" not in __import__("sys").modules
"""
README = (ROOT / "README.md").read_text(encoding="utf-8")
[FIRST, *_] = re.findall(
    r"```python\n(.*?)```", README, re.DOTALL
)  # the lines that a newcomer runs
JAX = (
    FIRST
    + """
import importlib.util, jax, steppe
assert importlib.util.find_spec("torch") is None
tx = steppe.to_optax(steppe.load("rnnprop-v1"))
x = {"w": jax.numpy.ones(3)}
updates, _ = tx.update(x, tx.init(x), x)
assert bool((updates["w"] != 0).all())
try:
    import steppe.torch
except ImportError as error:
    print(error)
"""
)


def run(*words: object, **options) -> str:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [str(word) for word in words]
    done = subprocess.run(words, capture_output=True, text=True, env=clean, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT)
    [found] = folder.glob("steppe-*.whl")
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("install", "code", "said", "verbs"),
    [
        (
            ("torch", "--no-deps"),
            TORCH,
            "which is not installed: pip install steppe.\n",
            (
                "list pretrained",
                "info rnnprop-v1",
                "export dm-v1 --to torch",
                "reproduce horizons --help",
            ),
        ),
        (
            (),
            JAX,
            'which is not installed: pip install "steppe[torch]".\n',
            (
                "list",
                "doctor",
                "eval rnnprop-v1 --task quadratic --seeds 1 --horizons 5",
                "reproduce theory --workers 1",
            ),
        ),
    ],
)
def test_a_clean_environment_needs_only_its_own_framework(
    wheel, tmp_path, install, code, said, verbs
):
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = (python, "-m", "pip", "install", "--quiet")
    others = [word for word in install if not word.startswith("-")]
    if others:
        run(*pip, *others)
    run(*pip, *(word for word in install if word not in others), wheel)
    assert run(python, "-c", code, cwd=tmp_path).endswith(said)
    for words in verbs:
        assert run(python, "-m", "steppe", *words.split(), cwd=tmp_path)


@pytest.mark.slow
def test_studies_are_in_the_wheel_and_their_records_are_not(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "steppe/studies/flatness/report.html.j2" in names
    assert "steppe/py.typed" in names
    assert "steppe/studies/speed/meta_step.py" in names
    kept = [name for name in names if name.endswith((".jsonl", ".json"))]
    assert [name for name in kept if "/llm_catalyst/answers/" not in name] == []
    assert wheel.stat().st_size < 2_000_000
