"""Curriculum: the published rule of stages, what goes back, and resuming in the middle."""

import re

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import optax
import pytest

from steppe.core.optimizer import split_meta
from steppe.estimators.bptt import BPTT
from steppe.estimators.imitation import Imitation
from steppe.estimators.mix import Mix
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.classic.from_optax import adam, sgd
from steppe.optimizers.learned.learned_adam import LearnedAdam
from steppe.optimizers.learned.rnnprop import RNNProp
from steppe.store import checkpoint, manifest
from steppe.store.manifest import STEPS
from steppe.tasks import Quadratic
from steppe.train.curriculum import Curriculum
from steppe.train.loop import compile_step, meta_train
from steppe.train.sinks import read_rows
from steppe.train.step import separate_states, start
from steppe.train.validate import Validation, begin_run, judged


def published(scores, stages, patience):
    """The rule of the specification (§5.1) on a table of scores; returns (stage, over) after each.

    `scores` are "better" flags, so the restored score of a new stage needs no number here.
    """
    stage, n_eval, improved, over, log = 0, 0, False, False, []
    for better in scores:
        if over:
            break
        n_eval += 1
        if better:
            improved = True
        elif n_eval >= patience and improved:
            if stage + 1 == stages:
                over = True
            else:
                stage, n_eval, improved = stage + 1, 0, False
        elif n_eval >= patience and not improved:
            over = True
        log.append((stage, over))
    return log


def test_stages_go_by_the_published_rule():
    rng = np.random.default_rng(0)
    for _ in range(200):
        stages, patience = int(rng.integers(1, 5)), int(rng.integers(1, 5))
        flags = rng.random(30) < 0.4
        curriculum = Curriculum(tuple(range(10, 10 + stages)), patience=patience)
        progress, log = curriculum.begin(()), []
        for better in flags:
            progress, verdict = curriculum.judge(progress, bool(better), step=1, meta_state=())
            log.append((int(progress.stage), bool(progress.finished)))
            assert (verdict == "stop") == bool(progress.finished)
            if progress.finished:
                break
        assert log == published(flags, stages, patience)


def test_a_stage_is_judged_at_the_length_of_the_next_and_the_last_at_its_own():
    curriculum = Curriculum((100, 200, 500))
    assert [curriculum.validation_horizon(i) for i in range(3)] == [200, 500, 500]
    assert Curriculum((100, 200), judged_at=(7, 8)).validation_horizon(1) == 8


@pytest.mark.parametrize("restore_meta", [True, False])
def test_the_best_of_a_stage_comes_back_with_the_state_of_the_meta_optimizer(restore_meta):
    """Judgement 1 is the best; two worse ones later θ and Adam's moments are those of then."""
    curriculum = Curriculum((5, 9, 20), patience=3, restore_meta=restore_meta)
    task, opt = Quadratic(2), sgd(0.1)
    state = start(
        task,
        opt,
        estimator=BPTT(1, 1, 5),
        objective=Trajectory(),
        meta_tx=optax.adam(1.0),
        key=jr.key(0),
    )
    at = lambda k: eqx.tree_at(
        lambda s: (s.opt.hyper["learning_rate"], s.meta_state[0].count, s.step),
        state,
        (jnp.asarray(0.1 * k), jnp.asarray(k, jnp.int32), jnp.asarray(k, jnp.int32)),
    )
    run, asked = begin_run(at(0), curriculum), []

    def score(opt, horizon):
        rate = float(opt.hyper["learning_rate"])
        asked.append((round(rate, 6), horizon))
        return rate * horizon  # the first is the best

    for k in (1, 2, 3):
        run = eqx.tree_at(lambda r: r.state, run, at(k))
        run, found = judged(run, score, curriculum, 1)
        assert found["valid_horizon"] == 9 and found["stage"] == 0
    assert run.stage == 1 and not run.finished
    assert asked == [(0.1, 9), (0.2, 9), (0.3, 9), (0.1, 20)]
    assert float(run.best_score) == pytest.approx(0.1 * 20)
    assert float(run.state.opt.hyper["learning_rate"]) == pytest.approx(0.1)
    assert int(run.state.meta_state[0].count) == (1 if restore_meta else 3)
    assert int(run.state.step) == 3 and int(run.best_step) == 1


