"""The two transformers that show their keys: DINO's, and open_clip's against open_clip itself."""

from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipdiy_lab.errors import ModelError
from clipdiy_lab.models.saliency.dino_vit import DinoViT, KeyBackbone, OpenClipViT

TEXT = open_clip.CLIPTextCfg(context_length=8, vocab_size=64, width=16, heads=2, layers=1)


def tower(**changes: Any) -> Any:
    torch.manual_seed(0)
    settings = {"image_size": 32, "patch_size": 8, "width": 48, "layers": 3, "head_width": 16, **changes}
    model = open_clip.CLIP(embed_dim=24, vision_cfg=open_clip.CLIPVisionCfg(**settings), text_cfg=TEXT)
    return model.visual.eval()


def random_images(*shape: int) -> Tensor:
    return torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(1))


def theirs(visual: Any, images: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Keys and class-token attention that open_clip's own forward pass uses in `block`, caught by a hook."""
    caught: dict[str, Tensor] = {}
    attention = visual.transformer.resblocks[block].attn

    def catch(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        caught["tokens"] = inputs[0].detach()

    with torch.no_grad():
        handle = attention.register_forward_pre_hook(catch)
        visual(images)
        handle.remove()
        tokens = caught["tokens"]
        _, weights = attention(tokens, tokens, tokens, need_weights=True, average_attn_weights=False)
        width = attention.embed_dim
        keys = F.linear(tokens, attention.in_proj_weight, attention.in_proj_bias)[..., width : 2 * width]
    heads = attention.num_heads
    return keys[:, 1:].reshape(len(keys), -1, heads, width // heads).transpose(1, 2), weights[:, :, 0, 1:]


@pytest.mark.parametrize("changes", [{}, {"ls_init_value": 0.1}, {"no_ln_pre": True}, {"patch_dropout": 0.5}])
@pytest.mark.parametrize("block", [0, 1, -2, -1])
def test_open_clip_keys_are_those_of_its_own_forward(changes, block):
    visual = tower(**changes)
    images = random_images(32, 32)
    keys, attention = theirs(visual, images, block)
    got = OpenClipViT(visual).keys_and_attention(images, block)
    assert got.grid == (4, 4)
    torch.testing.assert_close(got.keys, keys, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got.attention, attention, atol=1e-6, rtol=1e-5)


def test_open_clip_embedding_can_be_rebuilt_from_our_tokens():
    visual = tower()
    images = random_images(32, 32)
    with torch.no_grad():
        tokens = OpenClipViT(visual)._tokens(images, (4, 4), blocks=3)
        rebuilt = visual.ln_post(tokens)[:, 0] @ visual.proj
        torch.testing.assert_close(rebuilt, visual(images), atol=1e-5, rtol=1e-5)


def test_a_tower_in_training_mode_loses_no_patches():
    visual = tower(patch_dropout=0.5)
    images = random_images(32, 32)
    expected = OpenClipViT(visual).keys_and_attention(images)
    visual.train()
    torch.testing.assert_close(OpenClipViT(visual).keys_and_attention(images), expected, atol=1e-5, rtol=1e-5)
    assert visual.training


def test_open_clip_positions_are_resized_as_open_clip_resizes_them():
    visual = tower()
    larger = tower(image_size=64)
    state = {**visual.state_dict()}
    holder = nn.Module()
    holder.visual = larger
    wrapped = {f"visual.{name}": tensor for name, tensor in state.items()}
    open_clip.factory.resize_pos_embed(wrapped, holder)
    larger.load_state_dict({name.removeprefix("visual."): tensor for name, tensor in wrapped.items()})
    images = random_images(64, 64)
    keys, attention = theirs(larger, images, -1)
    got = OpenClipViT(visual).keys_and_attention(images)
    assert got.grid == (8, 8)
    torch.testing.assert_close(got.keys, keys, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got.attention, attention, atol=1e-6, rtol=1e-5)


def test_open_clip_takes_any_grid_and_half_precision():
    visual = tower()
    got = OpenClipViT(visual).keys_and_attention(random_images(16, 72))
    assert got.grid == (2, 9)
    assert got.keys.shape == (2, 3, 18, 16)
    half = OpenClipViT(visual.to(torch.bfloat16)).keys_and_attention(random_images(16, 72))
    assert half.keys.dtype == half.attention.dtype == torch.float32
    torch.testing.assert_close(half.attention, got.attention, atol=0.02, rtol=0.1)


def test_keys_can_be_trained_on():
    """Keys carry no gradient themselves, but a head on them must be trainable."""
    for backbone in (OpenClipViT(tower()), DinoViT(32, 8, 48, 2, 3)):
        features = backbone.keys_and_attention(random_images(32, 32)).feature_map()
        assert not features.requires_grad
        head = nn.Conv2d(48, 1, 1)
        head(features).mean().backward()
        assert head.weight.grad is not None


@pytest.mark.parametrize("make", [lambda: OpenClipViT(tower()), lambda: DinoViT(32, 8, 48, 2, 3)])
def test_what_a_backbone_promises(make):
    backbone: KeyBackbone = make()
    assert (backbone.patch_size, backbone.heads, backbone.embed_dim) == (8, 3, 48)
    assert len(backbone.mean) == len(backbone.std) == 3
    assert len(backbone.fingerprint) == 64
    got = backbone.to(torch.device("cpu")).keys_and_attention(random_images(16, 24), block=0)
    assert got.keys.shape == (2, 3, 6, 16)
    assert got.attention.shape == (2, 3, 6)
    assert got.feature_map().shape == (2, 48, 2, 3)
    assert (got.attention.sum(-1) < 1).all()
    with pytest.raises(ModelError, match="do not divide into patches of 8"):
        backbone.keys_and_attention(random_images(16, 23))
    with pytest.raises(ModelError, match="do not divide"):
        backbone.keys_and_attention(random_images(0, 8))
    with pytest.raises(ModelError, match="Block 7 was asked"):
        backbone.keys_and_attention(random_images(16, 24), block=7)


def test_feature_map_keeps_rows_and_heads_in_place():
    backbone = DinoViT(32, 8, 48, 2, 3)
    keys = backbone.keys_and_attention(random_images(16, 24))
    assert torch.equal(keys.feature_map()[1, 16 * 2 + 5, 1, 2], keys.keys[1, 2, 1 * 3 + 2, 5])


def test_dino_reads_every_block_as_its_own_forward_computes_it():
    torch.manual_seed(0)
    backbone = DinoViT(32, 8, 48, 3, 3).eval()
    images = random_images(32, 32)
    caught: dict[int, Tensor] = {}

    def catch(index: int):
        return lambda module, inputs, output: caught.__setitem__(index, output)

    for index, block in enumerate(backbone.blocks):
        block.attn.qkv.register_forward_hook(catch(index))
    with torch.no_grad():
        backbone(images)
    projected = {index: value.reshape(2, 17, 3, 3, 16).permute(2, 0, 3, 1, 4) for index, value in caught.items()}
    for index, (query, key, _) in projected.items():
        got = backbone.keys_and_attention(images, index)
        torch.testing.assert_close(got.keys, key[:, :, 1:])
        torch.testing.assert_close(got.attention, (query @ key.mT / 4).softmax(-1)[:, :, 0, 1:])
    torch.testing.assert_close(backbone.keys_and_attention(images, -3), backbone.keys_and_attention(images, 0))


def test_dino_norms_have_its_epsilon():
    norms = [module for module in DinoViT(32, 8, 48, 2, 3).modules() if isinstance(module, nn.LayerNorm)]
    assert len(norms) == 5
    assert {norm.eps for norm in norms} == {1e-6}  # torch's own is 1e-5, too small a difference for golden files


def test_dino_sizes_that_cannot_be():
    with pytest.raises(ModelError, match="multiple of the patch"):
        DinoViT(image_size=65)
    with pytest.raises(ModelError, match="number of heads"):
        DinoViT(embed_dim=50, heads=3)


def test_towers_without_readable_keys_are_refused():
    with pytest.raises(ModelError, match=r"Linear is no open_clip VisionTransformer.*conv1.*'tiny'"):
        OpenClipViT(nn.Linear(2, 2))
    resnet = open_clip.CLIP(
        embed_dim=24, vision_cfg=open_clip.CLIPVisionCfg(layers=(1, 1, 1, 1), width=8, image_size=32), text_cfg=TEXT
    )
    with pytest.raises(ModelError, match="ModifiedResNet is no open_clip VisionTransformer"):
        OpenClipViT(resnet.visual)
    with pytest.raises(ModelError, match=r"nn.MultiheadAttention blocks"):
        OpenClipViT(tower(block_type="custom"))
    oblong = tower()
    oblong.conv1 = nn.Conv2d(3, 48, (8, 4), (8, 4), bias=False)
    with pytest.raises(ModelError, match="patches of 8 x 4"):
        OpenClipViT(oblong)
