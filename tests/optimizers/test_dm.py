"""L2O-DM beside what is tested of it elsewhere: tests/golden (published weights), tests/pytorch."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np

from steppe.core.episode import begin, unroll
from steppe.optimizers.learned.dm import DM
from steppe.store.describe import describe
from steppe.tasks.synthetic.quadratic import Quadratic


def test_a_zero_head_stands_still_and_its_first_meta_step_goes_downhill():
    opt = DM(hidden=(3,), zero_head=True, key=jr.key(0))
    task = Quadratic(4)
    episode = begin(task, opt, jr.key(1))
    after, _ = unroll(task, opt, episode, 2, lambda step: ())
    np.testing.assert_array_equal(after.params, episode.params)

    def loss(head):
        moved = eqx.tree_at(lambda o: o.head, opt, head)
        after, _ = unroll(task, moved, episode, 2, lambda step: ())
        batch = task.full_batch(after.instance, split="train")
        return task.loss(after.instance, batch, jr.key(2))(after.params)

    value, grads = jax.value_and_grad(loss)(opt.head)
    downhill = jtu.tree_map(lambda w, g: w - 0.1 * g / jnp.abs(g).max(), opt.head, grads)
    assert loss(downhill) < value
    assert describe(opt)["hyper"]["zero_head"] is True
