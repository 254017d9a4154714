"""Patch tokens of the methods that change the last block: the official codes' outputs, and what the rules imply."""

import json

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from clipdiy_lab.analysis.scoring.sliding import window_starts
from clipdiy_lab.errors import ModelError
from clipdiy_lab.method import attention
from clipdiy_lab.method.attention import mix, neighbourhood
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.method.last_block import METHODS, LastBlock
from clipdiy_lab.method.ops import to_whole_patches
from clipdiy_lab.method.patch_grid import PatchGrid
from clipdiy_lab.models.capabilities import as_token_encoder
from clipdiy_lab.models.dense_tokens import TokenTower
from clipdiy_lab.models.openclip_encoder import OpenClipEncoder

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
    "clearclip_maskclip_noresidual": METHODS["maskclip_reduced"],
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


def tower_of(shared, quick, eps=1e-5):
    config = json.loads(shared("golden_peers/model_config.json").read_text()) | {"quick_gelu": quick}
    visual = open_clip.CLIP(**config).visual.eval()
    visual.load_state_dict(load_file(shared("golden_peers/visual.safetensors")))
    for module in visual.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = eps
    return TokenTower(visual, "peer")


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
    images = to_whole_patches(image[None], tower.patch, block.remainder)
    grid = images.shape[-2] // tower.patch, images.shape[-1] // tower.patch
    before = tower.before_last(images, block.positions)
    return tower.dense(before, tower.heads(before), block, grid)[0]


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


VIT = {"image_size": 32, "layers": 3, "width": 32, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1}
POOL = {"attentional_pool": True, "attn_pooler_queries": 4, "attn_pooler_heads": 2}
TOWERS = {
    "class token": {},
    "mean of the patches": {"pool_type": "avg", "no_ln_pre": True, "final_ln_after_pool": True},
    "fixed positions": {"pos_embed_type": "sin_cos_2d"},
    "attention pooled": POOL,
    "layer scale": {"ls_init_value": 0.5},
}


def small(vision, kind=open_clip.CLIP, **more):
    torch.manual_seed(0)
    model = kind(embed_dim=24, vision_cfg=VIT | vision, text_cfg=TEXT, **more).eval()
    tokenizer = open_clip.SimpleTokenizer(context_length=77)
    return OpenClipEncoder(model, tokenizer, name="small", mean=(0.5,) * 3, std=(0.5,) * 3)


