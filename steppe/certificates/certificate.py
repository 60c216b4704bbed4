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
from typing import Any

from ..core.messages import did_you_mean
from ..store.files import write_atomically

SCHEMA = 1
ASSUMPTIONS = (
    "Future tasks are drawn independently, from the distribution that these were drawn from.",
    "Optimizer, starting points, metric, tolerances, levels, the number of tasks and of iterations "
    "were fixed before any of these tasks was looked at.",
    "None of these tasks was used to train, to tune, to normalise, or to decide when to stop.",
    "Later runs use the same arithmetic (precision, kind of hardware).",
    "Nothing is said about any single task, nor about tasks of another distribution.",
)
RANDOMISED = (
    "It is about the randomised optimizer, whose weights are drawn anew for each task: not about "
    "their mean, nor about any one draw.",
    "The prior was fixed before the tasks were seen.",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Certificate:
    """Certified claims with their evidence, as plain data. See `certify`.

    - `claims`: one dictionary a claim: its type and numbers, `delta`, `bound` (None: nothing could
      be certified), the counts behind it, and its `statement`
    - `joint_delta`: with this probability at most, any of the statements is wrong
    - `counts`: runs with an error above each tolerance after each number of steps
    - `posterior`: of a PAC-Bayes certificate, {} else
    """

    kind: str  # "holdout" or "pac_bayes"
    statement: str
    claims: list[dict[str, Any]]
    joint_delta: float
    simultaneous: str
    candidates: int
    stage: int | None
    repeats: bool
    n: int
    steps: int
    seed: int
    metric: dict[str, Any]
    optimizer: dict[str, Any]
    tasks: dict[str, Any]
    counts: dict[str, Any]
    diverged: int
    warnings: list[str]
    posterior: dict[str, Any]
    environment: dict[str, Any]
    assumptions: list[str] = dataclasses.field(default_factory=lambda: list(ASSUMPTIONS))
    schema: int = SCHEMA

    @property
    def digest(self) -> str:
        return sha256(dataclasses.asdict(self))

    def document(self) -> dict[str, Any]:
        """The contents of its file: all fields and the digest."""
        return dataclasses.asdict(self) | {"digest": self.digest}

    def save(self, path: str | os.PathLike) -> Path:
        """Write it as JSON."""
        path = Path(path)
        text = json.dumps(self.document(), indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(path, text, "\n")
        return path


class CertificateError(ValueError):
    """Error: a certificate cannot be read, or contradicts itself."""


def load(path: str | os.PathLike) -> Certificate:
    """Read a certificate. Raises CertificateError unless it is one and its digest is intact."""
    path = Path(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CertificateError(f"{path} does not exist; give a file of `steppe certify`.") from None
    except (ValueError, RecursionError) as error:
        raise CertificateError(
            f"{path} is not JSON ({' '.join(str(error).split())}); give a file of `steppe certify`."
        ) from None
    return from_document(document, str(path))


def from_document(document: Any, source: str) -> Certificate:
    """The certificate of a document that was read; `source` names it in error messages."""
    fields = {field.name for field in dataclasses.fields(Certificate)}
    if not isinstance(document, Mapping) or "claims" not in document or "digest" not in document:
        raise CertificateError(f"{source} is no certificate; give a file of `steppe certify`.")
    if document.get("schema") != SCHEMA:
        raise CertificateError(
            f"{source} has schema {document.get('schema')!r}, and this steppe reads {SCHEMA}; read "
            "it with the version that wrote it."
        )
    rest = {name: value for name, value in document.items() if name != "digest"}
    if wrong := sorted(fields ^ set(rest)):
        word = "lacks" if wrong[0] in fields else "has an unknown"
        raise CertificateError(f"{source} {word} {wrong[0]!r}; {did_you_mean(wrong[0], fields)}")
    if sha256(rest) != document["digest"]:
        raise CertificateError(
            f"{source} was changed after it was written: its digest does not match its content; "
            "certify again."
        )
    return Certificate(**rest)


def sha256(document: Mapping[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
