"""Patch tokens of the methods that change the last block: the official codes' outputs, and what follows from the rules."""

import json

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from clipdiy_lab.method.last_block import METHODS, LastBlock
from clipdiy_lab.models.dense_tokens import DenseTower, fill

REDUCED = {name: LastBlock(pairs=pairs, whole=False) for name, pairs in (("qq", ("qq",)), ("kk", ("kk",)))}
WHOLE_INPUTS = ("native", "square", "wide", "tall", "same_count", "odd", "small")
CSA = ("qq", "kk")

# File of the official code's outputs -> the block that it computes.
DEFAULTS = {
    "maskclip_default": METHODS["maskclip"],
    "sclip_csa": METHODS["sclip"],
    "clearclip_default": METHODS["clearclip"],
    "naclip_default": METHODS["naclip"],
}
VARIANTS = {
    "sclip_qk": LastBlock(pairs=("qk",), whole=True),
    "clearclip_vanilla_residual": LastBlock(pairs=("qk",), whole=True),
    "clearclip_vanilla_noresidual": LastBlock(pairs=("qk",), whole=False),
    "clearclip_maskclip_residual": LastBlock(pairs=(), whole=True),
    "clearclip_maskclip_noresidual": LastBlock(pairs=(), whole=False),
    "clearclip_sclip_residual": LastBlock(pairs=CSA, whole=True),
    "clearclip_sclip_noresidual": LastBlock(pairs=CSA, whole=False),
    "clearclip_clearclip_residual": LastBlock(pairs=("qq",), whole=True),
    "clearclip_clearclip_noresidual_gelu": LastBlock(pairs=("qq",), whole=False),
    "naclip_naclip_vanilla": LastBlock(pairs=("kk",), whole=True, sigma=5.0),
    "naclip_naclip_reduced_std2": LastBlock(pairs=("kk",), whole=False, sigma=2.0),
    "naclip_kk_reduced": LastBlock(pairs=("kk",), whole=False),
    "naclip_kk_vanilla": LastBlock(pairs=("kk",), whole=True),
    "naclip_csa_vanilla": LastBlock(pairs=CSA, whole=True),
    "naclip_vanilla_vanilla": LastBlock(pairs=("qk",), whole=True),
    "naclip_vanilla_reduced": LastBlock(pairs=("qk",), whole=False),
}


@pytest.fixture(scope="module")
def peer(shared):
    """Read a file of the official codes' outputs."""

    def read(name):
        with np.load(shared(f"golden_peers/{name}.npz")) as data:
            return dict(data)

    return read


def tower_of(shared, quick, eps=1e-5):
    config = json.loads(shared("golden_peers/model_config.json").read_text()) | {"quick_gelu": quick}
    visual = open_clip.CLIP(**config).visual.eval()
    visual.load_state_dict(load_file(shared("golden_peers/visual.safetensors")))
    for module in visual.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = eps
    return DenseTower(visual, "peer")


@pytest.fixture(scope="module")
def towers(shared):
    return {
        "quickgelu": tower_of(shared, True),
        "gelu": tower_of(shared, False),
        # As MaskCLIP's code runs OpenAI's weights.
        "maskclip": tower_of(shared, False, eps=1e-6),
    }


def normalised(inputs, name, imagenet):
    if not imagenet:
        return torch.from_numpy(inputs[f"{name}.normalised"])
    pixels = inputs[f"{name}.image"].astype(np.float32)
    mean, std = np.float32([123.675, 116.28, 103.53]), np.float32([58.395, 57.12, 57.375])
    return torch.from_numpy((pixels - mean) / std).permute(2, 0, 1)


def close(found, expected, bound):
    np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=bound)


@torch.inference_mode()
def run(tower, image, block):
    images = fill(image[None], tower.patch, block.remainder)
    grid = images.shape[-2] // tower.patch, images.shape[-1] // tower.patch
    return tower.dense(tower.before_last(images, block.positions), block, grid)[0]


@pytest.mark.parametrize("file", [*DEFAULTS, *VARIANTS])
def test_features_and_similarities_are_those_of_the_official_code(peer, towers, file):
    block = (DEFAULTS | VARIANTS)[file]
    expected, inputs, text = peer(file), peer("inputs"), torch.from_numpy(peer("text")["text"])
    names = [name for name in WHOLE_INPUTS if f"{name}.features" in expected]
    assert names if file in VARIANTS else names == list(WHOLE_INPUTS)
    imagenet = file.startswith("maskclip")
    tower = towers["maskclip" if imagenet else "gelu" if "gelu" in file else "quickgelu"]
    for name in names:
        features = run(tower, normalised(inputs, name, imagenet), block)
        close(features, expected[f"{name}.features"], 2e-5)
        close(F.normalize(features, dim=-1) @ text.T, expected[f"{name}.similarity"], 5e-6)
