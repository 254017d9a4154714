"""FOUND: objects are what the background is not, found without a single mask.

Simeoni et al., Unsupervised Object Localization: Observing the Background to Discover Objects, CVPR 2023. The
semantics follow valeoai/FOUND at 1ad22ba (`model.py`, `bkg_seg.py`, `main_visualize.py`): `Found` is the published
model, a 1x1 convolution on the keys of a DINO transformer; `FoundSeed` the training-free discovery that it learnt from.
Both give soft maps: thresholding is a knob of the run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from clipdiy_lab.errors import ModelError
from clipdiy_lab.method.config import Precision
from clipdiy_lab.models.checkpoints import tensors_of
from clipdiy_lab.models.compiled import Calibration
from clipdiy_lab.models.devices import Runtime, resolve_device, resolve_precision
from clipdiy_lab.models.saliency.dino_vit import DinoViT, KeyBackbone, Keys
from clipdiy_lab.models.saliency.fast_dino import FastDino
from clipdiy_lab.models.saliency.inputs import prepare
from clipdiy_lab.models.saliency.protocol import check_image
from clipdiy_lab.models.weights import WeightsFile, fetch, fingerprint, load_into
from clipdiy_lab.threads import one_thread

DINO_WEIGHTS = WeightsFile(
    name="dino_deitsmall8_300ep_pretrain.pth",
    url="https://dl.fbaipublicfiles.com/dino/dino_deitsmall8_300ep_pretrain/dino_deitsmall8_300ep_pretrain.pth",
    source="DINO ViT-S/8 trained 300 epochs, facebookresearch/dino, Apache-2.0; no hash is published",
)
HEAD_WEIGHTS = WeightsFile(
    name="found_decoder_weights.pt",
    url="https://raw.githubusercontent.com/valeoai/FOUND/1ad22bacf1a6854faff1b5d4be300d54cad6f277/"
    "data/weights/decoder_weights.pt",
    sha256="47ff2a4af3dbc6c80cb832cc81f8ed8ae81809e52576d0de5f9c754cf46ef9b5",
    bytes=2689,
    source="the published head of FOUND, valeoai/FOUND, Apache-2.0",
)

_Parts = tuple[KeyBackbone, Mapping[str, Tensor], dict[str, Any]]


class Background(NamedTuple):
    """What the training-free discovery found in a batch.

    Attributes
    ----------
    mask : Tensor
        B x h x w bool; True is background.
    similarity : Tensor
        B x h x w float32 in [-1, 1]: cosine of each patch's keys with those of the seed.
    seed : Tensor
        B int64: the patch, counted row by row, that gets the least attention.
    head_weights : Tensor
        B x heads float32: the weight (beta) of each attention head.
    """

    mask: Bool[Tensor, "batch h w"]
    similarity: Float[Tensor, "batch h w"]
    seed: Int[Tensor, " batch"]
    head_weights: Float[Tensor, "batch heads"]


def discover_background(keys: Keys, tau: float = 0.3, weigh_heads: bool = True, epsilon: float = 1e-10) -> Background:
    """FOUND's background discovery: the patch with the least attention, and all patches that look like it.

    Parameters
    ----------
    keys : Keys
        Keys and attention of a batch.
    tau : float
        Cosine similarity with the seed above which a patch is background, in [-1, 1]. FOUND's is 0.3 (`bkg_th` in
        `configs/found_DUTS-TR.yaml`).
    weigh_heads : bool
        Weigh heads by their sparsity, as FOUND does (`apply_weights`).
    epsilon : float
        Keeps the logarithm finite for a head that attends to nothing.

    Returns
    -------
    Background
        Mask, similarity, seed and head weights.

    Notes
    -----
    With Q_i the share of patches to which head i attends more than the image's mean attention over all heads, head i
    weighs beta_i = log(sum_j Q_j / Q_i): a head that picks out little says more (`bkg_seg.py`; after CroW,
    Kalantidis et al. 2016).
    """
    attention = keys.attention
    weights = _head_weights(attention, epsilon) if weigh_heads else torch.ones_like(attention[:, :, 0])
    seed = (attention * weights[:, :, None]).sum(dim=1).argmin(dim=-1)
    described = F.normalize((keys.keys * weights[:, :, None, None]).transpose(1, 2).flatten(2), dim=-1)
    reference = described[torch.arange(len(seed), device=seed.device), seed]
    similarity = (described @ reference[:, :, None])[..., 0].reshape(len(seed), *keys.grid)
    return Background(mask=similarity > tau, similarity=similarity, seed=seed, head_weights=weights)


class _KeySaliency:
    """What `Found` and `FoundSeed` share: a transformer on a device, one of its blocks, a map out of patches."""

    def __init__(self, backbone: KeyBackbone, block: int, device: str | torch.device) -> None:
        self._device = resolve_device(device)
        self._backbone = backbone.to(self._device)
        self._block = block

    def _keys(self, image: NDArray[np.uint8]) -> Keys:
        return self._backbone.keys_and_attention(prepare(check_image(image), self._backbone, self._device), self._block)

    def _to_image(self, patches: Float[Tensor, "1 1 h w"], image: NDArray[np.uint8]) -> Float[Tensor, "height width"]:
        """Upsample bilinearly by the patch's side, then cut the padding off."""
        factor = float(self._backbone.patch_size)
        upsampled = F.interpolate(patches, scale_factor=factor, mode="bilinear", align_corners=False)
        return upsampled[0, 0, : image.shape[0], : image.shape[1]]


