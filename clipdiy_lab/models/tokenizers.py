"""Tokenizers: the one that a text tower was trained with, or one that a user gives."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer
from torch import Tensor

from clipdiy_lab.errors import ModelError, spelled
from clipdiy_lab.models import hub

Tokenizer = Callable[[Sequence[str]], Tensor]
"""Takes texts, gives their tokens, L x context length, integers; all of open_clip's are such."""

INSTALL = 'pip install "clipdiy-lab[hf]"'
_PROBES = ("a", "a photo of a cat", "Zwei Äpfel, 3 kg!", "一张猫的照片")
# A tokenizer's repository is here when one of the files is that hold its vocabulary.
_VOCABULARY = ("tokenizer.json", "sentencepiece.bpe.model", "spiece.model", "vocab.json", "vocab.txt")


def needs_transformers(config: Mapping[str, Any]) -> bool:
    """Whether a model's tokenizer or text tower is one of the package transformers."""
    return bool(hub_tokenizer(config) or config["text_cfg"].get("hf_model_name"))


def hub_tokenizer(config: Mapping[str, Any]) -> str | None:
    """Repository of a model's tokenizer; None where it is open_clip's own byte pair encoding."""
    return config["text_cfg"].get("hf_tokenizer_name") or None


def has_transformers() -> bool:
    """Whether the package transformers is installed."""
    try:
        return importlib.util.find_spec("transformers") is not None
    except ValueError:  # somebody put a stand-in where it is imported from
        return False


def is_here(config: Mapping[str, Any]) -> bool:
    """Whether a model's tokenizer, and the configuration of its text tower, can be had without a network."""
    return not needs_transformers(config) or (has_transformers() and not missing(config))


def missing(config: Mapping[str, Any], *, own_tokenizer: bool = False) -> list[str]:
    """Repositories that a model's texts need and that the hub's cache on this machine does not have.

    Parameters
    ----------
    config : mapping
        open_clip's configuration of the model.
    own_tokenizer : bool
        Whether the tokenizer comes from elsewhere.
    """
    wanted: list[tuple[str | None, tuple[str, ...]]] = [] if own_tokenizer else [(hub_tokenizer(config), _VOCABULARY)]
    wanted.append((config["text_cfg"].get("hf_model_name"), ("config.json",)))
    absent = [name for name, files in wanted if name and hub.cached(name, files) is None]
    return list(dict.fromkeys(absent))


def build_tokenizer(
    config: Mapping[str, Any], given: Tokenizer | str | PathLike[str] | None = None, folder: Path | None = None
) -> Any:
    """Build the tokenizer of a model.

    Parameters
    ----------
    config : mapping
        open_clip's configuration of the model, with ``text_cfg``.
    given : callable, path or None
        What the user gives: a tokenizer, or a folder that a tokenizer of transformers was saved into.
    folder : Path or None
        Folder of a model that brings its own tokenizer.

    Returns
    -------
    callable
        With the attribute ``context_length`` where open_clip made it.

    Raises
    ------
    ModelError
        If what is given is no tokenizer, transformers is not installed, or the tokenizer's files cannot be had.
    """
    if given is not None and not isinstance(given, str | PathLike):
        return _checked_object(given)
    text = config["text_cfg"]
    length = text.get("context_length") or DEFAULT_CONTEXT_LENGTH
    options = dict(text.get("tokenizer_kwargs") or {})
    repository = hub_tokenizer(config)
    if given is None and repository is None:
        return open_clip.SimpleTokenizer(context_length=length, **options)
    if given is not None:
        folder = Path(given)
        if not folder.is_dir():
            raise ModelError(f"tokenizer is the path {str(folder)!r}, which is no folder; expected one with its files.")
    elif folder is None and (vocabulary := hub.cached(str(repository), _VOCABULARY)) is not None:
        folder = vocabulary.parent  # where it is in the cache nobody is asked
    source = repository if folder is None else str(folder.absolute())
    try:
        with hub.quiet():
            # Code that a repository brings along is never run.
            return HFTokenizer(
                source,
                context_length=length,
                tokenizer_mode=text.get("tokenizer_mode"),
                trust_remote_code=False,
                local_files_only=folder is not None,
                **options,
            )
    except ImportError as error:
        raise ModelError(
            f"The tokenizer {source!r} needs a package that is not installed ({_first_line(error)}): {INSTALL}."
        ) from error
    except Exception as error:  # transformers and its parsers raise whatever they meet
        raise ModelError(
            f"The tokenizer {source!r} cannot be read ({type(error).__name__}: {_first_line(error)}); give a folder "
            "that save_pretrained of transformers wrote as tokenizer=, or the tokenizer itself."
        ) from error


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), "no reason given")[:200]


