"""Trained optimizers of anyone as rows of a study: by source, and by what the file holds."""

import hashlib

from ..zoo.resolve import resolve


def digest_of(source: str) -> str:
    """Sixteen digits of the file of a trained optimizer, so that another one is another cell.

    - `source`: path, run folder, shipped name or hub://owner/name, see `steppe.load`
    """
    with open(resolve(source), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
