"""`steppe distill`: an optimizer turned into a formula that a person can read, with its page."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.settings import check, setting
from ..runs.folder import BadInput, new_files, write_json
from ..runs.subject import Subject, check_rate, prepare, subject
from ..runs.subject import check as known
from ..tasks.names import TASKS
from ..zoo.recipe import SEEDS
from .parse import document, make, speaker
from .train import line_of

if TYPE_CHECKING:
    from ..distillation.result import Distillation

MODEL, RECORD, PAGE = "optimizer.safetensors", "distillation.json", "formula.html"
TORCH, OPTAX = "formula_torch.py", "formula_optax.py"
FILES = (MODEL, RECORD, PAGE, TORCH, OPTAX)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distill:
    """Turn an optimizer into a formula that a person can read.

    Formulas are fitted to what the optimizer does on problems of a task. Of those that are short
    and fit well, the shortest is kept that does as well as the optimizer on other problems. It is
    then compared with the optimizer on fresh ones.
    """

    ckpt: str = setting(
        dataclasses.MISSING,
        "optimizer to distil: a .safetensors file, a run folder, the name of a pretrained or "
        "hand-made one, or hub://owner/name",
        positional=True,
    )
    task: str | None = setting(
        None, "task whose problems are run (default: the one it was trained on)"
    )
    also: tuple[str, ...] = setting((), "further tasks that the formula is compared on")
    horizons: tuple[int, ...] = setting(
        (100, 500, 2500), "inner steps after which losses are compared, e.g. 100,500", least=1
    )
    runs: int = setting(24, "runs that are recorded", least=3)
    steps: int = setting(300, "steps of each", least=1)
    rounds: int = setting(1, "rounds of fitting on the formula's own runs", least=0)
    problems: int = setting(32, "problems of validation, to choose by", least=1)
    test: int = setting(64, "fresh problems of the comparison", least=2)
    long: int = setting(16, "fresh problems where a horizon is beyond 1000 steps", least=2)
    tune: int = setting(0, "meta-steps of tuning the formula's numbers by its losses", least=0)
    search: bool = setting(
        False, "also search by genetic programming (needs the extra steppe[symbolic])"
    )
    lr: float | None = setting(
        None, "learning rate of a hand-made optimizer (default: tuned)", above=0
    )
    out: Path | None = setting(
        None, f"new files are put into this folder: {', '.join(FILES)} (default: none)"
    )
    seed: int = setting(0, "seed of everything random", least=0, most=SEEDS - 1)
    cores: int | None = setting(None, "processor cores to use", least=1, nothing="all")
    json: bool = setting(False, "print the result as one JSON document")
    quiet: bool = setting(False, "print the result only")

    def __post_init__(self):
        check(self)


def run(values: dict) -> int:
    options = make(Distill, values)
    about = subject(options.ckpt, options.task)
    check_rate(about, options.lr)
    for task in options.also:
        known(task, TASKS, "task")
    say = speaker(options.quiet)
    say(f"steppe distill · {about.name} on {about.task_name}")
    with new_files(options.out, FILES):
        found = distilled(options, about, say)
        if options.out is not None:
            write(options, about, found, options.out)
    if options.json:
        document(dataclasses.asdict(found) | {"verdict": found.verdict})
    else:
        print(text(found))
        if options.out is not None:
            print("\n" + "\n".join(str(options.out / name) for name in FILES))
    return 0


def distilled(options: Distill, about: Subject, say: Callable[[str], None]) -> "Distillation":
    """The record; JAX starts here."""
    from ..train.mesh import use_cores

    use_cores(options.cores)
    import jax

    from ..distillation.distill import distill
    from ..distillation.search import operon
    from ..tasks.suite import build

    if options.search:
        operon()  # a sentence where it is missing, before anything is computed
    task = about.build_task()
    key = jax.random.key(options.seed)
    opt = prepare(about.optimizer, task, horizon=options.steps, lr=options.lr, key=key, say=say).opt
    try:
        return distill(
            opt,
            task,
            horizons=options.horizons,
            runs=options.runs,
            steps=options.steps,
            rounds=options.rounds,
            problems=options.problems,
            test=options.test,
            long=options.long,
            tune=options.tune,
            search=options.search,
            also={name: build(name) for name in options.also},
            seed=options.seed,
            name=about.name,
            task_name=about.task_name,
            say=say,
        )
    except TypeError as error:  # a task without the structure that the optimizer needs
        raise BadInput(str(error)) from None


def write(options: Distill, about: Subject, found: "Distillation", out: Path) -> None:
    """The files, the optimizer last: where it is, all is."""
    from ..distillation import source
    from ..report.formula import write_formula_page
    from ..store.files import write_atomically
    from ..zoo.io import write as save

    write_json(out / RECORD, dataclasses.asdict(found) | {"verdict": found.verdict})
    write_atomically(out / TORCH, source.pytorch(found.rule, about.name))
    write_atomically(out / OPTAX, source.optax(found.rule, about.name))
    command = line_of(options, "distill", ("json", "quiet", "cores"))
    write_formula_page(
        out / PAGE, found, source=options.ckpt, file=str(out / MODEL), command=command
    )
    card: dict[str, Any] = {
        "from": about.name,
        "formula": found.text,
        "verdict": found.verdict,
    }
    recipe = {
        "task": about.task,
        "horizon": max((h for h in options.horizons if h <= 1000), default=options.horizons[0]),
        "task_options": about.task_options,
    }
    save(out / MODEL, found.rule, recipe=recipe, distilled=card)


def text(found: "Distillation") -> str:
    """The formula, the verdict, the front, and what it costs."""
    from ..distillation.wording import front_lines, ratio_lines

    lines = [f"  Δ = {found.text}", "", f"  {found.latex}", "", found.verdict, ""]
    lines += [*front_lines(found), "", *ratio_lines(found)]
    ours, theirs = found.cost.get("formula"), found.cost.get("teacher")
    if ours and theirs:
        lines += ["", f"A step takes {ours:.3g} ns a coordinate, that of {found.optimizer} "
                  f"{theirs:.3g} ns; state: {found.state} floats a coordinate."]  # fmt: skip
    return "\n".join(lines)
