"""Gradients and proposals in turn on one problem, with two rivals at equal cost beside them.

problem = numbers(steppe.tasks.build("rastrigin-shifted"), steppe.zoo.build("adam", lr=0.01))
asked = Asking(proposer="random").made(problem.codec, problem.instruction)
result, record = alternate(problem, asked, Alternate(rounds=2, steps=20))
print(record.verdict)
"""

import dataclasses
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.random as jr
import jax.tree_util as jtu
import numpy as np

from ..core.optimizer import AbstractOptimizer
from ..core.task import AbstractTask
from ..core.types import Key
from ..prompt.alternation import Alternation, Way
from ..prompt.catalyst import Catalyst, alone
from ..prompt.codecs import AbstractCodec, Composite, Numeric
from ..prompt.descent import AbstractDescent, Descent
from ..prompt.history import plain
from ..prompt.instruction import Instruction
from ..prompt.proposers import RandomRestart
from ..prompt.remembered import Remembered
from ..prompt.state import Alternate, Result
from ..prompt.transcript import Transcript
from ..tasks import suite
from ..train.environment import environment
from ..zoo.recipe import Recipe
from .asking import Asked
from .folder import BadInput
from .identity import identity
from .knobs import Knob
from .recipe_descent import RecipeDescent

MOST = 64  # numbers that a text tells
STARTS = 256  # that bounds are taken from


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tunable:
    """A problem that texts can be written for.

    - `told`: parameters as a table of numbers and words, for the record
    - `test`: the loss of parameters on data that nothing is chosen by, None where it is not known
    - `identity`: tells the problem from all others, see `identity`; "" where it is not known
    """

    descent: AbstractDescent
    codec: AbstractCodec
    instruction: Instruction
    problem: str
    optimizer: str
    told: Callable[[Any], dict[str, float | str | None]]
    test: Callable[[Any], float] | None = None
    identity: str = ""


def numbers(
    task: AbstractTask,
    opt: AbstractOptimizer,
    *,
    bounds: tuple[float, float] | None = None,
    about: str | None = None,
    name: str = "",
    optimizer: str = "",
    seed: int = 0,
) -> Tunable:
    """A problem of a task, its parameters told as numbers.

    - `bounds`: of each number; None: what 256 starts of the task span
    - `about`: a sentence for a language model

    Raises BadInput for more than 64 numbers.
    """
    name = name or type(task).__name__
    check_few(task, name)
    parts = {
        _word(path, i): _codec(_word(path, i), np.asarray(leaf), bounds, name)
        for i, (path, leaf) in enumerate(jtu.tree_leaves_with_path(_starts(task)))
    }
    one = len(parts) == 1
    codec = next(iter(parts.values())) if one else Composite(parts)
    where = lambda params: jtu.tree_leaves(params)[0] if one else tuple(jtu.tree_leaves(params))
    descent = Descent(task, opt, codec, jr.key(seed), where=where)
    test = Descent(task, opt, codec, descent.episode, where=where, split="test")
    names = [label for part in parts.values() for label in part.names]

    def told(params: Any) -> dict[str, float | str | None]:
        found = np.concatenate([np.ravel(np.asarray(leaf)) for leaf in jtu.tree_leaves(params)])
        return {label: plain(float(x)) for label, x in zip(names, found, strict=True)}

    return Tunable(
        descent=descent,
        codec=codec,
        instruction=Instruction(
            task=about or f"Find numbers for which the loss of the problem {name!r} is low."
        ),
        problem=name,
        optimizer=optimizer or type(opt).__name__,
        told=told,
        test=lambda params: test.score_at(params).loss,
        identity=identity(task, opt, descent.episode, codec),
    )


def check_few(task: AbstractTask, name: str) -> None:
    """Refuse a task of more parameters than a text can tell. Nothing is computed."""
    shapes = jtu.tree_leaves(eqx.filter_eval_shape(_start, task, jr.key(0)))
    size = sum(math.prod(leaf.shape) for leaf in shapes)
    if size > MOST or not shapes:
        raise BadInput(
            f"{name} has {size:,} numbers, of which a text can tell {MOST} at most; give a "
            "task of a few numbers, such as rastrigin-shifted, or texts and their `encoder`."
        )


def settings(
    recipe: Recipe, knobs: Sequence[Knob], *, about: str | None = None, seed: int = 0
) -> Tunable:
    """A meta-training, some settings of whose recipe are told as texts; see `RecipeDescent`.

    - `about`: a sentence for a language model
    """
    descent = RecipeDescent(recipe, knobs, jr.key(seed))
    name = f"meta-training of {recipe.optimizer.name} on {recipe.task.name}"
    usual = (
        f"Settings of the {name} are tried, each from where it has come to. The loss says how much "
        "better (below 0) or worse they do than the settings at the start. Find settings that are "
        "better to go on with."
    )
    return Tunable(
        descent=descent,
        codec=descent.codec,
        instruction=Instruction(task=about or usual),
        problem=name,
        optimizer=f"meta-gradients, {recipe.estimator.kind}",
        told=descent.told,
        test=descent.test,
        identity=identity(repr(recipe), repr(knobs), suite.build(str(recipe.task.name)), seed),
    )


