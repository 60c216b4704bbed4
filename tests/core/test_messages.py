"""Words that answers have in common."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from steppe.core.messages import BASE, EXTRAS, did_you_mean, missing

ROOT = Path(__file__).parents[2]


def test_what_an_extra_brings_is_what_it_says():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    name = lambda requirement: re.match(r"[\w.-]+", requirement).group()
    renamed = {"scikit-learn": "sklearn", "pillow": "PIL"}
    base = {name(requirement) for requirement in declared["dependencies"]}
    assert set(BASE) - {"jaxlib"} == {renamed.get(package, package) for package in base}
    assert declared["optional-dependencies"]["jax"] == []  # old commands work
    for extra, packages in EXTRAS.items():
        brought = {name(requirement) for requirement in declared["optional-dependencies"][extra]}
        assert set(packages) == brought


MANY = ["quadratic", *(f"quadratic-{n}" for n in range(40)), "digits-mlp", "digits-relu", "ackley"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("quadratik", "did you mean 'quadratic'?"),  # one slip of the pen: one answer
        ("DIGITS-MLP", "did you mean 'digits-mlp'?"),
        ("digits", "did you mean 'digits-mlp' or 'digits-relu'?"),
        ("y", "the closest are 'ackley', 'quadratic' and 'quadratic-0'; see `steppe list`."),
    ],
)
def test_an_unknown_name_is_answered_by_three_at_most(name, said):
    assert did_you_mean(name, MANY, see="`steppe list`") == said


def test_a_package_of_no_extra_is_named_itself():
    error = ModuleNotFoundError("No module named 'yaml.reader'", name="yaml.reader")
    assert missing(error) == "This needs yaml, which is not installed: pip install yaml."


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import steppe; steppe.BPTT", "ImportError: This needs .*pip install steppe\\.$"),
        ("from steppe.__main__ import main; main()", "steppe: This needs .* install steppe\\.$"),
    ],
)
def test_without_jax_one_sentence_says_what_to_install(code, said):
    block = "import sys; sys.modules.update(dict.fromkeys(['jax', 'equinox', 'jaxtyping'])); "
    words = ["theory"] if "main" in code else []
    done = subprocess.run(
        [sys.executable, "-c", block + code, *words], capture_output=True, text=True
    )
    assert re.search(said, done.stderr.rstrip()), done.stderr
