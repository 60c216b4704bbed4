"""`steppe train`: all that can be refused is refused here, before JAX starts."""

import dataclasses
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.settings import group, setting, settings_of, values_of
from ..optimizers.names import OPTIMIZERS
from ..runs import config
from ..runs import folder as folders
from ..runs.diagnostics import line
from ..runs.findings import Finding
from ..runs.folder import BadInput
from ..runs.subject import check
from ..tasks.names import TASKS
from ..train.stopping import Terminated
from ..zoo.presets import is_unrolled, unrolled
from ..zoo.presets import recipe as published
from ..zoo.recipe import Recipe, check_idle
from ..zoo.registry import PRESETS, learned
from .parse import document, flag, make, reword, speaker

if TYPE_CHECKING:
    from ..runs.session import Result
    from ..train.loop import History

# Options that are about a call and not about its run.
CALL = ("out", "resume", "config", "no_probe", "json", "quiet")
DECIDE = ("optimizer.name", "optimizer.layers")  # what else is usual


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
    """Meta-train a learned optimizer on a task.

    --preset NAME sets the options to those of a published recipe (`steppe list presets`); what is
    given besides it counts.

    The run folder gets config.json, env.json, metrics.jsonl, checkpoints, and at the end
    model.safetensors: the optimizer with the best validation score, or what --keep says. A run that
    was stopped, in whatever way, goes on exactly where it was with `steppe train --resume DIR`.
    """

    recipe: Recipe = group(dataclasses.MISSING, inline=True)
    preset: str | None = setting(None, "published recipe to start from")
    out: Path | None = setting(None, "run folder (default: runs/TASK-OPT-SEED)")
    resume: Path | None = setting(None, "go on with the run of this folder, with its own options")
    config: Path | None = setting(
        None, "TOML (or YAML) file of options; what the command line says counts more"
    )
    no_probe: bool = setting(False, "make no short run of the new optimizer for the doctor")
    json: bool = setting(False, "print the result as one JSON document")
    quiet: bool = setting(False, "print the result only")


def run(values: dict) -> int:
    options, folder = prepare(values)
    recipe, say = options.recipe, speaker(options.quiet)
    with config.opened(folder, recipe):
        say(
            f"steppe train · {recipe.task.name} · {recipe.optimizer.name} · "
            f"seed {recipe.run.seed} · {folder}"
        )
        try:
            from ..runs import session  # JAX starts here

            result = session.train_opened(
                recipe,
                folder,
                probe=not options.no_probe,
                say=lambda text: say(reword(text, Train)),
                live=not options.quiet and sys.stderr.isatty(),
                about={"command": line_of(options), "preset": options.preset},
            )
        except (KeyboardInterrupt, Terminated) as error:
            raise type(error)(stopped(folder)) from None
    if options.json:
        document(content(result, recipe))
    else:
        print(summary(result, recipe))
    return 0


def prepare(values: Mapping[str, object]) -> tuple[Train, Path]:
    """The options, from the line, the file of `--config` and the run of `--resume`."""
    if values.get("config") is not None:
        file = config.read_file(Train, Path(str(values["config"])), ("config", "resume"))
        values = file | dict(values)
    given = [path for path in values if path in settings_of(Recipe)]
    if values.get("resume") is not None:
        values, given = resumed(values), []
    if values.get("preset") is not None:
        check(str(values["preset"]), PRESETS, "preset")
    if values.get("resume") is None:
        values = implied(values) | dict(values)
    options = make(Train, values)
    recipe = options.recipe
    check_idle(recipe, given)
    for name in (str(recipe.task.name), *recipe.task.others):
        check(name, TASKS, "task")
    check(recipe.optimizer.name, OPTIMIZERS, "optimizer")
    if recipe.optimizer.name not in learned():
        raise BadInput(
            f"--opt {recipe.optimizer.name} {untrained(recipe.optimizer.name)}; use one of "
            f"{', '.join(learned())}."
        )
    name = f"{recipe.task.name}-{options.preset or recipe.optimizer.name}-{recipe.run.seed}"
    return options, options.out or Path("runs", name)


def untrained(name: str) -> str:
    """The reason why there is nothing to meta-train in an optimizer, and what to do instead."""
    entry = OPTIMIZERS[name]
    if entry.family != "unrolled":
        return "is made by hand, there is no network in it to train"
    return (
        f"needs no training: its numbers {', '.join(entry.tunable)} are found by trying, which "
        "`steppe learn TASK --goal recovery` does, or `steppe.search` in Python"
    )


