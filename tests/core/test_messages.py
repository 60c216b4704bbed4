"""Words that answers have in common."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from steppe.core.messages import EXTRAS, missing

ROOT = Path(__file__).parents[2]


def test_what_an_extra_brings_is_what_it_says():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert declared["dependencies"] == []  # see docs/torch.md
    for extra, packages in EXTRAS.items():
        wanted = {
            re.match(r"[\w.-]+", requirement).group()
            for requirement in declared["optional-dependencies"][extra]
        }
        assert set(packages) - {"jaxlib"} <= wanted


def test_a_package_of_no_extra_is_named_itself():
    error = ModuleNotFoundError("No module named 'yaml.reader'", name="yaml.reader")
    assert missing(error) == "This needs yaml, which is not installed: pip install yaml."


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import steppe; steppe.BPTT", 'ImportError: This needs .*pip install "steppe.jax."'),
        ("from steppe.__main__ import main; main()", 'steppe: This needs .*"steppe.jax."'),
    ],
)
def test_without_jax_one_sentence_says_what_to_install(code, said):
    block = "import sys; sys.modules.update(dict.fromkeys(['jax', 'equinox', 'jaxtyping'])); "
    words = ["theory"] if "main" in code else []
    done = subprocess.run(
        [sys.executable, "-c", block + code, *words], capture_output=True, text=True
    )
    assert re.search(said, done.stderr), done.stderr
