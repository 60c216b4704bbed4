"""Crash images of a run: each is a folder to go on with, and must end with the same bits.

    python tests/robustness/images.py 1000 RECORD.json     1000 images, counted in a file

In one process, so that a thousand runs share their compiled programs.
"""

import dataclasses
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from robustness.crash import Image, Recorder, build, recorded, shared_programs, torn
from robustness.kills import differences

from steppe.runs import session
from steppe.zoo.presets import recipe

SMALL = {
    "task": "quadratic", "hidden": (2,), "steps": 14, "unroll": 2, "horizon": 4, "episodes": 2,
    "validate_every": 4, "checkpoint_every": 3, "cores": 2,
}  # fmt: skip
RUNS: dict[str, dict[str, Any]] = {
    "plain": {},
    "curriculum": {"curriculum.horizons": (2, 4), "validate_every": 2},
}
SECOND = 0.3  # of the images: the run that goes on crashes too


@dataclasses.dataclass
class Record:
    """The count of a campaign."""

    seed: int = 0
    images: int = 0
    torn: int = 0  # of these, with a file cut in the midst, or without what was not synced
    second: int = 0  # of these, of a run that had gone on from another image
    differences: list[str] = dataclasses.field(default_factory=list)


class Runs:
    """One recipe in a folder of its own: its images, and what comes of them."""

    def __init__(self, name: str, home: Path):
        self.recipe = recipe("dm", **(SMALL | RUNS[name]))
        self.name, self.home, self.whole = name, home, home / f"{name} whole"
        self.recorder = self.record(self.whole)

    def train(self, folder: Path) -> None:
        session.train(self.recipe, folder, probe=False, say=lambda text: None)

    def record(self, folder: Path) -> Recorder:
        with recorded(folder) as recorder:
            self.train(folder)
        return recorder

    def ends_well(self, image: Image) -> tuple[list[str], Recorder]:
        """In what a run that goes on from an image differs at the end, and its own images."""
        folder = self.home / f"{self.name} image"
        build(image, folder)
        recorder = self.record(folder)
        return differences(folder, self.whole), recorder


def campaign(count: int, path: Path, home: Path) -> Record:
    record = Record(**json.loads(path.read_text())) if path.exists() else Record()
    runs = [Runs(name, home) for name in RUNS]
    while record.images < count:
        rng = random.Random(f"{record.seed} {record.images}")
        run = rng.choice(runs)
        recorder = run.recorder
        if second := rng.random() < SECOND:
            _, recorder = run.ends_well(rng.choice(recorder.images))
        images = recorder.images
        if cut := rng.random() < 0.5:
            images = torn(images, rng) + recorder.lost
        found, _ = run.ends_well(image := rng.choice(images))
        what = f"image {record.images} ({run.name}; {', '.join(image)})"
        record.differences += [f"{what}: {each}" for each in found]
        record = dataclasses.replace(
            record,
            images=record.images + 1,
            torn=record.torn + cut,
            second=record.second + second,
        )
        path.write_text(json.dumps(dataclasses.asdict(record), indent=1) + "\n")
    return record


if __name__ == "__main__":
    shared_programs(setattr)
    found = campaign(int(sys.argv[1]), Path(sys.argv[2]), Path(tempfile.mkdtemp()))
    print(found)
    sys.exit(bool(found.differences))
