"""What a name of open_clip's stands for: a network, what is known of its weights, and where they lie."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.factory import HF_HUB_PREFIX, LOCAL_DIR_PREFIX
from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed, resize_text_pos_embed
from torch import Tensor, nn

from clipdiy_lab.errors import ModelError, WeightsError, nearest
from clipdiy_lab.models import hub, usage, weights

_CONFIG = "open_clip_config.json"
# In a repository of the hub without a file of another name, and first of all in a folder; safetensors go first.
_HUB_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_FOLDER_WEIGHTS = (*_HUB_WEIGHTS, "open_clip_pytorch_model.pth", "model.safetensors", "pytorch_model.bin", "model.pth")
_WEIGHTS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")


@dataclass(frozen=True)
class HubFile:
    """Weights in a repository of the hub.

    Attributes
    ----------
    repository : str
    names : tuple of str
        File names, in the order of preference.
    """

    repository: str
    names: tuple[str, ...]

    @property
    def here(self) -> Path | None:
        """The file in the cache of this machine, or None."""
        return hub.cached(self.repository, self.names)


@dataclass(frozen=True)
class Named:
    """What a name stands for.

    Attributes
    ----------
    name : str
        As it was given.
    config : dict
        open_clip's configuration of the network: ``embed_dim``, ``vision_cfg``, ``text_cfg`` and more.
    said : dict of str to dict
        What is known of how its weights are run, see `usage.settle`.
    weights : Path, HubFile or None
        Where its weights lie; None for an architecture alone.
    folder : Path or None
        A folder that brings its own tokenizer.
    """

    name: str
    config: dict[str, Any]
    said: dict[str, dict[str, Any]]
    weights: Path | HubFile | None = None
    folder: Path | None = None

    @property
    def default_activation(self) -> usage.Activation:
        """What the configuration of the network says."""
        return "quickgelu" if self.config.get("quick_gelu", False) else "gelu"


def claims(name: str) -> bool:
    """Whether a name is one of open_clip's: of the hub, a folder, or an architecture, whatever its tag."""
    return name.startswith((HF_HUB_PREFIX, LOCAL_DIR_PREFIX)) or name.partition("/")[0] in open_clip.list_models()


def find(name: str, has_checkpoint: bool = False) -> Named:
    """Look a name up.

    Parameters
    ----------
    name : str
        ``ARCHITECTURE/TAG``, ``hf-hub:OWNER/REPOSITORY``, ``local-dir:FOLDER``, or with a checkpoint an architecture.
    has_checkpoint : bool
        Whether the weights come from elsewhere.

    Raises
    ------
    ModelError
        Unknown architecture or tag (with the nearest names), no weights, or a configuration that cannot be read.
    """
    if name.startswith(LOCAL_DIR_PREFIX):
        return _in_folder(name, Path(name.removeprefix(LOCAL_DIR_PREFIX)), has_checkpoint)
    if name.startswith(HF_HUB_PREFIX):
        return _on_hub(name, name.removeprefix(HF_HUB_PREFIX))
    architecture, _, tag = name.partition("/")
    tags = _check_known(architecture, tag, has_checkpoint)
    config = open_clip.get_model_config(architecture)
    said = {known: usage.of_tag(architecture, known) for known in ([tag] if tag else tags)}
    return Named(name, config, said, hub_file(architecture, tag) if tag else None)


def hub_file(architecture: str, tag: str) -> HubFile:
    """Where the hub has the weights of a tag."""
    # "owner/repository/" or, for a file with a name of its own, "owner/repository/file".
    owner, _, rest = open_clip.get_pretrained_cfg(architecture, tag).get("hf_hub", "").partition("/")
    repository, _, file = rest.partition("/")
    names = (f"{Path(file).stem}.safetensors", file) if file else _HUB_WEIGHTS
    return HubFile(f"{owner}/{repository}", names)


def _check_known(architecture: str, tag: str, has_checkpoint: bool) -> list[str]:
    """Return the architecture's tags."""
    tags: list[str] = open_clip.list_pretrained_tags_by_model(architecture)
    if not tag and not has_checkpoint:
        raise ModelError(
            f"model {architecture!r} needs a tag, e.g. '{architecture}/{tags[0]}', or checkpoint=PATH."
            if tags
            else f"open_clip knows no weights for {architecture!r}; give checkpoint=PATH."
        )
    if tag and tag not in tags:
        advice = nearest(tag, tags) if tags else f"open_clip knows none; name it {architecture!r} with checkpoint=PATH."
        raise ModelError(f"model {architecture!r} has no weights {tag!r}. {advice}")
    return tags


def _in_folder(name: str, folder: Path, has_checkpoint: bool) -> Named:
    if not folder.is_dir():
        raise ModelError(f"{name!r} names no folder of this machine; give the path of one that holds {_CONFIG}.")
    config = _read_config(folder / _CONFIG)
    where = None if has_checkpoint else _weights_in(folder)
    said = {str(folder): usage.of_config(config, str(folder / _CONFIG))}
    return Named(f"{LOCAL_DIR_PREFIX}{folder.absolute()}", config["model_cfg"], said, where, folder)


