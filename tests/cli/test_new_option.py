"""An option is declared once: one line in `zoo/recipe.py`, and it is everywhere.

The package is copied, that line is added, and the copy is asked in processes of its own.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import steppe
from steppe.store.manifest import read_manifest

PLACE = "    lr: float = setting(1e-3"
LINE = '    warmth: float = setting(0.25, "warmth of the meta-optimizer", least=0)\n'
TINY = shlex.split(
    "--task quadratic --opt learned-adam --steps 1 --unroll 1 --horizon 2 --episodes 1 --cores 1 "
    "--validate-every 0 --no-probe --quiet --out run"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("declared")
    leave = shutil.ignore_patterns("__pycache__", "*.jsonl", "studies")
    shutil.copytree(Path(steppe.__file__).parent, home / "steppe", ignore=leave)
    source = home / "steppe" / "zoo" / "recipe.py"
    text = source.read_text()
    assert text.count(PLACE) == 1
    source.write_text(text.replace(PLACE, LINE + PLACE))
    (home / "run.toml").write_text("[meta]\nwarmth = 0.5\n")
    return home


def call(home: Path, *words: str) -> subprocess.CompletedProcess:
    env = {k: v for k, v in os.environ.items() if k != "STEPPE_DEBUG"} | {"PYTHONPATH": str(home)}
    command = [sys.executable, "-m", "steppe", "train", *words]
    return subprocess.run(command, cwd=home, capture_output=True, text=True, env=env)


def test_help_has_it(home):
    line = "  --meta-warmth X             warmth of the meta-optimizer (default: 0.25)"
    assert line in call(home, "--help").stdout.splitlines()


def test_the_line_is_checked_by_what_was_declared(home):
    answer = call(home, *TINY, "--meta-warmth", "-1")
    said = "steppe: --meta-warmth must be zero or a positive number, got -1.\n"
    assert (answer.returncode, answer.stderr) == (2, said)
    assert "did you mean '--meta-warmth'" in call(home, *TINY, "--meta-warmt", "1").stderr


def test_a_file_sets_it_and_run_and_checkpoint_keep_it(home):
    answer = call(home, *TINY, "--config", "run.toml")
    assert answer.returncode == 0, answer.stderr
    config = json.loads((home / "run" / "config.json").read_text())
    assert config["recipe"]["meta"]["warmth"] == 0.5
    assert "--meta-warmth 0.5" in config["command"]
    for name in ("step-00000001", "model"):
        manifest = read_manifest(home / "run" / f"{name}.safetensors")
        assert manifest["recipe"]["meta"]["warmth"] == 0.5
    other = call(home, "--resume", "run", "--meta-warmth", "0.75")
    assert other.returncode == 2 and "--meta-warmth is 0.5 in run, got 0.75" in other.stderr
