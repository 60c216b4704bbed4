"""Train the pretrained optimizers, judge them, and write weights and cards. See README.md.

    steppe reproduce shipped_weights --scale small                        all six
    steppe reproduce shipped_weights --scale small --names rnnprop-v1     this one

Optimizers and tasks are those of the flatness study at its small scale. An optimizer NAME-symbolic
is the formula on the card of NAME, its numbers meta-trained by the same recipe.
"""

import base64
import dataclasses
import functools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jax.random as jr

from ...core import tree
from ...core.expression import parse, size
from ...core.optimizer import AbstractOptimizer
from ...core.rollout import shapes
from ...core.task import AbstractTask
from ...distillation.distill import compared
from ...evaluation.compare import figure
from ...evaluation.engines import Row
from ...evaluation.records import number
from ...optimizers.learned.symbolic import Symbolic
from ...runs.folder import BadInput
from ...store.untrusted import Source, checked
from ...tasks import build
from ...zoo.io import Card, Formula, Likeness, Line, card, load, save, write_shipped
from ...zoo.recipe import Optimizer, change
from ...zoo.recipe_json import to_flat
from ...zoo.registry import PRETRAINED, WEIGHTS
from ..flatness import design, work
from ..flatness.scales import SMALL
from ..study import Cell, Conclusion, Study, markdown
from ..symbolic.cards import likeness_of
from ..symbolic.symbolic import HORIZONS, TASK, places
from .settings import MUCH, UNKNOWN, Shipped

FLAT_ARM = SMALL.flat  # optimizer → what is added to the objective of the flat twin
VERSION, SYMBOLIC = "v1", "-symbolic"
RATE = 0.02  # of the meta-training of a formula: a share of each number
DIGITS = 4  # of the numbers of a formula, as shown
FRESH = 64  # problems on which a formula is compared with its teacher
TASKS = {label: how for label, how in SMALL.tasks.items() if label != "ConvNet"}
RIVALS = {"adam": "Adam", "sam": "SAM"}  # by their names on a card
AGAINST = "Adam and SAM tuned for each task"

LEVEL = "0.1"  # training loss at which curvature is compared
METRICS = {  # as shown: (where, name) in what `descend` found
    "training loss": ("end", "train_loss"),
    "test loss": ("end", "test_loss"),
    "test accuracy": ("end", "test_accuracy"),
    f"trace of the Hessian at training loss {LEVEL}": (LEVEL, "trace"),
}

Found = Mapping[str, Any]  # what `work.look` returns


def cells(settings: Shipped) -> Iterator[Cell]:
    for rival in RIVALS:
        for how in TASKS.values():
            cell = design.classic(SMALL, rival, how, "steps")
            yield cell | {"meta_seeds": [settings.meta_seed]}
    for name in settings.names:
        if name.endswith(SYMBOLIC):
            yield of_formula(name, settings.meta_seed)
            continue
        optimizer = name.removesuffix(f"-{VERSION}").removesuffix("-flat")
        arm = FLAT_ARM[optimizer] if "-flat-" in name else design.NONE
        cell = design.learned(SMALL, optimizer, "plain", arm, settings.meta_seed)
        yield cell | {"part": "shipped", "name": name, "tasks": TASKS}


def of_formula(name: str, meta_seed: int) -> Cell:
    """The cell of a formula: that on the card of its teacher, to be meta-trained."""
    teacher = name.removesuffix(SYMBOLIC)
    found = card(teacher).formula
    if found is None:
        raise BadInput(
            f"The card of {teacher} has no formula; run `steppe reproduce symbolic` first, and put "
            f"the {teacher}.safetensors that it writes into {WEIGHTS}."
        )
    recipe = change(SMALL.recipes["rnnprop"], optimizer=Optimizer(name="symbolic"))
    recipe = change(recipe, formula=found.text, meta_lr=RATE, rows=None)
    cell = design.learned(SMALL, "rnnprop", "plain", design.NONE, meta_seed)
    cell |= {"part": "shipped", "name": name, "tasks": TASKS, "optimizer": "symbolic"}
    return cell | {"recipe": to_flat(recipe), "teacher": teacher}


def run(cell: Cell) -> dict[str, Any]:
    """Tune a rival on a task, or meta-train an optimizer and look at it on all tasks."""
    if cell["part"] != "shipped":
        return work.run_cell(cell)
    opt, meta = work.train(cell)
    tasks = {label: work.look(cell, how, opt, SMALL.horizon) for label, how in TASKS.items()}
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder, "it.safetensors"), opt)
        file = Path(folder, "it.safetensors").read_bytes()
    made = {"meta": meta, "tasks": tasks, "file": base64.b64encode(file).decode()}
    if isinstance(opt, Symbolic):
        e = parse(opt.text(DIGITS))
        same = likeness(opt, load(cell["teacher"]))
        formula = Formula(
            optimizer=cell["teacher"], text=str(e), nodes=size(e), r2=None, likeness=same
        )
        made["formula"] = dataclasses.asdict(formula)
    return made


def likeness(opt: AbstractOptimizer, teacher: AbstractOptimizer) -> tuple[Likeness, ...]:
    """Losses over those of the teacher on fresh problems: its own task, and two it has not seen."""
    seen = [
        compared(task, there, [opt], teacher, HORIZONS, FRESH, 2, jr.fold_in(jr.key(8), k))[0]
        for k, (task, there) in enumerate(places(build(TASK, start="he")).items())
    ]
    return tuple(
        likeness_of(dataclasses.asdict(x)) for own in seen for x in own if x.part == "test"
    )


