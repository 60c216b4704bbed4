"""Learned optimizers from the Hugging Face Hub: `fetch("owner/name@revision")`.

One file is asked for, and kept; no code is downloaded, none is run. No JAX. Importing this needs
huggingface_hub.
"""

from pathlib import Path

from ..core.messages import missing

try:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
except ModuleNotFoundError as error:
    raise ImportError(missing(error)) from None

from ..store.manifest import CheckpointError
from .names import HUB

FILE = "model.safetensors"
REFUSALS = (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled)


def fetch(place: str) -> Path:
    """The file of "owner/name" or "owner/name@revision": from the cache, else from the Hub.

    With HF_HUB_OFFLINE=1 from the cache alone.
    """
    repository, _, revision = place.partition("@")
    try:
        return Path(hf_hub_download(repository, FILE, revision=revision or None))
    except REFUSALS as error:
        raise refused(place, error) from error


def refused(place: str, error: Exception) -> CheckpointError:
    """One sentence about what the Hub said."""
    known = {
        RepositoryNotFoundError: "there is no such repository, or it is private; check the name, "
        "or log in with `hf auth login`",
        RevisionNotFoundError: "there is no such revision; leave @… away for the newest",
        LocalEntryNotFoundError: "it is not in the cache and the Hub cannot be reached; connect "
        "once, or unset HF_HUB_OFFLINE",
        OfflineModeIsEnabled: "it is not in the cache and HF_HUB_OFFLINE is set; unset it, or give "
        "a path",
        EntryNotFoundError: f"the repository has no {FILE}: it is no optimizer of steppe's",
        HFValidationError: "that is no name of a repository; give owner/name",
    }
    said = next((text for kind, text in known.items() if isinstance(error, kind)), None)
    return CheckpointError(f"{HUB}{place}: {said or str(error).splitlines()[0]}.")
