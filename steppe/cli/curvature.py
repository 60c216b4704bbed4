"""`steppe curvature`: train with an optimizer, then measure the curvature where it ends."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.settings import check, setting
from ..runs.folder import Failed, check_page
from ..runs.subject import Subject, check_rate, prepare, subject
from ..zoo.recipe import SEEDS
from .parse import document, make, speaker
from .train import line_of

if TYPE_CHECKING:
    from ..evaluation.curvature_record import CurvatureRecord


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curvature:
    """Train a task with an optimizer, and measure the curvature of the loss where it ends.

    Everything is measured on one large batch, with standard errors: traces, eigenvalues, the
    spectral density, log-determinant, local entropy, sharpness, and slices of the loss.
    """

    optimizer: str = setting(
        dataclasses.MISSING,
        "a .safetensors file, a run folder, or the name of a pretrained or hand-made optimizer",
        positional=True,
    )
    task: str | None = setting(
        None, "task to train (default: the task the optimizer was meta-trained on)"
    )
    lr: float | None = setting(
        None,
        "learning rate of a hand-made optimizer (default: tuned on the validation split)",
        above=0,
    )
    steps: int = setting(100, "inner steps to train for", least=1)
    batch: int | None = setting(
        2000, "training examples that curvature is measured on", least=1, nothing="all"
    )
    k: int = setting(10, "Lanczos steps from each random vector", least=2)
    probes: int = setting(40, "random vectors; errors fall with their square root", least=1)
    gamma: float = setting(
        1.0, "curvature that counts as flat, of log-determinant and entropy", above=0
    )
    temperature: float | None = setting(
        None,
        "temperature of the entropy, in units of the loss (default: 1 over the number of training "
        "examples)",
        least=0,
    )
    rho: float = setting(0.05, "radius of the sharpness", above=0)
    points: int = setting(
        25, "points to a side of the landscape, and twice as many along a line", least=2
    )
    seed: int = setting(0, "seed of everything random", least=0, most=SEEDS - 1)
    out: Path | None = setting(None, "write an HTML page with the table and pictures", short="o")
    json: bool = setting(False, "print everything as one JSON document")
    quiet: bool = setting(False, "print the result only")

    def __post_init__(self):
        check(self)


def run(values: dict) -> int:
    options = make(Curvature, values)
    about = subject(options.optimizer, options.task)
    check_rate(about, options.lr)
    if options.out is not None:
        check_page(options.out)
    say = speaker(options.quiet)
    say(f"steppe curvature · {about.name} on {about.task_name} · seed {options.seed}")
    found = measure(options, about, say)

    from ..evaluation.curvature_record import sentences, text_table

    if options.out is not None:
        write(options.out, found, options)
    if options.json:
        document(dataclasses.asdict(found))
    else:
        print("\n".join([text_table(found), "", *sentences(found)]))
        if options.out is not None:
            print(f"report  {options.out}")
    return 0


def measure(options: Curvature, about: Subject, say: Callable[[str], None]) -> "CurvatureRecord":
    """The numbers of `evaluation.curvature`; JAX starts here."""
    import jax.random as jr

    from ..evaluation import curvature as curvatures

    task, key = about.build_task(), jr.key(options.seed)
    named = [field.name for field in dataclasses.fields(curvatures.Settings)]
    settings = curvatures.Settings(**{name: getattr(options, name) for name in named})
    curvatures.check(task, settings)  # before anything is trained
    ready = prepare(about.optimizer, task, horizon=options.steps, lr=options.lr, key=key, say=say)
    name = about.name if ready.lr is None else f"{about.name} lr {ready.lr:g}"
    try:
        return curvatures.curvature(
            task, ready.opt, name=name, task_name=about.task_name, settings=settings, key=key,
            say=say,
        )  # fmt: skip
    except curvatures.Diverged as error:
        raise Failed(str(error)) from error


def write(out: Path, found: "CurvatureRecord", options: Curvature) -> None:
    """The page."""
    from ..report.page import facts, write_report
    from ..train.environment import environment

    law = {"gamma": f"{found.gamma:g}", "temperature": f"{found.temperature:.4g}"}
    write_report(
        out,
        title=f"Curvature of {found.task} where {found.optimizer} ends",
        records=[],
        facts={"seed": options.seed, **law} | facts({}, environment()),
        command=line_of(options, "curvature", ("out", "json", "quiet")),
        curvatures=[found],
    )
