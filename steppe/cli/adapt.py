"""`steppe adapt`: a trained optimizer, adapted to a new family of problems, in one file."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..core.settings import check, setting
from ..runs.folder import MODEL, BadInput, new_files, write_json
from ..runs.subject import Subject, subject
from ..zoo.recipe import SEEDS
from .parse import document, make, speaker
from .train import line_of

if TYPE_CHECKING:
    from ..core.optimizer import AbstractOptimizer
    from ..evaluation.adaptation import Adaptation

PAGE, RECORD = "adaptation.html", "adaptation.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adapt:
    """Adapt a trained optimizer to a new family of problems by a few updates of its numbers.

    Several rates are tried, and what does best on problems of validation is kept: the optimizer
    as it was, where no update makes it better. The page says whether it helped on fresh problems,
    and what it cost. The optimizer that is given stays as it is.
    """

    ckpt: str = setting(
        dataclasses.MISSING,
        "optimizer to adapt: a .safetensors file, a run folder, the name of a pretrained one, or "
        "hub://owner/name",
        positional=True,
    )
    task: str = setting(
        dataclasses.MISSING, "task to adapt to, e.g. lasso-dm; see `steppe list tasks`"
    )
    updates: int = setting(5, "updates to try, at most", least=1)
    rates: tuple[float, ...] | None = setting(
        None,
        "sizes of an update to try, e.g. 1e-3,1e-2 (default: 3e-4,1e-3,3e-3,1e-2, or those that "
        "the optimizer carries)",
        least=0,
    )
    inner: Literal["adam", "sgd"] = setting("adam", "optimizer that makes the updates")
    episodes: int = setting(8, "problems that an update sees", least=1)
    horizon: int | None = setting(
        None, "inner steps to be good at (default: 100, or the layers of a network)", least=1
    )
    unroll: int | None = setting(
        None,
        "inner steps that an update is differentiated through (default: 20, or the layers of a "
        "network)",
        least=1,
    )
    problems: int = setting(8, "problems of validation, to choose by", least=1)
    test: int = setting(32, "fresh problems of the comparison on the page", least=2)
    out: Path = setting(
        dataclasses.MISSING, f"folder for {MODEL}, {RECORD} and {PAGE}", required=True
    )
    seed: int = setting(0, "seed of everything random", least=0, most=SEEDS - 1)
    cores: int | None = setting(None, "processor cores to use", least=1, nothing="all")
    json: bool = setting(False, "print the result as one JSON document")
    quiet: bool = setting(False, "print the result only")

    def __post_init__(self):
        check(self)


def run(values: dict) -> int:
    options = make(Adapt, values)
    about = subject(options.ckpt, options.task)
    if not isinstance(about.optimizer, Path):
        raise BadInput(
            f"{about.name} is made by hand and has no trained numbers to adapt; give a trained "
            f"optimizer (`steppe list pretrained`), or tune its rate by `steppe eval {about.name} "
            f"--task {options.task}`."
        )
    say = speaker(options.quiet)
    say(f"steppe adapt · {about.name} to {about.task_name} · {options.updates} updates")
    with new_files(options.out, (MODEL, RECORD, PAGE)):
        opt, found = adapted(options, about, say)
        write(options, about, opt, found)
    if options.json:
        content = dataclasses.asdict(found) | {"verdict": found.verdict, "price": found.price}
        document(content | {"optimizer_file": options.out / MODEL})
    else:
        print(text(found))
        print(f"\n{options.out / MODEL}\n{options.out / PAGE}")
    return 0


def adapted(
    options: Adapt, about: Subject, say: Callable[[str], None]
) -> "tuple[AbstractOptimizer, Adaptation]":
    """The optimizer and the record; JAX starts here."""
    from ..train.mesh import use_cores

    use_cores(options.cores)
    from ..evaluation.adaptation import adapt
    from ..zoo.io import load

    task = about.build_task()
    try:
        return adapt(
            load(about.optimizer),
            task,
            options.updates,
            rates=options.rates,
            inner=options.inner,
            episodes=options.episodes,
            horizon=options.horizon,
            unroll=options.unroll,
            problems=options.problems,
            test=options.test,
            seed=options.seed,
            name=about.name,
            task_name=about.task_name,
            say=say,
        )
    except TypeError as error:  # a task without the structure that the optimizer needs
        raise BadInput(str(error)) from None


def write(options: Adapt, about: Subject, opt: "AbstractOptimizer", found: "Adaptation") -> None:
    """The three files, the optimizer last: where it is, all is."""
    from ..report.adaptation import write_adaptation_page
    from ..train.loop import digest
    from ..zoo.io import manifest, write

    source = Path(about.optimizer)
    told = manifest(source).get("recipe")  # a stranger's file may have none
    origin = {"name": about.name, "sha256": digest(source), "recipe": told}
    card: dict[str, Any] = {
        "from": origin,
        "to": about.task_name,
        "updates": found.kept,
        "rate": found.rate,
        "inner": found.inner,
        "verdict": found.verdict,
        "price": found.price,
    }
    recipe = {"task": about.task, "horizon": found.horizon, "task_options": about.task_options}
    write_json(options.out / RECORD, dataclasses.asdict(found) | {"verdict": found.verdict})
    command = line_of(options, "adapt", ("json", "quiet", "cores"))
    file = str(options.out / MODEL)
    write_adaptation_page(options.out / PAGE, found, file=file, command=command)
    write(options.out / MODEL, opt, recipe=recipe, adapted=card)


def text(found: "Adaptation") -> str:
    """Verdict, price, and the scores that the choice went by."""
    from ..evaluation.compare import figure
    from ..report.adaptation import rate_names

    names = rate_names(found)
    wide = max(map(len, [*names, "updates"])) + 2
    lines = [found.verdict, found.price, "", "validation loss by number of updates; kept: *"]
    head = [f"{k}" for k in range(found.updates + 1)]
    rows = []
    for k, scores in enumerate(found.scores):
        at = found.rate if found.rates is None else found.rates[k]
        row = []
        for updates, score in enumerate(scores):
            kept = updates == found.kept and (not found.kept or at == found.rate)
            row.append(figure(score) + ("*" if kept else " "))
        rows.append(row)
    room = max(len(cell) for row in rows for cell in row) + 1
    lines.append(f"  {'updates':<{wide}}" + "".join(f"{cell:>{room - 1}} " for cell in head))
    for name, row in zip(names, rows, strict=True):
        lines.append(f"  {name:<{wide}}" + "".join(f"{cell:>{room}}" for cell in row))
    return "\n".join(lines)
