"""A real encoder and real posts, where steppe fetch minilm newsgroups put them.

`golden/minilm.json` was made by PyTorch and transformers (see `about` there). STEPPE_CACHE names
the cache folder, if it is not the usual one.
"""

import dataclasses
import json
import re
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import steppe
from steppe.data.fetch import fetched
from steppe.data.tokens import TextTokenizer
from steppe.prompt import Alternate, Catalyst, Descent, Scripted, SoftPrompt, Tokenizer, readable
from steppe.store.untrusted import FileError
from steppe.tasks.text.encoder import load_encoder, pooled
from steppe.tasks.text.prompts import newsgroups

PAGE = Path(__file__).parents[3] / "docs" / "soft_prompts.md"
GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "minilm.json").read_text())
PROMPT = lambda params: params["prompt"]
STEPS, RATE = 60, 5e-3
TEXT = "which newsgroup is this post from"


@pytest.fixture(scope="module")
def folder():
    try:
        return fetched("minilm")
    except FileError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def posts():
    try:
        return fetched("newsgroups")
    except FileError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def encoder(folder):
    return load_encoder(folder)


@pytest.fixture(scope="module")
def tokenizer(folder):
    return TextTokenizer(folder)


@pytest.fixture(scope="module")
def task(folder, posts):
    with jax.enable_x64(False):
        return newsgroups(posts, folder, rows=8, batch_size=16)


def padded(rows):
    """Tokens side by side, and where there are some."""
    length = max(map(len, rows))
    mask = np.array([[i < len(row) for i in range(length)] for row in rows])
    return np.array([row + [0] * (length - len(row)) for row in rows]), mask


def soft_prompt(task, tokenizer):
    """Prompts of the task as whole words."""
    own = Tokenizer(tokenizer.encode, tokenizer.decode)
    words = readable(own, tokenizer.size)
    return SoftPrompt(task.encoder.words, own, task.rows, allowed=words, special=tokenizer.special)


@eqx.filter_jit
def hidden(encoder, ids, mask, prompt):
    front = jnp.broadcast_to(prompt[None], (len(ids), *prompt.shape))
    x = jnp.concatenate([front, encoder.embed(ids)], axis=1)
    return encoder(x, jnp.concatenate([jnp.ones(front.shape[:2], bool), mask], axis=1))


@pytest.mark.slow
def test_hidden_states_are_those_of_transformers(encoder, tokenizer):
    assert [tokenizer.whole((text,), 64) for text in GOLDEN["texts"]] == GOLDEN["ids"]
    ids, mask = padded(GOLDEN["ids"])
    words = np.asarray(encoder.words)
    for name, prompt in [
        ("hidden", words[:0]),
        ("prompted", words[GOLDEN["prompt"]] * np.float32(1.5) + np.float32(0.01)),
    ]:
        found = np.asarray(hidden(encoder, ids, mask, prompt))
        assert found.dtype == np.float32
        for row, text, expected in zip(found, GOLDEN["ids"], GOLDEN[name], strict=True):
            real = row[: len(prompt) + len(text), ::16]
            np.testing.assert_allclose(real, np.array(expected), atol=1e-4)


@pytest.mark.slow
def test_what_means_the_same_is_near(encoder):
    ids, mask = padded(GOLDEN["ids"])
    h = hidden(encoder, ids, mask, np.asarray(encoder.words)[:0])
    v = np.asarray(pooled(h, jnp.asarray(mask), "mean"))
    cosines = v @ v.T / np.linalg.norm(v, axis=1) / np.linalg.norm(v, axis=1)[:, None]
    assert cosines[0, 1] > 0.6 and max(cosines[0, 2], cosines[1, 2]) <= 0.07


