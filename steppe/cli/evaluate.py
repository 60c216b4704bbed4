"""`steppe eval`: what to compare with what; refused here, before JAX starts, if impossible."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..core.messages import did_you_mean
from ..runs.errors import BadInput
from ..runs.folder import MODEL
from ..store.manifest import read
from ..tasks.names import NAMES as TASKS
from ..zoo import shipped as pretrained
from ..zoo.names import NAMES as OPTIMIZERS
from ..zoo.names import PRETRAINED
from ..zoo.resolve import HUB, locate
from .listing import check, tunable
from .options import Eval
from .output import document, speaker
from .parse import build

HORIZONS = (100, 500)  # for optimizers that were never meta-trained
LONGER = 5  # × the horizon of meta-training
RECORDS = "records.jsonl"


class Subject(NamedTuple):
    """What is looked at, and on what."""

    optimizer: str | Path  # name, or checkpoint
    name: str  # as shown
    task: str
    task_options: Mapping[str, Any]
    recipe: Mapping[str, Any]

    @property
    def task_name(self) -> str:
        """As shown: "digits-relu, start he"."""
        return ", ".join([self.task, *(f"{name} {x}" for name, x in self.task_options.items())])


@dataclasses.dataclass(frozen=True)
class Plan:
    """An evaluation with everything decided."""

    about: Subject
    horizons: tuple[int, ...]
    baselines: tuple[str, ...]


def run(values: dict) -> int:
    options = build(Eval, values)
    plan = decide(options)
    say = speaker(options.quiet)
    if options.out is not None:
        check_out(options.out, RECORDS)
    say(
        f"steppe eval · {plan.about.name} on {plan.about.task_name} · {options.seeds} seeds "
        f"from {options.seed}"
    )

    from .evaluation import content, measure, text  # JAX starts here

    records = measure(options, plan, say)
    where = None if options.out is None else options.out / RECORDS
    if options.json:
        document(content(records) | {"optimizer": plan.about.name, "records": where})
    else:
        print(text(records))
        if where is not None:
            print(f"records  {where}")
    return 0


def decide(options: Eval) -> Plan:
    """Fill in what follows from the checkpoint."""
    about = subject(options.optimizer, options.task)
    horizons = options.horizons
    if not horizons:
        trained = about.recipe.get("horizon")
        horizons = (trained, LONGER * trained) if isinstance(trained, int) else HORIZONS
    baselines = options.baselines or ()
    for baseline in baselines:
        check(baseline, tunable(), "baseline")
    # Twice the same is measured once.
    others = tuple(b for b in dict.fromkeys(baselines) if b != about.optimizer)
    return Plan(about, tuple(dict.fromkeys(horizons)), others)


def subject(word: str, task: str | None) -> Subject:
    """The optimizer of this word (name, or checkpoint), on this task or that of its training."""
    optimizer, name, recipe, task_options = word, word, {}, {}
    if word not in tunable():
        optimizer = checkpoint(word)
        manifest = read(optimizer)[0].manifest
        if not isinstance(manifest, dict) or "kind" not in manifest:
            what = manifest.get("what", "something else") if isinstance(manifest, dict) else "?"
            raise BadInput(
                f"{optimizer} is a checkpoint of {what}, not of an optimizer; give {MODEL} of a "
                "finished run."
            )
        recipe = manifest.get("recipe") or {}
        name = optimizer.stem if optimizer.parent == pretrained.FOLDER else str(manifest["kind"])
    if task is None:
        task, task_options = recipe.get("task"), recipe.get("task_options", {})
    if task is None:
        raise BadInput(f"{name} names no task it was trained on; add --task NAME.")
    check(task, TASKS, "task")
    return Subject(optimizer, name, task, task_options, recipe)


def checkpoint(word: str) -> Path:
    """The file of a trained optimizer; words that name an untrained one get their own answer."""
    if word.startswith(HUB) or Path(word).exists() or Path(word).suffix or word in PRETRAINED:
        return locate(word)
    if word in OPTIMIZERS:
        raise BadInput(
            f"The optimizer {word} has to be trained before it can be judged; use `steppe "
            f"train --opt {word}`, or a trained one of `steppe list pretrained`."
            if OPTIMIZERS[word].startswith("learned")
            else f"{word} has no learning rate to tune; use one of {', '.join(tunable())}."
        )
    raise BadInput(
        f"There is no file and no optimizer {word!r}; give a checkpoint, or "
        f"{did_you_mean(word, [*tunable(), *PRETRAINED])}"
    )


def check_out(folder: Path, name: str) -> None:
    """A folder for a file of this name, which is not overwritten."""
    if (folder / name).exists():
        raise BadInput(f"{folder / name} exists already; give another folder as --out.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"{folder} cannot be written ({error.strerror}); give a writable folder as --out."
        ) from error
