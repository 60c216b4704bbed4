"""The fuzzer: damaged files through every reader, each watched for what it must not do.

    python -m robustness.fuzz --tries 100000 --out record.json      (with tests/ on PYTHONPATH)

Every try is known by its reader and number, which seed its damage: a find is made again by
`python -m robustness.fuzz --reader metrics --only 1234`. Stopped and called again, it goes on.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from steppe.train.environment import environment

from . import bombs
from .readers import READERS, Reader
from .watch import MEMORY, OUTCOMES, SECONDS, Find, Watch, attempt

RARE = 0.25  # share of the tries below which a reader is left out of less than MANY: it is slow
MANY = 10_000


def tries(reader: Reader, numbers: range, folder: Path, watch: Watch) -> Iterator[tuple[int, Find]]:
    """Damage files and read them, one after the other."""
    valid = reader.valid()
    reader.beside(folder)
    path = folder / reader.file
    for data in valid:  # what is imported and compiled once is no fault of a file
        path.write_bytes(data)
        reader.read(path)
    for number in numbers:
        rng = random.Random(f"{reader.name}/{number}")
        path.write_bytes(reader.mutate(rng.choice(valid), rng, valid))
        yield number, attempt(reader, path, watch)


def quota(reader: Reader, tries: int) -> int:
    """The number of tries that fall to a reader."""
    if tries < MANY and reader.share < RARE:
        return 0
    return max(round(tries * reader.share / sum(other.share for other in READERS)), 1)


def run(
    wanted: int, watch: Watch, out: Path | None = None, only: str = "", batch: int = 500
) -> dict:
    """Counts by reader, also of what an earlier call wrote to `out`."""
    warnings.simplefilter("ignore")
    record = json.loads(out.read_text()) if out and out.exists() else {}
    record = {"environment": environment(), "seconds": SECONDS, "bytes": MEMORY} | record
    record.setdefault("readers", {})
    for reader in READERS:
        if only not in reader.name or not (end := quota(reader, wanted)):
            continue
        kept = record["readers"].setdefault(reader.name, {"files": 0, "finds": []})
        while kept["files"] < end:
            numbers = range(kept["files"], min(kept["files"] + batch, end))
            counts, begun = Counter(dict.fromkeys(OUTCOMES, 0)), time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                for number, find in tries(reader, numbers, Path(folder), watch):
                    counts[find.outcome] += 1
                    if find.outcome in OUTCOMES[2:] and len(kept["finds"]) < 40:
                        kept["finds"].append([number, *find])
            kept["files"] += len(numbers)
            kept["cpu"] = round(kept.get("cpu", 0) + time.process_time() - begun, 1)
            for name, count in counts.items():
                kept[name] = kept.get(name, 0) + count
            if out:
                write(out, record)
        said = " ".join(f"{kept.get(name, 0)} {name}," for name in ("files", *OUTCOMES))
        print(f"{reader.name}: {said[:-1]}", flush=True)
    return record


def write(out: Path, record: dict) -> None:
    out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tries", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="record to write, and to go on from")
    parser.add_argument("--bombs", action="store_true", help="files without end afterwards")
    parser.add_argument("--reader", default="", help="part of the name of readers to try alone")
    parser.add_argument("--only", type=int, help="number of one try, shown in full")
    options = parser.parse_args()
    watch = Watch()
    if options.only is not None:
        reader = next(reader for reader in READERS if options.reader == reader.name)
        folder = Path(tempfile.mkdtemp())
        numbers = range(options.only, options.only + 1)
        for _, find in tries(reader, numbers, folder, watch):
            print(folder / reader.file, *find, sep="\n")
        return 0
    record = run(options.tries, watch, options.out, options.reader)
    finds = [f"{name} {find}" for name, kept in record["readers"].items() for find in kept["finds"]]
    if options.bombs:
        with tempfile.TemporaryDirectory() as folder:
            record["bombs"] = {
                name: [find.outcome, find.words.replace(f"{folder}/", ""), seconds]
                for name, find, seconds in bombs.run(Path(folder), watch)
            }
        finds += [f"{n} {x}" for n, x in record["bombs"].items() if x[0] in OUTCOMES[2:]]
        if options.out:
            write(options.out, record)
    print(*finds, sep="\n", flush=True)
    os._exit(1 if finds else 0)  # where memory is short, threads may not end in peace


if __name__ == "__main__":
    sys.exit(main())
