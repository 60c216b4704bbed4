"""A short meta-training, compiled once: the meta-loss of the same episodes, step by step."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax

from steppe.core import tree
from steppe.core.episode import begin, unroll
from steppe.core.optimizer import join_meta, split_meta


@eqx.filter_jit
def meta_train(opt, task, *, length, episodes=4, steps=20, lr=0.1):
    """(trained optimizer, mean loss after `length` inner steps before each meta-step).

    Every meta-step sees the same episodes.
    """
    theta, rest = split_meta(tree.strongly_typed(opt))
    episodes = jax.vmap(lambda key: begin(task, opt, key))(jr.split(jr.key(1), episodes))
    meta_tx = optax.adam(lr)

    def final(theta, episode):
        observe = lambda step: step.problem.value(step.after.params)
        return unroll(task, join_meta(theta, rest), episode, length, observe)[1][-1]

    def meta_loss(theta):
        return jnp.mean(jax.vmap(lambda episode: final(theta, episode))(episodes))

    def step(carry, _):
        theta, meta_state = carry
        loss, grads = jax.value_and_grad(meta_loss)(theta)
        updates, meta_state = meta_tx.update(grads, meta_state)
        return (tree.apply_updates(theta, updates), meta_state), loss

    start = tree.strongly_typed((theta, meta_tx.init(theta)))
    (theta, _), losses = jax.lax.scan(step, start, length=steps)
    return join_meta(theta, rest), losses


@eqx.filter_jit
def followed(opt, grads, params):
    """Parameters after each step on given gradients."""

    def step(carry, g):
        params, state = carry
        u, state = opt.update(g, state, params)
        params = tree.apply_updates(params, u)
        return (params, state), params

    return jax.lax.scan(step, (params, opt.init(params)), grads)[1]
