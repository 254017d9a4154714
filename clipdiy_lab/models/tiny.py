"""The embedded model `tiny`: a small CLIP, as open_clip builds it, that knows the drawings of the embedded world."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import open_clip
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from clipdiy_lab.errors import WeightsError

_FOLDER = resources.files("clipdiy_lab") / "assets" / "tiny"
TOKEN_IDS, TOKEN_ROWS, TOKEN_TABLE = "token_ids", "token_rows", "token_embedding.weight"


@dataclass(frozen=True)
class Card:
    """What one must know to feed `tiny`.

    Parameters
    ----------
    image_size : int
        Side of the square input in pixels.
    mean, std : tuple of float
        For the normalisation of RGB in [0, 1].
    context_length : int
        Tokens of a text, start and end included.
    """

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    context_length: int


def card(path: Path | None = None) -> Card:
    """The facts of `config.json` that users of the model need."""
    config = read_config(path)
    red, green, blue = config["preprocess_cfg"]["mean"]
    of_red, of_green, of_blue = config["preprocess_cfg"]["std"]
    return Card(
        image_size=config["vision_cfg"]["image_size"],
        mean=(red, green, blue),
        std=(of_red, of_green, of_blue),
        context_length=config["text_cfg"]["context_length"],
    )


def read_config(path: Path | None = None) -> dict[str, Any]:
    """`config.json` beside the weights: open_clip's `embed_dim`, `vision_cfg`, `text_cfg`, and the preprocessing."""
    config: dict[str, Any] = json.loads(_file(path, "config.json").read_text(encoding="utf-8"))
    return config


def expand_state(state: dict[str, Tensor], vocabulary: int = 49408) -> dict[str, Tensor]:
    """Return the state that open_clip's model loads, float32, from what the file stores.

    The file holds float16 and, of the table of token embeddings, only the rows that training touched. Every other row
    becomes the mean of these: an unknown word then says nothing, rather than something at random.

    Parameters
    ----------
    state : dict of Tensor
        As read from the file.
    vocabulary : int
        Number of tokens of the full table.
    """
    full = {name: tensor.float() for name, tensor in state.items() if name not in (TOKEN_IDS, TOKEN_ROWS)}
    rows = state[TOKEN_ROWS].float()
    table = rows.mean(dim=0).repeat(vocabulary, 1)
    table[state[TOKEN_IDS].long()] = rows
    full[TOKEN_TABLE] = table
    return full


def build_tiny(path: Path | None = None) -> open_clip.CLIP:
    """Return `tiny` with its weights, float32, in eval mode.

    Parameters
    ----------
    path : Path, optional
        A folder with another `config.json` and `model.safetensors` of the same kind.

    Raises
    ------
    WeightsError
        If the files are missing or do not fit each other.
    """
    try:
        config = read_config(path)
        state = expand_state(load_tensors(_file(path, "model.safetensors").read_bytes()))
        model = open_clip.CLIP(**{key: config[key] for key in ("embed_dim", "vision_cfg", "text_cfg")})
        model.load_state_dict(state)
    except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
        where = path or "the installed package"
        raise WeightsError(
            f"The weights of 'tiny' in {where} cannot be read ({error}); reinstall the package."
        ) from error
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


def known_words(path: Path | None = None) -> tuple[str, ...]:
    """Names and synonyms that `tiny` was trained on, in alphabetical order."""
    return tuple(sorted(read_config(path)["known_words"]))


def _file(path: Path | None, name: str) -> Traversable:
    return _FOLDER / name if path is None else Path(path) / name