def alternate(
    tunable: Tunable,
    asked: Asked,
    schedule: Alternate,
    *,
    proposer: str = "random",
    candidates: int = 3,
    seed: int = 0,
    transcript: Transcript | None = None,
    kept: str | os.PathLike | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Result, Alternation]:
    """Tune by the catalyst, by gradients alone, and by restarts at random; each at equal cost.

    - `schedule`: with as many gradients as all its rounds need, where it does not say how many
    - `proposer`: the word for who is asked
    - `kept`: a folder for scores, by which a run that was broken off goes on (`Remembered`)

    Raises what a client raises that is no answer to be replayed.
    """
    began = time.monotonic()
    descent = Remembered(tunable.descent, kept if tunable.identity else None, tunable.identity)
    if len(descent):
        say(f"{len(descent):,} scores and texts of an earlier run are kept, and not computed again")
    each = descent.gradients_per_step
    if each is None:
        schedule = dataclasses.replace(schedule, gradients=None)
    elif schedule.gradients is None:
        most = schedule.whole(candidates) * each
        schedule = dataclasses.replace(schedule, gradients=most)
    rounds = Catalyst(
        asked.proposer,
        schedule,
        candidates,
        transcript=transcript,
        say=lambda line: say(line + asked.so_far()),
    )
    result = rounds.run(descent)
    rivals: dict[str, Way | None] = {"alone": None, "restart": None}
    if each is not None and schedule.gradients is not None:
        say(f"gradients alone, with {schedule.gradients:,} gradients as well…")
        looks = max(1, schedule.gradients // each // schedule.gaps(schedule.steps)[0])
        rivals["alone"] = _way(tunable, alone(descent, schedule.gradients, looks))
    if proposer != "random":
        say("restarts at random, by the same schedule…")
        chance = RandomRestart(tunable.codec, seed % 2**31)
        rivals["restart"] = _way(tunable, Catalyst(chance, schedule, candidates).run(descent))
    return (
        result,
        Alternation(
            problem=tunable.problem,
            optimizer=tunable.optimizer,
            proposer=proposer,  # pyright: ignore[reportArgumentType]
            model="" if asked.meter is None else asked.meter.model[:200],
            rounds=schedule.rounds,
            steps=schedule.steps,
            probation=schedule.trial,
            candidates=candidates,
            seed=seed,
            gradients=schedule.gradients,
            catalyst=_way(tunable, result),
            alone=rivals["alone"],
            restart=rivals["restart"],
            found=tunable.told(result.params),
            paid=asked.paid,
            seconds=time.monotonic() - began,
            environment=environment(),
        ),
    )


def _way(tunable: Tunable, result: Result) -> Way:
    test = None if tunable.test is None else plain(tunable.test(result.params))
    return Way(history=result.history, test=test)


@eqx.filter_jit
def _starts(task: AbstractTask) -> Any:
    """Parameters at the start of many problems."""
    return jax.vmap(lambda key: _start(task, key))(jr.split(jr.key(0), STARTS))


def _start(task: AbstractTask, key: Key) -> Any:
    key_instance, key_start = jr.split(key)
    return task.init(task.sample(key_instance), key_start)


def _word(path: Any, i: int) -> str:
    """A name for a leaf of the parameters."""
    said = "".join(x for x in jtu.keystr(path).replace("['", ".").replace("']", "").strip("."))
    said = "".join(x if x.isalnum() or x in "._" else "_" for x in said).strip("._")
    return said if said[:1].isalpha() else f"x{said or (i or '')}"


def _codec(
    name: str, starts: np.ndarray, bounds: tuple[float, float] | None, problem: str
) -> Numeric:
    rows = starts.reshape(len(starts), -1).astype(float)
    size = rows.shape[1]
    if bounds is None:
        bounds = float(rows.min()), float(rows.max())
        if not bounds[0] < bounds[1]:
            raise BadInput(
                f"All starts of {problem} are the same, so that they tell no bounds; give "
                "`bounds` yourself, e.g. -5,5."
            )
        bounds = _rounded(bounds[0], -1), _rounded(bounds[1], 1)
    names = (name,) if size == 1 else tuple(f"{name}{k + 1}" for k in range(size))
    return Numeric(names, (bounds[0],) * size, (bounds[1],) * size, decimals=4)


def _rounded(x: float, sign: int) -> float:
    """The number, rounded outwards to two digits."""
    if x == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(x))) - 1)
    return float(f"{sign * math.ceil(sign * x / unit) * unit:.6g}")
