"""`steppe demo`: `runs.demo`, or `runs.shipped`, with a folder, a live line and an exit code."""

import dataclasses
import sys
from functools import partial
from pathlib import Path

from ..core.settings import check, setting
from ..runs import folder as folders
from ..runs.folder import BadInput, Failed
from ..train.stopping import Terminated
from ..zoo.recipe import SEEDS
from .parse import document, make, speaker


@dataclasses.dataclass(frozen=True, kw_only=True)
class Demo:
    """Meta-train an optimizer, compare it with tuned baselines, and say what came out.

    Takes about a minute on a laptop; downloads nothing.
    """

    fast: bool = setting(
        False, "judge optimizers that come trained, in some seconds (`steppe list pretrained`)"
    )
    seed: int = setting(0, "seed of everything random", least=0, most=SEEDS - 1)
    out: Path | None = setting(None, "folder for the run and its report (default: runs/demo-SEED)")
    cores: int | None = setting(
        None, "processor cores to spread episodes over", least=1, nothing="all"
    )
    json: bool = setting(False, "print the result as one JSON document")
    quiet: bool = setting(False, "print the result only")

    def __post_init__(self):
        check(self)


def run(values: dict) -> int:
    options = make(Demo, values)
    name = f"demo-fast-{options.seed}" if options.fast else f"demo-{options.seed}"
    folder = options.out or Path("runs", name)
    command = f"steppe demo --seed {options.seed}" + (" --fast" if options.fast else "")
    with folders.held(folder):
        check_same(folder, command)
        try:
            verdict = run_demo(options, folder, command)
        except (KeyboardInterrupt, Terminated) as error:
            again = f"{command} --out {folder}" if options.out else command
            raise type(error)(f"Stopped; `{again}` goes on from there.") from None
    if options.json:
        kept = {"folder": folder, "report": verdict.report, "seconds": verdict.seconds}
        records = [vars(record) for record in verdict.records]
        document(kept | {"sentences": verdict.sentences, "records": records})
    elif options.quiet:
        print("\n".join(["", verdict.table, "", *verdict.sentences, "", str(verdict.report)]))
    return 0


def run_demo(options: Demo, folder: Path, command: str):
    """Run the demo; progress goes to stdout, or with --json to stderr."""
    from ..runs import demo, shipped
    from ..train.loop import MetaTrainingError
    from ..train.mesh import use_cores
    from ..train.sinks import Console

    use_cores(options.cores)
    say = speaker(options.quiet) if options.json or options.quiet else partial(print, flush=True)
    if options.fast:
        return shipped.demo(folder, seed=options.seed, command=command, say=say)
    settings = demo.Settings()
    live = not options.quiet and sys.stderr.isatty()
    if not live:
        say("a minute or two, about 20 s of it compiling…")
    try:
        return demo.demo(
            folder,
            seed=options.seed,
            command=command,
            say=say,
            sinks=(Console(settings.meta_steps),) if live else (),
        )
    except MetaTrainingError as error:
        raise Failed(str(error)) from error


def check_same(folder: Path, command: str) -> None:
    """Leave a folder alone that holds another run than this one."""
    found = folders.read_json(folder / folders.CONFIG).get("command")
    if folders.begun(folder) and found != command:
        raise BadInput(
            f"{folder} holds another run ({found}), not `{command}`; give another folder as --out."
        )
