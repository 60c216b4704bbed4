"""The transformer against a loop over rows, heads and places; what it may see; its floor."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.episode import begin, unroll
from steppe.core.task import Problem
from steppe.data.sequences import entropy
from steppe.optimizers.classic.from_optax import adam
from steppe.tasks.text.next_letter import EPS, Transformer, next_letter

NETWORK = Transformer(width=6, heads=2, blocks=2, wide=2)
LETTERS = jnp.asarray([[0, 3, 1, 4], [2, 2, 0, 1]])


@pytest.fixture(scope="module")
def params():
    drawn = NETWORK.init(jr.key(0), 5, 5)
    drawn["blocks"][0]["norms"] = tuple(
        norm + 0.1 * jr.normal(jr.key(k), norm.shape)
        for k, norm in enumerate(drawn["blocks"][0]["norms"])
    )
    return drawn


def norm(x, scale):
    return (x - x.mean()) / np.sqrt(x.var() + EPS) * scale[0] + scale[1]


def slow(params, letters):
    """Logits of one row, place by place and head by head."""
    p = {name: params[name] for name in params}
    x = [np.asarray(p["words"][c] + p["places"][t]) for t, c in enumerate(letters)]
    apply = lambda layer, v: v @ np.asarray(layer["w"]) + np.asarray(layer["b"])
    for block in p["blocks"]:
        first, second = (np.asarray(scale) for scale in block["norms"])
        qkv = [apply(block["attend"], norm(v, first)).reshape(3, 2, 3) for v in x]
        mixed = []
        for t in range(len(x)):
            heads = []
            for h in range(2):
                scores = np.array([qkv[t][0, h] @ qkv[s][1, h] for s in range(t + 1)]) / np.sqrt(3)
                weights = np.exp(scores) / np.exp(scores).sum()
                heads.append(sum(w * qkv[s][2, h] for s, w in enumerate(weights)))
            mixed.append(apply(block["mix"], np.concatenate(heads)))
        x = [v + m for v, m in zip(x, mixed, strict=True)]
        wide = [np.maximum(apply(block["widen"], norm(v, second)), 0) for v in x]
        x = [v + apply(block["narrow"], w) for v, w in zip(x, wide, strict=True)]
    return np.stack([apply(p["head"], norm(v, np.asarray(p["norm"]))) for v in x])


def test_it_is_a_loop(params):
    found = NETWORK.apply(params, LETTERS)
    for row, letters in zip(found, np.asarray(LETTERS), strict=True):
        np.testing.assert_allclose(row, slow(params, letters), rtol=1e-9, atol=1e-12)


def test_no_place_sees_what_comes_after_it(params):
    other = LETTERS.at[:, 2:].set(4)
    one, two = (np.asarray(NETWORK.apply(params, x)) for x in (LETTERS, other))
    np.testing.assert_array_equal(one[:, :2], two[:, :2])
    assert np.all(one[:, 2:] != two[:, 2:])


def test_it_learns_towards_the_entropy_and_never_below_it():
    """150 steps of Adam: well below letters alone, above the floor on data that it never saw."""
    task = next_letter(length=16, width=16, blocks=1, sizes=(256, 4, 64))
    key_begin, key = jr.split(jr.key(0))
    episode, values = unroll(task, adam(1e-2), begin(task, adam(1e-2), key_begin), 150, value)
    test = Problem(task, (), task.full_batch((), split="test"), key).value(episode.params)
    assert abs(float(values[0]) - np.log(16)) < 0.2
    assert entropy() < float(test) < np.log(16) - 0.1
    accuracy = task.metrics(episode.params, (), task.full_batch((), split="test"), key)["accuracy"]
    assert 2 / 16 < float(accuracy) < 0.9


def value(step):
    return step.value


def test_widths_that_heads_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="heads=4 does not divide width=6"):
        Transformer(width=6)
