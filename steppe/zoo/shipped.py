"""Optimizers that come trained, and what is known of each.

    opt = load("rnnprop-v1")
    card("rnnprop-v1").failures

One safetensors file each, in `weights/`: the weights, and in its manifest the card. Nothing of a
card is written by hand: `steppe reproduce shipped_weights` trains, judges, and writes both. A name
that has been released keeps its weights for good; better ones get the next number.

JAX is imported by `load` and `save` alone.
"""

import dataclasses
import importlib.metadata
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.messages import did_you_mean
from ..store.manifest import CheckpointError, read_manifest
from .names import PRETRAINED

if TYPE_CHECKING:
    from ..core.optimizer import AbstractOptimizer

FOLDER = Path(__file__).parent / "weights"
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


def load(name: str) -> "AbstractOptimizer":
    """The pretrained optimizer of this name (`zoo.names.PRETRAINED`)."""
    from .io import load_optimizer

    return load_optimizer(path(name))[0]


def card(name: str) -> Card:
    """What is known of the pretrained optimizer of this name."""
    found = read_card(read_manifest(path(name)))
    if found is None:
        raise CheckpointError(f"{path(name)} has no card of this version; install steppe again.")
    return found


def path(name: str) -> Path:
    """The file of a pretrained optimizer."""
    if name not in PRETRAINED:
        raise ValueError(
            f"There is no pretrained optimizer {name!r}; {did_you_mean(name, PRETRAINED)}"
        )
    return FOLDER / f"{name}.safetensors"


def save(path: str | os.PathLike, opt: "AbstractOptimizer", card: Card) -> None:
    """Write an optimizer and its card to one file."""
    from ..store import checkpoint
    from ..store.describe import describe

    options = {name: x for name, x in card.meta_task.items() if name != "name"}
    told = {"task": card.meta_task["name"], "horizon": card.recipe["horizon"]}
    manifest = {
        **describe(opt),
        "recipe": told | {"task_options": options},  # what `steppe eval` goes by
        "steppe": importlib.metadata.version("steppe"),
        "card": dataclasses.asdict(card),
    }
    checkpoint.save(path, opt, manifest=manifest)


def read_card(manifest: Mapping[str, Any]) -> Card | None:
    """The card in a manifest, None if there is none that this version reads."""
    try:
        fields = dict(manifest["card"])
        fields["table"] = tuple(Line(**line) for line in fields["table"])
        fields["failures"] = tuple(fields["failures"])
        return Card(**fields)
    except (KeyError, TypeError, ValueError):
        return None
