"""meta_train: it learns, resumes bit for bit, selects by validation, and stops when it must."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import optax
import pytest

from steppe.core.episode import begin, unroll
from steppe.core.task import AbstractFormula
from steppe.estimators.bptt import BPTT
from steppe.flatness.names import build as measure
from steppe.objectives.regularized import Regularized
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.classic.from_optax import sgd
from steppe.optimizers.learned.learned_adam import LearnedAdam
from steppe.optimizers.learned.rnnprop import RNNProp
from steppe.store import checkpoint, manifest
from steppe.store.manifest import STEPS
from steppe.tasks.suite import build
from steppe.tasks.synthetic.quadratic import Quadratic
from steppe.train.loop import MetaTrainingError, meta_train
from steppe.train.sinks import JSONL, read_rows
from steppe.train.step import meta_step, start
from steppe.train.validate import Validation

pytestmark = pytest.mark.usefixtures("compiled_once")


class Recorder:
    def __init__(self):
        self.rows, self.said, self.closed = [], [], False

    def write(self, row):
        self.rows.append(dict(row))

    def say(self, text):
        self.said.append(text)

    def close(self):
        self.closed = True


def rule():
    """Little to compile."""
    return LearnedAdam(0.1, 0.5, 0.5, 0.1)


def train(folder=None, steps=6, sinks=(), **changes):
    options = {
        "estimator": BPTT(2, 3, 9),
        "objective": Trajectory(),
        "meta_tx": optax.adam(1e-2),
        "key": jr.key(1),
        "validation": Validation(every=2, horizon=4, episodes=2),
        "checkpoint_every": 2,
        "log_every": 1,
        "recipe": {"note": "test"},
    }
    args = (changes.pop("task", Quadratic(3)), changes.pop("opt", None) or rule())
    return meta_train(*args, steps=steps, folder=folder, sinks=sinks, **(options | changes))


def leaves(opt):
    return [np.asarray(leaf) for leaf in jtu.tree_leaves(eqx.filter(opt, eqx.is_array))]


def assert_same(a, b):
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return (*train(folder), folder)


@pytest.mark.user_flags
def test_a_stopped_run_resumes_bit_for_bit(whole, tmp_path):
    train(tmp_path, steps=3)  # the last step is saved whatever `checkpoint_every`
    (tmp_path / "step-00000003.safetensors").unlink()  # killed after the checkpoint of step 2
    recorder = Recorder()
    opt, history = train(tmp_path, sinks=[recorder])
    assert any("at meta-step 2" in line for line in recorder.said)
    assert [row["step"] for row in recorder.rows] == [3, 4, 5, 6]
    assert_same(opt, whole[0])
    assert history.best == whole[1].best and history.best_step == whole[1].best_step
    one, two = (
        [{k: v for k, v in row.items() if k not in ("time", "inner_steps_per_s")} for row in rows]
        for rows in (read_rows(tmp_path / "metrics.jsonl"), read_rows(whole[2] / "metrics.jsonl"))
    )
    assert one == two


def test_a_run_of_0_1_resumes_with_the_names_of_its_files(whole, tmp_path):
    train(tmp_path, steps=3)
    path, _ = checkpoint.newest(tmp_path, STEPS)
    header, data = manifest.read_header(path), path.read_bytes()
    body = data[8 + int.from_bytes(data[:8], "little") :]
    old = lambda name: name.replace(".steps_left", ".left")
    tensors = {old(name): tensor for name, tensor in header.tensors.items()}
    assert tensors.keys() != header.tensors.keys()
    sha = header.body_sha256
    path.write_bytes(manifest.pack(tensors, header.keys, header.manifest, sha) + body)
    opt, history = train(tmp_path)
    assert [row["step"] for row in history.rows] == [4, 5, 6]
    assert_same(opt, whole[0])


def test_resume_passes_over_a_damaged_checkpoint(whole, tmp_path):
    train(tmp_path, steps=4)
    newest, _ = checkpoint.newest(tmp_path, STEPS)
    newest.write_bytes(newest.read_bytes()[:-7])
    recorder = Recorder()
    opt, _ = train(tmp_path, sinks=[recorder])
    assert any("damaged" in line for line in recorder.said)
    assert_same(opt, whole[0])


def test_a_finished_run_is_returned_as_it_is(whole):
    again, history = train(whole[2])
    assert_same(again, whole[0])
    assert history.rows == []


def test_a_folder_with_other_settings_is_refused_and_kept(whole):
    before = sorted((p.name, p.read_bytes()) for p in whole[2].iterdir())
    with pytest.raises(checkpoint.CheckpointError, match="note: test there, other asked for"):
        train(whole[2], recipe={"note": "other"})
    assert sorted((p.name, p.read_bytes()) for p in whole[2].iterdir()) == before


def test_the_best_validation_score_is_the_one_returned(whole):
    _, history, folder = whole
    scored = {
        r["step"]: r["valid_loss"] for r in read_rows(folder / "metrics.jsonl") if "valid_loss" in r
    }
    assert sorted(scored) == [2, 4, 6]
    assert history.best == min(scored.values())
    assert history.best_step == min(scored, key=scored.get)


def test_validation_takes_the_loss_of_the_validation_split():
    task, opt, key = build("digits-mlp", hidden=(2,)), sgd(0.1), jr.key(3)
    score = Validation(horizon=1, episodes=1).score(task, opt, key)
    key_begin, key_end = jr.split(jr.split(key, 1)[0])
    episode, _ = unroll(task, opt, begin(task, opt, key_begin), 1, lambda step: ())
    batch = task.full_batch(episode.instance, split="valid")
    expected = task.loss(episode.instance, batch, key_end)(episode.params)
    np.testing.assert_allclose(score, expected, rtol=1e-6)


def test_validation_by_the_objective_is_its_value_over_the_last_window():
    task, opt, key = Quadratic(3), sgd(0.01), jr.key(3)
    validation = Validation(horizon=5, episodes=1, by="objective", window=2)
    key_begin, _ = jr.split(jr.split(key, 1)[0])
    episode, losses = begin(task, opt, key_begin), []
    for _ in range(5):
        episode, value = unroll(task, opt, episode, 1, lambda step: step.value)
        losses.append(float(value[0]))
    end = float(task.loss(episode.instance, (), key)(episode.params))
    last = lambda transform: validation.score(
        task, opt, key, objective=Trajectory("last", transform)
    )
    np.testing.assert_allclose(last("identity"), end, rtol=1e-6)
    np.testing.assert_allclose(last("ratio"), end / losses[0], rtol=1e-6)  # to the episode's first
    flat = Regularized(Trajectory("last", "identity"), measure("squared-norm"), 2.0)
    score = validation.score(task, opt, key, objective=flat)
    np.testing.assert_allclose(score, end + 2 * jnp.sum(episode.params**2), rtol=1e-6)


@pytest.mark.parametrize(
    ("how", "said"),
    [({"by": "test"}, "by must be valid or objective"), ({"window": 0}, "window must be at least")],
)
def test_validation_by_what_there_is_not_is_refused(how, said):
    with pytest.raises(ValueError, match=said):
        Validation(**how)
    with pytest.raises(ValueError, match="give objective=…"):
        Validation(by="objective").score(Quadratic(3), sgd(0.1), jr.key(0))


def test_only_the_last_checkpoints_are_kept(whole):
    assert [p.name for p in sorted(whole[2].glob(STEPS))] == [
        f"step-{step:08d}.safetensors" for step in (2, 4, 6)
    ]


def test_meta_training_lowers_the_loss():
    recorder = Recorder()
    train(
        steps=120, sinks=[recorder], estimator=BPTT(8, 10, 10), validation=None, log_every=20,
        meta_tx=optax.adam(3e-2), opt=RNNProp((3,), 2, scale=0.1, key=jr.key(0)),
    )  # fmt: skip
    losses = [row["meta_loss"] for row in recorder.rows]
    assert losses[-1] < losses[0] - 0.3
    assert recorder.closed


class Nowhere(AbstractFormula):
    """A task whose loss is not a number."""

    def sample(self, key):
        return ()

    def init(self, instance, key):
        return jnp.zeros(3)

    def loss(self, instance, batch, key):
        return lambda params: jnp.nan * jnp.sum(params)

    def target(self, instance):
        return None

    def metrics(self, params, instance, batch, key):
        return {}


def test_too_many_nonfinite_episodes_stop_the_run_with_a_sentence():
    with pytest.raises(MetaTrainingError, match=r"100% of the latest episodes were not finite"):
        train(task=Nowhere(), validation=None)


@pytest.mark.parametrize("by_branch", [True, False])
def test_theta_stays_when_no_episode_was_finite_and_else_moves(by_branch, monkeypatch):
    monkeypatch.setattr("steppe.train.step.CHOSEN_BY_BRANCH", 2**16 if by_branch else 0)
    task, opt = Quadratic(3), rule()
    estimator, objective, meta_tx = BPTT(2, 3, 9), Trajectory(), optax.adam(1e-2)
    state = start(
        task, opt, estimator=estimator, objective=objective, meta_tx=meta_tx, key=jr.key(1)
    )
    broken = eqx.tree_at(
        lambda s: s.est_state.episode.params,
        state,
        replace_fn=lambda p: jtu.tree_map(lambda x: jnp.full_like(x, jnp.nan), p),
    )
    step = eqx.filter_jit(lambda state: meta_step(task, state, estimator, objective, meta_tx))
    moved, _ = step(state)
    assert not eqx.tree_equal(moved.opt, state.opt) and int(moved.meta_state[0].count) == 1
    after, stats = step(broken)
    assert int(stats.nonfinite) == 2 and np.isnan(float(stats.loss))
    assert_same(after.opt, state.opt)
    assert int(after.meta_state[0].count) == 0


def test_one_trace_serves_all_steps():
    task, opt = Quadratic(3), rule()
    estimator, objective, meta_tx = BPTT(2, 3, 9), Trajectory(), optax.adam(1e-2)
    traces = []

    @eqx.filter_jit
    def step(state):
        traces.append(1)
        return meta_step(task, state, estimator, objective, meta_tx)[0]

    state = start(
        task, opt, estimator=estimator, objective=objective, meta_tx=meta_tx, key=jr.key(1)
    )
    for _ in range(3):
        state = step(state)
    assert len(traces) == 1


def test_metrics_file_drops_later_rows_and_a_cut_last_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": s}) + "\n" for s in (1, 2, 3)) + '{"step": 4, "me')
    sink = JSONL(path, step=2)
    sink.write({"step": 3, "x": 1.0})
    sink.close()
    assert read_rows(path) == [{"step": 1}, {"step": 2}, {"step": 3, "x": 1.0}]


def test_a_broken_line_within_the_metrics_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\nnonsense\n{"step": 3}\n')
    with pytest.raises(ValueError, match="line 2: found no JSON"):
        read_rows(path)


def test_more_than_one_device_is_used_where_there_is_one(whole):
    assert len(jax.local_devices()) == 2
