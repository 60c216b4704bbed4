"""Do curriculum and imitation make a learned optimizer last beyond its training horizon?

L2O-DM is meta-trained on digits-mlp (64-20-10 sigmoid on 8x8 digits, from the published start
N(0, 0.01²)) by four recipes, each with the same most meta-steps: `dm`, `dm-cl`, `dm-il`,
`dm-cl-il` (`steppe/zoo/presets.py`, scaled down as in `CHANGES`). Then each trains fresh networks
for many more steps than it has seen.

    python -m steppe.studies.techniques.techniques run --seeds 0 1 2   # appends to techniques.jsonl
    python -m steppe.studies.techniques.techniques table

What came out, and what was tried before: `README.md` beside this file.
"""

import argparse
import json
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ...core.episode import begin, unroll
from ...core.lanes import map_lanes
from ...core.optimizer import AbstractOptimizer
from ...core.task import AbstractTask
from ...evaluate.stats import Interval, interval, paired
from ...tasks import build
from ...train import mesh
from ...train.loop import meta_train
from ...zoo.assemble import assemble
from ...zoo.presets import recipe
from ...zoo.recipe import Curriculum

HERE = Path(__file__).parent
RECORDS = HERE / "techniques.jsonl"
TASK = "digits-mlp"
VARIANTS = ("dm", "dm-cl", "dm-il", "dm-cl-il")
MARKS = (100, 200, 500, 1000, 2000, 5000, 10000)  # inner steps at which a training is looked at
RUNS = 10  # inner trainings of each optimizer, the same starts for all

# The published recipes at small scale: four episodes a meta-step, each back-propagated through 128
# of its 1510 coordinates, a ten times larger meta learning rate, far fewer meta-steps.
CHANGES = {
    "episodes": 4,
    "rows": 128,
    "meta_lr": 1e-2,
    "steps": 4000,
    "validate_every": 100,
    "validation_episodes": 8,
}
STAGES = {"curriculum": Curriculum(horizons=(100, 200, 500, 1000), patience=8)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("--seeds", type=int, nargs="+", required=True)
    run.add_argument("--variants", nargs="+", default=VARIANTS, choices=VARIANTS)
    run.add_argument("--steps", type=int, default=CHANGES["steps"])
    run.add_argument("--out", type=Path, default=RECORDS)
    table = commands.add_parser("table")
    table.add_argument("--records", type=Path, default=RECORDS)
    args = parser.parse_args()
    if args.command == "table":
        print(tabulate([json.loads(line) for line in args.records.read_text().splitlines()]))
        return
    mesh.use_cores()
    done = set()
    if args.out.exists():
        rows = map(json.loads, args.out.read_text().splitlines())
        done = {(row["variant"], row["seed"]) for row in rows}
    for seed in args.seeds:
        for variant in args.variants:
            if (variant, seed) in done:
                continue
            row = one(variant, seed, args.steps)
            with args.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(variant, seed, row["ln_loss"], f"{row['seconds']:.0f} s", flush=True)


def one(variant: str, seed: int, steps: int) -> dict:
    """Meta-train by one recipe, then look at its inner trainings. One row of the records."""
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
        "variant": variant,
        "seed": seed,
        "ln_loss": dict(zip(MARKS, mean_log(loss), strict=True)),
        "test_loss": dict(zip(MARKS, np.mean(test, axis=0).round(5).tolist(), strict=True)),
        "test_accuracy": dict(zip(MARKS, np.mean(accuracy, 0).round(5).tolist(), strict=True)),
        "runs": RUNS,
        "meta_steps": last["step"],
        "best_step": history.best_step,
        "stage": last.get("stage", 0),
        "seconds": round(trained, 1),
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def mean_log(loss: np.ndarray) -> list[float]:
    """Mean over runs of ln loss; a run that diverged counts as ln 1000."""
    logs = np.log(np.where(np.isfinite(loss), loss, 1e3).clip(1e-12, 1e3))
    return np.mean(logs, axis=0).round(5).tolist()


def look(task: AbstractTask, opt: AbstractOptimizer, key) -> tuple[np.ndarray, ...]:
    """Train loss, test loss and test accuracy of RUNS trainings at each of MARKS."""

    def training(opt, key):
        key_begin, key_loss = jr.split(key)
        episode, before, found = begin(task, opt, key_begin), 0, []
        for mark in MARKS:
            episode, _ = unroll(task, opt, episode, mark - before, lambda step: ())
            before = mark
            train, test = (task.whole(episode.instance, split=s) for s in ("train", "test"))
            of = lambda f, batch, e=episode: f(e.params, e.instance, batch, key_loss)
            accuracy = of(task.metrics, test)["accuracy"]
            found.append(jnp.stack([of(task.loss, train), of(task.loss, test), accuracy]))
        return jnp.stack(found)  # (marks, 3)

    active = mesh.episode_mesh()
    with mesh.active(active):
        run = jax.jit(lambda opt, keys: map_lanes(training, opt, keys, batch_size=1))
        found = np.asarray(run(opt, jr.split(key, RUNS)))
    return found[..., 0], found[..., 1], found[..., 2]


def tabulate(rows: Sequence[dict]) -> str:
    """Mean ln loss by variant and mark, and paired differences over meta-seeds."""
    seeds = sorted({row["seed"] for row in rows})
    table = {
        (variant, mark): {
            row["seed"]: row["ln_loss"][str(mark)] for row in rows if row["variant"] == variant
        }
        for variant in VARIANTS
        for mark in MARKS
    }
    lines = [f"ln training loss, mean over {len(seeds)} meta-seeds [95 %]", ""]
    lines.append("| | " + " | ".join(f"{mark} steps" for mark in MARKS) + " |")
    lines.append("|---|" + "---|" * len(MARKS))
    for variant in VARIANTS:
        cells = []
        for mark in MARKS:
            values = list(table[variant, mark].values())
            cells.append(shown(interval(values)))
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    lines += ["", "| paired difference | " + " | ".join(f"{mark}" for mark in MARKS) + " |"]
    lines.append("|---|" + "---|" * len(MARKS))
    for a, b in (
        ("dm-cl-il", "dm-cl"),
        ("dm-cl-il", "dm-il"),
        ("dm-cl", "dm"),
        ("dm-il", "dm"),
    ):
        cells = []
        for mark in MARKS:
            both = sorted(set(table[a, mark]) & set(table[b, mark]))
            one, two = ([table[v, mark][seed] for seed in both] for v in (a, b))
            cells.append(shown(paired(one, two).difference))
        lines.append(f"| {a} − {b} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def shown(found: Interval) -> str:
    return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def commit() -> str:
    shown = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE
    )
    return shown.stdout.strip()


if __name__ == "__main__":
    main()
