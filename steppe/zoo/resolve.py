"""Where a trained optimizer is: one source for a file, a run, what is shipped, and the Hub.

    rnnprop-v1                  in the package (`names.PRETRAINED`)
    runs/a/model.safetensors    that file
    runs/a                      the finished optimizer of that folder
    hub://owner/name            `model.safetensors` of a repository on the Hugging Face Hub,
    hub://owner/name@revision   asked for once, then kept; needs `pip install "steppe[hub]"`

No JAX, and no network but for hub://.
"""

import os
from pathlib import Path

from ..core.messages import did_you_mean
from ..store.manifest import STEPS, CheckpointError
from .names import HUB, PRETRAINED, WEIGHTS


def resolve(source: str | os.PathLike) -> Path:
    """The file of a trained optimizer. Whether it is intact is seen when it is read.

    Raises CheckpointError where there is none, and for a hub:// that cannot be had.
    """
    if isinstance(source, str) and source.startswith(HUB):
        from .hub import fetch

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
