"""`steppe certify`: what holds of future problems, with a confidence."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.settings import check, setting
from ..runs.folder import BadInput, new_files
from ..runs.subject import Subject, check_rate, prepare, subject
from ..zoo.recipe import SEEDS
from .parse import document, make, speaker

if TYPE_CHECKING:
    from ..certificates.certificate import Certificate
    from ..certificates.runs import AbstractRun
    from ..core.optimizer import AbstractOptimizer
    from ..core.task import AbstractTask

FILE, PAGE = "certificate.json", "certificate.html"
SOLVER = "solver.safetensors"  # of `steppe learn`, with its certificate inside
STEPS = 200  # where no horizon is known


@dataclasses.dataclass(frozen=True, kw_only=True)
class Certify:
    """Certify an optimizer: what fraction of future problems it solves, and in how many steps.

    It is run on --n fresh problems of the task. Each statement holds with its confidence for any
    optimizer, and nothing is assumed but that future problems are drawn as these are. The learning
    rate of a hand-made optimizer is tuned on problems of its own first, unless it is given.
    """

    optimizer: str = setting(
        dataclasses.MISSING,
        "a .safetensors file, a run folder, or the name of a pretrained or hand-made optimizer",
        positional=True,
    )
    task: str | None = setting(None, "task to run it on (default: the task it was meta-trained on)")
    particles: int | None = setting(
        None,
        "points from which it sees each problem together, as a swarm (default: as trained)",
        least=1,
    )
    metric: tuple[str, ...] = setting(
        (),
        "error of a run: loss, error (1 - accuracy), gradient, residual, distance, nmse, or a "
        "metric of the task's own (default: loss; of a game merit). Or one or more measures where "
        "runs end, bounded together: train-loss, test-loss, test-error, gap (test less training "
        "loss), trace, top-eigenvalue and all others of `steppe list measures`",
    )
    at_loss: float | None = setting(
        None,
        "training loss at which the measures are taken, where a run first comes to it; not at the "
        "end",
    )
    tolerances: tuple[float, ...] = setting((), "errors to come down to")
    levels: tuple[float, ...] = setting(
        (0.5, 0.9),
        "fractions of problems: how many steps do so many need to each tolerance? Without "
        "tolerances: what error, or what measures, do they end at?",
    )
    steps: int | None = setting(
        None, "steps of each run (default: the horizon of meta-training, or 200)", least=1
    )
    stay: bool = setting(
        False,
        "count the steps until the error stays within the tolerance, not to the first time",
    )
    delta: float = setting(0.01, "probability that any of the statements is wrong")
    n: int = setting(1000, "problems to run it on", least=1)
    lr: float | None = setting(None, "learning rate of a hand-made optimizer", above=0)
    seed: int = setting(0, "seed of everything random", least=0, most=SEEDS - 1)
    out: Path | None = setting(None, "folder for certificate.json and its page, certificate.html")
    cores: int | None = setting(None, "processor cores to spread runs over", least=1, nothing="all")
    json: bool = setting(False, "print the certificate as one JSON document")
    quiet: bool = setting(False, "print the result only")

    def __post_init__(self):
        check(self)


def run(values: dict) -> int:
    options = make(Certify, values)
    about = subject(options.optimizer, options.task, options.particles)
    check_rate(about, options.lr)
    steps = options.steps or about.horizon or STEPS
    say = speaker(options.quiet)
    words = f"{about.name} on {about.task_name} · {options.n} problems × {steps} steps"

    with new_files(options.out, (FILE,)):
        say(f"steppe certify · {words}")
        cert = certified(options, about, steps, say)
        if options.out is not None:
            cert.save(options.out / FILE)
    if options.out is not None:
        from ..report.page import report_from_folders

        report_from_folders([options.out], options.out / PAGE)
    if options.json:
        document(cert.document())
    else:
        print(text(cert))
        if options.out is not None:
            print(f"\n{options.out / FILE}\n{options.out / PAGE}")
    return 0


def certified(options: Certify, about: Subject, steps: int, say) -> "Certificate":
    from ..train.mesh import use_cores

    use_cores(options.cores)
    from ..certificates.certify import certify
    from ..certificates.episodes import usual_metric

    task = about.build_task()
    names = options.metric or (usual_metric(task),)
    check_metrics(names, options)
    opt, how = ready(about, task, steps, options.lr, options.seed, say)
    return certify(
        runs_of(about, task, opt, names, how, options.at_loss),
        steps=steps,
        tolerances=options.tolerances,
        levels=options.levels,
        semantics="stay" if options.stay else "first_hit",
        delta=options.delta,
        n=options.n,
        seed=options.seed,
        say=say,
    )


def check_metrics(names: Sequence[str], options: Certify) -> None:
    """Refuse metrics that do not go together, before anything runs."""
    from ..certificates.measured import NAMES

    ends = [name for name in names if name in NAMES]
    if ends and len(ends) < len(names):
        other = next(name for name in names if name not in NAMES)
        raise BadInput(
            f"`metric` {ends[0]} is measured where runs end, and {other} after every step; give "
            "one or the other."
        )
    if not ends and len(names) > 1:
        raise BadInput(
            f"`metric` {names[0]} is read after every step, one in a certificate; measures where "
            f"runs end may be several: {', '.join(NAMES)}."
        )
    if ends and (options.tolerances or options.stay):
        raise BadInput(
            f"`metric` {ends[0]} is measured where runs end: leave `tolerances` and `stay` out, "
            "which are of errors after every step; `levels` are the fractions of problems."
        )
    if not ends and options.at_loss is not None:
        raise BadInput(
            f"`at_loss` is of measures where runs end, such as gap, trace or test-loss, and not "
            f"of the metric {names[0]}."
        )


def runs_of(
    about: Subject,
    task: "AbstractTask",
    opt: "AbstractOptimizer",
    names: Sequence[str],
    how: str,
    at_loss: float | None,
) -> "AbstractRun":
    """The runs to certify, with one error after every step or measures where they end.

    - `names`: of the error, or of the measures
    - `how`: words about the learning rate
    - `at_loss`: the training loss at which measures are taken
    """
    from ..certificates.episodes import Episodes
    from ..certificates.measured import NAMES, Measured

    named = {
        "name": f"{about.name}{how}",
        "task_name": about.task,
        "task_options": dict(about.task_options),
    }
    if names[0] in NAMES:
        return Measured(task, opt, names, at_loss=at_loss, **named)
    return Episodes(task, opt, metric=names[0], **named)


def ready(
    about: Subject, task: "AbstractTask", steps: int, lr: float | None, seed: int, say
) -> tuple["AbstractOptimizer", str]:
    """The optimizer, and words about its learning rate."""
    import jax.random as jr

    found = prepare(about.optimizer, task, horizon=steps, lr=lr, key=jr.key(seed), say=say)
    return found.opt, "" if found.lr is None else f", learning rate {found.lr:g}"


def text(cert: "Certificate") -> str:
    """The statements, one a line, and what to hold against them."""
    from ..certificates.claims import percent

    lines = [f"With confidence {percent(1 - cert.joint_delta)}, all of it together:"]
    lines += [f"  · {claim['statement']}" for claim in cert.claims]
    metrics = cert.claims[0].get("measures", [cert.metric])
    lines += [f"({cert.n} tasks, {m['name']}: {m['definition']})" for m in metrics]
    lines += [f"! {warning}" for warning in cert.warnings]
    return "\n".join(lines)