def implied(values: Mapping[str, object]) -> dict[str, object]:
    """The settings that a preset, or an unrolled network, comes with; the line may change them."""
    if values.get("preset") is not None:
        return values_of(published(str(values["preset"])))
    name = str(values.get("optimizer.name"))
    return values_of(unrolled(name, values)) if is_unrolled(name) else {}


def resumed(values: Mapping[str, object]) -> dict[str, object]:
    """The options of the run, those of the line that agree with it, and those that are free."""
    folder = Path(str(values["resume"]))
    if values.get("out") not in (None, folder):
        raise BadInput(
            f"--resume {folder} goes on in that folder, but --out {values['out']} was given; "
            "leave --out away."
        )
    base: dict[str, object] = values_of(config.read(folder, Recipe))
    base["preset"] = config.preset_of(folder)
    for path, value in values.items():
        option = settings_of(Train)[path]
        if path in base and not option.free and value != base[path]:
            raise BadInput(
                f"{flag(option)} is {config.shown(base[path])} in {folder}, got "
                f"{config.shown(value)}; leave it away to go on with that run, or begin another "
                "one with --out."
            )
    return base | dict(values) | {"out": folder}


def line_of(options: object, command: str = "train", without: Collection[str] = CALL) -> str:
    """The shortest line that asks for the same."""
    words, values = ["steppe", command], values_of(options)
    usual = implied(values)
    if values.get("preset") is None:  # what decides the others is said
        usual = {path: x for path, x in usual.items() if path not in DECIDE}
    for path, option in settings_of(type(options)).items():
        value = values[path]
        if path in without or value == usual.get(path, option.default):
            continue
        if option.kind is dict:  # can be said in a file alone
            words += ["--config", str(values["config"])] if values.get("config") else []
            continue
        parts = [option.nothing] if value is None else value if option.many else [value]  # pyright: ignore
        words += [] if option.positional else [flag(option)]
        words += [] if option.kind is bool else [",".join(map(str, parts))]  # pyright: ignore
    return " ".join(words)


def stopped(folder: Path) -> str:
    if not folders.begun(folder):
        return "Stopped before the run began; nothing was written."
    done = folders.done_steps(folder)
    return (
        f"Stopped; {done} meta-steps are safe in {folder}: go on with "
        f"`steppe train --resume {folder}`."
    )


def content(result: "Result", recipe: Recipe) -> dict[str, object]:
    """The result for machines."""
    history = result.history
    return {
        "folder": str(result.folder),
        "model": str(result.model),
        "task": recipe.task.name,
        "opt": recipe.optimizer.name,
        "steps": recipe.run.steps,
        "best_step": history.best_step,
        "valid_loss": history.best,
        "keep": history.weights,
        "averaged": history.averaged,
        "seconds": history.seconds,
        "compile_seconds": history.compile_seconds,
        "memory_bytes": history.memory_bytes,
        "findings": list(map(dataclasses.asdict, result.findings)),
    }


def summary(result: "Result", recipe: Recipe) -> str:
    history = result.history
    steady = [finding.evidence for finding in result.findings if finding.what == "steadiness"]
    return "\n".join(
        [
            f"{recipe.run.steps} meta-steps in {history.seconds:.1f} s "
            f"({history.compile_seconds:.1f} s of it compiling): {kept(history)}",
            f"model     {result.model} (read back, identical)",
            f"evaluate  steppe eval {result.folder} ; steppe report {result.folder}",
            *(f"steady    {evidence}" for evidence in steady),
            *advice(result.findings),
        ]
    )


def kept(history: "History") -> str:
    """The optimizer that the run ended with, and its score."""
    what = f"meta-step {history.best_step}"
    if history.averaged:
        what = f"the mean of {history.averaged} meta-steps up to {history.best_step}"
    if history.best is None:
        return f"no finite validation loss; kept the optimizer of {what}"
    best = "best " if history.weights == "best" else ""
    return f"{best}validation loss {history.best:.4g}, of {what}"


def advice(findings: Collection[Finding]) -> list[str]:
    """The doctor's words after a run: what is wrong, and what to do about it."""
    bad = [finding for finding in findings if not finding.ok]
    if not bad:
        return [f"doctor    no findings in {len(findings)} checks"]
    count = f"{len(bad)} finding{'s' if len(bad) > 1 else ''}"
    shown = [reword(line(finding), Train) for finding in bad]
    return [f"doctor    {count} in {len(findings)} checks", *shown]