def _checked_object(tokenizer: Any) -> Any:
    if not callable(tokenizer) or isinstance(tokenizer, type):
        raise ModelError(
            f"tokenizer is {spelled(tokenizer)}; expected a folder with the files of a tokenizer, or an object that "
            "turns texts into tokens as open_clip's do."
        )
    if hasattr(tokenizer, "save_pretrained") and hasattr(tokenizer, "convert_ids_to_tokens"):
        raise ModelError(
            "tokenizer is one of transformers, which pads and cuts otherwise than open_clip does; save it with "
            "save_pretrained(FOLDER) and give tokenizer=FOLDER."
        )
    return tokenizer


def probe(tokenizer: Any, model: Any, name: str) -> Tensor:
    """Tokenize a few texts, and refuse a tokenizer that the text tower cannot follow.

    Returns
    -------
    Tensor
        4 x context length, integers.

    Raises
    ------
    ModelError
        If it gives no table of integers, more tokens than the tower reads, or tokens that the tower does not know.
    """
    try:
        tokens = tokenizer(list(_PROBES))
    except Exception as error:  # an object of somebody else's
        raise ModelError(
            f"The tokenizer of {name!r} fails on {_PROBES[1]!r} ({type(error).__name__}: {_first_line(error)}); "
            "expected one that takes a list of texts."
        ) from error
    if not isinstance(tokens, Tensor) or tokens.ndim != 2 or len(tokens) != len(_PROBES) or tokens.is_floating_point():
        shape = f" of shape {tuple(tokens.shape)}" if isinstance(tokens, Tensor) else ""
        raise ModelError(
            f"The tokenizer of {name!r} gave {spelled(tokens)}{shape} for {len(_PROBES)} texts; expected a tensor of "
            "integers, texts x tokens."
        )
    tower = getattr(model, "text", None) or model
    length, vocabulary = getattr(tower, "context_length", 0), getattr(tower, "vocab_size", 0)
    # CLIP's own text tower reads rows of one length only, the others shorter ones too.
    if length and (tokens.shape[1] > length or (tower is model and tokens.shape[1] < length)):
        raise ModelError(
            f"The tokenizer gives {tokens.shape[1]} tokens per text, {name!r} reads {length}; build it with that "
            "context length, or use the model's own."
        )
    if vocabulary and not 0 <= int(tokens.min()) <= int(tokens.max()) < vocabulary:
        raise ModelError(
            f"The tokenizer gives the token {int(tokens.max())}, {name!r} knows 0 to {vocabulary - 1}; use its own."
        )
    return tokens


def mark(tokens: Tensor) -> str:
    """Sha256, hexadecimal, by which two tokenizers are told apart: over what they make of the same few texts."""
    return hashlib.sha256(str(tokens.to(torch.int64).tolist()).encode()).hexdigest()


def count_tokens(tokenizer: Any, text: str, tokens: Tensor) -> int:
    """Count how many tokens a text takes, start and end included.

    Parameters
    ----------
    tokenizer : callable
    text : str
    tokens : Tensor
        Of `probe`: how the row of a short text ends.

    Returns
    -------
    int
        More than the tokenizer's context length where the text would be cut. A tokenizer that does not say how long a
        text is counts a text that fills its whole row as cut.
    """
    if hasattr(tokenizer, "encode"):
        return len(tokenizer.encode(text)) + 2
    if isinstance(tokenizer, HFTokenizer):
        return len(tokenizer.tokenizer(tokenizer.clean_fn(text))["input_ids"])
    padding = tokens[0, -1]
    row = tokenizer([text])[0]
    return tokens.shape[1] + 1 if row[-1] != padding else int((row != padding).sum())


def spell(tokenizer: Any, given: Any = None, config: Mapping[str, Any] | None = None) -> str:
    """Say which tokenizer is used, for attributes and files: a path, a repository, or a class."""
    if isinstance(given, str | PathLike):
        return str(Path(given).absolute())
    repository = hub_tokenizer(config) if config is not None and given is None else None
    return repository or f"{type(tokenizer).__module__}.{type(tokenizer).__qualname__}"
