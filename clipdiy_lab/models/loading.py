"""Encoders by name: what can be named, what it needs, and how it is loaded."""

from __future__ import annotations

from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import open_clip
import pandas as pd
import torch

from clipdiy_lab.errors import ModelError, nearest
from clipdiy_lab.method.config import Precision
from clipdiy_lab.models import hub, openclip, tiny, tokenizers, usage
from clipdiy_lab.models.capabilities import HasDevice, in_precision
from clipdiy_lab.models.checkpoints import read_checkpoint
from clipdiy_lab.models.devices import resolve_device
from clipdiy_lab.models.encoders import EMBEDDED, Encoder, as_encoder
from clipdiy_lab.models.openclip import HubFile, Named
from clipdiy_lab.models.openclip_encoder import OpenClipEncoder
from clipdiy_lab.models.recipes import Recipe
from clipdiy_lab.models.registry import Registry, call, package
from clipdiy_lab.models.tokenizers import Tokenizer


def load_encoder(
    name: str, *, device: str | torch.device = "auto", precision: Precision = "auto", **options: Any
) -> Encoder:
    """Load an encoder by name.

    Parameters
    ----------
    name : str
        ``"tiny"`` (embedded); a name of open_clip's, see `load_openclip`; or one that an installed package registers
        under the entry points ``clipdiy_lab.encoders``.
    device : str
        See `resolve_device`.
    precision : str
        As the encoder has it, see `capabilities.HasPrecision`.
    **options
        What else the name takes: of open_clip's what `load_openclip` says, of a package's what its builder says.

    Raises
    ------
    ModelError
        If the name is unknown (with the nearest names), an option makes no sense, the device is not there, or what a
        package brings cannot be used; see `load_openclip` for the rest.
    ConfigError
        If the encoder cannot compute in the precision.
    """
    where = resolve_device(device)
    if openclip.claims(name):
        asked = {**options, "device": str(device), "precision": precision}
        return call(f"The encoder {name!r}", partial(load_openclip, name), asked)
    if name not in ENCODERS.builders and name not in (known := ENCODERS.plugins()):
        advice = nearest(name.partition("/")[0], [*ENCODERS.builders, *known, *open_clip.list_models()])
        raise ModelError(f"there is no model {name!r}. {advice}")
    encoder = ENCODERS.build(name, device=str(device), precision=precision, **options)
    there = encoder.device if isinstance(encoder, HasDevice) else resolve_device("cpu")
    if device != "auto" and there.type != where.type:
        raise ModelError(f"the encoder {name!r} computes on {there}; device={str(device)!r} cannot be chosen for it.")
    return in_precision(encoder, precision)


def load_openclip(
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
    """Load a model of open_clip's, and run its weights as they were trained.

    Parameters
    ----------
    name : str
        ``"ARCHITECTURE/TAG"`` of `list_models`, ``"hf-hub:OWNER/REPOSITORY"`` or ``"local-dir:FOLDER"`` (both with an
        ``open_clip_config.json``), or with `checkpoint` an architecture.
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
    options = user | {
        "checkpoint": None if checkpoint is None else Path(checkpoint),
        "sha256": actual if local else sha256,
        "tokenizer": Path(tokenizer) if isinstance(tokenizer, str | PathLike) else tokenizer,
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
        # Without one where the tokenizer is an object: nobody else can make it again.
        recipe=Recipe.of(named.name, {option: value for option, value in options.items() if value is not None}),
    )


def _load_embedded(*, device: str = "auto", precision: Precision = "auto", **options: Any) -> Encoder:
    if options:
        raise ModelError(
            f"the model {EMBEDDED!r} is embedded and takes no {' or '.join(options)}; leave it out, or name the "
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
        recipe=Recipe(EMBEDDED, {"device": device}),
    )


ENCODERS: Registry[Encoder] = Registry(
    "encoder", "clipdiy_lab.encoders", {EMBEDDED: _load_embedded}, as_encoder, openclip.claims
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
    """List every encoder that can be loaded by name: the embedded one, those of installed packages, and open_clip's.

    Returns
    -------
    pandas.DataFrame
        Columns ``name`` (what `load` takes), ``architecture`` (of a package's encoder: what builds it), ``tag``,
        ``needs`` (a package that is not part of the lab's core, or nothing), ``here`` (usable without a download and
        without another installation).

    Warns
    -----
    ClipdiyWarning
        If a package registers a name of the lab; the lab's own takes precedence.
    """
    rows = [{"name": EMBEDDED, "architecture": "ViT-S/8 at 64 px", "tag": "scenes", "needs": "", "here": True}]
    rows += [
        {"name": name, "architecture": point.value, "tag": "", "needs": package(point), "here": True}
        for name, points in ENCODERS.plugins().items()
        for point in points
    ]
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
    """Say in one line how the weights of a name of `list_models` are run; a package's encoder is not loaded for it."""
    if name == EMBEDDED:
        size, mean, std = (tiny.card().image_size, tiny.card().mean, tiny.card().std)
        return f"{usage.Usage(mean, std, 'gelu', 'bicubic')}, {size} px"
    if not openclip.claims(name):
        return f"of {' and '.join(map(package, ENCODERS.plugins().get(name, [])))}"
    named = openclip.find(name)
    run = usage.settle(name, named.said, {}, {}, named.default_activation)
    return f"{run}, {named.config['vision_cfg'].get('image_size', 224)} px"
