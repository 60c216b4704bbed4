"""`steppe eval`: refused here, before JAX starts, if it is impossible; then tables and words."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.settings import check, setting
from ..runs.comparison import compare, decide, place, usual
from ..runs.folder import RECORDS, BadInput, new_files
from ..runs.subject import Subject, subject
from ..runs.trials import WORDS
from ..tasks.names import TASKS
from ..zoo.recipe import SEEDS
from ..zoo.registry import ready_made, tunable
from .parse import document, make, speaker

if TYPE_CHECKING:
    from ..evaluation.records import Record


@dataclasses.dataclass(frozen=True, kw_only=True)
class Eval:
    """Compare an optimizer with hand-made ones on a task, on equal problems seed by seed.

    The learning rate of each baseline is tuned on the validation split, for each horizon anew.
    """

    optimizer: str = setting(
        dataclasses.MISSING,
        "a .safetensors file, a run folder, or the name of a pretrained or hand-made optimizer",
        positional=True,
    )
    task: str | None = setting(
        None, "task to train (default: the task the optimizer was meta-trained on)"
    )
    particles: int | None = setting(
        None,
        "points from which optimizers see each problem together, as a swarm (default: as trained)",
        least=1,
    )
    horizons: tuple[int, ...] = setting(
        (),
        "inner steps to train for, e.g. 100 500 (default: as in meta-training, and 5 times that)",
        least=1,
        unit="steps",
    )
    baselines: tuple[str, ...] | None = setting(
        (),
        "hand-made optimizers to compare with; none: nothing (default: sgd momentum adam; of a "
        "game gda optimistic-gda extragradient)",
    )
    trials: tuple[str, ...] = setting(
        ("0-k",),
        "trials on the task before it is judged: by the baselines alone (0-k); by nobody, with "
        "rates from the task of meta-training (0-0); by both sides equally often (k-k); several "
        "are compared one after the other",
        choices=tuple(WORDS),
    )
    split: int | None = setting(
        None, "number of a random division of the data set of the task (default: its own)", least=0
    )
    no_tune: bool = setting(
        False, "take customary learning rates for the baselines instead of tuning them"
    )
    seeds: int = setting(10, "inner trainings of each optimizer", least=1)
    seed: int = setting(0, "seed of everything random", least=0, most=SEEDS - 1)
    out: Path | None = setting(
        None,
        "folder for records.jsonl, which `steppe report` reads (default: the run folder of the "
        "optimizer, if it has one)",
    )
    cores: int | None = setting(
        None, "processor cores to spread seeds over", least=1, nothing="all"
    )
    json: bool = setting(False, "print the result as one JSON document")
    quiet: bool = setting(False, "print the result only")

    def __post_init__(self):
        check(self)


def run(values: dict) -> int:
    options = make(Eval, values)
    about = subject(options.optimizer, options.task, options.particles)
    if options.split is not None:
        about = divided(about, options.split)
    baselines = usual(about.task) if options.baselines == () else options.baselines or ()
    plan = decide(about, options.horizons, baselines, options.trials, home(options))
    say = speaker(options.quiet)
    where = place(about, options.out)
    seeds = f"{options.seeds} seeds from {options.seed}"
    with new_files(options.out, (RECORDS,)):
        say(f"steppe eval · {about.name} on {about.task_name} · {seeds}")
        records = compare(  # JAX starts here
            plan,
            seeds=options.seeds,
            seed=options.seed,
            tuned=not options.no_tune,
            cores=options.cores,
            out=where,
            say=say,
        )
    if options.json:
        document(content(records) | {"optimizer": about.name, "records": where})
    else:
        print(text(records))
        if where is not None:
            print(f"records  {where}")
    return 0


def divided(about: Subject, split: int) -> Subject:
    """The subject on another division of the data of its task."""
    if not {"dataset", "split"} & TASKS[about.task].arguments.keys():
        raise BadInput(
            f"The task {about.task} has no data set to divide anew; leave `split` out, or take a "
            "task on data, such as digits-mlp."
        )
    return about._replace(task_options={**about.task_options, "split": split})


def home(options: Eval) -> Subject | None:
    """The optimizer on the task of its meta-training, where rates are to be those of that task."""
    if options.no_tune and "k-k" in options.trials:
        raise BadInput("In k-k both sides are tuned; leave `no_tune` out, or k-k.")
    if options.no_tune or "0-0" not in options.trials:
        return None
    if options.optimizer in (*tunable(), *ready_made()):
        raise BadInput(
            f"In 0-0 the baselines have the rates that are best on the task of meta-training, and "
            f"{options.optimizer} was not meta-trained; add `no_tune` for customary rates."
        )
    return subject(options.optimizer, None, options.particles)


def text(records: "list[Record]") -> str:
    """The tables, and in words where the optimizer wins and where it loses."""
    from ..evaluation.compare import of_game, sentences, text_table

    title = f"mean ± half of the 95 % interval over {len(records[0].seeds)} seeds"
    if of_game(records):
        title += "; the loss of a game is its merit ‖(∇ₓf, −∇ᵧf)‖"
    if all("test_scaled_loss" in record.metrics for record in records):
        title += (
            "; ECE: expected calibration error; scaled test loss: at the temperature that is best "
            "on the validation split"
        )
    return "\n".join([text_table(records), "", title, *sentences(records)])


def content(records: "list[Record]") -> dict:
    """The same for machines."""
    from ..evaluation.compare import cases, table, with_stops

    rows = [
        dataclasses.asdict(row)
        | {"horizon": case.horizon, "stop": case.stop, "comparison": case.comparison}
        for case in with_stops(cases(records))
        for row in table(case)
    ]
    return {"task": records[0].task, "seeds": records[0].seeds, "rows": rows}
