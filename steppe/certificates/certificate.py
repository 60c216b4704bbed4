"""A certificate: the claims, the counts that bear them out, and all that was fixed before.

Plain data of JSON types, so that it can be read, checked and drawn without what made it. Its digest
is the SHA-256 of its canonical JSON, the digest itself left out.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from ..store.files import write_atomically
from ..store.untrusted import (
    Between,
    FileError,
    Length,
    Source,
    checked,
    parse_json,
    read_bytes,
    shown,
)
from . import entries

SCHEMA = 1
REMEDY = "give a file of `steppe certify`"
DRAWN = "Future tasks are drawn independently, from the distribution that these were drawn from."
ALWAYS = (
    "Later runs use the same arithmetic (precision, kind of hardware).",
    "Nothing is said about any single task, nor about tasks of another distribution.",
)
ASSUMPTIONS = {  # by the kind of a certificate
    "holdout": (
        DRAWN,
        "Optimizer, starting points, metric, tolerances, levels, the number of tasks and of "
        "iterations were fixed before any of these tasks was looked at.",
        "None of these tasks was used to train, to tune, to normalise, or to decide when to stop.",
        *ALWAYS,
    ),
    "pac_bayes": (
        DRAWN,
        "It is about the randomised optimizer, whose weights are drawn anew for each task: not "
        "about their mean, nor about any one draw.",
        "The prior was fixed before the tasks were seen.",
        *ALWAYS,
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Certificate:
    """Certified claims with their evidence, as plain data. See `certify`.

    - `claims`: one dictionary a claim: its type and numbers, `delta`, `bound` (None: nothing could
      be certified), the counts behind it, and its `statement`
    - `joint_delta`: with this probability at most, any of the statements is wrong
    - `counts`: runs with an error above each tolerance after each number of steps
    - `posterior`: of a PAC-Bayes certificate, {} else
    """

    kind: Literal["holdout", "pac_bayes"]
    statement: entries.Statement
    claims: Annotated[list[entries.Entry], Length(entries.CLAIMS, 1)]
    joint_delta: entries.Inside
    simultaneous: entries.Simultaneous
    candidates: Annotated[int, Between(1, entries.CANDIDATES)]
    stage: Annotated[int, Between(1, entries.STAGES)] | None
    repeats: bool
    n: entries.Seen
    steps: Annotated[int, Between(1, entries.STEPS)]
    seed: Annotated[int, Between(0, 2**64 - 1)]
    metric: entries.Error
    optimizer: entries.Described
    tasks: entries.Described
    counts: entries.Counts
    diverged: entries.Tasks
    warnings: Annotated[list[entries.Words], Length(entries.CLAIMS + 100)]
    posterior: entries.Posterior
    environment: entries.Environment
    assumptions: Annotated[list[entries.Words], Length(100)]
    schema: Literal[1]

    @property
    def digest(self) -> str:
        return sha256(fields_of(self))

    def document(self) -> dict[str, Any]:
        """The contents of its file: all fields and the digest."""
        return dataclasses.asdict(self) | {"digest": self.digest}

    def save(self, path: str | os.PathLike) -> Path:
        """Write it as JSON."""
        path = Path(path)
        text = json.dumps(self.document(), indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(path, text, "\n")
        return path


class CertificateError(FileError):
    """Error: a file is no certificate, or one that was changed or contradicts itself."""


def load(path: str | os.PathLike) -> Certificate:
    """Read a certificate; `verify` it before you believe it.

    Raises CertificateError unless it is one and its digest is intact.
    """
    source = Source(str(Path(path)), REMEDY, CertificateError)
    text = read_bytes(path, entries.BYTES, source)
    return from_document(parse_json(text, source, values=entries.VALUES), source)


def from_document(document: Any, source: Source) -> Certificate:
    """The certificate of a document that was read; `source` names it in error messages."""
    if not isinstance(document, Mapping) or "claims" not in document or "digest" not in document:
        raise CertificateError(f"{source.name} is no certificate; {source.remedy}.")
    if document.get("schema") != SCHEMA:
        newer = source._replace(remedy="read it with the version that wrote it")
        raise newer.refuse(f"schema {shown(document.get('schema'))}", f"schema {SCHEMA}")
    rest = {name: value for name, value in document.items() if name != "digest"}
    if lacking := sorted({field.name for field in dataclasses.fields(Certificate)} - set(rest)):
        raise source.refuse(f"no entry {lacking[0]!r}", "one")
    if sha256(rest) != document["digest"]:
        raise CertificateError(
            f"{source.name} was changed after it was written: its digest does not match its "
            "content; certify again."
        )
    checked(rest, Certificate, source)
    return Certificate(**rest)


def well_formed(cert: Certificate) -> str | None:
    """The sentence that says which entry has a wrong type or range; None if none has."""
    source = Source("The certificate", "certify again", CertificateError)
    try:
        checked(fields_of(cert), Certificate, source)
    except FileError as error:
        return f"It does not hold together. {error}"
    return None


def fields_of(cert: Certificate) -> dict[str, Any]:
    """The fields by name, their values as they are."""
    return {field.name: getattr(cert, field.name) for field in dataclasses.fields(cert)}


def sha256(document: Mapping[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