@pytest.mark.slow
def test_the_gradient_of_a_prompt_is_that_of_finite_differences(task):
    batch = tuple(x[:4] for x in task.full_batch((), split="train"))
    start = task.init((), jr.key(0))  # float64 here
    loss = eqx.filter_jit(lambda task, params: task.loss((), batch, jr.key(0))(params))
    grads = eqx.filter_jit(lambda task, params: jax.grad(task.loss((), batch, jr.key(0)))(params))
    way = np.random.default_rng(0).standard_normal(start["prompt"].shape)
    h = 1e-6 / np.linalg.norm(way)
    ends = [
        float(loss(task, start | {"prompt": start["prompt"] + sign * h * way})) for sign in (1, -1)
    ]
    slope = float(np.sum(np.asarray(grads(task, start)["prompt"]) * way))
    assert slope != 0 and (ends[0] - ends[1]) / (2 * h) == pytest.approx(slope, rel=1e-4)


@pytest.mark.slow
def test_sixty_steps_tell_four_newsgroups_apart(task, tokenizer):
    with jax.enable_x64(False):
        codec = soft_prompt(task, tokenizer)
        adam = steppe.FromOptax("adam", learning_rate=RATE)
        descent = Descent(task, adam, codec, jr.key(0), where=PROMPT)
        lane = descent.advance(descent.begin(), 1)  # compiles
        begin = time.process_time(), time.perf_counter()
        lane = descent.advance(lane, STEPS - 1)
        loss = descent.score(lane).loss
        cpu, wall = time.process_time() - begin[0], time.perf_counter() - begin[1]
        test = Descent(task, adam, codec, descent.episode, where=PROMPT, split="test")
        accuracy = test.score(lane).metrics["accuracy"]
    cost = f"{cpu / (STEPS - 1):.2f} CPU-s and {wall / (STEPS - 1):.2f} s a step"
    print(f"loss {loss:.3f} (valid), accuracy {accuracy:.3f} (test), {cost}")
    assert accuracy >= 0.7


@pytest.mark.slow
def test_the_catalyst_takes_texts_for_a_prompt(task, tokenizer):
    with jax.enable_x64(False):
        small = dataclasses.replace(task, report=32, batch_size=8)
        codec = soft_prompt(task, tokenizer)
        descent = Descent(
            small, steppe.FromOptax("adam", learning_rate=RATE), codec, jr.key(1), where=PROMPT
        )
        script = Scripted([[TEXT, "[CLS] [SEP]"], []])
        schedule = Alternate(rounds=2, steps=4, snapshots=1, probation=2)
        result = Catalyst(script, schedule).run(descent)
        history = result.history
        assert result.loss == descent.score_at(result.params).loss <= history.alone
        assert history.rounds[0].unreadable == (
            ("[CLS] [SEP]", "It has no word of the vocabulary."),
        )
        gradients, proposal = history.rounds[0].contenders
        assert (gradients.who, proposal.text) == ("gradients", TEXT)
        # Its losses, and gradients alone, by hand.
        begun = descent.restart(descent.advance(descent.begin(), 4), TEXT)
        ids = tokenizer.encode(TEXT)
        front = np.asarray(descent.params(begun)["prompt"])[: len(ids)]
        np.testing.assert_array_equal(front, np.asarray(task.encoder.words)[ids])
        assert proposal.losses[0] == descent.score(begun).loss
        last = descent.score(descent.advance(descent.begin(), history.gradients[-1][0])).loss
        assert history.gradients[-1][1] == last
        said = history.pool[0].text  # where gradients were, as words
        assert all(i not in tokenizer.special for i in codec.ids(said))


@pytest.mark.slow
def test_the_page_runs(folder, posts, capsys):
    """Its block, with fewer steps on less data."""
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for said, less in [("steps=30", "steps=2"), ("report=256", "report=16")]:
        assert said in block
        block = block.replace(said, less)
    with jax.enable_x64(False):
        names = {}
        exec(compile(block, PAGE.name, "exec"), names)
    assert capsys.readouterr().out.startswith("Loss ")
    assert len(names["result"].history.rounds[0].contenders) == 3