def test_a_stage_changes_horizon_and_weights_of_a_mixture():
    mix = Mix({"main": BPTT(1, 2, 4), "imitation": Imitation(adam(0.1), 1, 2)}, (1, 1), draw=True)
    curriculum = Curriculum((4, 8, 16), weights=((1.0, 0.0), (0.9, 0.1)))
    stages = [curriculum.staged(mix, i) for i in range(3)]
    assert [int(e.horizon) for e in stages] == [4, 8, 16]
    np.testing.assert_allclose([e.weights[1] for e in stages], [0.0, 0.1, 0.1])
    with pytest.raises(ValueError, match="for a Mix of 2 parts, but the estimator is BPTT"):
        curriculum.staged(BPTT(1, 2, 4), 0)


def train(folder, steps):
    """θ, history; validation at every meta-step, so that stages pass quickly."""
    mix = Mix({"main": BPTT(2, 2, 2), "imitation": Imitation(adam(0.1), 2, 2)}, (1, 1), draw=True)
    return meta_train(
        Quadratic(2),
        LearnedAdam(0.1),
        estimator=mix,
        objective=Trajectory(),
        meta_tx=separate_states(optax.adam(0.3), 2),
        steps=steps,
        key=jr.key(1),
        validation=Validation(every=1, episodes=2),
        curriculum=Curriculum((2, 4, 6), weights=((0.7, 0.3),), patience=2),
        folder=folder,
        checkpoint_every=50,
        log_every=1,
    )


def with_names_of_0_1(path):
    header, body = manifest.read(path)
    old = lambda name: re.sub(r"\.finished$", ".over", name)
    tensors = {old(name): tensor for name, tensor in header.tensors.items()}
    assert tensors.keys() != header.tensors.keys()
    sha = header.body_sha256
    path.write_bytes(
        manifest.pack(tensors, header.keys, header.manifest, sha) + b"".join(body.values())
    )


@pytest.mark.usefixtures("compiled_once")
def test_a_run_advances_and_resumes_in_the_middle_of_its_curriculum(tmp_path):
    whole, history = train(tmp_path / "whole", 150)
    rows = read_rows(tmp_path / "whole" / "metrics.jsonl")
    stages = [row["stage"] for row in rows]
    assert stages == sorted(stages) and max(stages) >= 1
    horizon = {0: 4, 1: 6, 2: 6}
    assert all(row["valid_horizon"] == horizon[row["stage"]] for row in rows)
    assert len(rows) < 150  # the curriculum ended the run
    cut = next(i for i, stage in enumerate(stages) if stage == 1) + 1
    train(tmp_path / "cut", cut)
    with_names_of_0_1(checkpoint.newest(tmp_path / "cut", STEPS)[0])
    again, after = train(tmp_path / "cut", 150)
    bits = lambda opt: [
        np.asarray(x).tobytes() for x in jtu.tree_leaves(eqx.filter(opt, eqx.is_array))
    ]
    assert bits(again) == bits(whole)
    assert after.best == history.best and after.best_step == history.best_step
    repeated, finished = train(tmp_path / "whole", 160)
    assert bits(repeated) == bits(whole) and finished.rows == []


