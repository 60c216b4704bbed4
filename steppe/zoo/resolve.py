"""The file of a trained optimizer, from a path, a run, a shipped name or the Hub.

    rnnprop-v1                  in the package (`registry.PRETRAINED`)
    runs/a/model.safetensors    that file
    runs/a                      the finished optimizer of that folder
    hub://owner/name            `model.safetensors` of a repository on the Hugging Face Hub,
    hub://owner/name@revision   asked for once, then kept; needs `pip install "steppe[hub]"`

No JAX, and no network but for hub://.
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from ..core.messages import did_you_mean, missing
from ..store.manifest import STEPS, CheckpointError
from .registry import HUB, PRETRAINED, WEIGHTS

MODEL = "model.safetensors"  # in a repository of the Hub
PATIENCE = 1.0  # seconds for a connection to the Hub
ANSWER = 5.0  # seconds for its word on a file


def resolve(source: str | os.PathLike) -> Path:
    """The file of a trained optimizer. Whether it is intact is seen when it is read.

    Raises CheckpointError where there is none, and for a hub:// that cannot be had.
    """
    if isinstance(source, str) and source.startswith(HUB):
        return fetch(source.removeprefix(HUB))
    path = Path(source)
    if path.is_dir():
        return finished(path)
    if path.exists():
        return path
    if source in PRETRAINED:
        return WEIGHTS / f"{source}.safetensors"
    if path.suffix or len(path.parts) > 1:
        raise CheckpointError(f"{path} does not exist; give the path of a checkpoint.")
    raise CheckpointError(
        f"There is no file and no pretrained optimizer {str(source)!r}; "
        f"{did_you_mean(str(source), PRETRAINED)}"
    )


def finished(folder: Path) -> Path:
    """The one optimizer of a folder, its checkpoints of an unfinished run aside."""
    found = [path for path in folder.glob("*.safetensors") if not path.match(STEPS)]
    if len(found) == 1:
        return found[0]
    if found:
        raise CheckpointError(
            f"{folder} has {len(found)} checkpoints; give one of them by its name."
        )
    raise CheckpointError(
        f"{folder} has no finished optimizer; finish its run by `resume {folder}`, or give a "
        "checkpoint."
    )


def fetch(place: str) -> Path:
    """The file of "owner/name" or "owner/name@revision": from the cache, else from the Hub.

    One file is asked for; no code is downloaded. With HF_HUB_OFFLINE=1, and where the Hub cannot be
    reached within PATIENCE seconds, from the cache alone.
    """
    try:
        from huggingface_hub import constants, hf_hub_download
    except ModuleNotFoundError as error:
        raise ImportError(missing(error)) from None

    repository, _, revision = place.partition("@")
    with refusals(place):
        away = not (constants.HF_HUB_OFFLINE or reachable(constants.ENDPOINT))
        found = hf_hub_download(
            repository,
            MODEL,
            revision=revision or None,
            local_files_only=away,
            etag_timeout=ANSWER,
        )
        return Path(found)


def reachable(address: str) -> bool:
    """True if somebody takes a connection there, or at the proxy before it, in PATIENCE seconds.

    The Hub's own client tries for half a minute before it looks into its cache.
    """
    import socket
    import threading
    import urllib.parse
    import urllib.request

    parts = urllib.parse.urlsplit(address)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.netloc):
        parts = urllib.parse.urlsplit(proxy)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    answers = []

    def connect() -> None:
        with (
            contextlib.suppress(OSError),
            socket.create_connection((parts.hostname, port), timeout=PATIENCE),
        ):
            answers.append(True)

    # Looking up a name knows no time limit, so that it is left behind where it takes too long.
    looking = threading.Thread(target=connect, daemon=True)
    looking.start()
    looking.join(PATIENCE)
    return bool(answers)


@contextlib.contextmanager
def refusals(place: str) -> Iterator[None]:
    """Turn a refusal of the Hub into a CheckpointError of one sentence about `place`."""
    from huggingface_hub import errors

    known = {
        errors.RepositoryNotFoundError: "there is no such repository, or it is private; check the "
        "name, or log in with `hf auth login`",
        errors.RevisionNotFoundError: "there is no such revision; leave @… away for the newest",
        errors.LocalEntryNotFoundError: "it is not in the cache and the Hub cannot be reached; "
        "connect once, or unset HF_HUB_OFFLINE",
        errors.OfflineModeIsEnabled: "it is not in the cache and HF_HUB_OFFLINE is set; unset it, "
        "or give a path",
        errors.EntryNotFoundError: f"the repository has no {MODEL}: it is no optimizer of steppe's",
        errors.HFValidationError: "that is no name of a repository; give owner/name",
    }
    # All errors of its client, whichever package that is in.
    client: type[Exception] = errors.HTTPError  # pyright: ignore[reportPrivateImportUsage]
    expected: tuple[type[Exception], ...] = (errors.HfHubHTTPError, client, OSError, *known)
    log = logging.getLogger("huggingface_hub")
    level = log.level
    log.setLevel(logging.ERROR)  # it tells of every try
    try:
        yield
    except expected as error:
        said = next((text for kind, text in known.items() if isinstance(error, kind)), None)
        if said is None and isinstance(error, errors.HfHubHTTPError):
            said = str(error).splitlines()[0].rstrip(".")
        elif said is None and isinstance(error, OSError) and error.filename:
            said = f"{error.filename}: {error.strerror}; mend it, or set HF_HOME to another folder"
        elif said is None:
            said = (
                f"the Hub broke off in the middle of its answer ({type(error).__name__}); try again"
            )
        raise CheckpointError(f"{HUB}{place}: {said}.") from error
    finally:
        log.setLevel(level)
