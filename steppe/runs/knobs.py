"""Settings of a recipe by words: those that a text may change, and those that are given.

recipe_of("twin", "seesaw", ["horizon=20"])       a `Recipe`
knob("meta-lr=1e-4:0.1:log")                      a number that may change
knob("objective.transform=log:ratio")             a word
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from ..core.messages import did_you_mean
from ..core.settings import Setting, build, convert_all, settings_of, values_of
from ..prompt.codecs import AbstractCodec, Choice, Composite, Numeric
from ..zoo.presets import PRESETS, is_unrolled
from ..zoo.presets import recipe as named
from ..zoo.recipe import Optimizer, Recipe
from ..zoo.registry import learned
from .folder import BadInput
from .subject import check as known

GROUPS = ("meta.", "estimator.", "objective.", "penalty.")  # of what may change on the way
FORM = "write NAME=LOW:HIGH, NAME=LOW:HIGH:log, or NAME=WORD:WORD"


@dataclasses.dataclass(frozen=True)
class Knob:
    """A setting of a recipe that texts may change.

    - `path`: as in a recipe, "meta.lr"
    - `low`, `high`, `log`: of a number, which the text may say as its logarithm goes
    - `words`: of one that is no number
    """

    path: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    words: tuple[str, ...] = ()


def knob(said: str) -> Knob:
    """A knob from "meta.lr=1e-4:1e-1:log", "meta-clip=0.1:10", "objective.transform=log:ratio".

    Without bounds or words it is given those that the setting declares. Raises BadInput.
    """
    name, _, rest = said.partition("=")
    found = option(name)
    if not found.path.startswith(GROUPS) or found.path == "meta.decay":
        raise BadInput(
            f"{name} cannot change in the middle of a training; settings of "
            f"{', '.join(group[:-1] for group in GROUPS)} can."
        )
    if found.many or found.kind not in (int, float, bool, str):
        raise BadInput(f"{name} is no single number or word, so that it cannot be tuned.")
    parts = rest.split(":") if rest else []
    if found.kind in (bool, str):
        known = ("false", "true") if found.kind is bool else found.choices
        words = tuple(parts) or known
        wrong = [word for word in words if word not in known]
        if wrong or len(set(words)) < 2:
            near = did_you_mean(wrong[0], known) if wrong else "give two at least."
            raise BadInput(f"{said}: {name} can be {', '.join(known) or 'no word'}; {near}")
        return Knob(found.path, words=words)
    log = parts[2:] == ["log"]
    if not parts and found.least is not None and found.most is not None:
        return Knob(found.path, found.least, found.most)
    try:
        low, high = map(float, parts[:2])
        if len(parts) > 2 + log or not low < high or (log and low <= 0) or math.isinf(high - low):
            raise ValueError
    except ValueError:
        raise BadInput(f"{said} is no range of {name}; {FORM}, the lower number first.") from None
    return Knob(found.path, low, high, log)


def option(name: str) -> Setting:
    """The setting of this name, as in a recipe or on the command line. Raises BadInput."""
    options = settings_of(Recipe)
    flags = {found.flag: found for found in options.values()}
    found = options.get(name) or flags.get(name)
    if found is None:
        raise BadInput(f"There is no setting {name!r}; {did_you_mean(name, [*options, *flags])}")
    return found


def recipe_of(name: str, task: str, given: Sequence[str] = ()) -> Recipe:
    """A published recipe, or that of an optimizer, on a task.

    - `given`: other settings, "horizon=20"; those of several numbers as "hidden=20:20"

    Raises BadInput and ValueError for what is no recipe.
    """
    published = name in PRESETS or is_unrolled(name)
    known(name, {*learned(), *PRESETS}, "recipe")
    base = named(name) if published else Recipe(optimizer=Optimizer(name=name))
    changes: dict[str, object] = {"task.name": task}
    for said in given:
        word, _, value = said.partition("=")
        found = option(word)
        if not value:
            raise BadInput(f"{said!r} is no setting with a value; write {word}=VALUE.")
        if found.kind is bool and value in ("true", "false"):
            changes[found.path] = value == "true"
        else:
            changes[found.path] = convert_all(found, value.split(":") if found.many else [value])
    return build(Recipe, values_of(base) | changes)


def codec_of(knobs: Sequence[Knob]) -> AbstractCodec:
    """The codec of these settings: numbers on one array, then the index of each word."""
    numbers = [knob for knob in knobs if not knob.words]
    words = [knob for knob in knobs if knob.words]
    numeric = None
    if numbers:
        numeric = Numeric(
            tuple(knob.path for knob in numbers),
            tuple(knob.low for knob in numbers),
            tuple(knob.high for knob in numbers),
            tuple(knob.log for knob in numbers),
            decimals=4,
        )
        if not words:
            return numeric
    choices = {
        knob.path: Choice({word: np.float64(i) for i, word in enumerate(knob.words)})
        for knob in words
    }
    return Composite(({} if numeric is None else {"numbers": numeric}) | choices)


def between(knob: Knob, value: object) -> bool:
    """True for a number in the range of a knob."""
    return isinstance(value, int | float) and knob.low <= value <= knob.high


def plain(value: object) -> float | str | None:
    """The value as a text or a record has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, int | float | str) else None
