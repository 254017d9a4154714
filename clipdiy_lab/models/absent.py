"""Which weights would have to be fetched, found out without loading or fetching any."""

from __future__ import annotations

from clipdiy_lab.models import openclip, tokenizers, weights
from clipdiy_lab.models.openclip import HubFile
from clipdiy_lab.models.saliency.found import DINO_WEIGHTS, HEAD_WEIGHTS

FOUND_SOURCES = ("found", "found-seed")
"""Sources of saliency whose weights are fetched at first use."""


def absent_encoder(name: str) -> list[str]:
    """Say which files of an encoder are not on this machine.

    Parameters
    ----------
    name : str
        As for `models.loading.load_encoder`; a package's encoder looks after its weights itself.

    Raises
    ------
    ModelError
        If open_clip has no such model.
    """
    if not openclip.claims(name):
        return []
    named = openclip.find(name)
    absent = [f"the weights of {name!r}"] if isinstance(named.weights, HubFile) and named.weights.here is None else []
    repositories = tokenizers.missing(named.config, own_tokenizer=named.folder is not None)
    return absent + [f"the files of {repository!r} for its texts" for repository in repositories]


def absent_saliency(name: str) -> list[str]:
    """Say which files of a source of saliency are not on this machine."""
    if name not in FOUND_SOURCES:
        return []
    folder = weights.cache_folder()
    return [one.name for one in (DINO_WEIGHTS, HEAD_WEIGHTS) if not (folder / one.name).is_file()]
