"""Play games with every optimizer there is: the minimax part of the primer of Open-L2O, corrected.

    M1    saddle, rotated saddle, seesaw, matrix game: distances along a run
    M2    seesaws of wider ranges: does it help to begin with the easy ones?
    M3    matrix games of five unknowns: does a guard keep a learned rule right?
    M4    bilinear games of 5 to 50 unknowns: gradients to a given accuracy

Rivals by hand are tuned on one grid, on other problems; games, starts and test problems are the
same for all. "Published" is the rule as in the published code: rewards, no memory, and steps of a
scheduled size in the first fifth of a run.

    steppe reproduce games --scale small

Shen, Chen, Heaton, Chen, Wang & Yin, "Learning a minimax optimizer: a pilot study", ICLR 2021. What
is expected: `expectations.toml`; what came out: `README.md`, both beside this file.
"""

import time
from collections.abc import Iterator
from typing import Any

import jax.random as jr
import numpy as np

from ...core.types import Split
from ...data.games import singular
from ...optimizers.classic.resolvent import Halpern
from ...optimizers.guarded import Guarded
from ...optimizers.learned.twin import Twin
from ...tasks.games.matrix import MatrixGame
from ..study import Cell
from . import bilinear, methods
from .methods import FIXED, RIVALS, TEST, TRAIN, TUNE
from .settings import GamesSizes

TWINS = ("Twin", "Twin, rewards", "Twin, published")
PACED = ("Twin", "Twin, easy first")
PUBLISHED = "published-5"  # the published matrices of five unknowns, the singular ones among them
TWIN_MOST = 4  # the Twin on bilinear games is given up after a fourth of the gradients


