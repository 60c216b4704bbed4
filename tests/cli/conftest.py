"""Commands run in this process, and one small finished run that many tests look at."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cli.runs import TINY, Answer

from steppe.cli.main import main


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