class Found(_KeySaliency):
    """FOUND: a 1x1 convolution on a transformer's keys says how likely each patch is an object.

    Parameters
    ----------
    backbone : KeyBackbone
        The transformer that the head was trained on. It is moved to `device`.
    head : mapping of str to Tensor
        `weight` (1 x embed_dim x 1 x 1) and `bias` (1); with or without the prefix `decoder.` of FOUND's files.
    block : int
        Block whose keys the head reads; FOUND reads the last.
    name : str
        Name in runs and tables.
    device : str or torch.device
        "cpu", "cuda", "mps", or "auto" for the best that is there.
    precision : {"auto", "fp32", "bf16", "fp16", "int8"}
        Of the blocks of a `DinoViT`; another backbone computes as it is. ``auto``: bf16 on a CUDA device that has it,
        fp32 elsewhere. A segmenter asks for the precision of its configuration.
    runtime : {"torch", "openvino"}
        What computes these blocks, see `FastDino`. OpenVINO is for processors, and has fp32, bf16 and int8.
    calibration : sequence of H x W x 3 uint8 arrays, or callable that returns one, optional
        Images that set the ranges of int8.

    Raises
    ------
    ModelError
        If the device is not there, or the runtime cannot do what is asked of it.
    WeightsError
        If the head does not fit the transformer.

    Notes
    -----
    Logits are upsampled, cropped, and only then put through the sigmoid, in this order.
    """

    def __init__(
        self,
        backbone: KeyBackbone,
        head: Mapping[str, Tensor],
        *,
        block: int = -1,
        name: str = "found",
        device: str | torch.device = "cpu",
        precision: Precision = "auto",
        runtime: Runtime = "torch",
        calibration: Calibration | None = None,
    ) -> None:
        where = resolve_device(device)
        used = _in_precision(backbone, precision, where, runtime, calibration)
        super().__init__(used, block, where)
        self.name = name
        self.precision = used.precision if isinstance(used, FastDino) else "fp32"
        self.runtime = used.runtime if isinstance(used, FastDino) else {}
        self._head = nn.Conv2d(backbone.embed_dim, 1, kernel_size=1)
        bare = {key.removeprefix("decoder."): value for key, value in head.items()}
        load_into(self._head, bare, f"the head of {name!r}")
        self.fingerprint = _combine(used.fingerprint, fingerprint(bare), f"block {block}")
        self._head.to(self._device)
        self._made_of: _Parts = (
            backbone,
            head,
            {"block": block, "name": name, "runtime": runtime, "calibration": calibration},
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # What is compiled belongs to one processor; a worker compiles for its own.
        backbone, head, options = self._made_of
        return _remake, (backbone, head, {**options, "device": str(self._device), "precision": self.precision})

    def with_precision(self, precision: Precision) -> Found:
        """Return the same source computing in another precision; the same object where its backbone has but one.

        Raises
        ------
        ModelError
            If the runtime cannot compute in it.
        """
        backbone, head, options = self._made_of
        if not isinstance(backbone, DinoViT):
            return self
        return Found(backbone, head, device=self._device, precision=precision, **options)

    @classmethod
    def published(
        cls,
        device: str | torch.device = "cpu",
        *,
        precision: Precision = "auto",
        runtime: Runtime = "torch",
        calibration: Calibration | None = None,
    ) -> Self:
        """FOUND as its authors published it; fetches DINO ViT-S/8 (300 epochs) and the head if need be.

        Parameters
        ----------
        device : str or torch.device
            "cpu", "cuda", "mps", or "auto" for the best that is there.
        precision, runtime, calibration
            As for `Found`.

        Returns
        -------
        Found
            Ready to be called.

        Raises
        ------
        WeightsError
            If the weights are not on this machine and cannot be fetched.
        """
        head = tensors_of(fetch(HEAD_WEIGHTS, instead="found-tiny"), HEAD_WEIGHTS.name)
        options: dict[str, Any] = {"precision": precision, "runtime": runtime, "calibration": calibration}
        return cls(published_backbone(), head, device=device, **options)

    @torch.no_grad()
    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Soft saliency of an image.

        Parameters
        ----------
        image : ndarray
            H x W x 3 uint8, RGB, of any size.

        Returns
        -------
        ndarray
            H x W float32 in [0, 1]; 1 is foreground.

        Raises
        ------
        ImageError
            If `image` is anything else.
        """
        keys = self._keys(image)
        with one_thread():
            logits = self._head(keys.feature_map())
            saliency: NDArray[np.float32] = self._to_image(logits, image).sigmoid().cpu().numpy()
        return saliency


class FoundSeed(_KeySaliency):
    """FOUND's background discovery alone, which needs no head and no training.

    Parameters
    ----------
    backbone : KeyBackbone
        A self-supervised transformer, DINO's in the paper. It is moved to `device`.
    tau, weigh_heads, epsilon
        As for `discover_background`, with FOUND's values as defaults.
    block : int
        Block whose keys and attention are read; FOUND reads the last.
    name : str
        Name in runs and tables.
    device : str or torch.device
        "cpu", "cuda", "mps", or "auto" for the best that is there.

    Raises
    ------
    ModelError
        If the device is not there, or `tau` is outside [-1, 1].

    Notes
    -----
    The mask itself is hard; upsampling makes its edges soft, one patch wide. `background` gives what lies behind it.
    """

    def __init__(
        self,
        backbone: KeyBackbone,
        *,
        tau: float = 0.3,
        weigh_heads: bool = True,
        epsilon: float = 1e-10,
        block: int = -1,
        name: str = "found-seed",
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__(backbone, block, device)
        if not -1 <= tau <= 1:
            raise ModelError(f"tau={tau} was given for {name!r}, expected a cosine in [-1, 1]: FOUND uses 0.3.")
        self.name = name
        self.tau, self.weigh_heads, self.epsilon = float(tau), bool(weigh_heads), float(epsilon)
        settings = (f"tau {self.tau}", f"weigh_heads {self.weigh_heads}", f"epsilon {self.epsilon}", f"block {block}")
        self.fingerprint = _combine(backbone.fingerprint, *settings)

    @torch.no_grad()
    def background(self, image: NDArray[np.uint8]) -> Background:
        """Background mask, similarity and seed of one image, by patches of the padded image.

        Parameters
        ----------
        image : ndarray
            H x W x 3 uint8, RGB.

        Returns
        -------
        Background
            A batch of one; h = ceil(H / patch), w = ceil(W / patch).

        Raises
        ------
        ImageError
            If `image` is anything else.
        """
        return discover_background(self._keys(image), self.tau, self.weigh_heads, self.epsilon)

    @torch.no_grad()
    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Complement of the background.

        Parameters
        ----------
        image : ndarray
            H x W x 3 uint8, RGB, of any size.

        Returns
        -------
        ndarray
            H x W float32 in [0, 1]; 1 is foreground.

        Raises
        ------
        ImageError
            If `image` is anything else.
        """
        foreground = (~self.background(image).mask).float()[:, None]
        saliency: NDArray[np.float32] = self._to_image(foreground, image).cpu().numpy()
        return saliency


def published_backbone() -> DinoViT:
    """DINO ViT-S/8 trained 300 epochs, which FOUND's head was trained on; fetched if need be.

    Returns
    -------
    DinoViT
        On the CPU, in evaluation mode.

    Raises
    ------
    WeightsError
        If the weights are not on this machine and cannot be fetched, or are not the ones expected.
    """
    tensors = tensors_of(fetch(DINO_WEIGHTS, instead="found-tiny"), DINO_WEIGHTS.name)
    backbone = DinoViT()
    load_into(backbone, tensors, DINO_WEIGHTS.name)
    return backbone.eval()


def _in_precision(
    backbone: KeyBackbone, precision: Precision, device: torch.device, runtime: Runtime, calibration: Calibration | None
) -> KeyBackbone:
    """Return a backbone that computes as it is asked; anything but a `DinoViT` as it is."""
    if not isinstance(backbone, DinoViT):
        return backbone
    if runtime == "openvino":
        return FastDino(backbone, precision, runtime=runtime, calibration=calibration)
    used = resolve_precision(precision, device)
    return backbone if used == "fp32" else FastDino(backbone, used)


def _remake(backbone: KeyBackbone, head: Mapping[str, Tensor], options: dict[str, Any]) -> Found:
    return Found(backbone, head, **options)


def _head_weights(attention: Float[Tensor, "batch heads patches"], epsilon: float) -> Float[Tensor, "batch heads"]:
    threshold = attention.mean(dim=(1, 2), keepdim=True)
    share = (attention > threshold).float().mean(dim=2) + epsilon
    return torch.log(share.sum(dim=1, keepdim=True) / share)


def _combine(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
