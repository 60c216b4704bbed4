"""What `certify` and `verify` can be told. Standard library only."""

from dataclasses import dataclass, field
from pathlib import Path

from .checks import at_least, check_seed, positive
from .parse import PLACE

ALL = {"nothing": "all"}  # metadata: the word for None


@dataclass(frozen=True, kw_only=True)
class Certify:
    """Certify an optimizer: what fraction of future problems it solves, and in how many steps.

    It is run on --n fresh problems of the task. Each statement holds with its confidence for any
    optimizer, and nothing is assumed but that future problems are drawn as these are. The learning
    rate of a hand-made optimizer is tuned on problems of its own first, unless it is given.

    - `optimizer`: a .safetensors file, a run folder, or the name of a pretrained or hand-made one
    - `task`: what it is run on (default: the task it was meta-trained on)
    - `metric`: the error: loss, error (1 - accuracy), gradient, residual, distance, nmse, or a
      metric of the task's own
    - `tolerances`: errors to come down to
    - `levels`: fractions of problems: how many steps do so many need to each tolerance? Without
      tolerances: what error do they end at?
    - `steps`: of each run (default: the horizon of meta-training, or 200)
    - `stay`: count the steps until the error stays within the tolerance, not to the first time
    - `delta`: the probability that any of the statements is wrong
    - `n`: problems
    - `lr`: learning rate of a hand-made optimizer
    - `seed`: of everything random
    - `out`: folder for certificate.json and its page, certificate.html
    - `cores`: processor cores to spread runs over
    - `json`: print the certificate as one JSON document
    - `quiet`: print the result only
    """

    optimizer: str = field(metadata=PLACE)
    task: str | None = None
    metric: str = "loss"
    tolerances: tuple[float, ...] = ()
    levels: tuple[float, ...] = (0.5, 0.9)
    steps: int | None = None
    stay: bool = False
    delta: float = 0.01
    n: int = 500
    lr: float | None = None
    seed: int = 0
    out: Path | None = None
    cores: int | None = field(default=None, metadata=ALL)
    json: bool = False
    quiet: bool = False

    def __post_init__(self):
        for name in ("n", "steps", "cores"):
            at_least(1, self, name)
        positive(self, "lr")
        check_seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Check a certificate: its digest, and every bound by code other than that which made it.

    - `certificate`: the file, or the folder that `steppe certify --out` wrote
    - `again`: also run all its problems again, with the optimizer of this word
    - `json`: print what was found as one JSON document
    - `quiet`: print nothing
    """

    certificate: Path = field(metadata=PLACE)
    again: str | None = None
    json: bool = False
    quiet: bool = False
