"""Encoders by name: what can be named, what it needs, and how it is loaded."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import open_clip
import pandas as pd

from clipdiy_lab.errors import ModelError
from clipdiy_lab.method.config import Precision
from clipdiy_lab.models import hub, openclip, tiny, tokenizers, usage
from clipdiy_lab.models.checkpoints import read_checkpoint
from clipdiy_lab.models.devices import resolve_device
from clipdiy_lab.models.encoders import OpenClipEncoder
from clipdiy_lab.models.openclip import EMBEDDED, HubFile, Named
from clipdiy_lab.models.tokenizers import Tokenizer


def load_encoder(
    name: str,
    *,
    checkpoint: str | PathLike[str] | None = None,
    sha256: str | None = None,
    mean: Any = None,
    std: Any = None,
    activation: usage.Activation | None = None,
    tokenizer: Tokenizer | str | PathLike[str] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
) -> OpenClipEncoder:
    """Load an encoder by name, and run its weights as they were trained.

    Parameters
    ----------
    name : str
        ``"tiny"`` (embedded), ``"ARCHITECTURE/TAG"`` of `list_models`, ``"hf-hub:OWNER/REPOSITORY"`` or
        ``"local-dir:FOLDER"`` (both with an ``open_clip_config.json``), or with `checkpoint` an architecture of
        open_clip.
    checkpoint : path, optional
        Local weights, read as `checkpoints.read_checkpoint` says. A tag beside it says how they are run.
    sha256 : str, optional
        Expected hash of the file of weights, wherever it comes from.
    mean, std : three floats, optional
        Normalisation of the images that the weights were trained with, on the scale [0, 1].
    activation : {"gelu", "quickgelu"}, optional
        What they were trained with. These three go before what the tag, the file and the architecture say.
    tokenizer : callable or path, optional
        Instead of the model's own: an object that turns texts into tokens as open_clip's do, or a folder that
        transformers saved one into.
    device, precision : str
        See `resolve_device` and `OpenClipEncoder`.

    Raises
    ------
    ModelError
        Unknown architecture or tag (with the nearest names), an option that makes no sense, a package that is missing,
        weights or tokenizers that are neither here nor to be fetched; or weights of which nobody says how they are run,
        where open_clip's tags of the architecture disagree.
    WeightsError
        A file of weights that is missing, has another hash, does not fit the architecture, or holds no sound numbers.

    Warns
    -----
    ClipdiyWarning
        Where nobody says how the weights are run, and open_clip's defaults are taken: the architecture has no tags.
    """
    where = resolve_device(device)
    user = usage.of_user(mean, std, activation)
    given = user | {"checkpoint": checkpoint, "sha256": sha256, "tokenizer": tokenizer}
    if name == EMBEDDED:
        return _load_embedded(given, device=str(device), precision=precision)
    named = openclip.find(name, has_checkpoint=checkpoint is not None)
    path = Path(checkpoint) if checkpoint is not None else named.weights
    _require(named, path, tokenizer)
    text = tokenizers.build_tokenizer(named.config, tokenizer, named.folder)
    if isinstance(path, HubFile):
        path = hub.obtain(path.repository, path.names, f"the weights of {name!r}")
    assert path is not None  # `find` gives one, or refuses
    tensors, actual = read_checkpoint(path, sha256)
    run = usage.settle(name, named.said, openclip.says(tensors), user, named.default_activation)
    model = openclip.build(named, run.activation)
    openclip.fit(model, tensors, f"{path} for {named.name!r}", resize=checkpoint is None)
    local = checkpoint is not None or isinstance(named.weights, Path)
    recipe = {
        "name": named.name,
        **user,
        "checkpoint": None if checkpoint is None else str(path.absolute()),
        "sha256": actual if local else sha256,
        "tokenizer": str(Path(tokenizer).absolute()) if isinstance(tokenizer, str | PathLike) else tokenizer,
        "device": str(device),
    }
    return OpenClipEncoder(
        model,
        text,
        name=named.name,
        mean=run.mean,
        std=run.std,
        interpolation=run.interpolation,
        tokenizer_name=tokenizers.spell(text, tokenizer, named.config),
        device=where,
        precision=precision,
        recipe={name: value for name, value in recipe.items() if value is not None},
    )


def _load_embedded(given: dict[str, Any], *, device: str, precision: Precision) -> OpenClipEncoder:
    extra = [name for name, value in given.items() if value is not None]
    if extra:
        raise ModelError(
            f"the model {EMBEDDED!r} is embedded and takes no {' or '.join(extra)}; leave it out, or name the "
            "architecture of the checkpoint, such as 'ViT-B-32'."
        )
    config = tiny.read_config()
    return OpenClipEncoder(
        tiny.build_tiny(),
        open_clip.SimpleTokenizer(context_length=config["text_cfg"]["context_length"]),
        name=EMBEDDED,
        mean=config["preprocess_cfg"]["mean"],
        std=config["preprocess_cfg"]["std"],
        device=resolve_device(device),
        precision=precision,
        known_words=frozenset(tiny.known_words()),
        recipe={"name": EMBEDDED, "device": device},
    )


def _require(named: Named, path: Path | HubFile | None, tokenizer: Any) -> None:
    """Refuse, before anything is fetched, what cannot be completed on this machine."""
    tower = named.config["text_cfg"].get("hf_model_name")
    from_files = isinstance(tokenizer, str | PathLike) or (
        tokenizer is None and tokenizers.hub_tokenizer(named.config) is not None
    )
    if (tower or from_files) and not tokenizers.has_transformers():
        way_out = "" if tower else ", or give an object that turns texts into tokens as tokenizer="
        raise ModelError(
            f"the texts of {named.name!r} need the package transformers, which is not installed: {tokenizers.INSTALL}"
            f"{way_out}."
        )
    absent = [] if not isinstance(path, HubFile) or path.here else [f"the weights of {named.name!r}"]
    elsewhere = tokenizer is not None or named.folder is not None
    absent += [
        f"the files of {repository!r} for its texts"
        for repository in tokenizers.missing(named.config, own_tokenizer=elsewhere)
    ]
    hub.require_network(absent)


def list_models() -> pd.DataFrame:
    """Every encoder that has a name: the embedded one, and open_clip's models and tags.

    Returns
    -------
    pandas.DataFrame
        Columns ``name`` (what `load` takes), ``architecture``, ``tag``, ``needs`` (a package that is not part of the
        lab's core, or nothing), ``here`` (usable without a download and without another installation).
    """
    rows = [{"name": EMBEDDED, "architecture": "ViT-S/8 at 64 px", "tag": "scenes", "needs": "", "here": True}]
    configs = {architecture: open_clip.get_model_config(architecture) for architecture in open_clip.list_models()}
    ready = {architecture: tokenizers.is_here(config) for architecture, config in configs.items()}
    rows += [
        {
            "name": f"{architecture}/{tag}",
            "architecture": architecture,
            "tag": tag,
            "needs": "transformers" if tokenizers.needs_transformers(configs[architecture]) else "",
            "here": ready[architecture] and openclip.hub_file(architecture, tag).here is not None,
        }
        for architecture, tag in open_clip.list_pretrained()
    ]
    return pd.DataFrame(rows)


def describe(name: str) -> str:
    """Say in one line how the weights of a name of `list_models` are run."""
    if name == EMBEDDED:
        size, mean, std = (tiny.card().image_size, tiny.card().mean, tiny.card().std)
        return f"{usage.Usage(mean, std, 'gelu', 'bicubic')}, {size} px"
    named = openclip.find(name)
    run = usage.settle(name, named.said, {}, {}, named.default_activation)
    return f"{run}, {named.config['vision_cfg'].get('image_size', 224)} px"
