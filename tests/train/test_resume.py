"""A stopped run goes on as if it had not been stopped: weights, and every row of the log."""

import json
import math
import signal
import subprocess
import sys
import threading
import types

import equinox as eqx
import jax.random as jr
import numpy as np
import optax
import pytest

from steppe.core.estimator import Stats
from steppe.estimators.adapted import Adapted
from steppe.estimators.bptt import BPTT
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.adaptable import Adaptable
from steppe.optimizers.learned.dm import DM
from steppe.optimizers.learned.learned_adam import LearnedAdam
from steppe.store import checkpoint
from steppe.store.lock import FolderInUseError
from steppe.store.manifest import STEPS, read_header
from steppe.tasks.synthetic.quadratic import Quadratic
from steppe.train.adapt import Adapter
from steppe.train.loop import MetaTrainingError, _check, meta_train
from steppe.train.sinks import JSONL, TensorBoard, read_log, read_rows
from steppe.train.stopping import Terminated
from steppe.train.tally import Tally, kept
from steppe.train.validate import Validation

pytestmark = pytest.mark.usefixtures("compiled_once")
TIMES = ("time", "inner_steps_per_s")


class At:
    """A sink that acts when it is given the row of a step."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def write(self, row):
        if row["step"] == self.step:
            self.act()

    def say(self, text):
        pass

    def close(self):
        pass


class Saved(eqx.Module):
    pending: dict


class Killed(BaseException):
    """Whatever ends a process between two writes."""


def die():
    raise Killed


def train(folder=None, steps=12, sinks=(), **changes):
    options = {
        "estimator": BPTT(2, 2, 7),
        "objective": Trajectory(),
        "meta_tx": optax.adam(1e-2),
        "key": jr.key(1),
        "checkpoint_every": 1,
        "log_every": 4,
    }
    opt = changes.pop("opt", None) or DM(hidden=(2,), key=jr.key(0))
    return meta_train(
        Quadratic(3), opt, steps=steps, folder=folder, sinks=sinks, **(options | changes)
    )


def lines(folder):
    """The rows as text, without times: equal text is equal bits."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [json.dumps({k: v for k, v in row.items() if k not in TIMES}) for row in rows]


def weights(folder):
    path, _ = checkpoint.newest(folder, STEPS)
    return path.name, path.read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    train(folder)
    return folder


@pytest.mark.parametrize("kills", [(8,), (4, 8, 12)])
def test_the_row_after_a_resume_covers_the_steps_before_it(kills, whole, tmp_path):
    for step in kills:  # the newest checkpoint is three meta-steps after a row
        with pytest.raises(Killed):
            train(tmp_path, sinks=[At(step, die)])
        found = read_header(checkpoint.newest(tmp_path, STEPS)[0]).tensors
        assert found[".pending['loss']"].shape == (3,)
    train(tmp_path)
    assert lines(tmp_path) == lines(whole) and len(lines(whole)) == 3
    assert weights(tmp_path) == weights(whole)


def test_a_run_that_adapts_goes_on_bit_by_bit(tmp_path):
    """Its rates, its episodes and the validation after adaptation too."""
    opt = Adaptable(LearnedAdam(0.1), 0.2)
    adapter = Adapter(BPTT(1, 2, 4, stagger=False), 2, 0.1)
    how = {
        "opt": opt,
        "steps": 8,
        "estimator": Adapted(BPTT(2, 2, 7)),
        "validation": Validation(4, 4, 2, adapt=adapter),
    }
    folders = tmp_path / "whole", tmp_path / "halves"
    best, _ = train(folders[0], **how)
    with pytest.raises(Killed):
        train(folders[1], sinks=[At(4, die)], **how)
    again, _ = train(folders[1], **how)
    assert lines(folders[1]) == lines(folders[0]) and weights(folders[1]) == weights(folders[0])
    assert eqx.tree_equal(again, best)
    assert not np.array_equal(best.log_rates, opt.log_rates)
    assert all("adapted_gain" in line and "valid_loss" in line for line in lines(folders[0]))


def stats(loss, nonfinite, base):
    column = lambda value, dtype: np.asarray(value, dtype)
    return Stats(
        loss=column(loss, "f4"), parts={"it's": column(base, "f4")}, grad_norm=column(1, "f4"),
        grad_error=column(np.nan, "f4"), nonfinite=column(nonfinite, "i4"), resets=column(1, "i4"),
        episodes=column(4, "i4"), inner_steps=column(8, "i4"), part=column(0, "i4"),
    )  # fmt: skip


