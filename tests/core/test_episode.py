import jax
import jax.numpy as jnp

from steppe.core.episode import begin, restart, unroll
from steppe.optimizers.classic.from_optax import adam
from steppe.tasks.synthetic.quadratic import Quadratic

KEY = jax.random.key(0)


def test_restart_is_the_same_problem_with_a_fresh_state_elsewhere():
    task, opt = Quadratic(3), adam(0.1)
    episode, _ = unroll(task, opt, begin(task, opt, KEY), 3, lambda step: ())
    there = jnp.arange(3.0)
    again = restart(episode, there, opt)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, again.instance, episode.instance))
    assert jnp.array_equal(again.params, there)
    assert int(again.step) == 0
    fresh, seen = opt.init(there), episode.opt_state
    assert jax.tree.all(jax.tree.map(jnp.array_equal, again.opt_state, fresh))
    assert not jax.tree.all(jax.tree.map(jnp.array_equal, again.opt_state, seen))


def test_restart_draws_other_numbers_than_the_episode_before():
    task, opt = Quadratic(3), adam(0.1)
    episode = begin(task, opt, KEY)
    again = restart(episode, episode.params, opt)
    seen = lambda e: unroll(task, opt, e, 2, lambda step: jax.random.key_data(step.key))[1]
    assert not jnp.any(jnp.all(seen(again)[:, None] == seen(episode)[None], axis=-1))
