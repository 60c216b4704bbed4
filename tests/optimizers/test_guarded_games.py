"""Guarded on games: any proposal is survived, by residual and by merit, and costs are counted."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.episode import begin, unroll
from steppe.core.task import draw
from steppe.optimizers.classic.games import GDA, Anchored, Extragradient
from steppe.optimizers.classic.resolvent import Halpern, ProximalPoint
from steppe.optimizers.guarded import Guarded
from steppe.optimizers.learned.extragradient import LearnedExtragradient
from tests.optimizers.monotone import Game
from tests.optimizers.test_guarded import Adversary

GUARDS = {
    "residual": lambda base: Guarded(base, ProximalPoint(1.0), "residual"),
    "merit": lambda base: Guarded(base, Halpern(1.0), "merit"),
}
ATTACKS = {"flipped": (-1.0, False), "tenfold": (10.0, False), "nan": (np.nan, False)}
GOOD = LearnedExtragradient(0.7, 0.3, 0.9, 0.9)


@eqx.filter_jit
def merits(opt, keys, steps):
    """‖∇f‖ before the first and after each step, and the proposals rejected at the end."""

    def one(key):
        start = begin(Game(), opt, key)
        left = lambda step: step.problem.merit(step.after.params)
        end, found = unroll(Game(), opt, start, steps, left)
        first = Game().loss(start.instance, (), key).merit(start.params)
        return jnp.append(first, found), getattr(end.opt_state, "rejections", 0)

    return jax.lax.map(one, keys)


def survives(by, attack, games, steps):
    opt = GUARDS[by](Adversary(Extragradient(0.3), *ATTACKS[attack]))
    found, rejections = merits(opt, jr.split(jr.key(3), games), steps)
    assert np.all(found[:, -1] <= 1e-3 * found[:, 0])
    assert np.all(rejections > 20) and (attack != "nan" or np.all(rejections == steps))


@pytest.mark.parametrize("by", GUARDS)
def test_adversarial_proposals_are_survived(by):
    for attack in ATTACKS:
        survives(by, attack, games=2, steps=3000)


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("by", GUARDS)
def test_adversarial_proposals_are_survived_on_fifty_games(by, attack):
    survives(by, attack, games=50, steps=5000)


def test_by_merit_no_step_is_above_the_curve_of_the_fallback_and_a_good_rule_is_left_alone():
    keys, steps = jr.split(jr.key(5), 2), 60
    curve, _ = merits(Halpern(1.0), keys, steps)
    bad = Adversary(Extragradient(0.3), -1.0, True)
    for base, rejected in ((bad, (0.5, 1.0)), (GOOD, (0.0, 0.05))):
        found, rejections = merits(GUARDS["merit"](base), keys, steps)
        assert np.all(found <= curve * (1 + 1e-12) + 1e-15)
        low, high = (share * steps for share in rejected)
        assert np.all((low <= rejections) & (rejections <= high))


@pytest.mark.slow
def test_a_good_rule_is_rejected_at_most_once_in_twenty_steps_on_fifty_games():
    for by in GUARDS:
        _, rejections = merits(GUARDS[by](GOOD), jr.split(jr.key(3), 50), 100)
        assert np.mean(rejections) <= 0.05 * 100


def test_what_a_guard_takes_is_counted_with_the_fallback_at_both_points():
    each = lambda base, fallback, by: Guarded(base, fallback, by).gradients_per_step
    # at x and one step ahead, at the proposal and one ahead of that
    assert each(GDA(0.1), Extragradient(0.1), "residual") == 4
    assert each(GDA(0.1), GDA(0.1), "residual") == 2
    # at x; one ahead of z, at z⁺ and the proposal
    assert each(GDA(0.1), Extragradient(0.1), "merit") == 4
    assert each(LearnedExtragradient(), Anchored(0.1, extra=True), "merit") == 5
    assert each(GDA(0.1), Halpern(), "merit") is None
    assert each(GDA(0.1), Halpern(), "residual") is None


def test_a_game_is_not_judged_by_its_value():
    opt = Guarded(GDA(0.1), Extragradient(0.1))
    problem = draw(Game(), Game().sample(jr.key(0)), jr.key(0), split="train")
    params = {"min": jnp.ones(3), "max": jnp.ones(3)}
    with pytest.raises(ValueError, match="Game is a game, whose value tells nothing of a run"):
        opt.update(params, opt.init(params), params, problem=problem)