def test_bad_episodes_before_a_stop_count_after_it(tmp_path):
    steps = [stats(0.1, 4, 1.5), stats(0.7, 4, np.nan), stats(1e-3, 0, 2.5)]
    undisturbed, before = Tally({}, 0.0), Tally({}, 0.0)
    for each in steps:
        undisturbed.add(each)
    for each in steps[:2]:
        before.add(each)
    path = tmp_path / "step-2.safetensors"
    checkpoint.save(path, Saved({**before.columns()}), manifest={})
    like = Saved(kept(path, read_header(path)))
    after = Tally(checkpoint.load(path, like)[0].pending, 0.0)
    after.add(steps[2])
    row, expected = after.row(3), undisturbed.row(3)
    assert {k: v for k, v in row.items() if k not in TIMES} == {
        k: v for k, v in expected.items() if k not in TIMES
    }
    assert (row["nonfinite"], row["episodes"], row["it's"]) == (8, 12, 2.0)
    with pytest.raises(MetaTrainingError, match="67% of the latest episodes"):
        _check(row, 0.5)


def test_statistics_in_a_checkpoint_that_do_not_fit_are_refused(tmp_path):
    tally = Tally({}, 0.0)
    tally.add(stats(0.1, 0, 1.0))
    whole, path = tally.columns(), tmp_path / "step-2.safetensors"
    for wrong in (
        {"loss": whole["loss"]},
        whole | {"loss": np.zeros(2)},
        whole | {"other": whole["loss"]},
        {name: column[0] for name, column in whole.items()},
    ):
        checkpoint.save(path, Saved(dict(wrong)), manifest={})
        with pytest.raises(checkpoint.CheckpointError, match="statistics of the latest"):
            kept(path, read_header(path))
    other = Tally({name: column for name, column in whole.items() if "it" not in name}, 0.0)
    other.add(stats(0.1, 0, 1.0))
    with pytest.raises(checkpoint.CheckpointError, match="called"):
        other.row(3)


SIGNALS = [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(("number", "error"), SIGNALS)
def test_a_signal_saves_and_says_how_to_go_on(number, error, whole, tmp_path, capsys):
    before = signal.getsignal(number)
    seen = At(4, lambda: signal.raise_signal(number))
    said = r"^Stopped; 4 meta-steps are safe in .*goes on from there\.$"
    with pytest.raises(error, match=said) as caught:
        train(tmp_path, sinks=[seen], checkpoint_every=3)
    assert signal.getsignal(number) is before
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["metrics.jsonl", "step-00000003.safetensors", "step-00000004.safetensors"]
    if error is Terminated:
        assert caught.value.code == 143
        assert capsys.readouterr().err == f"{caught.value.args[0]}\n"
    train(tmp_path, checkpoint_every=3)
    assert lines(tmp_path) == lines(whole) and weights(tmp_path) == weights(whole)
    kept = sorted(path.name for path in tmp_path.glob(STEPS))  # not that of the signal
    assert kept == [f"step-{step:08d}.safetensors" for step in (6, 9, 12)]


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(("number", "error"), SIGNALS)
def test_a_second_signal_ends_at_once(number, error, tmp_path):
    def twice():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(number)
        pytest.fail("went on")

    with pytest.raises(error, match=r"^Stopped\.$"):
        train(tmp_path, sinks=[At(4, twice)], checkpoint_every=3)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["metrics.jsonl", "step-00000003.safetensors"]


def test_handlers_of_ones_own_stay(tmp_path):
    came = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        train(tmp_path, steps=4, sinks=[At(4, lambda: signal.raise_signal(signal.SIGTERM))])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == [signal.SIGTERM] and len(lines(tmp_path)) == 1


def in_thread(act):
    """What a function raises in another thread; None if nothing."""
    found = []

    def run():
        try:
            act()
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0] if found else None


def test_a_second_run_is_refused_while_the_first_writes(whole, tmp_path):
    refused = []

    def intrude():
        with pytest.raises(FolderInUseError, match=r"is in use by another run.*another folder\.$"):
            train(tmp_path)
        (tmp_path / "link").symlink_to(".")  # another name of the same folder
        refused.append(in_thread(lambda: train(tmp_path / "link")))
        (tmp_path / "link").unlink()
        code = "import sys, steppe.store.lock as l; l.locked(sys.argv[1]).__enter__()"
        other = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True)
        refused.append(other.stderr.decode())

    train(tmp_path, sinks=[At(4, intrude)])
    assert isinstance(refused[0], FolderInUseError)
    assert "FolderInUseError" in refused[1]
    assert lines(tmp_path) == lines(whole) and weights(tmp_path) == weights(whole)


