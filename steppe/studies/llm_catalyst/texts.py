"""Soft prompts of a real encoder: posts of newsgroups with MiniLM, and the tasks of SuperGLUE."""

import dataclasses
import functools
from pathlib import Path

from ...data.fetch import fetched
from ...data.texts import divide, superglue
from ...data.tokens import TextTokenizer, tokenised
from ...optimizers.classic.from_optax import FromOptax
from ...prompt.instruction import Example
from ...runs.soft_prompt import prompt
from ...tasks.text.encoder import load_encoder
from ...tasks.text.prompts import TOPICS, PromptTuning, newsgroups
from .problems import Problem

ROWS = 8
EXAMPLE = Example(
    (("makeup osaka flashed drum", 1.31), ("this film review is", 0.82)),
    ("was the film good or bad", "the reviewer liked it", "positive negative films"),
)


SENSIBLE = (
    "which newsgroup is this post from",
    "cars motorcycles medicine space",
    "the topic of this message is",
    "a post about autos bikes doctors or rockets",
    "this text talks about",
    "car bike health orbit",
)


@functools.cache
def task_of_posts() -> PromptTuning:
    return newsgroups(rows=ROWS, length=16, report=128)


def posts(seed: int) -> Problem:
    """Tell which of four newsgroups a post is from, by 128 posts of 16 tokens and MiniLM."""
    about = (
        "The texts are prompts that stand in front of posts, by which a small model tells which "
        "newsgroup a post is from."
    )
    folder = fetched("minilm")
    return _tuned(task_of_posts(), str(folder), 0.005, TOPICS, about, SENSIBLE, seed)


def _tuned(
    task: PromptTuning,
    encoder: str,
    rate: float,
    labels: tuple[str, ...],
    about: str,
    sensible: tuple[str, ...],
    seed: int,
) -> Problem:
    """A prompt tuned by Adam; `sensible` are prompts that a person would try."""
    adam = FromOptax("adam", learning_rate=rate)
    tunable = prompt(task, encoder, adam, labels=labels, about=about, seed=seed)
    instruction = dataclasses.replace(tunable.instruction, example=EXAMPLE, top=4, recent=1)
    return Problem(
        descent=tunable.descent,
        codec=tunable.codec,
        instruction=instruction,
        good=lambda rng: sensible[rng.integers(len(sensible))],
        bad=lambda rng: " ".join([tunable.codec.draw(rng).split()[0]] * task.rows),
        test=tunable.test,
    )


# SuperGLUE.

VALID = 256  # texts that are chosen by; the official validation data are the test
PUBLISHED = {  # texts of a minibatch, and rate
    "BoolQ": (32, 7e-3), "COPA": (16, 9e-3), "RTE": (32, 5e-3), "WiC": (32, 1e-2),
    "WSC": (16, 1e-2),
}  # fmt: skip
ABOUT = {  # words for a language model, and prompts that a person would try
    "BoolQ": ("whether the answer to a question is yes", ("is the answer yes or no",
              "question and passage", "the passage says")),
    "COPA": ("which of two choices follows", ("which is more likely", "cause and effect",
             "choose the right ending")),
    "RTE": ("whether one sentence follows from another", ("does it follow", "true or false",
            "premise and hypothesis")),
    "WiC": ("whether a word means the same in two sentences", ("same meaning or not",
            "meaning of the word", "two senses of a word")),
    "WSC": ("whom a pronoun means", ("who is meant", "the pronoun stands for", "he she it they")),
}  # fmt: skip


def of_superglue(name: str, seed: int, folder: str, encoder: str, length: int) -> Problem:
    """A task of SuperGLUE with the numbers of the paper.

    - `folder`: with the official files; `encoder`: that of a BERT or RoBERTa
    - `length`: tokens of a text
    """
    words, sensible = ABOUT[name]
    about = f"The texts are prompts that stand in front of others, by which a model tells {words}."
    task = _task(name, folder, encoder, length)
    return _tuned(task, encoder, PUBLISHED[name][1], (), about, sensible, seed)


@functools.cache
def _task(name: str, folder: str, encoder: str, length: int) -> PromptTuning:
    pool, test = (superglue(folder, name, part) for part in ("train", "val"))
    own = len(set(pool.texts) - set(test.texts))
    valid = min(VALID, own // 3)
    parts = divide(pool, (own - valid, valid, len(set(test.texts))), test=test)
    tokens = tokenised(parts, TextTokenizer(encoder), length=length)
    size = PUBLISHED[name][0]
    return PromptTuning(tokens, load_encoder(encoder), ROWS, batch_size=size)


def absent(folder: str, encoder: str) -> str:
    """The sentence why SuperGLUE cannot be had, "" if it can."""
    if folder and encoder:
        for path in (folder, encoder):
            if not Path(path).is_dir():
                return f"{path} is no folder; give those of SuperGLUE and of an encoder."
        return ""
    return "SuperGLUE needs `superglue`, the folder of its files, and `encoder`, that of a RoBERTa."
