"""Image towers of every family that open_clip builds, small: crops of another size are read right or refused."""

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import resize_pos_embed

import clipdiy_lab as lab
from clipdiy_lab.errors import ModelError
from clipdiy_lab.models.openclip_encoder import OpenClipEncoder

VIT = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1}
COCA_TEXT = TEXT | {"context_length": 76, "embed_cls": True, "output_tokens": True}
COCA = {"multimodal_cfg": {"context_length": 76, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1}}
POOL = {"attn_pooler_queries": 4, "attn_pooler_heads": 2, "output_tokens": True}

# Families whose tower is open_clip's own ViT, with the oddities that its architectures have.
VITS = {
    "ViT": (open_clip.CLIP, VIT, TEXT, {}),
    "ViT, QuickGELU": (open_clip.CLIP, VIT, TEXT, {"quick_gelu": True}),
    "CLIPA": (open_clip.CLIP, VIT | {"pool_type": "avg", "no_ln_pre": True}, TEXT | {"pool_type": "last"}, {}),
    "fixed positions": (open_clip.CLIP, VIT | {"pos_embed_type": "sin_cos_2d", "final_ln_after_pool": True}, TEXT, {}),
    "CoCa": (open_clip.CoCa, VIT | POOL | {"attentional_pool": True}, COCA_TEXT, COCA),
    "CoCa, class token": (open_clip.CoCa, VIT | {"output_tokens": True}, COCA_TEXT, COCA),
    "custom text": (open_clip.CustomTextCLIP, VIT, TEXT, {}),
}
# Families that read one size only.
OTHERS = {
    "ResNet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16, "patch_size": None},
    "timm ViT": {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "linear", "image_size": 32},
    "timm ViT, map": {"timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none", "image_size": 32},
    "timm ConvNeXt": {"timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear", "image_size": 32},
    "timm EVA": {"timm_model_name": "eva02_tiny_patch14_224", "timm_pool": "token", "image_size": 224},
    "FastViT": {"timm_model_name": "fastvit_t8", "timm_pool": "avg", "timm_proj": None, "image_size": 64},
}
WIDTHS = {"timm ViT, map": 64, "FastViT": 768}


def build(kind, vision, text, more, width=32):
    torch.manual_seed(0)
    return kind(embed_dim=width, vision_cfg=vision, text_cfg=text, **more).eval()


def as_encoder(model, name):
    length = 76 if isinstance(model, open_clip.CoCa) else 77
    tokenizer = open_clip.SimpleTokenizer(context_length=length)
    return OpenClipEncoder(model, tokenizer, name=name, mean=(0.5,) * 3, std=(0.5,) * 3)


def crops(side):
    return torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(side))


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)


CONFIG = lab.Config(scales=(32,), image_size=(32, 32), stride=1, background="none")


@pytest.mark.parametrize("family", VITS)
def test_crops_of_another_size_equal_open_clips_model_of_that_size(family, picture):
    kind, vision, text, more = VITS[family]
    model = build(kind, vision, text, more)
    encoder = as_encoder(model, family)
    for side in (32, 64, 16):
        larger = build(kind, vision | {"image_size": side}, text, more)
        state = dict(model.state_dict())
        resize_pos_embed(state, larger)
        larger.load_state_dict(state)
        encoder.check_side(side)
        with torch.inference_mode():
            found, expected = encoder.encode_crops(crops(side)), larger.encode_image(crops(side), normalize=True)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    segmenter = lab.Segmenter(encoder)
    run = segmenter.segment(picture, ["cat", "dog"], CONFIG.replace(crop_input={32: 64}))
    assert run["labels"].shape == (32, 32)


@pytest.mark.parametrize("family", VITS)
def test_attention_is_read_or_refused(family, picture):
    kind, vision, text, more = VITS[family]
    segmenter = lab.Segmenter(as_encoder(build(kind, vision, text, more), family))
    run = segmenter.segment(picture, ["cat", "dog"], CONFIG)
    by_token = "pool_type" not in vision and "attentional_pool" not in vision
    if by_token:
        assert lab.explain.attend(run, segmenter, (32, 0, 0), "cat").shape == (32, 32)
    else:
        with pytest.raises(ModelError, match=r"class-token pooling.*explain\.occlude"):
            lab.explain.attend(run, segmenter, (32, 0, 0), "cat")
    assert lab.explain.occlude(run, segmenter, (32, 0, 0), "cat").shape == (32, 32)


@pytest.mark.parametrize("family", OTHERS)
def test_towers_of_one_size_say_so(family, picture):
    width = WIDTHS.get(family, 32)
    segmenter = lab.Segmenter(as_encoder(build(open_clip.CustomTextCLIP, OTHERS[family], TEXT, {}, width), family))
    run = segmenter.segment(picture, ["cat", "dog"], CONFIG)
    assert np.isfinite(run["fused"]).all()
    with pytest.raises(ModelError, match=r"no plain vision transformer, .*leave out crop_input"):
        segmenter.segment(picture, ["cat"], CONFIG.replace(crop_input={32: 128}))
    with pytest.raises(ModelError, match=r"explain\.occlude"):
        lab.explain.attend(run, segmenter, (32, 0, 0), "cat")
    assert lab.explain.occlude(run, segmenter, (32, 0, 0), "cat").shape == (32, 32)


def test_a_model_of_oblong_images_is_refused():
    model = build(open_clip.CLIP, VIT | {"image_size": (32, 64)}, TEXT, {})
    with pytest.raises(ModelError, match=r"reads images of \(32, 64\) pixels; windows are square"):
        as_encoder(model, "oblong")


def test_every_architecture_is_of_a_family_that_is_tested_here():
    """A new family in a later open_clip has to be looked at."""
    timm = {"convnext", "eva", "eva02", "fastvit", "swin", "vit", "vitamin"}
    known = {"pool_type", "attentional_pool", "output_tokens", "no_ln_pre", "pos_embed_type", "final_ln_after_pool"}
    plain = {"image_size", "layers", "width", "head_width", "patch_size", "mlp_ratio", "ls_init_value", "patch_dropout"}
    plain |= {"attn_pooler_queries", "attn_pooler_heads"}
    for name in open_clip.list_models():
        vision = open_clip.get_model_config(name)["vision_cfg"]
        if "timm_model_name" in vision:
            assert vision["timm_model_name"].split("_")[0] in timm, name
        else:
            assert set(vision) <= known | plain, name
            assert vision.get("attentional_pool", True) is True, name
