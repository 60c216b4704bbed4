"""Imitation: the run that is recorded, the loss and its gradient, against slow answers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from steppe.core import tree
from steppe.core.episode import begin, unroll
from steppe.core.optimizer import join_meta, split_meta
from steppe.estimators.imitation import Imitation, Record, Shadow, draw_to
from steppe.estimators.replay import Recorded
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.classic.from_optax import adam, sgd
from steppe.optimizers.learned.learned_adam import LearnedAdam
from steppe.optimizers.learned.rnnprop import RNNProp
from steppe.tasks import Quadratic

TASK, LENGTH, EPISODES = Quadratic(3), 3, 2
OBJECTIVE = Trajectory()


def student(block=2):
    return RNNProp((2,), 2, scale=0.1, block=block, key=jr.key(0))


@eqx.filter_jit
def start(estimator, task, opt, key):
    return estimator.init(task, opt, OBJECTIVE, key=key)


@eqx.filter_jit
def call(estimator, task, opt, state, key):
    return estimator(task, opt, state, OBJECTIVE, key=key)


def window(estimator, opt, *, calls=2):
    """The results of the last of some calls, all with the same keys for everyone who asks."""
    state = start(estimator, TASK, opt, jr.key(1))
    for k in range(calls):
        before, (grads, state, stats) = state, call(estimator, TASK, opt, state, jr.key(2 + k))
    return before, grads, state, stats


@pytest.fixture(scope="module", params=["teacher", "student"])
def second(request):
    """The second window, with carried states, and the loss as a function of θ in that window."""
    make = lambda: Imitation(adam(0.1), EPISODES, LENGTH, 12, follow=request.param, stagger=False)
    opt = student()
    before, grads, after, stats = window(make(), opt)
    return make(), opt, before, grads, after, stats


def record_of(estimator, opt, before, lane):
    """What one lane's window saw, by the plain loop with the optimizer that leads."""
    episode = jtu.tree_map(lambda x: x[lane], before.episode)
    teacher = estimator.teacher
    shadow = Shadow(teacher) if estimator.follow == "teacher" else Shadow(opt, teacher)

    def observe(step):
        b, a = step.before, step.after
        return Record(step.problem.grad(b.params), a.opt_state.label, b.params)

    after, record = unroll(TASK, shadow, episode, LENGTH, observe)
    memo = jtu.tree_map(lambda x: x[lane], before.memo)
    start = memo if estimator.follow == "teacher" else episode.opt_state.leader
    return after, record, start


def test_the_gradient_is_that_of_the_loss_through_the_whole_student(second):
    """Block by block and pulled back, against AD straight through the rule, over both lanes."""
    estimator, opt, before, grads, _, stats = second
    theta, rest = split_meta(opt)

    @jax.jit
    @jax.value_and_grad
    def value(theta, lane):
        _, record, state = record_of(estimator, opt, before, lane)
        live, record = join_meta(theta, rest), jax.lax.stop_gradient(record)
        total = 0.0
        for t in range(LENGTH):
            at = jtu.tree_map(lambda x, t=t: x[t], record)
            u, state = live.update(at.grads, state, at.params)
            total += 0.5 * jnp.mean((u - at.label) ** 2)
        return total

    losses, lanes = zip(*(value(theta, lane) for lane in range(EPISODES)), strict=True)
    assert float(stats.loss) == pytest.approx(np.mean(losses), rel=1e-12)
    for a, *b in zip(*map(jtu.tree_leaves, (grads, *lanes)), strict=True):
        np.testing.assert_allclose(a, np.mean(b, axis=0), rtol=1e-8, atol=1e-14)


def test_the_run_goes_where_its_leader_leads(second):
    estimator, opt, before, _, after, _ = second
    leader = estimator.teacher if estimator.follow == "teacher" else opt

    @jax.jit
    def alone(lane):
        episode = jtu.tree_map(lambda x: x[lane], before.episode)
        episode = eqx.tree_at(lambda e: e.opt_state, episode, episode.opt_state.leader)
        return unroll(TASK, leader, episode, LENGTH, lambda step: ())[0].params

    for lane in range(EPISODES):
        np.testing.assert_allclose(after.episode.params[lane], alone(lane), rtol=1e-12)


def test_a_student_that_is_the_teacher_has_nothing_to_learn():
    opt = LearnedAdam(0.1)
    _, grads, _, stats = window(Imitation(opt, 1, LENGTH, 12), opt, calls=1)
    assert float(stats.loss) == pytest.approx(0, abs=1e-30)
    assert float(tree.norm(grads)) == pytest.approx(0, abs=1e-15)


def test_the_label_is_what_the_teacher_does_in_all_the_steps_skipped():
    """SGD on ½x²: from x the next k steps add up to ((1 − a)ᵏ − 1) x."""
    a, k = 0.2, 3
    fixed = Quadratic(2, start=1.0)
    estimator = Imitation(sgd(a), 1, 2, 100, every=k, stagger=False)
    opt = LearnedAdam(0.1)
    state = start(estimator, fixed, opt, jr.key(3))
    instance = eqx.tree_at(
        lambda i: (i.W, i.y),
        state.episode.instance,
        (jnp.eye(2)[None, None], jnp.zeros((1, 1, 2))),
    )
    x = np.asarray(state.episode.params)[0, 0]
    state = eqx.tree_at(lambda s: s.episode.instance, state, instance)
    _, after, stats = call(estimator, fixed, opt, state, jr.key(4))
    np.testing.assert_allclose(after.episode.params[0, 0], (1 - a) ** (2 * k) * x, rtol=1e-12)
    rule, loss, update = opt.init(x[None]), 0.0, eqx.filter_jit(opt.update)
    for step in range(2):
        at = (1 - a) ** (k * step) * x
        u, rule = update(at[None], rule, at[None])
        loss += 0.5 * np.mean((np.asarray(u[0]) - ((1 - a) ** k - 1) * at) ** 2)
    assert float(stats.loss) == pytest.approx(loss, rel=1e-12)
    assert int(stats.inner_steps) == 2 * k


def test_rules_that_mix_coordinates_take_the_other_road_to_the_same_gradient():
    opt = student(block=1024)

    @eqx.filter_jit
    def roads(opt):
        episode = begin(TASK, opt, jr.key(5))
        observe = lambda step: Record(
            step.problem.grad(step.before.params), jnp.sin(step.before.params), step.before.params
        )
        _, record = unroll(TASK, opt, episode, LENGTH, observe)
        wrapped = Recorded(opt).init(episode.params)  # a rule that begins at constants
        one = draw_to(opt, episode.opt_state, record, 0.5)
        return one, draw_to(Recorded(opt), wrapped, record, 0.5)

    one, two = roads(opt)
    np.testing.assert_allclose(one[0], two[0], rtol=1e-12)
    for a, b in zip(jtu.tree_leaves(one[2]), jtu.tree_leaves(two[2]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"length": 0}, "length must be at least 1, got 0"),
        ({"follow": "nobody"}, "follow must be teacher or student, got 'nobody'"),
        ({"weights": "last"}, "weights must be sum or uniform, got 'last'"),
        ({"every": 2, "follow": "student"}, "needs a run that the teacher leads"),
    ],
)
def test_bad_input_gets_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Imitation(sgd(0.1), **options)
