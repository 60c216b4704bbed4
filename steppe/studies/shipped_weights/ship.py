"""Train the pretrained optimizers, judge them, and write weights and cards. See README.md.

    python -m steppe.studies.shipped_weights.ship                     all six
    python -m steppe.studies.shipped_weights.ship rnnprop-v1 dm-v1    these
    python -m steppe.studies.shipped_weights.ship --table   tables of the cards, in Markdown

Optimizers and tasks are those of the flatness study at its small scale.
"""

import argparse
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ...core import tree
from ...core.rollout import shapes
from ...core.task import AbstractTask
from ...evaluate.compare import figure
from ...evaluate.grid import run_grid
from ...evaluate.records import number
from ...train.environment import environment
from ...zoo.io import Card, Line, card, path, write_shipped
from ...zoo.names import PRETRAINED
from ..flatness import design, work
from ..flatness.scales import SMALL

FLAT_ARM = SMALL.flat  # optimizer → what is added to the objective of the flat twin
VERSION = "v1"
TASKS = {label: how for label, how in SMALL.tasks.items() if label != "ConvNet"}
RIVALS = ("adam", "sam")
RECORDS = Path(__file__).with_name("rivals.jsonl")

LEVEL = "0.1"  # training loss at which curvature is compared
METRICS = {  # as shown: (where, name) in what `descend` found
    "training loss": ("end", "train_loss"),
    "test loss": ("end", "test_loss"),
    "test accuracy": ("end", "test_accuracy"),
    f"trace of the Hessian at training loss {LEVEL}": (LEVEL, "trace"),
}
MUCH = 1.1  # times as large is a failure

Found = Mapping[str, Any]  # what `work.look` returns


def main() -> None:
    parser = argparse.ArgumentParser(description="Pretrained optimizers.")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--meta-seed", type=int, default=0)
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    names = args.names or list(PRETRAINED)
    if args.table:
        print("\n".join(markdown(names)))
        return
    where = environment()  # before anything is written into the checkout
    rivals = measure_rivals(args.meta_seed)
    for name in names:
        made = ship(name, args.meta_seed, rivals, where)
        print(f"{name}: meta-trained in {made.seconds:.0f} s", *made.failures, sep="\n  ")


def ship(
    name: str, seed: int, rivals: Mapping[str, Mapping[str, Found]], where: Mapping[str, Any]
) -> Card:
    """Train, judge, write."""
    optimizer = name.removesuffix(f"-{VERSION}").removesuffix("-flat")
    arm = FLAT_ARM[optimizer] if "-flat-" in name else design.NONE
    cell = design.learned(SMALL, optimizer, "plain", arm, seed)
    opt, meta = work.train(cell)
    found = {label: work.look(cell, how, opt, SMALL.horizon) for label, how in TASKS.items()}
    made = Card(
        name=name,
        summary=PRETRAINED[name].about,
        recipe=cell["recipe"],
        meta_task=cell["meta_task"],
        meta_seed=seed,
        meta_steps=meta["meta_steps"],
        kept=meta["best_step"],
        seconds=meta["seconds"],
        processor=where["processor"],
        cores=len(os.sched_getaffinity(0)),
        commit=where["commit"],
        date=datetime.fromisoformat(where["date"]).date().isoformat(),
        horizon=SMALL.horizon,
        tasks=TASKS,
        table=tuple(lines(found, rivals)),
        failures=tuple(failures(found, rivals["adam"], cell["recipe"]["horizon"])),
    )
    write_shipped(path(name), opt, made)
    return made


def measure_rivals(seed: int) -> dict[str, dict[str, Found]]:
    """Rival → task → what it found there, tuned on the validation split of that task."""
    wanted = {
        (rival, label): design.classic(SMALL, rival, how, "steps") | {"meta_seeds": [seed]}
        for rival in RIVALS
        for label, how in TASKS.items()
    }
    grid = run_grid(wanted.values(), design.WORK, out=RECORDS)
    if grid.failed:
        raise RuntimeError(f"{len(grid.failed)} cells failed, the first: {grid.failed[0].error}")
    found: dict[str, dict[str, Found]] = {rival: {} for rival in RIVALS}
    for (rival, label), row in zip(wanted, grid.done, strict=True):
        assert row.result is not None  # for the type checker: it did not fail
        found[rival][label] = row.result["task"]
    return found


def lines(ours: Mapping[str, Found], rivals: Mapping[str, Mapping[str, Found]]) -> Iterator[Line]:
    for label in TASKS:
        for metric in METRICS:
            yield Line(
                task=label,
                metric=metric,
                ours=mean(ours[label], metric),
                adam=mean(rivals["adam"][label], metric),
                sam=mean(rivals["sam"][label], metric),
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
        f"{SMALL.runs} trainings each; nothing is known of convolutions or of larger networks."
    )


def mean(found: Found, metric: str) -> float | None:
    """Over the trainings of one meta-seed; None unless all have a value."""
    where, name = METRICS[metric]
    values = found["at"][where][name]
    return None if None in values else number(sum(values) / len(values))


def weights(task: AbstractTask) -> int:
    return tree.size(shapes(task))


def markdown(names: list[str]) -> Iterator[str]:
    """Test losses of all cards, a row an optimizer."""
    cards = [card(name) for name in names]
    yield "| test loss | " + " | ".join(TASKS) + " |"
    yield "|---" * (len(TASKS) + 1) + "|"
    rows = {made.name: [line.ours for line in chosen(made)] for made in cards}
    rows |= {rival: [getattr(line, rival) for line in chosen(cards[0])] for rival in RIVALS}
    for name, values in rows.items():
        yield f"| {name} | " + " | ".join(map(figure, values)) + " |"


def chosen(made: Card) -> list[Line]:
    return [line for line in made.table if line.metric == "test loss"]


if __name__ == "__main__":
    main()