def _on_hub(name: str, repository: str) -> Named:
    if hub.cached(repository, (_CONFIG,)) is None:
        hub.require_network([f"the configuration and weights of {name!r}"])
    path = hub.obtain(repository, (_CONFIG,), f"the configuration of {name!r}")
    config = _read_config(path)
    said = {name: usage.of_config(config, f"{_CONFIG} of {name!r}")}
    return Named(name, config["model_cfg"], said, HubFile(repository, _HUB_WEIGHTS))


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config: Any = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as the configuration of a model ({error}).") from error
    model = config.get("model_cfg") if isinstance(config, dict) else None
    if not isinstance(model, dict) or not all(isinstance(model.get(one), dict) for one in ("vision_cfg", "text_cfg")):
        raise ModelError(
            f"{path} is no configuration of open_clip's: expected model_cfg with embed_dim, vision_cfg and text_cfg, "
            "as open_clip's push_to_hf_hub writes it."
        )
    return dict(config)


def _weights_in(folder: Path) -> Path:
    there = {path.name: path for path in sorted(folder.iterdir()) if path.suffix in _WEIGHTS_SUFFIXES}
    first = next((there[name] for name in _FOLDER_WEIGHTS if name in there), None)
    if first is not None:
        return first
    if len(there) != 1:
        listed = f"several ({', '.join(list(there)[:4])})" if there else "none"
        raise ModelError(f"Of weights {str(folder)!r} holds {listed}; name the file as checkpoint=PATH.")
    return next(iter(there.values()))


def build(named: Named, activation: usage.Activation) -> Any:
    """Build the network of a name, with random weights.

    Raises
    ------
    ModelError
        If open_clip cannot build it.
    """
    options = deepcopy(named.config)
    vision, text = options["vision_cfg"], options["text_cfg"]
    # No weights of towers are fetched: those of the whole model follow.
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    of_hub = text.get("hf_model_name")
    if of_hub:
        where = f"the configuration of the text tower {of_hub!r}"
        text |= {"hf_model_pretrained": False, "hf_model_name": str(hub.obtain(of_hub, ("config.json",), where).parent)}
    custom = options.pop("custom_text", False) or bool(of_hub)
    kind = (open_clip.CoCa if "multimodal_cfg" in options else open_clip.CustomTextCLIP) if custom else open_clip.CLIP
    try:
        with hub.quiet():
            return kind(**options | {"quick_gelu": activation == "quickgelu"})
    except Exception as error:  # a foreign configuration can ask for anything
        raise ModelError(
            f"open_clip {open_clip.__version__} cannot build {named.name!r} with activation {activation!r} "
            f"({type(error).__name__}: {error})."
        ) from error


def says(tensors: Mapping[str, Tensor]) -> usage.Said:
    """Return what a weights file says of how it is run: OpenAI's are known by what they keep beside the weights."""
    return usage.OPENAI_SAYS if all(name in tensors for name in usage.OPENAI_FIELDS) else {}


def fit(model: Any, tensors: Mapping[str, Tensor], where: str, *, resize: bool) -> None:
    """Load weights into a network that `build` made, under whichever names open_clip has ever given them.

    Parameters
    ----------
    model : nn.Module
    tensors : mapping of str to Tensor
    where : str
        Where they come from, for the error.
    resize : bool
        Whether position embeddings of another size are interpolated, as open_clip does. For weights that were made for
        this very name; a checkpoint of another architecture is then not taken for one of this.

    Raises
    ------
    WeightsError
        If they do not fit, see `weights.load_into`.
    """
    if any(name.startswith("vision_model.") for name in tensors):
        raise WeightsError(
            f"The weights of {where} have the names of transformers' CLIPModel, not of open_clip's: use the same model "
            "from open_clip's list (list_models), or convert it."
        )
    state = {name: value for name, value in tensors.items() if name not in usage.OPENAI_FIELDS}
    try:
        state = dict(convert_state_dict(model, state))
        if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
            state = dict(convert_to_custom_text_state_dict(state))
        if resize:
            resize_pos_embed(state, model)
            resize_text_pos_embed(state, model)
    except Exception as error:  # names of a known program, shapes of another
        raise WeightsError(
            f"The weights of {where} cannot be brought to open_clip's names ({type(error).__name__}: {error}). Use the "
            "file that was made for this model."
        ) from error
    _settle_scalars(model, state)
    weights.load_into(model, state, where)


def _settle_scalars(model: Any, state: dict[str, Tensor]) -> None:
    """Scale and bias of the logits: cosines do without, so their form, or a bias too many, is no reason to refuse."""
    state.pop("text.transformer.embeddings.position_ids", None)  # older transformers saved them
    expected: dict[str, nn.Parameter] = {
        name: value for name in ("logit_scale", "logit_bias") if (value := getattr(model, name, None)) is not None
    }
    for name, parameter in expected.items():
        if name in state and state[name].numel() == parameter.numel():
            state[name] = state[name].reshape(parameter.shape)
    if "logit_bias" not in expected:
        state.pop("logit_bias", None)
    else:
        state.setdefault("logit_bias", torch.zeros_like(expected["logit_bias"]))
