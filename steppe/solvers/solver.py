"""A solver that was found: the optimizer, the record of the search, the certificate; one file.

The file is a checkpoint as `steppe.load` reads it, for JAX as any other. Record and certificate
stand in its manifest, which its checksum covers.
"""

import dataclasses
import inspect
import json
import os
from collections.abc import Mapping
from typing import Any

from ..certificates.certificate import Certificate, CertificateError, from_document
from ..certificates.episodes import Episodes, described
from ..certificates.runs import Metric
from ..core.optimizer import AbstractOptimizer
from ..store.files import to_json
from ..store.manifest import CheckpointError, read_manifest
from ..store.untrusted import Source, checked
from ..zoo.io import load as load_optimizer
from ..zoo.io import write
from .family import Error, WithMinimum
from .record import Record, Row
from .verdict import verdict

REMEDY = "give a file that `steppe learn` wrote"
METRICS = {
    "gap": Metric("gap", "(F(x_k) − F(x*)) / |F(x*)|, x_k after k iterations, x* by FISTA"),
    "nmse": Metric("nmse", "10 log₁₀ (‖x_k − x♯‖² / ‖x♯‖²), x_k after k iterations", "dB", True),
}


@dataclasses.dataclass(frozen=True)
class Solver:
    """The best solver for a family of problems, and all that is known of it.

    - `opt`: the optimizer, guarded unless it cannot diverge
    - `record`: the search, as plain data
    - `certificate`: of fresh problems; None if the search was stopped
    - `recipe`: name, options and horizon of a named task, {} of another
    - `signal`: the one that stopped the search, None if none did
    """

    opt: AbstractOptimizer
    record: Record
    certificate: Certificate | None
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    signal: int | None = None

    @property
    def candidates(self) -> tuple[Row, ...]:
        """A row for each solver that was tried."""
        return self.record.rows

    @property
    def verdict(self) -> str:
        """Is a learned solver better, and by how much, in one sentence."""
        return verdict(self.record)

    def save(self, path: str | os.PathLike) -> None:
        """Write solver, record and certificate to one file, which is replaced if there is one."""
        about: dict[str, Any] = {"solver": dataclasses.asdict(self.record)}
        if self.certificate is not None:
            about["certificate"] = self.certificate.document()
        write(path, self.opt, recipe=dict(self.recipe), **about)


def runs(family: WithMinimum, opt: AbstractOptimizer, error: Error, **about: Any) -> Episodes:
    """The runs that a solver is certified by.

    - `about`: name of the solver; name and options of the task; see `Episodes`
    """
    found = Episodes(family, opt, metric="gap" if error == "gap" else "recovery", **about)
    found.metric = METRICS[error]
    return found


def certified_error(cert: Certificate) -> Error | None:
    """The error that a certificate of a solver is about; None if it is of other runs."""
    for error, metric in METRICS.items():
        told = cert.metric["name"], cert.metric["definition"]
        if told == (metric.name, metric.definition):
            return error  # pyright: ignore[reportReturnType]
    return None


def defaults_of(kind: type[AbstractOptimizer]) -> dict[str, Any]:
    """The plain values that arguments of a class have where nothing is given."""
    parameters = inspect.signature(kind).parameters.values()
    plain = bool | int | float | str | tuple | None
    return {p.name: p.default for p in parameters if isinstance(p.default, plain)}


def stranger(cert: Certificate, opt: AbstractOptimizer) -> str | None:
    """The sentence about a certificate that is of another optimizer, with other numbers, say."""
    own, theirs = json.loads(to_json(described(opt))), dict(cert.optimizer)
    if isinstance(theirs.get("hyper"), dict) and isinstance(own.get("hyper"), dict):
        # An argument that came since the certificate was made has its default.
        defaults = json.loads(to_json(defaults_of(type(opt))))
        since = own["hyper"].keys() - theirs["hyper"].keys()
        theirs["hyper"] = {n: x for n, x in defaults.items() if n in since} | theirs["hyper"]
    if all(theirs.get(name) == value for name, value in own.items()):
        return None
    return f"Its certificate is of another optimizer than the {own['kind']} beside it."


def load(path: str | os.PathLike) -> Solver:
    """Read a solver; its certificate is intact, and is to be verified before it is believed.

    Raises CheckpointError where the file is none, CertificateError where its certificate was
    changed or is of another optimizer.
    """
    manifest = read_manifest(path)
    source = Source(os.fspath(path), REMEDY, CheckpointError)
    if "solver" not in manifest:
        raise source.refuse("no record of a search for a solver", "one")
    record = checked(manifest["solver"], Record, source, "solver")
    kept, recipe = manifest.get("certificate"), manifest.get("recipe")
    opt, cert = load_optimizer(path), None if kept is None else from_document(kept, source)
    if cert is not None and (wrong := stranger(cert, opt)):
        raise CertificateError(f"{os.fspath(path)}: {wrong[:-1]}; {REMEDY}.")
    return Solver(
        opt,
        record,
        cert,
        recipe if isinstance(recipe, dict) else {},
    )