def conclude(settings: Shipped, rows: Sequence[Row]) -> Conclusion:
    """The cards, and the files of the optimizers: released, they are `steppe/zoo/weights/`."""
    done = [row for row in rows if row.result is not None]
    rivals = found_by(done)
    complete = all(len(tasks) == len(TASKS) for tasks in rivals.values())
    made = {
        row.cell["name"]: (row, card_of(row, rivals))
        for row in done
        if row.cell["part"] == "shipped" and complete
    }
    cards = [card for _, card in made.values()] or [card(name) for name in settings.names]
    failed = [f"{card.name}: {sentence}" for card in cards for sentence in card.failures]
    return Conclusion(
        "\n\n".join([table(cards), *failed]),
        {"cards": [dataclasses.asdict(card) for card in cards]},
        files={
            f"{name}.safetensors": functools.partial(release, row=row, made=card)
            for name, (row, card) in made.items()
        },
    )


def found_by(rows: Sequence[Row]) -> dict[str, dict[str, Found]]:
    """Rival → task → what it found there, tuned on the validation split of that task."""
    found: dict[str, dict[str, Found]] = {rival: {} for rival in RIVALS}
    for row in rows:
        label = next((x for x, how in TASKS.items() if how == row.cell.get("task")), None)
        if row.cell["part"] == "classic" and row.result is not None and label is not None:
            found[row.cell["optimizer"]][label] = row.result["task"]
    return found


def card_of(row: Row, rivals: Mapping[str, Mapping[str, Found]]) -> Card:
    cell, result, where = row.cell, row.result or {}, row.environment
    meta, found = result["meta"], result["tasks"]
    return Card(
        name=cell["name"],
        summary=PRETRAINED[cell["name"]].about,
        recipe=cell["recipe"],
        meta_task=cell["meta_task"],
        meta_seed=cell["meta_seed"],
        meta_steps=meta["meta_steps"],
        kept=meta["best_step"],
        seconds=meta["seconds"],
        processor=where["processor"],
        cores=where["share"],
        commit=where["commit"],
        date=datetime.fromisoformat(where["date"]).date().isoformat(),
        horizon=SMALL.horizon,
        tasks=TASKS,
        table=tuple(lines(found, rivals)),
        against=AGAINST,
        failures=tuple(failures(found, rivals["adam"], cell["recipe"]["horizon"])),
        formula=checked(result.get("formula"), Formula | None, Source("the record")),
    )


def release(path: Path, row: Row, made: Card) -> None:
    """Write the optimizer of a row with its card."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "it.safetensors")
        file.write_bytes(base64.b64decode((row.result or {})["file"]))
        opt = load(file)
    write_shipped(path, opt, made)


def lines(ours: Mapping[str, Found], rivals: Mapping[str, Mapping[str, Found]]) -> Iterator[Line]:
    for label in TASKS:
        for metric in METRICS:
            yield Line(
                task=label,
                metric=metric,
                ours=mean(ours[label], metric),
                rivals={shown: mean(rivals[own][label], metric) for own, shown in RIVALS.items()},
                n=SMALL.runs,
            )


def failures(ours: Mapping[str, Found], adam: Mapping[str, Found], horizon: int) -> Iterator[str]:
    """Cases in which it should not be trusted, a sentence each."""
    for label in TASKS:
        losses = ours[label]["at"]["end"]["test_loss"]
        diverged = sum(loss is None for loss in losses)
        if diverged:
            yield f"{label}: diverges in {diverged} of {len(losses)} trainings."
            continue
        mine, its = (mean(found[label], "test loss") for found in (ours, adam))
        if mine is not None and its is not None and mine > MUCH * its:
            yield (
                f"{label}: its test loss after {SMALL.horizon} steps, {figure(mine)}, is "
                f"{100 * (mine / its - 1):.0f} % above that of tuned Adam, {figure(its)}."
            )
        [path], steps = ours[label]["path"]["train_loss"], ours[label]["steps"]
        low = min(path)
        if path[-1] > MUCH * low:
            yield (
                f"{label}: its training loss rises again, from {figure(low)} after "
                f"{steps[path.index(low)]} steps to {figure(path[-1])} after {steps[-1]}."
            )
    yield (
        f"Meta-trained on trainings of {horizon} steps and judged after {SMALL.horizon}; nothing "
        "is known of longer ones."
    )
    largest = max(weights(work.build_task(how)) for how in TASKS.values())
    yield (
        f"Judged on fully connected networks of at most {largest:,} weights, one meta-seed, "
        f"{SMALL.runs} trainings each; {UNKNOWN}."
    )


def mean(found: Found, metric: str) -> float | None:
    """Over the trainings of one meta-seed; None unless all have a value."""
    where, name = METRICS[metric]
    values = found["at"][where][name]
    return None if None in values else number(sum(values) / len(values))


def weights(task: AbstractTask) -> int:
    return tree.size(shapes(task))


def table(cards: Sequence[Card]) -> str:
    """Test losses of all cards, a row an optimizer."""
    rows = {made.name: [line.ours for line in chosen(made)] for made in cards}
    rows |= {
        own: [line.rivals[shown] for line in chosen(cards[0])] for own, shown in RIVALS.items()
    }
    named = [[name, *map(figure, values)] for name, values in rows.items()]
    return markdown(["test loss", *TASKS], named)


def chosen(made: Card) -> list[Line]:
    return [line for line in made.table if line.metric == "test loss"]


STUDY = Study(cells, f"{__name__}:run", conclude)
