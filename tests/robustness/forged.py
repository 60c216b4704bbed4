"""Forge certificates: valid ones, changed in one way, statements and digest made right again.

    PYTHONPATH=.:tests python tests/robustness/forged.py FOLDER

writes all of them, valid ones too, and prints each kind and the sentence that refuses it.
`forgeries.py` has the kinds.
`alterations` change one entry of a document after the other, whatever it is.
"""

import copy
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from reference.parabola import Parabola, Step
from robustness.forgeries import FORGERIES, Document, Forgery

from steppe.certificates import audit, certify
from steppe.certificates.certificate import Certificate, CertificateError, load, sha256
from steppe.certificates.claims import Holds, Iterations, MeanIterations, Quantile, Success
from steppe.certificates.pac_bayes import Finite, around
from steppe.certificates.randomised import certify_randomised, task_keys
from steppe.certificates.runs import AbstractRun, Metric, Runs


class Descents(AbstractRun):
    """Errors that fall at a rate of each task's own; some rise again, some are lost."""

    metric = Metric("gap", "f(x) − f*")

    def __init__(self, population: int | None = None, lost: float = 0.05):
        self.population, self.lost = population, lost

    def run(self, seed, which, steps):
        rows = []
        for i in which:
            rng = np.random.default_rng((seed, i))
            row = 10.0 ** (-rng.uniform(0.05, 0.6) * np.arange(steps + 1) + rng.uniform(0, 0.5))
            row[steps // 2] *= rng.choice([1, 1, 1, 30])
            row[rng.uniform(size=steps + 1) < self.lost * rng.choice([0, 0, 0, 1])] = np.nan
            rows.append(row)
        return Runs(np.stack(rows), [], "float32")

    def described(self):
        return {"optimizer": {"name": "descent"}, "tasks": {"name": "rates"}}


class Ended(Descents):
    """The same, with a gap and a trace at the end; those that are lost have none."""

    measures = (Metric("gap", "test less training loss", signed=True), Metric("trace", "tr H"))

    def run(self, seed, which, steps):
        runs = super().run(seed, which, steps)
        rng = np.random.default_rng((seed, which.start, 1))
        lost = ~np.isfinite(runs.errors).all(axis=1, keepdims=True)
        found = np.stack([rng.normal(1.0, 0.3, len(which)), rng.gamma(3.0, size=len(which))], -1)
        return runs._replace(ends=np.where(lost, np.nan, found))


def never_rises(errors: np.ndarray) -> bool:
    return bool(np.all(errors[1:] <= errors[:-1]))


CLAIMS = [
    Success(0.1, 8),
    Success(1e-6, 8),
    Iterations(0.5, 0.1),
    Iterations(0.8, 0.1),
    Iterations(0.5, 0.1, "stay"),
    Quantile(0.5, 4),
    Quantile(0.7, 4),
    MeanIterations(0.1),
    Holds("the gap never rises", never_rises),
]
HOLDOUT: dict[str, dict[str, Any]] = {
    "grid": {},
    "pointwise": {"simultaneous": "pointwise", "delta": 0.01},
    "uniform": {"simultaneous": "uniform"},
    "kl": {"method": "kl"},
    "hoeffding": {"method": "hoeffding"},
    "stage": {"stage": 3, "n": 15},
    "candidates": {"candidates": 4},
    "repeats": {"repeats": True},
    "set": {"population": 80},
}


def valid() -> dict[str, Document]:
    """A valid certificate of each kind, as its file has it."""
    certify.environment = lambda: {"date": "2026-11-28T00:00:00+00:00"}  # takes long
    made = {}
    for name, how in HOLDOUT.items():
        how = {"steps": 8, "n": 60, "delta": 0.1, "claims": CLAIMS} | how
        made[name] = certify.certify(Descents(how.pop("population", None)), **how)
    made["ends"] = certify.certify(Ended(), steps=8, n=60, delta=0.1, levels=[0.5, 0.7])
    step = lambda rate: Step(jnp.asarray(rate, jnp.float32))
    way = {"steps": 4, "metric": "size", "tolerances": [0.3, 0.1], "delta": 0.1}
    tasks = task_keys(0, 24)
    made["finite"] = certify_randomised(
        Finite([step(-2.6), step(-1.7)], [0.25, 0.75]), Parabola(), tasks, **way
    )
    made["gaussian"] = certify_randomised(
        around(step(-2.0), step(-2.5)), Parabola(), tasks, pairs=200, **way
    )
    return {name: cert.document() for name, cert in made.items()}


def signed(document: Document) -> Document:
    """The document with statements that its numbers give, where there are any, and its digest."""
    rest = {name: value for name, value in document.items() if name != "digest"}
    try:
        cert = Certificate(**rest)
        for claim in rest["claims"]:
            claim["statement"] = audit.words(cert, claim)
        rest["statement"] = audit.statement(cert)
    except Exception:
        pass  # the forger has no better words than those that stand there
    return rest | {"digest": sha256(rest)}


def written(document: Document, path: Path) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def sentence(path: Path) -> str | None:
    """The sentence that refuses a file; None if nothing does."""
    try:
        found = audit.verify(load(path))
    except CertificateError as error:
        return str(error)
    return found[0] if found else None


def forge(document: Document, forgery: Forgery) -> Document:
    changed = copy.deepcopy(document)
    forgery.change(changed)
    if forgery.signs:
        return signed(changed)
    changed.pop("digest")
    return changed | {"digest": sha256(changed)}


def alterations(
    document: Document, at: str = ""
) -> Iterator[tuple[str, Callable[[Document], object]]]:
    """The place of each number of a document, and a function that alters it alone.

    Of a long list of numbers the first, the middle and the last. Places have no indices.
    """
    entries = document.items() if isinstance(document, dict) else list(enumerate(document))
    if isinstance(document, list) and len(document) > 3 and not isinstance(document[0], dict):
        entries = [entries[i] for i in (0, len(document) // 2, -1)]
    for name, value in entries:
        place = f"{at}.{name}".lstrip(".") if isinstance(name, str) else at
        if isinstance(value, dict | list):
            for inner, change in alterations(value, place):
                yield inner, lambda d, name=name, change=change: change(d[name])
        elif not isinstance(value, str):
            for other in others(value):
                yield place, lambda d, name=name, other=other: d.__setitem__(name, other)


def others(value: bool | int | float | None) -> list:
    """Other values of the same type, near by."""
    if value is None or isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, max(value - 1, 0)] if value else [1]
    return [value * (1 + 1e-6), value * (1 - 1e-6)] if value else [1e-3]


def main(folder: str) -> None:
    documents = valid()
    where = Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    for name, document in documents.items():
        print(f"valid, {name}: {sentence(written(document, where / f'valid_{name}.json'))}")
    for i, (name, forgery) in enumerate(FORGERIES.items()):
        path = written(forge(documents[forgery.base], forgery), where / f"forged_{i}.json")
        print(f"| {name} ({forgery.base}) | {sentence(path)} |")


if __name__ == "__main__":
    main(sys.argv[1])
