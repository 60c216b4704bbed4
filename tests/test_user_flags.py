"""A slim set of oracles, run again as users compile: with XLA's own flags.

The suite compiles with XLA's optimisations off (conftest.py), users do not. Tests marked
`user_flags` run here a second time in one process: without our flags, on one device, and in float32
unless the mark says `x64=True`.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

TESTS = Path(__file__).parent
MARK = re.compile(r"pytest\.mark\.user_flags\b")
MEANT = {
    "estimators/test_bptt.py": 2,  # meta-gradients, of first and of second order
    "flatness/test_hessian.py": 18,  # dense Hessians
    "core/test_coordinatewise.py": 1,  # the update in place
    "train/test_loop.py": 1,  # exact resume
    "interop/test_open_l2o.py": 1,  # published trajectories
    "interop/test_parity.py": 1,
    "pytorch/test_trajectories.py": 1,
}
ABSENT = re.compile("needs the published weights|PyTorch is not installed")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> list[ElementTree.Element]:
    """Every test of the set, as pytest reports it."""
    report = tmp_path_factory.mktemp("user_flags") / "report.xml"
    env = {k: v for k, v in os.environ.items() if not k.startswith(("XLA_FLAGS", "PYTEST"))}
    words = ["-m", "user_flags", "-q", "-n", "0", "--junitxml", report]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, *(TESTS / name for name in MEANT)],
        env=env | {"STEPPE_TEST_USER_FLAGS": "1"},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return list(ElementTree.parse(report).iter("testcase"))


def test_every_marked_test_is_in_the_set():
    marked = {str(path.relative_to(TESTS)) for path in TESTS.rglob("test_*.py")
              if MARK.search(path.read_text())}  # fmt: skip
    assert marked - {Path(__file__).name} == set(MEANT)


@pytest.mark.parametrize("name", MEANT)
def test_it_holds_as_users_compile(name, outcomes):
    module = "tests." + name.removesuffix(".py").replace("/", ".")
    cases = [case for case in outcomes if module in (case.get("classname"), case.get("name"))]
    bad = [ElementTree.tostring(part, "unicode") for case in cases for part in case
           if part.tag in ("failure", "error")]  # fmt: skip
    assert not bad, "\n".join(bad)
    skipped = [part.get("message", "") for case in cases for part in case if part.tag == "skipped"]
    assert all(ABSENT.search(reason) for reason in skipped), skipped
    if skipped:
        pytest.skip(skipped[0])
    assert len(cases) == MEANT[name]


def test_nothing_else_is_in_the_set(outcomes):
    assert len(outcomes) <= sum(MEANT.values())
