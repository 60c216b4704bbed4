"""Soft prompts in front of texts: values and gradients by NumPy, and rows that are words."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from tasks.text.tiny import SMALL, VOCABULARY, encoder, forward, texts, weights

from steppe.core.loss import Composed
from steppe.core.task import structure
from steppe.data.tokens import Tokens
from steppe.tasks.text.prompts import PromptTuning

KEY, RNG = jr.key(0), np.random.default_rng(2)
TASKS = {pool: PromptTuning(texts(), encoder(), rows=3, pool=pool) for pool in ("first", "mean")}
PARAMS = {
    "head": {"b": RNG.standard_normal(2), "w": RNG.standard_normal((4, 2))},
    "prompt": RNG.standard_normal((3, 4)),
}


@eqx.filter_jit
def value(task, params, batch):
    return task.loss((), batch, KEY)(params), task.metrics(params, (), batch, KEY)["accuracy"]


def numbers(task, params, ids, mask):
    """What the head says of one text."""
    w = weights(0, SMALL)
    words = w["embeddings.word_embeddings.weight"].astype(np.float64)[ids[: mask.sum()]]
    hidden = forward(w, np.concatenate([params["prompt"], words]), SMALL)[3:]
    h = hidden[0] if task.pool == "first" else hidden.mean(axis=0)
    return h @ params["head"]["w"] + params["head"]["b"]


def by_hand(task, params, batch):
    """Loss and accuracy, text by text and without padding."""
    losses, right = [], []
    for ids, mask, y in zip(*map(np.asarray, batch), strict=True):
        z = numbers(task, params, ids, mask)
        losses.append(np.log(np.exp(z).sum()) - z[y])
        right.append(z.argmax() == y)
    return np.mean(losses), np.mean(right)


@pytest.mark.parametrize("pool", TASKS)
def test_loss_and_accuracy_are_those_of_numpy(pool):
    task = TASKS[pool]
    batch = task.full_batch((), split="valid")
    np.testing.assert_allclose(value(task, PARAMS, batch), by_hand(task, PARAMS, batch), rtol=1e-10)


def test_one_of_several_texts_is_chosen_by_a_softmax_over_them():
    ids, mask, y = (np.asarray(x) for x in (texts().ids, texts().mask, texts().y))
    pairs = jnp.asarray(ids.reshape(20, 2, 5)), jnp.asarray(mask.reshape(20, 2, 5))
    splits = ((0, 10), (10, 15), (15, 20))
    tokens = Tokens(*pairs, jnp.asarray(y[:20]), splits, ("first", "second"), VOCABULARY)
    task = PromptTuning(tokens, encoder(), rows=3)
    assert task.init((), KEY)["head"]["w"].shape == (4, 1)
    column = {"b": PARAMS["head"]["b"][:1], "w": PARAMS["head"]["w"][:, :1]}
    params, batch = PARAMS | {"head": column}, task.full_batch((), split="valid")
    # By hand: the numbers of all texts, one after the other, then row by row.
    flat = [x[20:30] for x in (ids, mask)]
    z = np.array([numbers(task, params, *row)[0] for row in zip(*flat, strict=True)]).reshape(5, 2)
    own = np.asarray(batch[2])
    loss = np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(5), own])
    found = value(task, params, batch)
    np.testing.assert_allclose(found, (loss, np.mean(z.argmax(axis=1) == own)), rtol=1e-10)


def test_the_gradient_is_that_of_finite_differences():
    task = TASKS["first"]
    batch = task.full_batch((), split="valid")
    grads = jax.grad(lambda params: value(task, params, batch)[0])(
        jax.tree_util.tree_map(jnp.asarray, PARAMS)
    )
    for place in [(0, 0), (1, 3), (2, 1)]:
        step = np.zeros((3, 4))
        step[place] = 1e-5
        ends = [by_hand(task, PARAMS | {"prompt": PARAMS["prompt"] + s * step}, batch)[0]
                for s in (1, -1)]  # fmt: skip
        found = float(grads["prompt"][place])
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(found, rel=1e-5, abs=1e-9)


def test_rows_that_are_words_are_words():
    """A prompt of embeddings is what the encoder sees of a text that begins with these words."""
    task = TASKS["first"]
    front = np.array([5, 6, 7])
    ids = RNG.integers(0, VOCABULARY, (1, 5))
    whole = jnp.asarray(np.concatenate([front[None], ids], axis=1))
    prompt = task.encoder.embed(jnp.asarray(front)).astype(float)
    hidden = task.encoder(task.encoder.embed(whole).astype(float), jnp.ones((1, 8), bool))
    head = {"b": jnp.zeros(4), "w": jnp.eye(4)}
    found = task.logits({"head": head, "prompt": prompt}, jnp.asarray(ids), jnp.ones((1, 5), bool))
    np.testing.assert_allclose(found, hidden[:, 3], rtol=1e-12)


def test_it_is_composed_and_starts_at_words():
    task = TASKS["mean"]
    assert structure(task) is Composed
    start = np.asarray(task.init((), KEY)["prompt"])
    table = np.asarray(task.encoder.words, np.float64)
    assert start.shape == (3, 4) and all((row == table).all(axis=1).any() for row in start)
    assert value(task, task.init((), KEY), task.batch((), KEY, split="test"))[0] > 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rows": 0}, "rows must be at least 1, got 0"),
        ({"rows": 8}, "8 rows and 5 tokens, but the encoder has positions for 12"),
        ({"pool": "last"}, "pool must be first or mean"),
        ({"report": 0}, "report must be at least 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        PromptTuning(texts(), encoder(), **settings)


def test_tokens_of_another_vocabulary_are_refused():
    other = eqx.tree_at(lambda e: e.words, encoder(), jnp.zeros((VOCABULARY - 1, 4)))
    with pytest.raises(ValueError, match="token 39 of the texts is none of the 39"):
        PromptTuning(texts(), other)
