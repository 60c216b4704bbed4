"""`steppe certify` and `steppe verify`: what holds of future problems, and whether it does."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.settings import check, setting
from ..runs.folder import BadInput, Failed, new_files
from ..runs.subject import Subject, check_rate, prepare, subject
from ..zoo.recipe import SEEDS
from .parse import document, make, speaker

if TYPE_CHECKING:
    from ..certificates.certificate import Certificate
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
    metric: str | None = setting(
        None,
        "error of a run: loss, error (1 - accuracy), gradient, residual, distance, nmse, or a "
        "metric of the task's own (default: loss; of a game merit)",
    )
    tolerances: tuple[float, ...] = setting((), "errors to come down to")
    levels: tuple[float, ...] = setting(
        (0.5, 0.9),
        "fractions of problems: how many steps do so many need to each tolerance? Without "
        "tolerances: what error do they end at?",
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verify:
    """Check a certificate, every bound by other code; or the claim of an optimizer, by attack."""

    certificate: Path = setting(
        dataclasses.MISSING,
        "certificate file, or the folder that `steppe certify --out` wrote; or the .safetensors "
        "file of an optimizer that makes a claim",
        positional=True,
    )
    again: str | None = setting(
        None, "also run all its problems again, with the optimizer of this name or file"
    )
    json: bool = setting(False, "print the findings as one JSON document")
    quiet: bool = setting(False, "print nothing")


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
    opt, how = ready(about, task, steps, options.lr, options.seed, say)
    metric = options.metric or usual_metric(task)
    return certify(
        episodes(about, task, opt, metric, how),
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
    lines += [f"({cert.n} tasks, {cert.metric['name']}: {cert.metric['definition']})"]
    lines += [f"! {warning}" for warning in cert.warnings]
    return "\n".join(lines)


def run_verify(values: dict) -> int:
    options = make(Verify, values)
    path = options.certificate
    if path.is_dir():  # of `steppe certify`, or of `steppe learn`
        solver = path / SOLVER
        path = solver if solver.exists() and not (path / FILE).exists() else path / FILE
    inside = kept_inside(path) if path.suffix == ".safetensors" else None
    if inside is None and path.suffix == ".safetensors":
        return run_claims(options)

    from ..certificates.audit import statement, verify
    from ..certificates.certificate import load

    cert = load(path) if inside is None else inside
    found = verify(cert)
    if inside is not None and not found:
        from ..solvers.solver import stranger
        from ..zoo.io import load as load_optimizer

        found = [wrong] if (wrong := stranger(cert, load_optimizer(path))) else []
    if not found and options.again is not None:
        found = once_more(cert, options.again)
    if options.json:
        document({"certificate": path, "digest": cert.digest, "wrong": found})
    elif not found and not options.quiet:
        how = "bears out" if options.again is None else "bears out, and its runs came out again,"
        print(f"{path}: intact; the evidence {how} all {len(cert.claims)} claims")
        print(f"  {statement(cert)}")
    if found:
        more = len(found) - 1
        rest = f" ({more} more: `steppe verify --json`)" if more else ""
        raise Failed(f"{path}: {found[0]}{rest}")
    return 0


def kept_inside(path: Path) -> "Certificate | None":
    """The certificate in the file of a solver, None if there is none in it."""
    from ..certificates.certificate import REMEDY, CertificateError, from_document
    from ..optimizers.settings import verified
    from ..store.untrusted import Source

    document = verified(path).manifest.get("certificate")
    source = Source(str(path), REMEDY, CertificateError)
    return None if document is None else from_document(document, source)


def run_claims(options: Verify) -> int:
    """Check what the file of an optimizer claims: by its settings, then by attack."""
    from ..optimizers.settings import verified

    path = options.certificate
    claimed = verified(path).manifest.get("claims")  # refuses what is not intact, and false claims
    if not claimed:
        raise BadInput(
            f"{path} claims nothing that could be checked; MathL2O and GoMathL2O with "
            "monotone=True do, and `steppe certify` makes a certificate for any optimizer."
        )
    if options.again is not None:
        raise BadInput("--again is for certificates; the claim of an optimizer needs none.")

    from ..certificates.attack import PROBLEMS, STEPS, broken
    from ..zoo.io import load

    wrong = broken(load(path), claimed)
    if options.json:
        document({"optimizer": path, "claims": claimed, "wrong": wrong})
    elif not wrong and not options.quiet:
        for said in claimed.values():
            print(
                f"{path}: intact; its settings prove, and {PROBLEMS} random problems of "
                f"{STEPS} steps bear out: {said}"
            )
    if wrong:
        raise Failed(f"{path}: {wrong[0]}")
    return 0


def once_more(cert: "Certificate", source: str) -> list[str]:
    """Run its problems again; the sentences of what is wrong."""
    from ..certificates.audit import recheck
    from ..certificates.entries import Options
    from ..store.untrusted import Source, checked

    name, hyper = cert.tasks.get("name"), cert.optimizer
    if cert.optimizer.get("kind") == "function" or not isinstance(name, str):
        raise BadInput("A certificate of a function is rechecked in Python, by `recheck`.")
    if cert.kind != "holdout":
        raise BadInput("A PAC-Bayes certificate is made again in Python, by certify_randomised.")
    about = subject(source, name)
    for word in ("hyper", "hyper", "learning_rate"):
        hyper = hyper.get(word) if isinstance(hyper, dict) else None
    place = Source("The certificate", "give that of `steppe certify`")
    options = checked(cert.tasks.get("options", {}), Options, place, "tasks.options")
    lr = checked(hyper, float | None, place, "optimizer.hyper.hyper.learning_rate")
    about = about._replace(task_options=options)
    try:
        task = about.build_task()
    except ValueError as error:
        raise BadInput(f"The task of the certificate cannot be built: {error}") from None
    from ..solvers.family import WithMinimum
    from ..solvers.solver import certified_error, runs

    opt, how = ready(about, task, cert.steps, lr, cert.seed, print)
    if (error := certified_error(cert)) is not None:
        named = {"name": cert.optimizer.get("name"), "task_name": name, "task_options": options}
        return recheck(cert, runs(WithMinimum(task), opt, error, **named))
    return recheck(cert, episodes(about, task, opt, cert.metric["name"], how))
