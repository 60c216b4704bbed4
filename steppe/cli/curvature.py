"""`steppe curvature`: train with an optimizer, then tell how curved the loss is where it ends."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..runs.errors import BadInput, Failed
from .evaluate import Subject, subject
from .options import Curvature
from .output import document, speaker
from .parse import build
from .train import line_of

if TYPE_CHECKING:
    from ..evaluate.curvature_record import Point


def run(values: dict) -> int:
    options = build(Curvature, values)
    about = subject(options.optimizer, options.task)
    if options.lr is not None and isinstance(about.optimizer, Path):
        raise BadInput(
            f"--lr is for hand-made optimizers, but {about.optimizer} has learned its steps; leave "
            "--lr out."
        )
    if options.out is not None:
        check_out(options.out)
    say = speaker(options.quiet)
    say(f"steppe curvature · {about.name} on {about.task_name} · seed {options.seed}")
    found = measure(options, about, say)

    from ..evaluate import curvature_record as point

    if options.out is not None:
        write(options.out, found, options)
    if options.json:
        document(dataclasses.asdict(found))
    else:
        print("\n".join([point.text_table(found), "", *point.sentences(found)]))
        if options.out is not None:
            print(f"report  {options.out}")
    return 0


def measure(options: Curvature, about: Subject, say: Callable[[str], None]) -> "Point":
    """The numbers of `evaluate.curvature`; JAX starts here."""
    import jax.random as jr

    from ..evaluate import curvature as curvatures
    from ..evaluate.tune import tune
    from ..tasks import suite
    from ..zoo import io

    task, key = suite.build(about.task, **about.task_options), jr.key(options.seed)
    optimizer, name = about.optimizer, about.name
    named = [field.name for field in dataclasses.fields(curvatures.Settings)]
    settings = curvatures.Settings(**{name: getattr(options, name) for name in named})
    curvatures.check(task, settings)  # before anything is trained
    if isinstance(optimizer, Path):
        opt = io.load_optimizer(optimizer)[0]
    else:
        lr = options.lr
        if lr is None:
            say("tuning the learning rate…")
            make = lambda lr: io.build(optimizer, lr=lr)
            lr = tune(task, make, horizon=options.steps, key=key).best
        opt, name = io.build(optimizer, lr=lr), f"{name} lr {lr:g}"
    try:
        return curvatures.curvature(
            task, opt, name=name, task_name=about.task_name, settings=settings, key=key, say=say
        )
    except curvatures.Diverged as error:
        raise Failed(str(error)) from error


def write(out: Path, found: "Point", options: Curvature) -> None:
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


def check_out(out: Path) -> None:
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise BadInput(f"{out} is no place for a file; give its name in a folder there is.")
