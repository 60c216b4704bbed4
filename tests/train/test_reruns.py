"""A run that is done again comes out the same, to the last bit, whatever else the machine does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from steppe.evaluation.engines import THREADS, one_thread, usable_cores
from steppe.studies.study import Conclusion, Study, records, reproduce

HERE = Path(__file__).parent
BUSY = "while True: sum(range(100_000))"


def process(*words, stdout=subprocess.PIPE, **variables):
    """A worker with the flags that users have, not those of the tests."""
    plain = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", THREADS)}
    path = os.pathsep.join([str(HERE.parents[1]), str(HERE), *sys.path])
    env = plain | {"PYTHONPATH": path} | variables
    command = [sys.executable, *words]
    return subprocess.Popen(command, env=env, stdout=stdout, text=True)


def runs(what, loads, **variables):
    """What a run says, once for each number of other processes that keep the cores busy."""
    found = []
    for load in loads:
        others = [process("-c", BUSY, stdout=subprocess.DEVNULL) for _ in range(load)]
        try:
            worker = process(str(HERE / "rerun_worker.py"), what, **variables)
            said, _ = worker.communicate()
        finally:
            for other in others:
                other.kill()
                other.wait()
        assert worker.returncode == 0
        found.append(json.loads(said))
    return found


@pytest.mark.slow
def test_two_processes_give_the_same_bytes_one_of_them_on_busy_cores():
    one, two = runs("small", (0, 1), **{THREADS: "1"})
    assert one == two


@pytest.mark.slow
def test_a_cell_of_the_study_gives_the_same_bytes_on_busy_cores():
    one, two = runs("study", (0, 6), **{THREADS: "1"})
    assert one == two


@pytest.mark.slow
@pytest.mark.skipif(len(usable_cores()) < 2, reason="one core is all that there is")
def test_a_study_gives_the_same_numbers_whatever_the_number_of_workers(tmp_path, monkeypatch):
    """One worker has all cores, two have a share each."""
    monkeypatch.delenv(THREADS, raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *sys.path]))
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.syspath_prepend(str(HERE))
    study = Study(
        cells=lambda n: ({"cell": k} for k in range(n)),
        work="rerun_worker:sums",
        conclude=lambda n, rows: Conclusion("", {"found": [r["digest"] for r in records(rows)]}),
    )
    found = set()
    for workers in (1, 2):
        how = {"workers": workers, "say": lambda text: None}
        conclusion, _ = reproduce(study, 2, tmp_path / str(workers), **how)
        found |= set(conclusion.content["found"])
    assert len(found) == 1


def test_threads_are_chosen_for_what_is_started_inside_alone(monkeypatch):
    monkeypatch.delenv(THREADS, raising=False)
    with one_thread():
        assert os.environ[THREADS] == "1"
    assert THREADS not in os.environ
    monkeypatch.setenv(THREADS, "3")
    with one_thread():
        assert os.environ[THREADS] == "3"
