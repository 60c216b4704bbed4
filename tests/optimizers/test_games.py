"""Methods for games: closed forms, slow loops in NumPy, and bounds that are proven."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import steppe
from steppe.certificates.certify import as_run
from steppe.certificates.episodes import Episodes
from steppe.core.episode import Episode, begin, unroll
from steppe.core.rollout import episodes
from steppe.core.task import Problem
from steppe.evaluation.run import evaluate
from steppe.evaluation.tuning import tune
from steppe.optimizers.classic.descent_ascent import DescentAscent
from steppe.optimizers.classic.from_optax import adam, sgd
from steppe.optimizers.classic.games import GDA, Anchored, Extragradient, OptimisticGDA
from steppe.optimizers.classic.resolvent import Halpern, ProximalPoint, to_resolvent
from steppe.optimizers.guarded import Guarded
from steppe.optimizers.learned.learned_adam import LearnedAdam
from steppe.tasks.games.matrix import MatrixGame
from steppe.tasks.games.quadratic import QuadraticGame
from steppe.tasks.games.seesaw import Seesaw
from tests.optimizers.monotone import Game, matrix, vector

S, KEY = 0.1, jr.key(0)


@eqx.filter_jit
def path(task, opt, episode, steps):
    """The parameters before every step and after the last."""
    end, seen = unroll(task, opt, episode, steps, lambda step: step.before.params)
    return jax.tree.map(lambda x, last: jnp.concatenate([x, last[None]]), seen, end.params)


def product(opt):
    """The points of a run on f(x, y) = x y, as (steps + 1, 2): (x, y)."""
    task, params = MatrixGame(1), {"min": jnp.array([0.3]), "max": jnp.array([-0.2])}
    start = Episode(jnp.eye(1), params, opt.init(params), jnp.zeros((), jnp.int32), KEY)
    seen = path(task, opt, start, 60)
    return np.concatenate([seen["min"], seen["max"]], axis=1)


RATES = {  # of the distance on f(x, y) = x y, a step of size s
    "gda": (GDA(S), np.sqrt(1 + S**2)),
    "alternating": (GDA(S, alternating=True), 1.0),
    "extragradient": (Extragradient(S), np.sqrt((1 - S**2) ** 2 + S**2)),
    "optimistic": (OptimisticGDA(S), max(abs(np.roots([1, -1 - 2j * S, 1j * S])))),
    "proximal": (ProximalPoint(S), 1 / np.sqrt(1 + S**2)),
}


@pytest.mark.parametrize("name", RATES)
def test_the_rate_on_a_product_is_that_of_the_closed_form(name):
    """The largest eigenvalue of the map that takes each of the last points to the next."""
    opt, rate = RATES[name]
    z = product(opt)[-4:].T  # (2, 4)
    step = np.linalg.lstsq(z[:, :-1].T, z[:, 1:].T, rcond=None)[0]
    assert max(abs(np.linalg.eigvals(step))) == pytest.approx(rate, abs=1e-9)


def test_the_rates_are_those_that_were_written_down():
    written = {"gda": 1.00499, "extragradient": 0.99504, "optimistic": 0.99494}
    for name, rate in written.items():
        assert round(float(RATES[name][1]), 5) == rate


def by_hand(name, z, M, s, steps):
    """The points of a method on F(z) = M z, in NumPy."""
    start, before, seen, eye = z, M @ z, [z], np.eye(len(z))
    half = len(z) // 2  # "max" before "min"
    for k in range(steps):
        F = M @ z
        if name == "gda":
            z = z - s * F
        elif name == "alternating":
            first = np.concatenate([z[:half], z[half:] - s * F[half:]])
            z = np.concatenate([z[:half] - s * (M @ first)[:half], first[half:]])
        elif name == "optimistic":
            z, before = z - 2 * s * F + s * before, F
        elif name == "extragradient":
            z = z - s * M @ (z - s * F)
        elif name == "anchored":
            z = z - s * F / (k + 1) ** 0.7 + 0.3 * 2.0 * (start - z) / (k + 1)
        elif name == "anchored-extra":
            drawn = z + (start - z) / (k + 2)
            z = drawn - s * M @ (drawn - s * F)
        elif name == "proximal":
            z = np.linalg.solve(eye + s * M, z)
        elif name == "halpern":
            z = start / (k + 2) + (1 - 1 / (k + 2)) * np.linalg.solve(eye + s * M, z)
        seen.append(z)
    return np.stack(seen)


METHODS = {
    "gda": GDA(0.2),
    "alternating": GDA(0.2, alternating=True),
    "optimistic": OptimisticGDA(0.2),
    "extragradient": Extragradient(0.2),
    "anchored": Anchored(0.2, power=0.7, pull=2.0),
    "anchored-extra": Anchored(0.2, extra=True),
    "proximal": ProximalPoint(0.2),
    "halpern": Halpern(0.2),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_run_is_that_of_a_loop_in_numpy(name):
    task = Game()
    start = begin(task, METHODS[name], KEY)
    found = vector(path(task, METHODS[name], start, 20))
    expected = by_hand(name, found[0], matrix(start.instance), 0.2, 20)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_bounds_hold_on_random_monotone_games_and_are_not_far_off():
    """The largest share of its bound that a run ever has, over 200 games and 300 steps."""
    rng, worst = np.random.default_rng(0), dict.fromkeys(("halpern", "proximal", "anchored"), 0.0)
    k = np.arange(1, 301)
    for i in range(200):
        n = 1 + i % 3
        skew, low = rng.standard_normal((2, 2 * n, 2 * n)) / np.sqrt(n)
        M = (skew - skew.T) / 2 + (i % 2) * 0.1 * np.outer(low[0], low[0])
        z0, R = rng.standard_normal(2 * n), np.linalg.norm(M, 2)
        D, eye, alpha = np.linalg.norm(z0), np.eye(2 * n), 10 ** rng.uniform(-2, 2) / R
        residual = eye - np.linalg.inv(eye + alpha * M)
        for name, bound in (("halpern", 2 * D / (k + 1)), ("proximal", D / np.sqrt(k + 1))):
            seen = np.linalg.norm(by_hand(name, z0, M, alpha, 300)[1:] @ residual.T, axis=1)
            worst[name] = max(worst[name], np.max(seen / bound))
        seen = np.linalg.norm(by_hand("anchored-extra", z0, M, 1 / (8 * R), 300)[1:] @ M.T, axis=1)
        worst["anchored"] = max(worst["anchored"], np.max(seen / (np.sqrt(260) * R * D / (k + 1))))
    assert all(0.1 < share <= 1 for share in worst.values()), worst


def test_the_resolvent_of_a_game_that_is_not_affine_by_newton():
    """w + αF(w) = z on the seesaw, by its formula."""
    task, (a, b), alpha = Seesaw(), (0.95, 0.92), 0.3
    problem = Problem(task, {"a": jnp.array(a), "b": jnp.array(b)}, (), KEY)
    loss, z = problem.loss(), {"min": jnp.array([0.2]), "max": jnp.array([-0.1])}
    F = {"min": loss.grad_min(z), "max": -loss.grad_max(z)}
    move = to_resolvent(loss, z, F, alpha, iterations=6)
    u, v = (float(z[player][0] + move[player][0]) for player in ("min", "max"))
    angle = a * np.pi * u
    F_u, F_v = -b * v * a * np.pi * np.cos(angle), b * np.sin(angle)
    assert [u + alpha * F_u, v + alpha * F_v] == pytest.approx([0.2, -0.1], abs=1e-12)


def test_a_resolvent_counts_what_it_takes():
    task = QuadraticGame(3)
    for opt, each in ((ProximalPoint(), 7), (Halpern(iterations=2), 14)):
        end, _ = unroll(task, opt, begin(task, opt, KEY), 5, lambda step: ())
        assert opt.counts(end.opt_state)["gradients"] == 5 * each
        assert opt.gradients_per_step is None
    costs = [GDA(1.0), GDA(1.0, True), OptimisticGDA(1.0), Extragradient(1.0), Anchored(1.0)]
    assert [opt.gradients_per_step for opt in costs] == [1, 2, 1, 2, 1]
    assert Anchored(1.0, extra=True).gradients_per_step == 2
    assert Guarded(Extragradient(0.1), GDA(0.1), "residual").gradients_per_step == 3


def test_any_rule_plays_with_the_sign_of_the_second_player_turned():
    task = Game()
    start = begin(task, GDA(0.2), KEY)
    ours, theirs = DescentAscent(sgd(0.2)), GDA(0.2)
    again = begin(task, ours, KEY)
    np.testing.assert_allclose(
        vector(path(task, ours, again, 20)), vector(path(task, theirs, start, 20)), rtol=1e-12
    )


def distance(task, opt, steps, problems=100):
    """The mean distance of each player after so many steps."""
    look = lambda end, _: task.metrics(end.params, end.instance, (), end.key)
    run = eqx.filter_jit(lambda keys: episodes(task, opt, keys, steps, look).looks)
    found = run(jr.split(KEY, problems))
    return float(np.mean(found["distance_min"])), float(np.mean(found["distance_max"]))


def test_the_published_seesaw_and_saddles():
    """Shen et al. 2021 show 0.24 for GDA on the seesaw, where it begins; others solve it."""
    slow = GDA(0.003, alternating=True)
    assert distance(Seesaw(), slow, 1000, 2000)[0] == pytest.approx(0.24, abs=0.02)
    assert max(distance(Seesaw(), OptimisticGDA(0.1), 1000)) <= 1e-6
    assert max(distance(QuadraticGame(), GDA(0.1), 1000)) <= 1e-12


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "opt", "most"),
    [
        (QuadraticGame(coupling=1.0), GDA(0.1), 1e-60),
        (QuadraticGame(), GDA(0.3), 1e-60),
        (Seesaw(), Extragradient(0.1), 1e-12),
        (MatrixGame(1, "uniform", "uniform"), Extragradient(0.3), 1e-6),
        (MatrixGame(1, "uniform", "uniform"), OptimisticGDA(0.3), 1e-6),
        (MatrixGame(1, "uniform", "uniform"), Halpern(), 0.01),
    ],
)
def test_what_classical_methods_reach_in_a_thousand_steps(task, opt, most):
    assert max(distance(task, opt, 1000, 500)) <= most


def test_simultaneous_steps_grow_on_a_matrix_game():
    task = MatrixGame(1, "uniform", "uniform")
    assert distance(task, GDA(0.1), 1000)[0] > 3 * distance(task, GDA(0.1), 10)[0]


def test_a_game_is_tuned_and_judged_by_its_merit():
    task = QuadraticGame(coupling=1.0)
    found = tune(task, lambda lr: GDA(lr), horizon=20, key=KEY, grid=(0.01, 0.3, 3.0), seeds=2)
    assert found.best == 0.3 and all(score is None or score > 0 for score in found.scores)
    record = evaluate(
        task, GDA(0.3), name="gda", task_name="rotated-saddle", horizon=4, seeds=2, key=KEY,
        points=2, ms_per_step=1.0,
    )  # fmt: skip
    assert record.metrics["test_loss"] == record.metrics["test_merit"]
    starts = [row[0] for row in record.metrics["test_loss"]]
    assert [row[0] for row in record.curve] == pytest.approx(starts)


def test_a_game_is_certified_by_its_merit():
    task = QuadraticGame()
    run = as_run(GDA(0.3), task, None)
    assert run.metric.name == "merit" and as_run(GDA(0.3), steppe.Quadratic(n=2), None)
    assert np.all(np.diff(run.run(0, range(3), 5).errors) < 0)
    with pytest.raises(ValueError, match=r"loss of a game tells nothing.*take the metric 'merit'"):
        Episodes(task, GDA(0.3))
    assert Episodes(Seesaw(), GDA(0.3), metric="distance").metric.name == "distance"


def test_who_descends_for_both_players_is_refused():
    words = (
        r"adam would descend for both players, but Seesaw is a game.*gda, .*DescentAscent\(opt\)"
    )
    options = {"task_name": "seesaw", "horizon": 2, "seeds": 1, "key": KEY, "ms_per_step": 1.0}
    with pytest.raises(ValueError, match=words):
        evaluate(Seesaw(), adam(0.1), name="adam", **options)
    with pytest.raises(ValueError, match="would descend for both players"):
        evaluate(Seesaw(), Guarded(LearnedAdam(0.1), sgd(0.1)), name="guarded", **options)
    guarded = Guarded(LearnedAdam(0.1), Extragradient(0.1), "residual")
    assert evaluate(Seesaw(), guarded, name="guarded", **options).metrics["test_loss"]


@pytest.mark.parametrize("name", METHODS)
def test_what_is_no_game_is_refused(name):
    opt, task = METHODS[name], steppe.Quadratic(n=2)
    problem = Problem(task, task.sample(KEY), (), KEY)
    kind, x = type(opt).__name__, {"min": jnp.ones(2), "max": jnp.ones(2)}
    with pytest.raises(ValueError, match=f"{kind} needs a loss of the form Saddle.f., got"):
        opt.update(x, opt.init(x), x, problem=problem)
    with pytest.raises(ValueError, match=f"{kind} needs the problem that it solves"):
        opt.update(x, opt.init(x), x)


@pytest.mark.parametrize("kind", [GDA, OptimisticGDA, Extragradient, Anchored, Halpern])
def test_rates_that_cannot_be_meant_are_refused(kind):
    name = kind.__name__
    for lr in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=f"^{name}: lr must be positive, got {lr}"):
            kind(lr)
    with pytest.raises(ValueError, match=f"^{name}: lr must be a finite number, got 'fast'"):
        kind("fast")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Anchored(0.1, power=0.5), "Anchored: power must lie between 0.5 and 1, got 0.5"),
        (lambda: Anchored(0.1, pull=0.0), "Anchored: pull must be positive, got 0.0"),
        (lambda: Halpern(iterations=0), "Halpern: iterations must be a whole number ≥ 1, got 0"),
        (lambda: DescentAscent("adam"), "DescentAscent: base is a str, expected a steppe optim"),
        (lambda: Halpern().init({"min": jnp.ones(2000), "max": jnp.ones(1)}), "2000 at most, got"),
    ],
)
def test_what_cannot_be_meant_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
