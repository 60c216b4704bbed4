"""Grids against a plain loop, and what is left of them after every kind of accident."""

import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from evaluation import grid_work

from steppe.evaluation.engines import cluster
from steppe.evaluation.grid import cell_id, read_rows, run_grid, to_parquet
from steppe.train.stopping import Terminated

TESTS = Path(__file__).parents[1]
HERE = ["serial", "processes"]
CELLS = [{"x": x, "name": f"α{x}"} for x in (3, -1, 4, 0)]


def grid(cells, work, out, **options):
    said = []
    return run_grid(cells, f"evaluation.grid_work:{work}", out=out, say=said.append, **options)


def test_a_process_that_is_asked_to_end_ends_and_its_cell_is_no_failure(tmp_path):
    with pytest.raises(Terminated):
        grid(CELLS, "told_to_end", tmp_path / "rows.jsonl")
    assert [row.result for row in read_rows(tmp_path / "rows.jsonl")] == [{"x": 3}]


def plain_loop(cells, work):
    done, failed = [], []
    for cell in cells:
        try:
            done.append((cell, json.loads(json.dumps(work(dict(cell))))))
        except ValueError as error:
            failed.append((cell, str(error)))
    return done, failed


def told(found):
    return [(row.cell, row.result) for row in found.done], [row.cell for row in found.failed]


def marks(folder, cells):
    """How often the work of each cell was begun."""
    return [len((folder / str(cell["x"])).read_text()) for cell in cells]


def check_against_the_loop(engine, tmp_path):
    """`root` raises for −1; `square` returns a tuple, which is a list in JSON."""
    for work in (grid_work.square, grid_work.root):
        done, failed = plain_loop(CELLS, work)
        out = tmp_path / f"{work.__name__}.jsonl"
        found = grid(CELLS, work.__name__, out, engine=engine, workers=2)
        assert told(found) == (done, [cell for cell, _ in failed])
        assert sorted(r.id for r in read_rows(out)) == sorted(cell_id(c) for c in CELLS)
        assert all(said in row.error for row, (_, said) in zip(found.failed, failed, strict=True))
        assert {row.attempts for row in found.done} == {1}
        assert all("commit" in row.environment for row in found.done)


@pytest.mark.parametrize("engine", HERE)
def test_rows_are_those_of_a_plain_loop(engine, tmp_path):
    check_against_the_loop(engine, tmp_path)


def test_an_id_is_of_the_content_of_a_cell():
    """The digest of canonical JSON, by hand: printf '{"a":[1,2],"b":0.5}' | sha256sum."""
    assert cell_id({"b": 0.5, "a": (1, 2)}) == cell_id({"a": [1, 2], "b": 0.5})
    assert cell_id({"a": 1}) != cell_id({"a": 2})
    assert cell_id({"b": 0.5, "a": [1, 2]}) == "4b8a4d176b97e138"


@pytest.mark.parametrize("engine", HERE)
def test_a_run_cut_anywhere_goes_on(engine, tmp_path):
    out = tmp_path / "grid.jsonl"
    whole = grid(CELLS, "square", out)
    data = out.read_bytes()
    positions = range(0, len(data), 61) if engine == "serial" else [len(data) - 9]
    for k in positions:
        out.write_bytes(data[:k])
        again = grid(CELLS, "square", out, engine=engine)
        assert told(again) == told(whole)
        assert len(read_rows(out)) == len(CELLS)
        assert out.read_bytes().endswith(b"\n")


def test_what_has_a_result_is_not_done_again(tmp_path):
    cells = [{"x": x, "folder": str(tmp_path)} for x in range(4)]
    out = tmp_path / "grid.jsonl"
    grid(cells[:2], "counted", out)
    out.write_bytes(out.read_bytes()[:-5])  # killed while it wrote cell 1
    found = grid(cells, "counted", out)
    assert marks(tmp_path, cells) == [1, 2, 1, 1]
    assert [row.result["x"] for row in found.done] == [0, 1, 2, 3]


def test_only_the_cells_asked_for_are_told(tmp_path):
    grid(CELLS, "square", tmp_path / "grid.jsonl")
    found = grid(CELLS[2:], "square", tmp_path / "grid.jsonl")
    assert [row.cell for row in found.done] == CELLS[2:]


