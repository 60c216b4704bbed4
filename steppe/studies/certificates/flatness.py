"""How flat, and how well, do the shipped optimizers end on future tasks? One certificate each.

    steppe reproduce certificates.flatness --scale small

With confidence 99 %, 90 % of future tasks end with test loss ≤ x₁, …, top eigenvalue ≤ x₅, all at
once (`certificates.Ends`). The same as

    steppe certify NAME --metric test-loss,test-error,gap,trace,top-eigenvalue --levels 0.9 \
        --steps 500 --n 200

so that `steppe verify NAME --again NAME` runs it again. Everything is fixed here before anything
runs; what came out is in `README.md` beside this file, and the certificate in the file of each
optimizer, which `steppe verify NAME` checks.

Expected: of each pair of twins the flat one has the lower bounds of trace, top eigenvalue and gap,
and of RNNProp and DM of the test loss, too. (Seen before: `rnnprop-v1` alone, with n = 120.) Where
the training loss first comes to 0.1, of trace and top eigenvalue.
"""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...certificates.audit import statement, verify
from ...certificates.certificate import Certificate, CertificateError, from_document
from ...certificates.certify import certify
from ...certificates.measured import Measured
from ...evaluation.engines import Row
from ...store.untrusted import Source
from ...tasks import build
from ...zoo.io import card, load, write_card
from ..study import Cell, Conclusion, Study, Verdict, markdown, records
from .settings import Flatness

MEASURES = ("test-loss", "test-error", "gap", "trace", "top-eigenvalue")
HOW = {"steps": 500, "levels": [0.9], "delta": 0.01, "seed": 0}
MATCHED = 0.1  # training loss at which twins are compared, too
LOWER = ("trace", "top-eigenvalue", "gap")  # of a flat twin, as was expected; matched without gap


def cells(settings: Flatness) -> Iterator[Cell]:
    """The name of an optimizer, the measures, and the arguments of `steppe.certify`."""
    for matched in ({}, {"at_loss": MATCHED}):
        for name in settings.names:
            yield {
                "name": name,
                "measures": list(MEASURES),
                "how": HOW | {"n": settings.n},
            } | matched


def run(cell: Cell) -> dict[str, Any]:
    """The certificate of one optimizer on the task of its meta-training, as its file has it."""
    name, task = cell["name"], dict(card(cell["name"]).meta_task)
    known = {"task_name": task.pop("name"), "task_options": task, "name": name}
    runs = Measured(
        build(known["task_name"], **task),
        load(name),
        cell["measures"],
        at_loss=cell.get("at_loss"),
        **known,
    )
    return {"name": name, "certificate": certify(runs, **cell["how"]).document()}


def conclude(settings: Flatness, rows: Sequence[Row]) -> Conclusion:
    """The bounds of all, and the files of the optimizers with their certificates inside."""
    found = records(rows)
    ends = {r["name"]: checked(r) for r in found if "at_loss" not in r}
    matched = {r["name"]: checked(r) for r in found if "at_loss" in r}
    parts = [
        f"After {HOW['steps']} iterations:",
        table(ends),
        f"Where the training loss first comes to {MATCHED}:",
        table(matched),
        *(f"{name}: {statement(read(cert))}" for name, cert in ends.items()),
    ]
    return Conclusion(
        "\n\n".join(parts),
        {"certificates": ends, "matched": matched},
        [*verdicts(ends, ""), *verdicts(matched, f" at training loss {MATCHED}")],
        files={
            f"{name}.safetensors": functools.partial(release, name=name, certificate=cert)
            for name, cert in ends.items()
        },
    )


Document = Mapping[str, Any]


def table(found: Mapping[str, Document]) -> str:
    head = ["90 % of future tasks end with", *(m.replace("-", " ") + " ≤" for m in MEASURES), "n"]
    lines = []
    for name, cert in found.items():
        bounds = ["–" if x is None else f"{x:.3g}" for x in cert["claims"][0]["bound"]]
        lines.append([name, *bounds, str(cert["n"])])
    return markdown(head, lines)


def verdicts(found: Mapping[str, Document], where: str) -> list[Verdict]:
    """Compare the bounds of each flat twin with those of its plain one, as was expected."""
    said = []
    for name in found:
        flat = name.replace("-v1", "-flat-v1")
        if flat not in found or flat == name:
            continue
        losses = [] if where or name.startswith("l2o-scale") else ["test-loss"]
        for measure in [*(LOWER[:2] if where else LOWER), *losses]:
            ours, theirs = (bound_of(found[x], measure) for x in (flat, name))
            claim = f"{flat} has a lower bound of {measure.replace('-', ' ')} than {name}{where}"
            if math.inf in (ours, theirs):
                why = "too many runs diverged, or did not come to the training loss"
                said.append(Verdict(claim, False, why, unjudged="not measured"))
            else:
                said.append(Verdict(claim, ours < theirs, f"≤ {ours:.3g} and ≤ {theirs:.3g}"))
    return said


def bound_of(document: Document, measure: str) -> float:
    found = document["claims"][0]["bound"][MEASURES.index(measure)]
    return math.inf if found is None else found


def read(document: Document) -> Certificate:
    return from_document(document, Source("The record", "run it again", CertificateError))


def checked(record: Document) -> dict[str, Any]:
    """The document in a record, if its evidence bears it out."""
    document = dict(record["certificate"])
    if wrong := verify(read(document)):
        raise CertificateError(f"{record['name']}: {wrong[0]}")
    return document


def release(path: Path, name: str, certificate: Document) -> None:
    """Write a shipped optimizer as it is, with its certificate inside."""
    write_card(path, name, card(name), certificate)


STUDY = Study(cells, f"{__name__}:run", conclude)
