"""`steppe train`: all that can be refused is refused here, before JAX starts."""

import dataclasses
from collections.abc import Collection
from operator import attrgetter
from pathlib import Path

from ..runs import folder as folders
from ..runs.errors import BadInput
from ..runs.findings import Finding
from ..tasks.names import NAMES as TASKS
from ..zoo.names import NAMES as OPTIMIZERS
from ..zoo.names import PRESETS
from ..zoo.penalty import Penalty
from ..zoo.recipe import Recipe
from ..zoo.recipe import recipe as published
from .diagnose import line
from .listing import check, learned
from .options import Train
from .output import document, speaker
from .parse import build, from_table, options_of, overlay

# Options that do not change what a run computes.
FREE = (
    "steps", "checkpoint_every", "out", "resume", "config", "log", "cores", "no_probe", "json",
    "quiet",
)  # fmt: skip
# Options that are about a call and not about its run.
CALL = ("out", "resume", "config", "no_probe", "json", "quiet")


# Options that a run's recipe mentions only where they are used.
LATER = (
    "flat", "preset", "scaling", "convex", "estimator", "sigma", "meta_opt", "clip_each",
    "curriculum", "imitation", "meta_decay", "validate_by",
)  # fmt: skip
FIELDS = {  # option: field of a recipe
    **{
        name: name
        for name in (
            "opt", "scaling", "convex", "estimator", "sigma", "episodes", "unroll", "horizon",
            "rows", "second_order", "meta_opt", "meta_lr", "meta_decay", "clip", "clip_each",
            "steps", "validate_every", "validation_episodes", "validate_by",
        )
    },
    **{f"objective.{name}": name for name in ("weights", "transform", "batch")},
    "curriculum.horizons": "stages",
    "curriculum.patience": "patience",
    **{f"imitation.{name}": name for name in ("teachers", "ratio", "follow", "every", "shared")},
    "imitation.lr": "teacher_lr",
    "imitation.weights": "imitation_weights",
}  # fmt: skip


def run(values: dict) -> int:
    options, folder = prepare(values)
    say = speaker(options.quiet)
    recipe = recipe_of(options)
    with folders.held(folder):
        if folders.begun(folder):
            there = build(Train, stored(folder))
            folders.check_same(folder, recipe, recipe_of(there))
            check_steps(options, there, folder)
        say(f"steppe train · {options.task} · {options.opt} · seed {options.seed} · {folder}")
        try:
            from .training import train  # JAX starts here

            result = train(options, folder, recipe, say)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(stopped(folder)) from None
    if options.json:
        document(result | {"findings": list(map(dataclasses.asdict, result["findings"]))})
    else:
        print(summary(result))
    return 0


def prepare(values: dict) -> tuple[Train, Path]:
    """The options, from the line, the file of `--config` and the run of `--resume`."""
    if values.get("config") is not None:
        values = overlay(Train, values["config"]) | values
    if values.get("resume") is not None:
        values = resumed(values)
    if values.get("preset") is not None:
        values = preset(str(values["preset"])) | values
    options = build(Train, values)
    check(options.task, TASKS, "task")
    check(options.opt, OPTIMIZERS, "optimizer")
    if options.opt not in learned():
        raise BadInput(
            f"--opt {options.opt} is made by hand, there is no network in it to train; use one of "
            f"{', '.join(learned())}."
        )
    name = f"{options.task}-{options.preset or options.opt}-{options.seed}"
    return options, options.out or Path("runs", name)


def resumed(values: dict) -> dict:
    """The options of the run, those of the line that agree with it, and those that are free."""
    folder = values["resume"]
    if values.get("out") not in (None, folder):
        raise BadInput(
            f"--resume {folder} goes on in that folder, but --out {values['out']} was given; "
            "leave --out away."
        )
    base = stored(folder)
    defaults = {n: o.default for n, o in options_of(Train).items()}
    for name, value in values.items():
        found = base.get(name, defaults[name])
        if name not in FREE and value != found:
            raise BadInput(
                f"--{name.replace('_', '-')} is {found} in {folder}, got {value}; leave it away "
                "to go on with that run, or begin another one with --out."
            )
    return base | values | {"out": folder}


