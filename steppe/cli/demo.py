"""`steppe demo`: `runs.demo`, or `runs.shipped`, with a folder, a live line and an exit code."""

import sys
from functools import partial
from pathlib import Path

from ..runs import folder as folders
from ..runs.errors import BadInput, Failed
from .options import Demo
from .output import document, speaker
from .parse import build


def run(values: dict) -> int:
    options = build(Demo, values)
    name = f"demo-fast-{options.seed}" if options.fast else f"demo-{options.seed}"
    folder = options.out or Path("runs", name)
    command = f"steppe demo --seed {options.seed}" + (" --fast" if options.fast else "")
    with folders.held(folder):
        check_same(folder, command)
        try:
            verdict = play(options, folder)
        except KeyboardInterrupt:
            again = f"{command} --out {folder}" if options.out else command
            raise KeyboardInterrupt(f"Stopped; `{again}` goes on from there.") from None
    if options.json:
        kept = {"folder": folder, "report": verdict.report, "seconds": verdict.seconds}
        records = [vars(record) for record in verdict.records]
        document(kept | {"sentences": verdict.sentences, "records": records})
    elif options.quiet:
        print("\n".join(["", verdict.table, "", *verdict.sentences, "", str(verdict.report)]))
    return 0


def play(options: Demo, folder: Path):
    """Run the demo; progress goes to stdout, or with --json to stderr."""
    from ..runs import demo, shipped
    from ..train.loop import MetaTrainingError
    from ..train.mesh import use_cores
    from ..train.sinks import Console

    use_cores(options.cores)
    say = speaker(options.quiet) if options.json or options.quiet else partial(print, flush=True)
    if options.fast:
        return shipped.demo(folder, seed=options.seed, say=say)
    settings = demo.Settings()
    live = not options.quiet and sys.stderr.isatty()
    if not live:
        say("a minute or two, about 20 s of it compiling…")
    try:
        return demo.demo(
            folder,
            seed=options.seed,
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
