"""A soft prompt in front of labelled texts, as a problem that texts can be written for."""

import os
from pathlib import Path
from typing import Any

import jax.random as jr
import numpy as np

from ..core.optimizer import AbstractOptimizer
from ..core.task import AbstractTask
from ..data.fetch import fetched
from ..data.texts import Texts, divide, orange, table
from ..data.tokens import TextTokenizer, tokenised
from ..prompt.codecs import CodecError
from ..prompt.descent import Descent
from ..prompt.instruction import Instruction
from ..prompt.soft_prompt import SoftPrompt, Tokenizer, readable
from ..tasks.text.encoder import load_encoder
from ..tasks.text.prompts import PromptTuning, newsgroups
from .alternation import Tunable
from .identity import identity

NEWSGROUPS = "newsgroups-prompt"


def texts_of(path: str | os.PathLike) -> Texts:
    """Labelled texts from a file: .csv, .tsv, .jsonl, or Orange's .tab. Raises FileError."""
    return orange(path) if Path(path).suffix == ".tab" else table(path)


def prompt_task(
    texts: str | os.PathLike,
    encoder: str | os.PathLike | None = None,
    *,
    rows: int = 8,
    sizes: tuple[int, ...] = (128, 256, 256),
    length: int = 32,
    seed: int = 0,
) -> tuple[PromptTuning, Path]:
    """The task of tuning a prompt of some rows in front of texts, and the folder of its encoder.

    - `texts`: a file of labelled texts, or "newsgroups-prompt"
    - `encoder`: the folder of a BERT or RoBERTa; None: that of `steppe fetch minilm`
    - `sizes`: texts to train on, to choose by, and to test on
    - `length`: tokens of a text, the first ones
    - `seed`: of the draw of the texts of a file
    """
    folder = fetched("minilm") if encoder is None else Path(encoder)
    if texts == NEWSGROUPS:
        how = {"sizes": sizes, "length": length, "rows": rows}
        return newsgroups(fetched("newsgroups"), folder, **how), folder
    parts = divide(texts_of(texts), sizes, seed=seed)
    tokens = tokenised(parts, TextTokenizer(folder), length=length)
    return PromptTuning(tokens, load_encoder(folder), rows=rows), folder


def prompt(
    task: AbstractTask,
    encoder: str | os.PathLike,
    opt: AbstractOptimizer,
    *,
    labels: tuple[str, ...] = (),
    about: str | None = None,
    name: str = "",
    optimizer: str = "",
    seed: int = 0,
) -> Tunable:
    """The prompt of a task told as words; see `docs/soft_prompts.md`.

    - `labels`: names of the classes, for a language model
    - `about`: a sentence for it
    """
    if not isinstance(task, PromptTuning):
        raise TypeError(f"prompt: the task must be a PromptTuning, got {type(task).__name__}.")
    own = TextTokenizer(encoder)
    tokenizer = Tokenizer(own.encode, own.decode)
    allowed = readable(tokenizer, own.size)
    table = np.asarray(task.encoder.words)
    codec = SoftPrompt(table, tokenizer, task.rows, allowed=allowed, special=own.special)
    where = lambda params: params["prompt"]
    descent = Descent(task, opt, codec, jr.key(seed), where=where)
    test = Descent(task, opt, codec, descent.episode, where=where, split="test")

    def told(params: Any) -> dict[str, float | str | None]:
        try:
            return {"prompt": codec.encode(np.asarray(params["prompt"]))}
        except CodecError:  # not finite
            return {"prompt": None}

    usual = "The texts are prompts that stand in front of others, by which a model tells classes."
    return Tunable(
        descent=descent,
        codec=codec,
        instruction=Instruction(task=about or usual, labels=labels),
        problem=name or "a soft prompt",
        optimizer=optimizer or type(opt).__name__,
        told=told,
        test=lambda params: test.score_at(params).loss,
        identity=identity(task, opt, descent.episode, own.digest),
    )
