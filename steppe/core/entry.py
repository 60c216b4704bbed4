"""Named things, each declared once. Standard library only.

    OPTIMIZERS = table(
        Entry("dm", "LSTM on size and sign", ".optimizers.learned.dm:DM", learned=True),
    )
    find("optimizer", OPTIMIZERS, "dm").load()      the class `DM`, imported now

Each package keeps the table of what it holds in its `names.py`, so that a thing and its entry stand
side by side and a package knows no other; `zoo.registry` adds the zoo's own and puts the tables
together. Lists of the command line, `build`, the classes that a checkpoint may name and the
suggestions for a wrong name are read off the tables, each time they are needed: an entry added by a
user counts like ours.
"""

import dataclasses
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from .messages import brief, did_you_mean

SEE = "`steppe list`"  # where all names are


def load(target: Any) -> Any:
    """Import the object at "module:name"; a module with a leading dot is below `steppe`.

    What is no such string is the object itself.

    >>> load(".core.messages:nearest")("stpes", ["steps"])
    'steps'
    """
    if not isinstance(target, str):
        return target
    module, _, name = target.partition(":")
    return getattr(import_module(module, "steppe"), name)


@dataclasses.dataclass(frozen=True)
class Made:
    """An argument that is built together with what it is for."""

    target: str
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def load(self) -> Any:
        """Import the class or function that makes it."""
        return load(self.target)


def made(argument: Any) -> Any:
    """An argument, built if it is a `Made` or a tuple of them."""
    if isinstance(argument, Made):
        return argument.load()(**{name: made(x) for name, x in argument.arguments.items()})
    return tuple(map(made, argument)) if isinstance(argument, tuple) else argument


@dataclasses.dataclass(frozen=True)
class Entry:
    """One named thing, described without importing it.

    - `about`: one line about it
    - `target`: where it is, or itself, see `load`
    - `arguments`: what it is built with where nothing else is said; see `Made`
    - `family`: the group of things that it belongs to
    - `learned`: it has weights to train
    - `tunable`: names of the hyper-parameters that are worth tuning
    - `needs`: the structure of a loss that it cannot do without, a class of `core.loss`
    - `tries`: hyper-parameter → values that are tried with each learning rate, the customary first
    """

    name: str
    about: str
    target: Any
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    family: str = ""
    learned: bool = False
    tunable: tuple[str, ...] = ()
    needs: str = ""
    tries: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)

    def load(self) -> Any:
        """Import the class or function that makes it."""
        return load(self.target)

    def made(self) -> dict[str, Any]:
        """Its arguments, those built that have to be."""
        return {name: made(argument) for name, argument in self.arguments.items()}

    @property
    def line(self) -> str:
        """The line about it, with what there is to train or to tune."""
        numbers = ": " + ", ".join(self.tunable) if self.tunable else ""
        return ("learned: " if self.learned else "") + self.about + numbers


def table(*entries: Entry) -> dict[str, Entry]:
    """Entries by name, in order."""
    return {entry.name: entry for entry in entries}


def find(what: str, known: Mapping[str, Entry], name: str) -> Entry:
    """Look up an entry; ValueError with a suggestion where there is none of that name."""
    if name not in known:
        raise ValueError(f"There is no {what} {brief(name)}; {did_you_mean(name, known, see=SEE)}")
    return known[name]
