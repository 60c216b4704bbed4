"""The shipped optimizers on a network and on images that none of them has seen. See README.md.

    STEPPE_DATA=FOLDER steppe reproduce shipped_weights.cifar10 --scale small

A ConvNet on CIFAR-10 in PyTorch, `steps` steps, nothing tuned; beside it AdamW at a few constant
rates, and at some with a cosine. Equal seeds mean equal starts and equal batches. With the record
of the study of flatness, what is known of each optimizer goes on its card (`known`).
"""

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data import load
from ...evaluation.compare import figure
from ...evaluation.engines import Row
from ..study import Cell, Conclusion, Record, Study, markdown, records
from .known import Means, count, means, release
from .settings import Elsewhere

if TYPE_CHECKING:
    import torch

ADAMW, COSINE, CONSTANT = "adamw", "cosine", "constant"
CHANNELS = (16, 32, 32)
BATCH = 128
ROWS = 1000  # that are looked at in one go


def cells(settings: Elsewhere) -> Iterator[Cell]:
    sizes = {"steps": settings.steps, "examples": settings.examples}
    for seed in range(settings.seeds):
        for name in settings.names:
            yield {"optimizer": name, "seed": seed, **sizes}
        for schedule, rates in ((CONSTANT, settings.rates), (COSINE, settings.cosine_rates)):
            for lr in rates:
                yield {"optimizer": ADAMW, "lr": lr, "schedule": schedule, "seed": seed, **sizes}


def run(cell: Cell) -> dict[str, Any]:
    """Train the ConvNet once, with one of the shipped optimizers or with AdamW."""
    import torch
    from torch.nn.functional import cross_entropy

    torch.set_num_threads(1)
    torch.manual_seed(cell["seed"])
    model, (x, y), test = network(), *images(cell["examples"])
    optimizer, rate = optimizer_of(cell, model)
    draw = torch.Generator().manual_seed(cell["seed"])
    began = time.process_time()
    for step in range(cell["steps"]):
        rows = torch.randint(len(x), (BATCH,), generator=draw)
        flipped = torch.rand(BATCH, generator=draw) < 0.5
        batch = torch.where(flipped[:, None, None, None], x[rows].flip(-1), x[rows])
        rate(step)
        optimizer.zero_grad()
        cross_entropy(model(batch), y[rows]).backward()
        optimizer.step()
    seconds = time.process_time() - began
    (train_loss, _), (test_loss, accuracy) = look(model, x, y), look(model, *test)
    found = Means(train_loss, test_loss, accuracy)._asdict()
    weights = sum(p.numel() for p in model.parameters())
    return {
        **{name: round(x, 5) if math.isfinite(x) else None for name, x in found.items()},
        "weights": weights,
        "images": [len(x), len(test[0])],
        "ms_per_step": round(1e3 * seconds / cell["steps"], 3),
    }


def network() -> "torch.nn.Module":
    """Three 3x3 convolutions with batch norm, each halving the image, and a linear layer."""
    from torch import nn

    layers: list[nn.Module] = []
    for inside, outside in zip((3, *CHANNELS), CHANNELS, strict=False):
        layers += [nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside)]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    head = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * CHANNELS[-1], 10)]
    return nn.Sequential(*layers, *head)


@functools.cache
def images(examples: int) -> "list[tuple[torch.Tensor, torch.Tensor]]":
    """Images (n, 3, 32, 32) within [0, 1] and labels of the training and of the test split."""
    import torch

    data = load("cifar10")
    train, _, test = data.splits
    found = []
    for start, stop in ((train[0], min(train[1], train[0] + examples)), test):
        x = np.asarray(data.x[start:stop], np.float32) * data.scale
        y = np.asarray(data.y[start:stop], np.int64)
        found.append((torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(y)))
    return found


def optimizer_of(cell: Cell, model: "torch.nn.Module") -> tuple[Any, Callable[[int], None]]:
    """The optimizer, and what sets its rate before a step."""
    import torch

    from ...torch import LearnedOptimizer

    if cell["optimizer"] != ADAMW:
        return LearnedOptimizer(model.parameters(), cell["optimizer"]), lambda step: None
    made = torch.optim.AdamW(model.parameters(), lr=cell["lr"])

    def rate(step: int) -> None:
        half = 0.5 * (1 + math.cos(math.pi * step / cell["steps"]))
        made.param_groups[0]["lr"] = cell["lr"] * (half if cell["schedule"] == COSINE else 1.0)

    return made, rate


def look(model: "torch.nn.Module", x: "torch.Tensor", y: "torch.Tensor") -> tuple[float, float]:
    """Mean loss and accuracy, batch norm by its running means."""
    import torch
    from torch.nn.functional import cross_entropy

    model.eval()
    loss = right = 0.0
    with torch.no_grad():
        for start in range(0, len(x), ROWS):
            scores, labels = model(x[start : start + ROWS]), y[start : start + ROWS]
            loss += cross_entropy(scores, labels, reduction="sum").item()
            right += (scores.argmax(1) == labels).sum().item()
    model.train()
    return loss / len(x), right / len(x)


def named(record: Record) -> str:
    if record["optimizer"] != ADAMW:
        return record["optimizer"]
    return f"{ADAMW} {record['lr']:g}, {record['schedule']}"


def conclude(settings: Elsewhere, rows: Sequence[Row]) -> Conclusion:
    """Means over the seeds, and the shipped files with what is known of them on their cards."""
    found = records(rows)
    by: dict[str, list[Record]] = {}
    for record in found:
        by.setdefault(named(record), []).append(record)
    table = markdown(
        ["", "n", *(metric.replace("_", " ") for metric in Means._fields)],
        [[name, str(count(own)), *map(figure, means(own))] for name, own in by.items()],
    )
    files = {
        f"{name}.safetensors": functools.partial(release, name=name, elsewhere=found)
        for name in settings.names
    }
    return Conclusion(table, {"records": found}, files=files)


STUDY = Study(cells, f"{__name__}:run", conclude)
