"""Public names of a package, imported on first use. Standard library only.

    __getattr__, __dir__, __all__ = attach(__name__, __file__)

The one list of them is the package's stub, `__init__.pyi`, which type checkers and editors read
too: `from .core.episode import unroll as unroll`. Files and folders of a package are found by their
names as well, so that after `import steppe` every dotted name of a page is there.
"""

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from .messages import missing


def attach(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list]:
    """`__getattr__`, `__dir__` and `__all__` of the package whose `__init__.py` is `file`."""
    stub = ast.parse(Path(file).with_suffix(".pyi").read_text(encoding="utf-8"))
    froms = [node for node in stub.body if isinstance(node, ast.ImportFrom) and node.level == 1]
    places = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in froms
        for alias in node.names
    }

    def look_up(name: str) -> Any:
        if name not in places:
            return submodules(package)(name)
        module, original = places[name]
        try:
            found = import_module(f".{module or original}", package)
        except ModuleNotFoundError as error:
            raise ImportError(missing(error)) from error
        found = getattr(found, original) if module else found
        setattr(sys.modules[package], name, found)  # looked up once
        return found

    return look_up, lambda: sorted(places), sorted(places)


def submodules(package: str) -> Callable[[str], ModuleType]:
    """`__getattr__` of a package whose files are imported on first use."""

    def look_up(name: str) -> ModuleType:
        whole = f"{package}.{name}"
        if not name.startswith("_"):
            try:
                return import_module(whole)
            except ModuleNotFoundError as error:
                if error.name != whole:
                    raise ImportError(missing(error)) from error
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return look_up
