"""Runs of `steppe train`, killed (SIGKILL) again and again, that must end with the same bits.

    python tests/robustness/kills.py 200 RECORD.json      200 kills, counted in a file

A recipe runs once undisturbed and once under kills at random moments, each followed by the same
`steppe train` on the same folder. At the end the model has to be the same file, the rows of
metrics.jsonl the same text (times apart), and the folder has to have the same files. A campaign
that is stopped goes on with the count of its record. Processes are forked from one that has
imported everything and started nothing, which saves two of five seconds.
"""

import dataclasses
import json
import multiprocessing
import os
import random
import shlex
import sys
import tempfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

TIMES = ("time", "inner_steps_per_s")
SMALL = (
    "--task quadratic --unroll 2 --horizon 8 --episodes 2 --validate-every 25 --checkpoint-every 3 "
    "--no-probe --cores 1 --steps 300 --quiet "
)
RUNS = {  # rows every 10 steps and checkpoints every 3: most checkpoints lie between two rows
    "plain": SMALL + "--opt dm --hidden 2",
    "curriculum, flatness": (
        SMALL + "--opt dm --hidden 2 --curriculum.horizons 4,8 --flat.kind trace --flat.weight 1e-3"
    ),
    "PES": SMALL + "--opt learned-adam --estimator pes",
}
KILLS_OF_A_RUN = 10
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["steppe.cli.train", "steppe.runs.session", "optax", "numpy"])


@dataclasses.dataclass
class Record:
    """The count of a campaign."""

    seed: int = 0
    kills: int = 0  # SIGKILLs of a process that was alive
    in_training: int = 0  # of these, after a checkpoint of its own
    runs: int = 0  # that came to their end and were compared
    differences: list[str] = dataclasses.field(default_factory=list)


def start(cache: Path, *words: object) -> BaseProcess:
    """A process of `steppe train`; what it says goes to the file `said` beside the cache."""
    process = CONTEXT.Process(target=_train, args=(cache, [str(word) for word in words]))
    process.start()
    return process


def _train(cache: Path, words: list[str]) -> None:
    import jax

    from steppe.cli.main import main

    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    with (cache.parent / "said").open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.exit(main(["train", *words]))


def finish(process: BaseProcess, cache: Path) -> None:
    process.join()
    assert process.exitcode == 0, (cache.parent / "said").read_text()


def checkpoints(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("step-*.safetensors")}


def wait_for_progress(process: BaseProcess, folder: Path) -> None:
    """Until a checkpoint is there that was not before, or the end of the process."""
    before = checkpoints(folder)
    while process.is_alive() and not checkpoints(folder) - before:
        time.sleep(0.01)


def rows(folder: Path) -> list[dict]:
    """All that metrics.jsonl says, times apart; text is compared, since 0.1 + 0.2 is not 0.3."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line, parse_float=str, parse_int=str) for line in lines]
    return [{name: row[name] for name in row if name not in TIMES} for row in found]


def differences(folder: Path, whole: Path) -> list[str]:
    """In what a run differs from the undisturbed one."""
    model = "model.safetensors"
    found = [] if (folder / model).read_bytes() == (whole / model).read_bytes() else [model]
    mine, theirs = rows(folder), rows(whole)
    if mine != theirs:
        pairs = zip(mine, theirs, strict=False)
        first = next((f"{a} for {b}" for a, b in pairs if a != b), f"{len(mine)} rows")
        found.append(f"metrics.jsonl: {first}")
    names = [{path.name for path in place.iterdir()} for place in (folder, whole)]
    return found + [f"files: {sorted(names[0] ^ names[1])}"] * (names[0] != names[1])


def kill_once(folder: Path, cache: Path, words: list[str], rng: random.Random) -> tuple[bool, bool]:
    """Start, kill at a random moment; whether it was alive, and whether in training."""
    process = start(cache, *words, "--out", folder)
    before = checkpoints(folder)
    if rng.random() < 0.25:
        time.sleep(rng.uniform(0, 6))
    else:
        wait_for_progress(process, folder)
        time.sleep(rng.expovariate(1 / 0.3))
    alive = process.is_alive()
    process.kill()
    process.join()
    return alive, alive and checkpoints(folder) != before


def campaign(count: int, path: Path, home: Path) -> Record:
    """Go on until `count` processes were killed and every run was finished and compared."""
    record = Record(**json.loads(path.read_text())) if path.exists() else Record()
    wholes: dict[str, Path] = {}
    cache = home / "cache"
    while record.kills < count:
        name = list(RUNS)[record.runs % len(RUNS)]
        words = shlex.split(RUNS[name])
        if name not in wholes:
            wholes[name] = home / f"whole {record.runs}"
            finish(start(cache, *words, "--out", wholes[name]), cache)
        folder = home / f"run {record.runs}"
        for _ in range(min(KILLS_OF_A_RUN, count - record.kills)):
            rng = random.Random(f"{record.seed} {record.kills}")
            alive, training = kill_once(folder, cache, words, rng)
            record.kills += alive
            record.in_training += training
            if not alive:
                break
            path.write_text(json.dumps(dataclasses.asdict(record), indent=1) + "\n")
        finish(start(cache, *words, "--out", folder), cache)
        record.runs += 1
        record.differences += [
            f"{folder.name} ({name}): {d}" for d in differences(folder, wholes[name])
        ]
        path.write_text(json.dumps(dataclasses.asdict(record), indent=1) + "\n")
    return record


if __name__ == "__main__":
    found = campaign(int(sys.argv[1]), Path(sys.argv[2]), Path(tempfile.mkdtemp()))
    print(found)
    sys.exit(bool(found.differences))
