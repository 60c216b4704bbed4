"""`steppe learn`: the best solver for a family of problems, in one file, with its page."""

import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..core.settings import check, setting
from ..runs.folder import BadInput, new_files
from ..runs.subject import check as known
from ..tasks.names import TASKS
from ..train.stopping import Terminated
from ..zoo.recipe import SEEDS
from .certify import SOLVER as FILE
from .parse import document, make, speaker

if TYPE_CHECKING:
    from ..solvers.solver import Solver

PAGE = "solver.html"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learn:
    """Find the best solver for a family of problems: train, compare, guard and certify it.

    All solvers that the structure of the family allows are tried, made by hand and learned, and the
    best one is kept. The page says whether a learned one is better, and by how much.
    """

    task: str = setting(
        dataclasses.MISSING,
        "family of problems, a task whose loss is smooth + regularizer, e.g. sparse-recovery",
        positional=True,
    )
    goal: Literal["objective", "recovery"] = setting(
        "objective",
        "error to bring down: objective, the relative gap to the minimum; recovery, the distance "
        "in dB to the vector that the data were made from",
    )
    budget: float = setting(120.0, "seconds in all, compiling included", above=0, metavar="SECONDS")
    tries: int | None = setting(
        None,
        "meta-steps of each learned solver in each round, in place of a budget: nothing depends on "
        "the clock then",
        least=1,
    )
    tolerances: tuple[float, ...] = setting(
        (), "errors to come down to, from easy to hard (default: 1e-3,1e-6, or -10,-20,-40 dB)"
    )
    by: Literal["batch", "alone", "iterations"] = setting(
        "batch",
        "deciding between solvers: seconds a problem in batches or alone, or iterations; with "
        "--tries always iterations",
    )
    steps: int | None = setting(
        None, "iterations to look at (default: twice those of FISTA)", least=1
    )
    problems: int = setting(64, "problems to choose by, and as many to compare on", least=1)
    n: int = setting(300, "fresh problems of the certificate", least=1)
    delta: float = setting(0.01, "probability that any statement of the certificate is wrong")
    out: Path = setting(
        dataclasses.MISSING, f"folder for {FILE} and its page, {PAGE}", required=True
    )
    seed: int = setting(0, "seed of everything random", least=0, most=SEEDS - 1)
    cores: int | None = setting(None, "processor cores to use", least=1, nothing="all")
    json: bool = setting(False, "print the result as one JSON document")
    quiet: bool = setting(False, "print the result only")

    def __post_init__(self):
        check(self)


def run(values: dict) -> int:
    options = make(Learn, values)
    known(options.task, TASKS, "task")
    say = speaker(options.quiet)
    limit = f"{options.budget:g} s" if options.tries is None else f"{options.tries} tries"
    with new_files(options.out, (PAGE, FILE)):
        say(f"steppe learn · {options.task} · {limit}")
        solver = found(options, say)
        solver.save(options.out / FILE)
    write_page(options, solver)  # whatever becomes of it, the solver is there
    if options.json:
        cert = solver.certificate
        document(
            {
                "verdict": solver.verdict,
                "record": dataclasses.asdict(solver.record),
                "certificate": None if cert is None else cert.document(),
                "solver": options.out / FILE,
            }
        )
    else:
        print(text(solver))
        print(f"\n{options.out / FILE}\n{options.out / PAGE}")
    if solver.signal is not None:
        stopped(f"Stopped; the best solver so far is in {options.out / FILE}.", solver.signal)
    return 0


def found(options: Learn, say) -> "Solver":
    from ..train.mesh import use_cores

    use_cores(options.cores)
    from ..solvers.learn import learn_solver
    from ..tasks.suite import build

    try:
        return learn_solver(
            build(options.task),
            goal=options.goal,
            budget=options.budget if options.tries is None else None,
            tries=options.tries,
            tolerances=options.tolerances or None,
            by=options.by if options.tries is None else None,
            steps=options.steps,
            problems=options.problems,
            n=options.n,
            delta=options.delta,
            name=options.task,
            seed=options.seed,
            say=say,
        )
    except TypeError as error:  # a task without the structure
        raise BadInput(str(error)) from None


def write_page(options: Learn, solver: "Solver") -> None:
    from ..report.solver import write_solver_page

    words = ["steppe", "learn", options.task, "--goal", options.goal, "--seed", options.seed]
    words += (
        ["--budget", f"{options.budget:g}"] if options.tries is None else ["--tries", options.tries]
    )
    command = shlex.join(map(str, [*words, "--out", options.out]))
    write_solver_page(options.out / PAGE, solver.record, solver.certificate, command=command)


def text(solver: "Solver") -> str:
    """Verdict, a line a solver, and the guarantee."""
    lines = [solver.verdict, ""]
    names = [row.name for row in solver.candidates]
    wide = max(map(len, names)) + 2
    for row in solver.candidates:
        mean = row.iterations[-1] if row.iterations else None
        said = row.fault or (
            f"{row.reached[-1]:.0%} solved" + ("" if mean is None else f", {mean:.3g} iterations")
        )
        lines.append(f"  {row.name:<{wide}}{said}")
    if solver.certificate is not None:
        lines += ["", solver.certificate.statement]
    return "\n".join(lines)


def stopped(sentence: str, signal: int) -> None:
    import signal as signals

    raise KeyboardInterrupt(sentence) if signal == signals.SIGINT else Terminated(sentence)