def test_failed_cells_are_tried_again_by_the_next_run(tmp_path):
    cells = [{"x": 0, "folder": str(tmp_path / "later")}]
    assert "FileNotFoundError" in grid(cells, "counted", tmp_path / "a").failed[0].error
    (tmp_path / "later").mkdir()
    found = grid(cells, "counted", tmp_path / "a")
    assert (len(found.done), found.failed) == (1, [])
    assert [row.error for row in read_rows(tmp_path / "a")] == [None]


@pytest.mark.parametrize(
    ("work", "sentence"),
    [
        ("root", r"ValueError: no root of -1 \(grid_work.py:\d+\)$"),
        ("leaves", "SystemExit: enough"),
        ("infinite", "not plain JSON"),
        ("nothing", "must be a mapping, got NoneType"),
    ],
)
def test_a_failed_cell_says_why(work, sentence, tmp_path):
    found = grid([{"x": -1}], work, tmp_path / "grid.jsonl")
    assert found.done == []
    with pytest.raises(RuntimeError, match=sentence):
        raise RuntimeError(found.failed[0].error)


def test_work_may_take_its_cell_apart(tmp_path):
    assert grid([{"x": 1}], "greedy", tmp_path / "grid.jsonl").done[0].cell == {"x": 1}


def check_deaths(engine, tmp_path):
    """Cell 1 kills its first worker, cell 2 all it gets; the others are done once."""
    deaths = {1: 1, 2: 99}
    cells = [{"x": x, "folder": str(tmp_path), "deaths": deaths.get(x, 0)} for x in range(5)]
    out = tmp_path / "grid.jsonl"
    found = grid(cells, "counted", out, engine=engine, workers=2, retries=1)
    assert marks(tmp_path, cells) == [1, 2, 2, 1, 1]
    assert [(row.cell["x"], row.attempts) for row in found.done] == [(0, 1), (1, 2), (3, 1), (4, 1)]
    assert [(row.cell["x"], row.attempts) for row in found.failed] == [(2, 2)]
    assert "died 2 times" in found.failed[0].error
    assert len(out.read_text().splitlines()) == 1 + 1 + 5  # header, environment, a row a cell
    assert len(read_rows(out)) == 5


def test_a_dead_worker_costs_one_attempt_of_one_cell(tmp_path):
    check_deaths("processes", tmp_path)


@pytest.mark.skipif(
    not Path("/proc/sys/vm/max_map_count").is_file(), reason="memory maps are counted on Linux"
)
def test_a_worker_near_the_limit_of_memory_maps_gives_way_to_a_new_one(tmp_path):
    cells = [{"x": x} for x in range(3)]
    for work, workers in (("maps", 3), ("pid", 1)):
        out = tmp_path / f"{work}.jsonl"
        found = grid(cells, work, out, engine="processes", workers=1)
        assert [row.attempts for row in found.done] == [1, 1, 1] and not found.failed
        assert len({row.result["pid"] for row in found.done}) == workers


def test_workers_have_cores_of_their_own(tmp_path):
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("one core cannot be shared out")
    found = grid([{"x": 0}, {"x": 1}], "cores", tmp_path / "a", engine="processes", workers=2)
    mine, others = (set(row.result["cores"]) for row in found.done)
    assert not mine & others
    assert mine | others == cores == os.sched_getaffinity(0)
    assert [row.environment["share"] for row in found.done] == [len(mine), len(others)]
    assert {row.result["preallocate"] for row in found.done} == {"false"}


def test_an_interrupt_stops_the_workers_and_keeps_what_is_done(tmp_path):
    out = tmp_path / "grid.jsonl"

    def say(text):
        if text.startswith("2/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_grid(
            CELLS, "evaluation.grid_work:square", out=out, engine="processes", workers=2, say=say
        )
    assert multiprocessing.active_children() == []
    assert len(read_rows(out)) == 2
    assert len(grid(CELLS, "square", out).done) == 4


