"""Which weights would have to be fetched, found out without loading or fetching any."""

from __future__ import annotations

from clipdiy_lab.models import openclip, tokenizers, weights
from clipdiy_lab.models.openclip import HubFile
from clipdiy_lab.models.saliency.found import DINO_WEIGHTS, HEAD_WEIGHTS

_FETCHED = {"found": (DINO_WEIGHTS, HEAD_WEIGHTS), "found-seed": (DINO_WEIGHTS,)}
"""What sources of saliency fetch at first use."""


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
    folder = weights.cache_folder()
    return [file.name for file in _FETCHED.get(name, ()) if not (folder / file.name).is_file()]