def preset(name: str) -> dict:
    """The options that a published recipe sets, by dotted name."""
    check(name, PRESETS, "preset")
    found = published(name)
    idle = () if found.teachers else ("imitation.",)  # says nothing where nobody is imitated
    return {
        option: getattr(found, field)
        for option, field in FIELDS.items()
        if not option.startswith(idle)
    }


def recipe_from(options: Train) -> Recipe:
    """What is asked for, as `zoo.assemble` takes it."""
    given = {field: attrgetter(option)(options) for option, field in FIELDS.items()}
    hidden = {"hidden": options.hidden} if options.hidden else {}
    flat = vars(options.flat)
    penalty = None if flat["kind"] == "none" else Penalty(**flat)
    return Recipe(**given, options=hidden, penalty=penalty)


def stored(folder: Path) -> dict:
    """The options of the run a folder holds, by dotted name."""
    config = folders.read_config(folder)
    return from_table(Train, config["options"], str(folder / folders.CONFIG))


def recipe_of(options: Train) -> dict:
    """What determines the numbers of a run, bit by bit (on one kind of machine)."""
    recipe = {n: v for n, v in dataclasses.asdict(options).items() if n not in FREE}
    defaults = {f.name: f for f in dataclasses.fields(Train)}
    for name in LATER:  # what is not used says nothing, also of runs from before there was it
        field = defaults[name]
        made = field.default_factory
        usual = field.default if made is dataclasses.MISSING else dataclasses.asdict(made())  # pyright: ignore
        if recipe[name] == usual:
            del recipe[name]
    return recipe | {"optimizer": recipe.pop("opt"), "hidden": list(options.hidden)}


def config_of(options: Train, version: str) -> dict:
    """The content of `config.json`."""
    kept = {n: v for n, v in dataclasses.asdict(options).items() if n not in CALL}
    title = f"Meta-training of {options.opt} on {options.task}"
    return {"title": title, "command": line_of(options), "steppe": version, "options": kept}


def line_of(options: object, command: str = "train", without: Collection[str] = CALL) -> str:
    """The shortest line that asks for the same."""
    words = ["steppe", command]
    named = getattr(options, "preset", None)
    implied = preset(named) if named else {}
    for name, option in options_of(type(options)).items():
        value = attrgetter(name)(options)
        if name in without or value == implied.get(name, option.default):
            continue
        parts = [option.nothing] if value is None else value if option.many else [value]
        words += [] if option.place else [option.flag]
        words += [] if option.kind is bool else [",".join(map(str, parts))]
    return " ".join(words)


def check_steps(options: Train, there: Train, folder: Path) -> None:
    if options.meta_decay != "none" and options.steps != there.steps:
        raise BadInput(
            f"--steps is {there.steps} in {folder}, and with --meta-decay {options.meta_decay} the "
            f"meta learning rate goes by it, got {options.steps}; leave --steps away, or begin "
            "another run with --out."
        )
    done = folders.done_steps(folder)
    if done > options.steps:
        raise BadInput(
            f"--steps is {options.steps}, but {folder} has {done} meta-steps already; give at "
            "least as many."
        )


def stopped(folder: Path) -> str:
    if not folders.begun(folder):
        return "Stopped before the run began; nothing was written."
    done = folders.done_steps(folder)
    return (
        f"Stopped; {done} meta-steps are safe in {folder}: go on with "
        f"`steppe train --resume {folder}`."
    )


def summary(result: dict) -> str:
    best, where = result["valid_loss"], result["model"]
    score = (
        f"best validation loss {best:.4g}, of meta-step {result['best_step']}"
        if best is not None
        else f"no finite validation loss; kept the optimizer of meta-step {result['best_step']}"
    )
    return "\n".join(
        [
            f"{result['steps']} meta-steps in {result['seconds']:.1f} s "
            f"({result['compile_seconds']:.1f} s of it compiling): {score}",
            f"model     {where} (read back, identical)",
            f"evaluate  steppe eval {where} --task {result['task']}",
            *advice(result["findings"]),
        ]
    )


def advice(findings: Collection[Finding]) -> list[str]:
    """What the doctor says after a run: what is wrong and what to do about it."""
    bad = [finding for finding in findings if not finding.ok]
    if not bad:
        return [f"doctor    no findings in {len(findings)} checks"]
    count = f"{len(bad)} finding{'s' if len(bad) > 1 else ''}"
    return [f"doctor    {count} in {len(findings)} checks", *map(line, bad)]