def test_separate_states_move_alone():
    """Two Adams on gradients of very different size take steps of the same size."""
    tx, theta = separate_states(optax.adam(0.1), 2), {"w": jnp.zeros(2)}
    state, alone = tx.init(theta), [optax.adam(0.1).init(theta) for _ in range(2)]
    for part, size in ((0, 1.0), (1, 1e-6), (1, 2e-6), (0, 3.0)):
        grads = {"w": jnp.array([size, -size])}
        updates, state = tx.update(grads, state, theta, part=jnp.asarray(part))
        expected, alone[part] = optax.adam(0.1).update(grads, alone[part], theta)
        np.testing.assert_allclose(updates["w"], expected["w"], rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"horizons": ()}, "horizons must be steps of at least 1"),
        ({"horizons": (5, 6), "judged_at": (5,)}, "one number of at least 1 for each of the 2"),
        ({"horizons": (5,), "patience": 0}, "patience must be at least 1, got 0"),
        ({"horizons": (5,), "weights": ()}, "weights are empty"),
    ],
)
def test_bad_input_gets_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Curriculum(**options)


ONE_HOT = [Trajectory(jnp.eye(2)[k]) for k in (0, 1)]


def stages_of_layers(opt):
    """First the loss after step 1 moves the head, then that after step 2 the rest, halved."""
    theta, _ = split_meta(opt)
    nothing = jtu.tree_map(lambda leaf: False, theta)
    head = eqx.tree_at(lambda t: (t.head.w, t.head.b), nothing, (True, True))
    masks = (head, jtu.tree_map(lambda m: not m, head))
    return Curriculum((2, 4), objectives=tuple(ONE_HOT), masks=masks, scales=(1.0, 0.5))


def test_stages_are_arrays_of_one_compiled_step():
    opt, estimator, tx = RNNProp((3,), 2, key=jr.key(0)), BPTT(2, 2, 4), optax.sgd(1.0)
    curriculum = stages_of_layers(opt)
    at = [curriculum.stage(k, estimator, ONE_HOT[0], opt) for k in (0, 1)]
    state = start(
        Quadratic(3), opt, estimator=estimator, objective=ONE_HOT[0], meta_tx=tx, key=jr.key(1)
    )
    run, state, _ = compile_step(
        Quadratic(3), state, estimator, ONE_HOT[0], tx, None, stage=at[0]
    )  # ahead of time: it cannot be compiled again
    first, one = run(state, at[0])
    second, two = run(state, at[1])
    changed = lambda after: jtu.tree_map(
        lambda a, b: bool(jnp.any(a != b)), split_meta(after.opt)[0], split_meta(opt)[0]
    )
    assert changed(first).head.w and not any(jtu.tree_leaves(changed(first).lstm))
    assert not changed(second).head.w and any(jtu.tree_leaves(changed(second).lstm))
    assert float(one.loss) != float(two.loss)
    whole = eqx.tree_at(
        lambda s: (s.mask, s.scale),
        at[1],
        (jtu.tree_map(jnp.ones_like, at[1].mask), jnp.ones((), jnp.float32)),
    )
    moved = lambda after: after.opt.inputs.w - opt.inputs.w
    np.testing.assert_allclose(
        moved(second), 0.5 * moved(run(state, whole)[0]), rtol=1e-9, atol=1e-15
    )


def test_a_run_over_stages_leaves_what_is_masked():
    opt, key = RNNProp((3,), 2, key=jr.key(0)), jr.key(2)
    still = jtu.tree_map(lambda leaf: False, split_meta(opt)[0])
    curriculum = Curriculum((2, 4, 6), masks=(still, still, still), patience=1)
    after, _ = meta_train(
        Quadratic(3), opt, estimator=BPTT(2, 2, 4), objective=Trajectory(), meta_tx=optax.adam(0.1),
        steps=3, key=key, validation=Validation(1, 2, 1), curriculum=curriculum,
    )  # fmt: skip
    assert eqx.tree_equal(after, opt)


def test_an_objective_of_a_stage_may_differ_by_arrays_alone():
    opt = RNNProp((3,), 2, key=jr.key(0))
    curriculum = Curriculum((2,), objectives=(Trajectory("last"),))
    with pytest.raises(ValueError, match="by the numbers in their arrays alone"):
        curriculum.stage(0, BPTT(2, 2, 4), ONE_HOT[0], opt)
    with pytest.raises(ValueError, match="2 scales for 1 stages"):
        Curriculum((2,), scales=(1.0, 0.5))
