"""`steppe certify`: run an optimizer on fresh problems and say what holds of future ones."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..runs.errors import BadInput
from .evaluate import Subject, check_out, subject
from .options_certificates import Certify
from .output import document, speaker
from .parse import build

if TYPE_CHECKING:
    from ..certificates.certificate import Certificate
    from ..core.optimizer import AbstractOptimizer
    from ..core.task import AbstractTask

FILE, PAGE = "certificate.json", "certificate.html"
STEPS = 200  # where no horizon is known


def run(values: dict) -> int:
    options = build(Certify, values)
    about = subject(options.optimizer, options.task)
    if options.lr is not None and isinstance(about.optimizer, Path):
        raise BadInput(f"{about.name} has no learning rate to give; leave --lr away.")
    if options.out is not None:
        check_out(options.out, FILE)
    steps = options.steps or about.recipe.get("horizon") or STEPS
    say = speaker(options.quiet)
    say(
        f"steppe certify · {about.name} on {about.task_name} · {options.n} problems × {steps} steps"
    )

    from ..train.mesh import use_cores

    use_cores(options.cores)
    cert = made(options, about, steps, say)
    if options.out is not None:
        written(cert, options.out)
    if options.json:
        document(cert.document())
    else:
        print(text(cert))
        if options.out is not None:
            print(f"\n{options.out / FILE}\n{options.out / PAGE}")
    return 0


def made(options: Certify, about: Subject, steps: int, say) -> "Certificate":
    from ..certificates.certify import certify
    from ..tasks import suite

    task = suite.build(about.task, **about.task_options)
    opt, how = prepared(about, task, steps, options.lr, options.seed, say)
    return certify(
        episodes(about, task, opt, options.metric, how),
        steps=steps,
        tolerances=options.tolerances,
        levels=options.levels,
        semantics="stay" if options.stay else "first_hit",
        delta=options.delta,
        n=options.n,
        seed=options.seed,
        say=say,
    )


def episodes(about: Subject, task: "AbstractTask", opt: "AbstractOptimizer", metric: str, how: str):
    from ..certificates.episodes import Episodes

    return Episodes(
        task,
        opt,
        metric=metric,
        name=f"{about.name}{how}",
        task_name=about.task,
        task_options=dict(about.task_options),
    )


def prepared(
    about: Subject, task: "AbstractTask", steps: int, lr: float | None, seed: int, say
) -> tuple["AbstractOptimizer", str]:
    """The optimizer, and what to say of its learning rate."""
    import jax.random as jr

    from ..evaluate.tune import tune
    from ..zoo import io as kinds

    if isinstance(about.optimizer, Path):
        return kinds.load_optimizer(about.optimizer)[0], ""
    name = about.optimizer
    if lr is None:
        say(f"tuning the learning rate of {name} on problems of its own…")
        lr = tune(task, lambda lr: kinds.build(name, lr=lr), horizon=steps, key=jr.key(seed)).best
    return kinds.build(name, lr=lr), f", learning rate {lr:g}"


def written(cert: "Certificate", folder: Path) -> None:
    from ..report.page import report_from_folders

    cert.save(folder / FILE)
    report_from_folders([folder], folder / PAGE)


def text(cert: "Certificate") -> str:
    """The statements, one a line, and what to hold against them."""
    from ..certificates.claims import percent

    lines = [f"With confidence {percent(1 - cert.joint_delta)}, all of it together:"]
    lines += [f"  · {claim['statement']}" for claim in cert.claims]
    lines += [f"({cert.n} tasks, {cert.metric['name']}: {cert.metric['definition']})"]
    lines += [f"! {warning}" for warning in cert.warnings]
    return "\n".join(lines)
