"""Do curriculum and imitation make a learned optimizer last beyond its training horizon?

L2O-DM is meta-trained on digits-mlp (64-20-10 sigmoid on 8x8 digits, from the published start
N(0, 0.01²)) by four recipes, each with the same most meta-steps: `dm`, `dm-cl`, `dm-il`,
`dm-cl-il` (`steppe/zoo/presets.py`, scaled down as in `CHANGES`). Then each trains fresh networks
for many more steps than it has seen.

    steppe reproduce techniques --scale small

What came out, and what was tried before: `README.md` beside this file.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ...core.optimizer import AbstractOptimizer
from ...core.rollout import map_lanes, rollout
from ...core.task import AbstractTask, Problem
from ...evaluation.engines import Row
from ...evaluation.stats import Interval, interval, paired
from ...tasks import build
from ...train import mesh
from ...train.loop import meta_train
from ...zoo.assemble import assemble
from ...zoo.presets import recipe
from ...zoo.recipe import Curriculum
from ..study import Cell, Conclusion, Record, Study, markdown, records, use_cores
from .settings import VARIANTS, Techniques

TASK = "digits-mlp"
MARKS = (100, 200, 500, 1000, 2000, 5000, 10000)  # inner steps at which a training is looked at
RUNS = 10  # inner trainings of each optimizer, the same starts for all

# The published recipes at small scale: four episodes a meta-step, each back-propagated through 128
# of its 1510 coordinates, a ten times larger meta learning rate, far fewer meta-steps.
CHANGES = {
    "episodes": 4,
    "rows": 128,
    "meta_lr": 1e-2,
    "validate_every": 100,
    "validation_episodes": 8,
}
PAIRS = (("dm-cl-il", "dm-cl"), ("dm-cl-il", "dm-il"), ("dm-cl", "dm"), ("dm-il", "dm"))
STAGES = {"curriculum": Curriculum(horizons=(100, 200, 500, 1000), patience=8)}


def cells(settings: Techniques) -> Iterator[Cell]:
    for seed in settings.seeds:
        for variant in settings.variants:
            yield {"variant": variant, "seed": seed, "steps": settings.steps}


def run(cell: Cell) -> dict[str, Any]:
    use_cores()
    return one(cell["variant"], cell["seed"], cell["steps"])


def conclude(settings: Techniques, rows: Sequence[Row]) -> Conclusion:
    found = records(rows)
    return Conclusion(text=table(found), content={"records": found})


def one(variant: str, seed: int, steps: int) -> dict:
    """Meta-train by one recipe, then look at its inner trainings."""
    began = time.perf_counter()
    changes = CHANGES | {"steps": steps} | (STAGES if "cl" in variant else {})
    how = recipe(variant, **changes)
    key_opt, key_train = jr.split(jr.key(seed))
    task = build(TASK)
    opt, options = assemble(how, task, key=key_opt)
    best, history = meta_train(options.pop("task"), opt, **options, key=key_train)
    last = history.rows[-1]
    trained = time.perf_counter() - began
    loss, test, accuracy = look(task, best, jr.key(1000))  # (runs, marks)
    return {
        "ln_loss": dict(zip(MARKS, mean_log(loss), strict=True)),
        "test_loss": dict(zip(MARKS, np.mean(test, axis=0).round(5).tolist(), strict=True)),
        "test_accuracy": dict(zip(MARKS, np.mean(accuracy, 0).round(5).tolist(), strict=True)),
        "runs": RUNS,
        "meta_steps": last["step"],
        "best_step": history.best_step,
        "stage": last.get("stage", 0),
        "seconds": round(trained, 1),
    }


def mean_log(loss: np.ndarray) -> list[float]:
    """Mean over runs of ln loss; a run that diverged counts as ln 1000."""
    logs = np.log(np.where(np.isfinite(loss), loss, 1e3).clip(1e-12, 1e3))
    return np.mean(logs, axis=0).round(5).tolist()


def look(task: AbstractTask, opt: AbstractOptimizer, key) -> tuple[np.ndarray, ...]:
    """Train loss, test loss and test accuracy of RUNS trainings at each of MARKS."""

    def training(opt, key):
        key_begin, key_loss = jr.split(key)

        def at_mark(episode):
            train, test = (task.full_batch(episode.instance, split=s) for s in ("train", "test"))
            x, at = (
                episode.params,
                [Problem(task, episode.instance, b, key_loss) for b in (train, test)],
            )
            accuracy = task.metrics(x, episode.instance, test, key_loss)["accuracy"]
            return jnp.stack([*(problem.value(x) for problem in at), accuracy])

        return rollout(task, opt, key_begin, MARKS[-1], at_mark, at=MARKS).looks  # (marks, 3)

    active = mesh.episode_mesh()
    with mesh.active(active):
        run = jax.jit(lambda opt, keys: map_lanes(training, opt, keys, batch_size=1))
        found = np.asarray(run(opt, jr.split(key, RUNS)))
    return found[..., 0], found[..., 1], found[..., 2]


def table(found: Sequence[Record]) -> str:
    """Mean ln loss by variant and mark, and paired differences over meta-seeds."""
    seeds = sorted({record["seed"] for record in found})
    by = {
        (variant, mark): {
            record["seed"]: record["ln_loss"][str(mark)]
            for record in found
            if record["variant"] == variant
        }
        for variant in VARIANTS
        for mark in MARKS
    }

    def less(a: str, b: str, mark: int) -> str:
        both = sorted(set(by[a, mark]) & set(by[b, mark]))
        ours, theirs = ([by[variant, mark][seed] for seed in both] for variant in (a, b))
        return shown(paired(ours, theirs).difference)

    marks = [f"{mark} steps" for mark in MARKS]
    means = [
        [variant, *(shown(interval(list(by[variant, mark].values()))) for mark in MARKS)]
        for variant in VARIANTS
    ]
    differences = [[f"{a} − {b}", *(less(a, b, mark) for mark in MARKS)] for a, b in PAIRS]
    return "\n\n".join(
        [
            f"ln training loss, mean over {len(seeds)} meta-seeds [95 %]",
            markdown(["", *marks], means),
            markdown(["paired difference", *map(str, MARKS)], differences),
        ]
    )


def shown(found: Interval) -> str:
    if found.mean is None or found.low is None:
        return "–" if found.mean is None else f"{found.mean:+.2f}"
    return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


STUDY = Study(cells, f"{__name__}:run", conclude)
