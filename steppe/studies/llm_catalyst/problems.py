"""The problems: what is tuned, by which gradients, and what somebody who knows would propose.

    numbers      a shifted Rastrigin function in 2 unknowns, by gradient descent; texts are tables
    words        a soft prompt in front of made-up texts, by Adam; texts are words
    settings     the rate of the meta-optimizer in a meta-training; texts say how to go on
    newsgroups   a soft prompt in front of posts, by Adam, with MiniLM; what has to be fetched
    boolq, …     the same on tasks of SuperGLUE, from folders of one's own

`good` proposes what is known to do well, `bad` what is known to do badly. Neither takes part in a
claim about language models: they show that the study can tell a gain where there is one, and that
bad proposals do no harm.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ...data.tokens import Tokens
from ...optimizers.classic.from_optax import FromOptax
from ...prompt.codecs import AbstractCodec, Numeric
from ...prompt.descent import AbstractDescent, Descent
from ...prompt.instruction import Example, Instruction
from ...prompt.soft_prompt import SoftPrompt, Words
from ...runs.alternation import settings as recipe_settings
from ...runs.knobs import knob, recipe_of
from ...tasks import suite
from ...tasks.text.encoder import Encoder, Layers
from ...tasks.text.prompts import PromptTuning

Texts = Callable[[np.random.Generator], str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem of one seed.

    - `good`, `bad`: a text, drawn anew each time
    - `test`: the loss of parameters on data that nothing is chosen by; None where there are none
    """

    descent: AbstractDescent
    codec: AbstractCodec
    instruction: Instruction
    good: Texts
    bad: Texts
    test: Callable[[Any], float] | None = None


# A function of two numbers.

REACH = 3.0  # of starts, and of what is proposed


def numbers(seed: int) -> Problem:
    """f(x) = Σ zᵢ² − 10 cos 2πzᵢ + 10 with z = x − x*, x* ~ U(−2, 2)²; the minimum is 0 at x*."""
    task = suite.build("rastrigin-shifted")
    codec = Numeric(("x", "y"), (-REACH,) * 2, (REACH,) * 2, decimals=2)
    descent = Descent(task, FromOptax("sgd", learning_rate=0.002), codec, jr.key(seed))
    least = np.ravel(np.asarray(task.target(descent.episode.instance), float))

    def good(rng: np.random.Generator) -> str:
        return codec.encode(least + rng.uniform(-0.3, 0.3, 2))

    def bad(rng: np.random.Generator) -> str:
        return codec.encode(-np.sign(least) * rng.uniform(2.5, REACH, 2))

    example = Example(
        (('{"x": -2.4, "y": 2.9}', 31.6), ('{"x": 1.2, "y": -0.4}', 12.5)),
        ('{"x": 2.1, "y": -1.6}', '{"x": 0.7, "y": -2.3}', '{"x": 1.5, "y": 0.8}'),
    )
    about = "A function of x and y has many valleys. Find x and y for which it is low."
    instruction = Instruction(task=about, example=example, top=4, recent=1)
    return Problem(
        descent=descent, codec=codec, instruction=instruction, good=good, bad=bad, test=None
    )


# A soft prompt of a small encoder, whose labels are those of a planted prompt.

KNOWN = (
    "apple river stone cloud green quick north paper music table light storm bread horse glass "
    "metal ocean tiger uncle voice wheat young zebra brown chair dream eagle flame grass heart "
    "island jacket kitten lemon mouse night olive piano queen robin sugar train under valley "
    "water yellow bridge candle doctor engine flower garden hammer insect jungle kettle ladder "
    "market needle orange pencil rabbit school ticket velvet window animal basket carbon desert"
)
VOCABULARY = KNOWN.split()
WIDTH, LAYERS, HEADS, WIDE, PROMPT_ROWS, LENGTH = 16, 2, 4, 32, 4, 6
SIZES = {"train": 512, "valid": 256, "test": 512}
WEIGHT = 0.5  # standard deviation of the weights