def cells(settings: GamesSizes) -> Iterator[Cell]:
    """Flat tables, each with "suite"; trainings first, which take longest."""
    test = {name: getattr(settings, name) for name in ("problems", "steps", "tuned_on")}
    small = {"epochs": settings.epochs, "episodes": settings.episodes_5}
    train = {"hidden": settings.hidden, "epochs": settings.epochs, "episodes": settings.episodes}
    five = {"hidden": settings.hidden_5, **small}
    if "M2" in settings.letters:
        for number in settings.ranges:
            for seed in range(settings.seeds):
                own = {**small, "episodes": settings.episodes_ranges, **test}
                own["hidden"] = settings.hidden_ranges
                yield {
                    "suite": "M2",
                    "part": "twins",
                    "panel": f"seesaw-{number}",
                    "seed": seed,
                    **own,
                }
    if "M1" in settings.letters:
        for method in TWINS:
            for panel in settings.panels:
                yield {
                    "suite": "M1",
                    "part": "twin",
                    "panel": panel,
                    "method": method,
                    **train,
                    **test,
                }
    if "M3" in settings.letters:
        for own in matrices(settings):
            yield {"suite": "M3", "part": "twin", **own, **five, **test}
    if "M4" in settings.letters:
        played = {"games": settings.games, "most": settings.most}
        dimensions = list(settings.dimensions)
        own = {"dimensions": dimensions, "twin_most": settings.most // TWIN_MOST, **played}
        yield {"suite": "M4", "part": "twin", **five, **own}
        for d in sorted(dimensions, reverse=True):
            yield {"suite": "M4", "part": "others", "d": d, "updates": settings.updates, **played}
    hand = [("M1", {"panel": panel}) for panel in settings.panels]
    for suite, own in hand + [("M3", own) for own in matrices(settings)]:
        if suite in settings.letters:
            yield {"suite": suite, "part": "by hand", **own, **test}


def matrices(settings: GamesSizes) -> list[dict[str, str]]:
    """The matrix games of M3: drawn, and published where there is a folder of them."""
    published = [{"panel": PUBLISHED, "folder": settings.folder}] if settings.folder else []
    return [{"panel": "matrix-game-5"}, *published]


def run(cell: Cell) -> dict[str, Any]:
    """Records under "rows", on problems that nothing was trained or tuned on."""
    key = jr.fold_in(jr.key(0x9A3E), cell.get("seed", 0))
    if cell["suite"] == "M4":
        return {"rows": bilinear.counted(cell, key)}
    key = jr.fold_in(key, sum(map(ord, cell["panel"])))
    known = {("M1", "twin"): twin, ("M2", "twins"): twins, ("M3", "twin"): guarded}
    return {"rows": known.get((cell["suite"], cell["part"]), by_hand)(cell, key)}


def by_hand(cell: Cell, key) -> list[dict[str, Any]]:
    """Rivals with tuned rates, and some with the rate 0.1."""
    tuning_task, found = game_of(cell, "valid"), []
    how = (cell["tuned_on"], cell["steps"], jr.fold_in(key, TUNE))
    for name, make in RIVALS.items():
        began = time.process_time()
        opt, lr = methods.tuned(tuning_task, make, *how)
        tuning = time.process_time() - began
        found.append(line(cell, name, opt, key, training=tuning, lr=lr, parameters=1))
    fixed = FIXED if cell["suite"] == "M1" else {}
    return found + [line(cell, name, opt, key, lr=0.1, parameters=0) for name, opt in fixed.items()]


def twin(cell: Cell, key) -> list[dict[str, Any]]:
    """A Twin trained on the game."""
    task, method = game_of(cell), cell["method"]
    opt, seconds = methods.trained(task, method, cell, jr.fold_in(key, TRAIN))
    own = methods.for_run_of(opt, cell["steps"])
    return [line(cell, method, own, key, training=seconds)]


def twins(cell: Cell, key) -> list[dict[str, Any]]:
    """Two Twins of one start, one of them trained on the easy episodes first."""
    task, found = game_of(cell), []
    for method in PACED:
        opt, seconds = methods.trained(task, method, cell, jr.fold_in(key, TRAIN))
        found.append(line(cell, method, opt, key, training=seconds))
    return found


def guarded(cell: Cell, key) -> list[dict[str, Any]]:
    """A trained Twin and one of random weights, each alone and under a guard, beside Halpern."""
    opt, seconds = methods.trained(game_of(cell), "Twin", cell, jr.fold_in(key, TRAIN))
    how = (cell["tuned_on"], cell["steps"], jr.fold_in(key, TUNE))
    _, lr = methods.tuned(game_of(cell, "valid"), Halpern, *how)
    untrained = Twin((cell["hidden"],) * 2, key=jr.key(0))
    guard = lambda base: Guarded(base, Halpern(lr), "merit")
    return [
        line(cell, "Twin", opt, key, training=seconds),
        line(cell, "Twin, guarded", guard(opt), key, training=seconds),
        line(cell, "random Twin", untrained, key),
        line(cell, "random Twin, guarded", guard(untrained), key),
    ]


def line(cell: Cell, method: str, opt, key, *, training: float = 0.0, **more):
    """A record: the run of one method on the test problems."""
    task, key = game_of(cell, "test"), jr.fold_in(key, TEST)
    found = methods.measured(task, opt, cell["problems"], cell["steps"], key)
    if cell["panel"] == PUBLISHED:
        more["singular"] = float(np.mean(singular(np.asarray(task.matrices))))
    return {"method": method, "training": round(training, 1), **found, **more}


def game_of(cell: Cell, split: Split = "train"):
    """The game of a cell. A split tells published matrices apart; others are drawn afresh."""
    if cell["panel"] == PUBLISHED:
        return MatrixGame(5, start="uniform", folder=cell["folder"], split=split)
    return methods.game("seesaw" if cell["panel"] == "seesaw-1" else cell["panel"])


def cost(settings: GamesSizes) -> str:
    each = settings.hidden**2 * settings.epochs * settings.episodes
    minutes = 1 + 1.5 * len(settings.letters) / 4 * 12 * each / (50**2 * 200 * 128)
    return f"about {minutes:.0f} minutes of one core, 1 GB"