def test_a_lock_goes_with_the_process_that_was_killed(tmp_path):
    code = "import os, sys, steppe.store.lock as l; l.locked(sys.argv[1]).__enter__(); os.abort()"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True)
    assert done.returncode == -signal.SIGABRT
    (tmp_path / f".{'0' * 16}.tmp").touch()  # left by it
    (tmp_path / ".mine.tmp").touch()
    train(tmp_path, steps=1)
    assert sorted(p.name for p in tmp_path.glob(".*")) == [".mine.tmp"]


def test_writers_of_one_file_lose_no_row(tmp_path):
    """Two that write and two that open it anew all the time, from threads."""
    path, errors = tmp_path / "metrics.jsonl", []

    def write(who):
        sink = JSONL(path)
        for step in range(60):
            sink.write({"step": step, "who": who, "long": "x" * 300})
        sink.close()

    def reopen():
        for _ in range(60):
            JSONL(path).close()

    acts = [lambda: write("a"), lambda: write("b"), reopen, reopen]
    begin = lambda act: threading.Thread(target=lambda: errors.append(in_thread(act)))
    threads = [begin(act) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [None] * 4
    rows = read_rows(path)
    for who in "ab":
        assert [row["step"] for row in rows if row["who"] == who] == list(range(60))


@pytest.mark.parametrize("tail", ['{"step": 9, "me', "\0\0\0", '{"step": 7}', ""])
def test_a_metrics_file_goes_on_behind_its_last_complete_row(tail, tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 3}\n{"step": 5}\n' + tail)
    log = read_log(path)
    assert (log.cut, log.unended) == (tail not in ("", '{"step": 7}'), "7" in tail)
    sink = JSONL(path)
    sink.write({"step": 8})
    sink.close()
    kept = [3, 5, 7, 8] if "7" in tail else [3, 5, 8]
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == kept
    sink = JSONL(path, step=4)
    sink.close()
    assert path.read_text() == '{"step": 3}\n'


def refuse(word):
    raise AssertionError(f"{word} is not JSON")


def test_what_is_not_finite_is_null_in_the_file_and_nan_for_its_readers(tmp_path):
    path = tmp_path / "metrics.jsonl"
    sink = JSONL(path)
    sink.write({"step": 1, "valid_loss": math.inf, "meta_loss": -math.inf, "flatness": math.nan})
    sink.close()
    row = json.loads(path.read_text(), parse_constant=refuse)
    assert row == {"step": 1, "valid_loss": None, "meta_loss": None, "flatness": None}
    assert all(math.isnan(read_rows(path)[0][name]) for name in row if name != "step")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[" * 100_000, "found more than 1000 values"),
        ("[" * 900 + "]" * 900, "found more than 32 levels"),
        ("[1]", "found a list of 1, expected a table"),
        ('{"step": true}', "step: found true, expected a whole number"),
        ('{"step": 1e400}', "step: found inf, expected a whole number"),
        ("{}", "step: found null, expected a whole number"),
        ('{"step": 1, "meta_loss": "low"}', "meta_loss: found 'low', expected a number"),
        ('{"step": 1, "x": [1]}', "x: found a list of 1, expected a number or words"),
        ('{"step": 1, "x": ' + "9" * 400 + "}", "found a whole number of 1329 bits"),
        ('{"step": ' + "9" * 5000 + "}", "found no JSON"),
        ("\udcff", "found no JSON"),
    ],
)
def test_a_line_that_is_no_row_is_named(line, said, tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1}}\n{line}\n{{"step": 3}}\n', errors="surrogateescape")
    with pytest.raises(ValueError, match=rf"line 2.* {said}.*; mend or remove that line\.$"):
        read_rows(path)


def test_tensorboard_is_told_what_is_finite_and_where_a_run_goes_on(monkeypatch):
    told = []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            told.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            told.append((name, value, step))

    fake = types.ModuleType("tensorboardX")
    monkeypatch.setattr(fake, "SummaryWriter", SummaryWriter, raising=False)
    monkeypatch.setitem(sys.modules, "tensorboardX", fake)
    TensorBoard("a")
    TensorBoard("a", step=5).write({"step": 6, "loss": 2.0, "bad": math.nan, "note": "x"})
    assert told == [("a", None), ("a", 6), ("meta/loss", 2.0, 6)]
