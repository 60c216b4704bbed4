"""Publish learned optimizers on the Hugging Face Hub: a file of weights, and its card.

    push("runs/a/model.safetensors", "owner/name")
    opt = steppe.load("hub://owner/name")

`Published` is the Hub's own kind of object (`ModelHubMixin`), for those who know its methods. Only
the file travels: no code is downloaded, none is run. No JAX. Importing this needs huggingface_hub.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from ..core.messages import missing
from ..store.files import to_json, write_atomically

try:
    from huggingface_hub import ModelCard, ModelHubMixin, hf_hub_download
except ModuleNotFoundError as error:
    raise ImportError(missing(error)) from None

from ..optimizers.settings import verified
from ..store.manifest import described
from .io import LICENCE, Card, certified, read_card
from .resolve import MODEL, refusals, resolve

TEMPLATE = Path(__file__).parent / "card.md.j2"


class Published(
    ModelHubMixin,
    library_name="steppe",
    tags=["learned-optimizer", "learning-to-optimize"],
    license=LICENCE.lower(),
    model_card_template=TEMPLATE.read_text(encoding="utf-8"),
):
    """The file of a trained optimizer, to be published or as it was found.

    Raises CheckpointError where it is not intact, or not an optimizer's.
    """

    def __init__(self, file: Path):
        self.file = Path(file)
        header = verified(self.file)
        self.described, self.manifest = described(header, self.file), header.manifest

    def _save_pretrained(self, save_directory: Path) -> None:
        about = {**self.described, "steppe": self.manifest.get("steppe")}
        write_atomically(save_directory / MODEL, self.file.read_bytes())
        config = to_json(about, indent=1, ensure_ascii=False)
        write_atomically(save_directory / "config.json", config, "\n")

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        **_: Any,
    ) -> Self:
        if os.path.isdir(model_id):
            return cls(Path(model_id) / MODEL)
        found = hf_hub_download(
            model_id,
            MODEL,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
        )
        return cls(Path(found))

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The README.md of the repository."""
        return ModelHubMixin.generate_model_card(self, **shown(self.manifest), **kwargs)


def shown(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the template of a card."""
    card = read_card(manifest)
    recipe = card.recipe if isinstance(card, Card) else manifest.get("recipe") or {}
    return {
        "kind": manifest.get("kind"),
        "hyper": to_json(manifest.get("hyper"), ensure_ascii=False),
        "recipe": to_json(recipe, indent=1, ensure_ascii=False),
        "steppe": manifest.get("steppe"),
        "claims": manifest.get("claims") or {},
        "certified": certified(manifest),
        "origin": origin(manifest),
        "card": card,
    }


def origin(manifest: Mapping[str, Any]) -> str:
    """The sentence about an optimizer that `steppe adapt` wrote; "" of any other."""
    told = manifest.get("adapted")
    came = told.get("from") if isinstance(told, Mapping) else None
    if not isinstance(came, Mapping) or not isinstance(told, Mapping):
        return ""
    words = (came.get("name"), told.get("to"), told.get("verdict"))
    if not all(isinstance(word, str) and len(word) <= 2000 for word in words):
        return ""
    return "From {}, adapted to {}. {}".format(*words)


def push(
    source: str | os.PathLike,
    repository: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    message: str = "A learned optimizer, by steppe",
) -> str:
    """Publish a trained optimizer on the Hub and return its address.

    - `source`: anything that `steppe.load` takes
    - `repository`: owner/name, made where it does not exist
    - `private`: of a new repository; None: as the owner's settings say
    - `token`: of the owner; None: that of `hf auth login`
    - `message`: of the commit

    Raises CheckpointError where the file is not intact or not an optimizer's, or the Hub refuses.
    """
    published = Published(resolve(source))
    with refusals(repository):
        return published.push_to_hub(
            repository,
            private=private,
            token=token,
            commit_message=message,
            model_card_kwargs={"repository": repository},
        )
