"""The recipe of a run in files: read from TOML, kept in the run's `config.json`.

    values = read_file(Recipe, Path("run.toml"))   settings by path, for `core.settings.build`
    write(folder, recipe, command="…")             config.json, which makes a folder a run
    read(folder)                                   the recipe of that run, also where 0.1 wrote it

Standard library only.
"""

import contextlib
import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from ..core.settings import from_table, settings_of, values_of
from ..store.untrusted import BRACKETS, LINE, FileError, Source, bounded, read_bytes
from ..zoo.recipe import Recipe
from ..zoo.recipe_json import from_json, to_json
from . import folder as folders
from .folder import BadInput

LARGEST = 2**15  # bytes of a file of settings
VALUES = 10_000


def read_file(cls: type, path: Path, without: Collection[str] = ()) -> dict[str, object]:
    """The settings that a TOML or YAML file gives, by path.

    - `cls`: the class that declares them
    - `without`: paths of settings that a file cannot give
    """
    yaml = path.suffix in (".yaml", ".yml")
    source = Source(f"`config {path}`", "mend it")
    try:
        text = read_bytes(path, LARGEST, source)
        # Parsers take time and memory that grow as squares of these.
        if (
            max(map(len, text.split(b"\n"))) > LINE
            or text.count(b"[") + text.count(b"{") > BRACKETS
        ):
            raise source.refuse(
                f"a line of over {LINE} bytes or over {BRACKETS} brackets", "settings of a run"
            )
        table = _yaml(text) if yaml else tomllib.loads(text.decode())
        table = bounded(table, source, values=VALUES)
    except FileError as error:
        raise BadInput(str(error)) from None
    except (ValueError, RecursionError) as error:  # also what is not UTF-8
        words = " ".join(str(error).split())[:300]
        raise BadInput(
            f"`config {path}` is not {'YAML' if yaml else 'TOML'} ({words}); mend it."
        ) from None
    return from_table(cls, table, str(path), without)


def _yaml(text: bytes) -> dict:
    try:
        import yaml
    except ImportError as error:
        raise BadInput("A YAML file needs PyYAML: pip install pyyaml, or use TOML.") from error
    try:
        # An alias stands for what it names wherever it is used: ten lines are a billion values.
        # A tag says what else than a number, a text, a list or a table something is.
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            if isinstance(token, (yaml.AliasToken, yaml.TagToken)):
                word = "an alias" if isinstance(token, yaml.AliasToken) else "a tag"
                raise ValueError(f"{word} in line {token.start_mark.line + 1}")
        table = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    if not isinstance(table, dict):
        raise ValueError("expected names and values")
    return table


def read(folder: Path, cls: type[Recipe] = Recipe) -> Recipe:
    """The recipe of the run that a folder holds."""
    path = folder / folders.CONFIG
    config = folders.read_config(folder)
    kept = config.get("recipe")
    try:
        return from_json(kept if isinstance(kept, dict) else config["options"], cls)
    except ValueError as error:
        raise BadInput(f"{path}: {error}") from error


def preset_of(folder: Path) -> str | None:
    """The published recipe that the run of a folder began with."""
    config = folders.read_config(folder)
    options = config.get("options")
    kept = config.get("preset") or (options.get("preset") if isinstance(options, dict) else None)
    if not isinstance(kept, str | None):
        raise BadInput(f"{folder / folders.CONFIG}: the preset {kept!r:.40} is no name; mend it.")
    return kept


def write(folder: Path, recipe: Recipe, **about: Any) -> None:
    """Write `config.json`.

    - `about`: what else it says, e.g. the `command` that asks for the same
    """
    title = f"Meta-training of {recipe.optimizer.name} on {recipe.task.name}"
    said = {name: value for name, value in about.items() if value is not None}
    content = {"title": title, **said, "recipe": to_json(recipe)}
    folders.write_json(folder / folders.CONFIG, content)


def differences(recipe: Recipe, other: Recipe) -> dict[str, tuple[object, object]]:
    """The settings, by path, in which two recipes compute different things."""
    mine, theirs = values_of(recipe), values_of(other)
    options = settings_of(type(recipe))
    return {
        path: (mine[path], theirs[path])
        for path, option in options.items()
        if not option.free and mine[path] != theirs[path]
    }


@contextlib.contextmanager
def opened(folder: Path, recipe: Recipe) -> Iterator[None]:
    """A folder held for a run of this recipe, new or to go on with."""
    with folders.held(folder):
        if folders.begun(folder):
            check_same(folder, recipe)
        yield


def check_same(folder: Path, recipe: Recipe) -> None:
    """Refuse to go on with the run of a folder under other settings."""
    there = read(folder, type(recipe))
    found = [
        f"`{path}`: {shown(theirs)} there, {shown(mine)} asked for"
        for path, (mine, theirs) in differences(recipe, there).items()
    ]
    if found:
        raise BadInput(
            f"{folder} holds a run with other settings ({'; '.join(found)}); go on with it by "
            f"`resume {folder}`, or give another folder as `out`."
        )
    check_steps(folder, recipe, there)


def check_steps(folder: Path, recipe: Recipe, there: Recipe) -> None:
    """Refuse numbers of meta-steps with which the run of a folder cannot go on."""
    steps = recipe.run.steps
    if recipe.meta.decay != "none" and steps != there.run.steps:
        raise BadInput(
            f"`run.steps` is {there.run.steps} in {folder}, and with `meta.decay "
            f"{recipe.meta.decay}` the meta-learning rate goes by it, got {steps}; leave "
            "`run.steps` away, or begin another run with `out`."
        )
    done = folders.done_steps(folder)
    if done > steps:
        raise BadInput(
            f"`run.steps` is {steps}, but {folder} has {done} meta-steps already; give at least as "
            "many."
        )


def shown(value: object) -> str:
    """A value of a setting as on the command line."""
    if isinstance(value, (tuple, list)):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)