def images(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def unit(vectors):
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(vectors.shape[:-1]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", TOWERS)
@pytest.mark.parametrize("side", [32, 48])
def test_one_pass_gives_the_embeddings_of_the_crops_and_their_tokens(kind, side):
    encoder, crops = small(TOWERS[kind], quick_gelu=True), images(3, 3, side, side)
    with torch.inference_mode():
        expected = encoder.encode_crops(crops)
        for method in METHODS:
            vectors, tokens = encoder.encode_crops_and_tokens(crops, method)
            # The last block is computed for the class token alone, which rounds otherwise.
            torch.testing.assert_close(vectors, expected, atol=1e-6, rtol=0)
            assert tokens.shape == (3, side // 8, side // 8, 24)
            unit(tokens)


def test_the_ordinary_last_block_gives_the_tokens_that_open_clips_own_forward_has():
    encoder, crops = small({"output_tokens": True}), images(2, 3, 32, 32)
    visual = encoder.visual
    with torch.inference_mode():
        _, tokens = visual(crops)
        before = encoder.tokens.before_last(crops)
        heads = encoder.tokens.heads(before)
        plain = encoder.tokens.dense(before, heads, LastBlock(pairs=("qk",), whole=True), (4, 4))
        torch.testing.assert_close(plain.flatten(1, 2), tokens @ visual.proj, atol=2e-6, rtol=0)


def test_a_token_is_pooled_by_attention_as_if_it_were_the_only_one():
    for queries in (1, 4):
        tower = small(POOL | {"attn_pooler_queries": queries}).tokens
        tokens = images(2, 5, 32)
        with torch.inference_mode():
            one_by_one = tower.visual._pool(tokens.reshape(10, 1, 32))[0] @ tower.visual.proj
            torch.testing.assert_close(tower.projected(tokens).flatten(0, 1), one_by_one, atol=2e-6, rtol=0)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("method", METHODS)
def test_half_precision_gives_nearly_the_same_tokens(method, precision):
    encoder, image = small({}), images(3, 40, 56)
    with torch.inference_mode():
        full = encoder.encode_tokens(image, method)
        half = encoder.with_precision(precision).encode_tokens(image, method)
    assert full.shape == half.shape == (5, 7, 24)
    assert half.dtype == torch.float32
    assert float((full * half).sum(-1).min()) > 0.999


def test_rows_of_the_attention_add_up_to_the_number_of_pairs():
    tower = small({}).tokens
    with torch.inference_mode():
        query, key, value = tower.heads(tower.before_last(images(1, 3, 32, 32)))
        for method in ("sclip", "clearclip", "naclip"):
            block = METHODS[method]
            bias = tower.bias(block, (4, 4))
            weights = attention.weights(query, key, block, bias)
            torch.testing.assert_close(weights.sum(-1), torch.full((1, 2, 17), float(len(block.pairs))))
            torch.testing.assert_close(weights @ value, mix(query, key, value, block, bias), atol=2e-6, rtol=0)


def test_the_neighbourhood_is_a_gaussian_of_the_distance_without_the_class_token():
    found = neighbourhood((2, 3), 5.0)
    assert not found[0].any()
    assert not found[:, 0].any()
    assert torch.equal(found.diagonal()[1:], torch.ones(6))
    assert float(found[1, 6]) == pytest.approx(np.exp(-(1 + 4) / 50))  # from (0, 0) to (1, 2)


NO_TOKENS = {
    "ModifiedResNet": {"layers": [1, 1, 1, 1], "width": 8, "head_width": 16, "patch_size": None, "image_size": 64},
    "TimmModel": {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "linear", "image_size": 32},
    "attention of its own kind": {"qk_norm": True},
    "pools by attention twice": {"attentional_pool": "parallel", "width": 24, "attn_pooler_heads": 2, "head_width": 12},
}


@pytest.mark.parametrize("what", NO_TOKENS)
def test_towers_without_such_tokens_are_refused_in_one_sentence(what):
    vision = NO_TOKENS[what] if "image_size" in NO_TOKENS[what] else VIT | NO_TOKENS[what]
    torch.manual_seed(0)
    visual = open_clip.CLIP(embed_dim=24, vision_cfg=vision, text_cfg=TEXT).visual
    with pytest.raises(ModelError, match=rf"the image tower of 'odd' .*{what}.* use dense='none'"):
        TokenTower(visual, "odd")


def test_an_image_of_less_than_a_patch_is_refused():
    with pytest.raises(ModelError, match="40 x 7 pixels, which is less than one patch of 8; give a larger one"):
        small({}).encode_tokens(images(3, 40, 7), "naclip")


def test_encoders_of_ones_own_give_tokens_or_are_refused(counting_encoder):
    assert as_token_encoder(small({})).patch_size == 8
    with pytest.raises(ModelError, match="the encoder 'counting' gives no patch tokens"):
        as_token_encoder(counting_encoder)


def spread_over(similarity, grid):
    down, across = (torch.tensor(matrix, dtype=torch.float32) for matrix in grid.matrices())
    return down @ similarity.permute(2, 0, 1) @ across.T


def resized(maps, size):
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]


def upsampled(method, similarity, size, original):
    """Cosines at the size of the original, in the steps that the method takes."""
    if method == "sclip":  # in one step, over the whole of it
        whole = tuple(map(float, original))
        grid = PatchGrid(
            name="dense", frame=original, tokens=similarity.shape[:2], starts=((0.0,), (0.0,)), sides=whole
        )
        return spread_over(similarity, grid)
    (grid,) = Plan.of(Config(scales=(), image_size=size, dense=method, patches=(96, 16)))
    assert (grid.rows, grid.cols) == similarity.shape[:2]
    return resized(spread_over(similarity, grid), original)


@pytest.mark.parametrize("file", DEFAULTS)
def test_maps_of_whole_images_are_those_of_the_official_code(peer, shared, towers, file):
    expected, inputs, text = peer(file), peer("inputs"), torch.from_numpy(peer("text")["text"])
    method = file.split("_")[0]
    imagenet = method == "maskclip"
    known = json.loads(shared("golden_peers/index.json").read_text())["inputs"]
    for name in WHOLE_INPUTS:
        tower = towers["maskclip" if imagenet else "quickgelu"]
        features = run(tower, normalised(inputs, name, imagenet), DEFAULTS[file])
        size, original = (tuple(known[name][key]) for key in ("shape", "ori_shape"))
        maps = upsampled(method, F.normalize(features, dim=-1) @ text.T, size, original)
        close(maps[:, ::8, ::8], expected[f"{name}.logits_every8"], 5e-6)
        assert (maps.argmax(0).numpy() == expected[f"{name}.labels_plain"]).mean() >= 0.9995


@pytest.mark.parametrize("method", ["sclip", "clearclip", "naclip"])
@pytest.mark.parametrize("name", ["slide", "slide_ragged"])
def test_windows_of_the_official_code_give_its_maps(peer, shared, towers, method, name):
    """Windows are the protocol's; each is an image to the tower, and the mean over them is taken of cosines."""
    file = next(file for file in DEFAULTS if file.startswith(method))
    expected, inputs, text = peer(file), peer("inputs"), torch.from_numpy(peer("text")["text"])
    image = normalised(inputs, name, imagenet=False)
    original = tuple(json.loads(shared("golden_peers/index.json").read_text())["inputs"][name]["ori_shape"])
    window, stride = 112, 56
    total, times = torch.zeros(len(text), *image.shape[1:]), torch.zeros(image.shape[1:])
    places = []
    for top in window_starts(image.shape[1], window, stride):
        for left in window_starts(image.shape[2], window, stride):
            part = image[:, top : top + window, left : left + window]
            size = tuple(part.shape[1:])
            features = run(towers["quickgelu"], part, DEFAULTS[file])
            similarity = F.normalize(features, dim=-1) @ text.T
            maps = upsampled("clearclip" if method == "clearclip" else "naclip", similarity, size, size)
            total[:, top : top + size[0], left : left + size[1]] += maps
            times[top : top + size[0], left : left + size[1]] += 1
            places.append((top, top + size[0], left, left + size[1]))
    assert np.array_equal(expected[f"{name}.windows"], places)
    maps = resized(total / times, original)
    close(maps[:, ::8, ::8], expected[f"{name}.logits_every8"], 5e-6)
    assert (maps.argmax(0).numpy() == expected[f"{name}.labels_plain"]).mean() >= 0.9995
