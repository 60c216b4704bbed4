"""A solver that was found: the optimizer, the record of the search, the certificate; one file.

The file is a checkpoint as `steppe.load` reads it, for JAX as any other. Record and certificate
stand in its manifest, which its checksum covers.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from ..certificates.certificate import Certificate, from_document
from ..core.optimizer import AbstractOptimizer
from ..store.manifest import CheckpointError, read_manifest
from ..store.untrusted import Source, checked
from ..zoo.io import load as load_optimizer
from ..zoo.io import write
from .record import Record, Row
from .verdict import verdict

REMEDY = "give a file that `steppe learn` wrote"


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


def load(path: str | os.PathLike) -> Solver:
    """Read a solver; its certificate is intact, and is to be verified before it is believed.

    Raises CheckpointError where the file is none, CertificateError where its certificate was
    changed.
    """
    manifest = read_manifest(path)
    source = Source(os.fspath(path), REMEDY, CheckpointError)
    if "solver" not in manifest:
        raise source.refuse("no record of a search for a solver", "one")
    record = checked(manifest["solver"], Record, source, "solver")
    cert, recipe = manifest.get("certificate"), manifest.get("recipe")
    return Solver(
        load_optimizer(path),
        record,
        None if cert is None else from_document(cert, source),
        recipe if isinstance(recipe, dict) else {},
    )
