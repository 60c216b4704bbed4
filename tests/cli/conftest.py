"""Commands run in this process, and one small finished run that many tests look at."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from steppe.cli.main import main

# The smallest run that has several checkpoints and validations.
TINY = shlex.split(
    "--task quadratic --opt dm --hidden 2 --steps 12 --unroll 2 --horizon 4 --episodes 2 "
    "--validate-every 4 --checkpoint-every 4 --cores 2"
)


class Answer(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """What stderr says, which has to be one line and no traceback."""
        assert self.err.startswith("steppe: "), self.err
        assert self.err.count("\n") == 1, self.err
        assert self.err.rstrip()[-1] in ".?)", self.err
        return self.err


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "slow" in config.getoption("-m"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: run with -m slow"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes minutes, run with -m slow")


@pytest.fixture
def steppe(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Answer]:
    """Run a command in an empty folder: `steppe("info", path)`."""
    monkeypatch.delenv("STEPPE_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> Answer:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Answer(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run. Copy it before you change anything."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert main(["train", *TINY, "--out", str(folder), "--quiet"]) == 0
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, byte by byte."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
