"""Cards of the optimizers that come trained: `card("rnnprop-v1").failures`.

One safetensors file each, in `weights/`: the weights, and in its manifest the card. Nothing of a
card is written by hand: `steppe reproduce shipped_weights` trains, judges, and writes both. A name
that has been released keeps its weights for good; better ones get the next number.

JAX is imported by `load` and `save` alone.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.entry import find
from ..store.manifest import CheckpointError
from .io import manifest, write
from .names import PRETRAINED, WEIGHTS

if TYPE_CHECKING:
    from ..core.optimizer import AbstractOptimizer

LICENCE = "Apache-2.0"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """One number of the optimizer, and the same of tuned rivals; mean over `n` trainings.

    None where it is not defined in each of them: a training diverged, or did not come so far.
    """

    task: str
    metric: str
    ours: float | None
    adam: float | None
    sam: float | None
    n: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """What is known of a pretrained optimizer. Plain data.

    - `recipe`: as `zoo.recipe_json.to_flat` gives it; `meta_task`: arguments of `tasks.build`
    - `meta_steps`: done; `kept`: the one whose optimizer had the best validation loss
    - `seconds`: of meta-training, on `cores` cores of `processor`
    - `tasks`: what it was judged on, for `horizon` steps: label → arguments of `tasks.build`
    - `table`: what came out; `failures`: where it should not be trusted
    """

    name: str
    summary: str
    recipe: dict[str, Any]
    meta_task: dict[str, Any]
    meta_seed: int
    meta_steps: int
    kept: int
    seconds: float
    processor: str
    cores: int
    commit: str
    date: str
    horizon: int
    tasks: dict[str, dict[str, Any]]
    table: tuple[Line, ...]
    failures: tuple[str, ...]
    licence: str = LICENCE


def card(source: str | os.PathLike) -> Card:
    """The card in the file of a trained optimizer, which those have that come with steppe.

    `source`: anything that `load` takes. Raises CheckpointError where there is none.
    """
    found = read_card(manifest(source))
    if found is None:
        raise CheckpointError(
            f"{os.fspath(source)} has no card of this version; `steppe.manifest` gives all that is "
            "known of it."
        )
    return found


def path(name: str) -> Path:
    """The file of a pretrained optimizer."""
    return WEIGHTS / f"{find('pretrained optimizer', PRETRAINED, name).name}.safetensors"


def write_shipped(path: str | os.PathLike, opt: "AbstractOptimizer", card: Card) -> None:
    """Write an optimizer and its card to one file."""
    options = {name: x for name, x in card.meta_task.items() if name != "name"}
    # What `steppe eval` goes by.
    recipe = {"task": card.meta_task["name"], "horizon": card.recipe["horizon"]}
    write(path, opt, recipe=recipe | {"task_options": options}, card=dataclasses.asdict(card))


def read_card(manifest: Mapping[str, Any]) -> Card | None:
    """The card in a manifest, None if there is none that this version reads."""
    try:
        fields = dict(manifest["card"])
        fields["table"] = tuple(Line(**line) for line in fields["table"])
        fields["failures"] = tuple(fields["failures"])
        return Card(**fields)
    except (KeyError, TypeError, ValueError):
        return None