def test_workers_end_with_a_killed_parent(tmp_path):
    program = (
        "from steppe.evaluation.grid import run_grid; run_grid([{'folder': '.'}], "
        "'evaluation.grid_work:sleeps', out='grid.jsonl', engine='processes')"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.DEVNULL,
    )
    pid = tmp_path / "pid"
    wait_for(lambda: pid.exists() and pid.read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    stat = Path("/proc") / pid.read_text() / "stat"
    wait_for(lambda: not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z")
    assert grid([], "sleeps", tmp_path / "grid.jsonl").done == []  # the lock is free again


def wait_for(happened):
    end = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_one_run_a_file(tmp_path):
    out = tmp_path / "grid.jsonl"

    def say(text):
        with pytest.raises(RuntimeError, match="being written by another run"):
            grid(CELLS, "square", out)

    assert len(run_grid(CELLS, "evaluation.grid_work:square", out=out, say=say).done) == 4


def test_what_is_no_grid_is_refused_and_left_as_it_is(tmp_path):
    out = tmp_path / "grid.jsonl"
    for foreign in ("notes", "notes\n", "notes\nhalf"):
        out.write_text(foreign)
        with pytest.raises(ValueError, match=r"grid.jsonl, line 1: no grid"):
            grid(CELLS, "square", out)
        assert out.read_text() == foreign

    out.unlink()
    grid(CELLS, "square", out)
    whole = out.read_text().splitlines(keepends=True)
    for line in ("notes\n", "[1]\n", "\n", "{}\n", whole[3]):
        out.write_text("".join([*whole[:3], line.replace('"x": -1', '"x": 5'), *whole[4:]]))
        with pytest.raises(ValueError, match=r"grid.jsonl, line 4.*: found .* take the line out"):
            grid(CELLS, "square", out)


def test_results_of_other_work_are_refused(tmp_path):
    grid(CELLS, "square", tmp_path / "a")
    with pytest.raises(ValueError, match=r"holds results of evaluation.grid_work:square, not of"):
        grid(CELLS, "root", tmp_path / "a")


def test_wrong_arguments_are_told_before_anything_is_written(tmp_path):
    out = tmp_path / "grid.jsonl"
    with pytest.raises(ValueError, match="is there twice"):
        grid([{"a": 1, "b": 2}, {"b": 2, "a": 1}], "square", out)
    with pytest.raises(ValueError, match="not plain JSON"):
        grid([{"x": math.nan}], "square", out)
    with pytest.raises(ValueError, match="must name a function"):
        grid(CELLS, "missing", out)
    with pytest.raises(ValueError, match="engine must be one of serial, processes, ray"):
        grid(CELLS, "square", out, engine="dask")
    with pytest.raises(ValueError, match="got 0 and 2"):
        grid(CELLS, "square", out, workers=0)
    assert not out.exists()


def test_rows_become_columns(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason='needs pip install "steppe[parquet]"')
    out = tmp_path / "grid.jsonl"
    grid([{"x": x, "of": {"lr": 0.5}} for x in (4, -1)], "root", out)
    to_parquet(out, tmp_path / "grid.parquet")
    columns = parquet.read_table(tmp_path / "grid.parquet").to_pydict()
    assert columns["cell.x"] == [4, -1]
    assert columns["cell.of.lr"] == [0.5, 0.5]
    assert columns["result.root"] == [2.0, None]
    assert [error is None for error in columns["error"]] == [True, False]
    assert len(set(columns["environment.commit"])) == 1

    grid([{"x": "four"}], "greedy", tmp_path / "b")
    grid([{"x": "four"}, {"x": 4}], "greedy", tmp_path / "b")
    with pytest.raises(ValueError, match=r"'cell.x' do not fit one column"):
        to_parquet(tmp_path / "b", tmp_path / "b.parquet")


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r'pip install "steppe\[ray\]"'):
        grid(CELLS, "square", tmp_path / "a", engine="ray")
    with pytest.raises(ImportError, match=r'pip install "steppe\[parquet\]"'):
        to_parquet(tmp_path / "a", tmp_path / "b")


@pytest.fixture(scope="module")
def ray():
    """A cluster of two workers; starting it takes some seconds."""
    ray = pytest.importorskip("ray", reason='needs pip install "steppe[ray]"')
    with cluster(2):
        yield ray
    assert not ray.is_initialized()


def test_rows_of_ray_are_those_of_a_plain_loop(ray, tmp_path):
    check_against_the_loop("ray", tmp_path)


def test_a_dead_worker_of_ray_costs_one_attempt_of_one_cell(ray, tmp_path):
    check_deaths("ray", tmp_path)