def words(seed: int) -> Problem:
    """Tell two classes of made-up texts, as an encoder does with a planted prompt and its head."""
    rng = np.random.default_rng([seed, 1])
    encoder, planted = small_encoder(rng), rng.choice(len(VOCABULARY), PROMPT_ROWS, replace=False)
    task = PromptTuning(labelled(encoder, planted, rng), encoder, rows=PROMPT_ROWS, pool="mean")
    codec = SoftPrompt(np.asarray(encoder.words), Words(VOCABULARY), PROMPT_ROWS, only=VOCABULARY)
    where = lambda params: params["prompt"]
    adam = FromOptax("adam", learning_rate=0.02)
    descent = Descent(task, adam, codec, jr.key(seed), where=where)
    test = Descent(task, adam, codec, descent.episode, where=where, split="test")

    def good(rng: np.random.Generator) -> str:
        told = planted.copy()
        if rng.integers(2):  # all words but one
            told[rng.integers(PROMPT_ROWS)] = rng.integers(len(VOCABULARY))
        return codec.tokenizer.decode([int(i) for i in told])

    def bad(rng: np.random.Generator) -> str:
        return " ".join([VOCABULARY[rng.integers(len(VOCABULARY))]] * PROMPT_ROWS)

    example = Example(
        (("river river stone cloud", 0.912), ("ticket olive piano queen", 0.655)),
        ("piano olive queen lemon", "ticket sugar piano train", "queen velvet olive north"),
    )
    about = (
        "The texts are prompts by which a small model tells two classes. It knows these words "
        f"alone: {', '.join(VOCABULARY)}."
    )
    instruction = Instruction(task=about, example=example, top=4, recent=1)
    return Problem(
        descent=descent,
        codec=codec,
        instruction=instruction,
        good=good,
        bad=bad,
        test=lambda params: test.score_at(params).loss,
    )


def small_encoder(rng: np.random.Generator) -> Encoder:
    """An encoder of random weights; norms are those of a new network."""
    draw = lambda *shape: jnp.asarray(WEIGHT * rng.standard_normal(shape), jnp.float32)
    norm = jnp.stack([jnp.ones((LAYERS, WIDTH)), jnp.zeros((LAYERS, WIDTH))], axis=1)
    norm = norm.astype(jnp.float32)
    layers = Layers(
        attend=draw(LAYERS, WIDTH, 3 * WIDTH),
        attend_bias=draw(LAYERS, 3 * WIDTH),
        mix=draw(LAYERS, WIDTH, WIDTH),
        mix_bias=draw(LAYERS, WIDTH),
        mix_norm=norm,
        widen=draw(LAYERS, WIDTH, WIDE),
        widen_bias=draw(LAYERS, WIDE),
        narrow=draw(LAYERS, WIDE, WIDTH),
        narrow_bias=draw(LAYERS, WIDTH),
        narrow_norm=norm,
    )
    longest = PROMPT_ROWS + LENGTH
    return Encoder(
        draw(len(VOCABULARY), WIDTH), draw(longest, WIDTH), draw(WIDTH), norm[0], layers, HEADS
    )


def labelled(encoder: Encoder, planted: np.ndarray, rng: np.random.Generator) -> Tokens:
    """Texts of random words; of both classes there are as many."""
    count = sum(SIZES.values())
    ids = jnp.asarray(rng.integers(0, len(VOCABULARY), (count, LENGTH)), jnp.int32)
    front = jnp.broadcast_to(encoder.words[planted], (count, PROMPT_ROWS, WIDTH))
    seen = jnp.ones((count, PROMPT_ROWS + LENGTH), bool)
    hidden = encoder(jnp.concatenate([front, encoder.embed(ids)], axis=1), seen)
    told = np.asarray(jnp.mean(hidden[:, PROMPT_ROWS:], axis=1)) @ rng.standard_normal(WIDTH)
    y = jnp.asarray(told > np.median(told), jnp.int32)
    stops = np.cumsum([0, *SIZES.values()]).tolist()
    splits = tuple(itertools.pairwise(stops))
    return Tokens(ids, jnp.ones(ids.shape, bool), y, splits, ("no", "yes"), len(VOCABULARY))


# Settings of a meta-training.

RATES = (1e-4, 10.0)
RECIPE = (
    "unroll=5", "horizon=20", "episodes=4", "validation-episodes=8", "meta-lr=0.001", "seed=0",
)  # fmt: skip


def settings(seed: int) -> Problem:
    """Go on with the meta-training of learned Adam on quadratics, from a rate that is too low."""
    low, high = RATES
    recipe = recipe_of("learned-adam", "quadratic", RECIPE)
    tunable = recipe_settings(recipe, [knob(f"meta-lr={low:g}:{high:g}:log")], seed=seed)

    def rate(center: float, rng: np.random.Generator) -> str:
        return f'{{"meta.lr": {center * np.exp(rng.uniform(-0.5, 0.5)):.4g}}}'

    example = Example(
        (('{"meta.lr": 0.9}', 2.31), ('{"meta.lr": 0.0004}', 0.02)),
        ('{"meta.lr": 0.002}', '{"meta.lr": 0.007}', '{"meta.lr": 0.03}'),
    )
    instruction = dataclasses.replace(tunable.instruction, example=example, top=4, recent=1)
    return Problem(
        descent=tunable.descent,
        codec=tunable.codec,
        instruction=instruction,
        good=lambda rng: rate(GOOD_RATE, rng),
        bad=lambda rng: rate(BAD_RATE, rng),
        test=tunable.test,
    )


GOOD_RATE, BAD_RATE = 0.7, 2e-4
