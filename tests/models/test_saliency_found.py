"""FOUND against the official code's outputs, and everything that may be asked of it wrongly."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipdiy_lab.errors import ImageError, ModelError, WeightsError
from clipdiy_lab.models.checkpoints import read_checkpoint
from clipdiy_lab.models.recipes import Recipe
from clipdiy_lab.models.saliency import Saliency, build, found, validate_map
from clipdiy_lab.models.saliency.dino_vit import DinoViT, Keys
from clipdiy_lab.models.saliency.found import HEAD_WEIGHTS, Found, FoundSeed, discover_background
from clipdiy_lab.models.saliency.inputs import prepare
from clipdiy_lab.models.weights import load_into

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/data/golden"
SHARED = ROOT.parent / "shared"


def shared(relative: str) -> Path:
    """A file of the shared folder; without the folder the test is skipped, except in CI, where it must be there."""
    path = SHARED / relative
    if not path.exists():
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(f"CI must have the shared folder, but there is no shared/{relative}")
        pytest.skip(f"needs shared/{relative}, which lies beside the repository only in the project's own workplace")
    return path


@pytest.fixture(scope="module")
def backbone() -> DinoViT:
    vit = DinoViT(image_size=64, patch_size=8, embed_dim=48, depth=3, heads=3)
    load_into(vit, read_checkpoint(GOLDEN / "found_vit_dino_names.safetensors").tensors, "golden")
    return vit.eval()


@pytest.fixture(scope="module")
def head() -> dict[str, torch.Tensor]:
    return read_checkpoint(GOLDEN / "found_head.pt").tensors


@pytest.fixture(params=[0, 1, 2])
def case(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    path = GOLDEN / "found.npz" if request.param < 2 else shared("golden/found.npz")
    with np.load(path) as data:
        return {name: data[f"{name}_{request.param}"] for name in ("image", "saliency", "keys", "background_seed_mask")}


def random_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_golden_saliency(backbone, head, case):
    got = Found(backbone, head)(case["image"])
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, case["saliency"], atol=1e-5, rtol=0)


def test_golden_keys(backbone, case):
    keys = backbone.keys_and_attention(prepare(case["image"], backbone, torch.device("cpu")))
    assert keys.grid == case["keys"].shape[1:]
    np.testing.assert_allclose(keys.feature_map()[0].numpy(), case["keys"], atol=1e-4, rtol=0)


def test_golden_background(backbone, case):
    mask = FoundSeed(backbone).background(case["image"]).mask[0].numpy()
    np.testing.assert_array_equal(mask, case["background_seed_mask"].astype(bool))


def test_the_seed_map_is_the_complement_of_the_golden_mask(backbone, case):
    got = FoundSeed(backbone)(case["image"])
    height, width = case["image"].shape[:2]
    # Where a pixel and all neighbouring patches agree, upsampling changes nothing: look at such patches.
    mask = case["background_seed_mask"].astype(bool)
    padded = np.pad(mask, 1, mode="edge")
    shifts = [padded[i : i + mask.shape[0], j : j + mask.shape[1]] for i in range(3) for j in range(3)]
    settled = np.all([shift == mask for shift in shifts], axis=0)
    large = np.kron(settled, np.ones((8, 8), bool))[:height, :width]
    assert large.any()
    np.testing.assert_array_equal(got[large], np.kron(~mask, np.ones((8, 8)))[:height, :width][large])


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (7, 9), (1, 70), (33, 200), (65, 64)])
def test_any_size_gives_a_soft_map_of_that_size(backbone, head, shape):
    image = random_image(*shape)
    for source in (Found(backbone, head), FoundSeed(backbone)):
        assert isinstance(source, Saliency)
        validate_map(source(image), shape)


def test_calls_are_deterministic_and_leave_the_image_alone(backbone, head):
    image = random_image(40, 50)
    before = image.copy()
    for source in (Found(backbone, head), FoundSeed(backbone)):
        np.testing.assert_array_equal(source(image), source(image))
    np.testing.assert_array_equal(image, before)


def test_views_and_readonly_arrays_are_read(backbone, head):
    source = Found(backbone, head)
    image = random_image(48, 64)
    mirrored = image[:, ::-1]
    frozen = mirrored.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(source(mirrored), source(frozen))


def test_a_batch_gives_what_its_images_give_alone(backbone):
    images = torch.stack([prepare(random_image(40, 56, seed), backbone, torch.device("cpu"))[0] for seed in range(3)])
    together = backbone.keys_and_attention(images)
    found_together = discover_background(together)
    for index in range(3):
        alone = backbone.keys_and_attention(images[index : index + 1])
        torch.testing.assert_close(alone.keys[0], together.keys[index], atol=1e-5, rtol=1e-5)
        found_alone = discover_background(alone)
        assert found_alone.seed[0] == found_together.seed[index]
        torch.testing.assert_close(found_alone.similarity[0], found_together.similarity[index], atol=1e-5, rtol=1e-5)


def test_padding_is_the_mean_colour_at_right_and_bottom(backbone):
    prepared = prepare(random_image(5, 10), backbone, torch.device("cpu"))
    assert prepared.shape == (1, 3, 8, 16)
    assert not prepared[:, :, 5:].any()
    assert not prepared[:, :, :, 10:].any()
    assert prepared[:, :, :5, :10].all()


def test_background_by_hand():
    # Two heads, four patches in a row. Head 0 attends to one patch (Q = 1/4), head 1 to two (Q = 1/2). Patch 2 gets the
    # least attention in sum, patch 3 the least when head 0 counts for more.
    attention = torch.tensor([[[0.5, 0.1, 0.1, 0.05], [0.3, 0.3, 0.1, 0.18]]])
    keys = torch.tensor([[[[1.0], [1.0], [-1.0], [1.0]], [[1.0], [-1.0], [1.0], [1.0]]]])
    result = discover_background(Keys(keys, attention, (1, 4)), tau=0.3)
    beta = np.log([0.75 / 0.25, 0.75 / 0.5])
    np.testing.assert_allclose(result.head_weights[0], beta, rtol=1e-6)
    assert result.seed.tolist() == [3]
    a, b = beta**2 / np.sum(beta**2)
    np.testing.assert_allclose(result.similarity[0, 0], [1, a - b, b - a, 1], rtol=1e-5)
    assert result.mask[0, 0].tolist() == [True, True, False, True]
    assert discover_background(Keys(keys, attention, (1, 4)), weigh_heads=False).seed.tolist() == [2]


def test_heads_that_attend_nowhere_stay_finite():
    attention = torch.tensor([[[0.2, 0.3], [0.0, 0.0]]])
    result = discover_background(Keys(torch.ones(1, 2, 2, 3), attention, (1, 2)))
    assert torch.isfinite(result.similarity).all()
    assert result.mask.all()


def test_knobs_of_the_seed(backbone):
    image = random_image(64, 64)
    assert FoundSeed(backbone, tau=1.0)(image).min() == 1.0
    assert FoundSeed(backbone, tau=-1.0)(image).max() == 0.0
    unweighted = FoundSeed(backbone, weigh_heads=False).background(image)
    assert unweighted.head_weights.tolist() == [[1.0, 1.0, 1.0]]
    assert FoundSeed(backbone, block=0).fingerprint != FoundSeed(backbone).fingerprint
    assert FoundSeed(backbone, tau=0.2).fingerprint != FoundSeed(backbone).fingerprint
    with pytest.raises(ModelError, match=r"tau=2.*\[-1, 1\]"):
        FoundSeed(backbone, tau=2)
    with pytest.raises(ModelError, match="tau=nan"):
        FoundSeed(backbone, tau=float("nan"))
    with pytest.raises(ModelError, match="Block 3 was asked of a transformer with 3"):
        FoundSeed(backbone, block=3)(image)


def test_fingerprints_tell_weights_apart(backbone, head):
    first = Found(backbone, head)
    assert first.fingerprint == Found(backbone, dict(reversed(head.items())), name="mine").fingerprint
    assert first.fingerprint != Found(backbone, {**head, "decoder.bias": head["decoder.bias"] + 1}).fingerprint
    assert first.fingerprint != Found(backbone, head, block=0).fingerprint


def test_a_head_of_another_transformer_is_refused(backbone):
    with pytest.raises(WeightsError, match=r"head of 'found'.*weight \(1, 384, 1, 1\) instead of \(1, 48, 1, 1\)"):
        Found(backbone, {"decoder.weight": torch.zeros(1, 384, 1, 1), "decoder.bias": torch.zeros(1)})
    with pytest.raises(WeightsError, match="missing"):
        Found(backbone, {"decoder.weight": torch.zeros(1, 48, 1, 1)})


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        [[[0, 0, 0]]],
        Image.new("RGB", (4, 4)),
    ],
)
def test_what_is_no_image_is_refused(backbone, head, image):
    for source in (Found(backbone, head), FoundSeed(backbone)):
        with pytest.raises(ImageError, match="H x W x 3 uint8"):
            source(image)


def test_devices(backbone, head):
    assert Found(backbone, head, device="auto")(random_image(8, 8)).shape == (8, 8)
    Found(backbone, head)  # back to the CPU for the tests that share the transformer
    with pytest.raises(ModelError, match=r"'tpu' is not available.*cpu"):
        Found(backbone, head, device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="'cuda' is not available"):
            Found(backbone, head, device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_agrees_with_the_cpu(backbone, head):
    image = random_image(203, 317)
    on_cpu = Found(backbone, head)(image)
    try:
        np.testing.assert_allclose(Found(backbone, head, device="cuda")(image), on_cpu, atol=1e-3)
    finally:
        backbone.to("cpu")


def test_the_published_head_loads():
    head = read_checkpoint(shared("found/decoder_weights.pt"), HEAD_WEIGHTS.sha256).tensors
    assert {name: tuple(tensor.shape) for name, tensor in head.items()} == {
        "decoder.weight": (1, 384, 1, 1),
        "decoder.bias": (1,),
    }
    assert shared("found/decoder_weights.pt").stat().st_size == HEAD_WEIGHTS.bytes
    source = Found(DinoViT(), head)
    validate_map(source(random_image(50, 60)), (50, 60))


def test_published_found_from_a_filled_cache(tmp_path, monkeypatch):
    """The whole way of `build("found")`, with a random network in the place of DINO's file."""
    monkeypatch.setenv("CLIPDIY_LAB_CACHE", str(tmp_path))
    monkeypatch.setenv("CLIPDIY_LAB_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"not on this machine.*CLIPDIY_LAB_OFFLINE.*'found-tiny'"):
        build("found")
    (tmp_path / "weights").mkdir()
    torch.save(DinoViT().state_dict(), tmp_path / "weights" / found.DINO_WEIGHTS.name)
    published = shared("found/decoder_weights.pt").read_bytes()
    (tmp_path / "weights" / HEAD_WEIGHTS.name).write_bytes(published)
    image = random_image(30, 41)
    assert build("found")(image).shape == (30, 41)
    seed = build("found-seed", tau=0.1)
    assert seed.recipe == Recipe("found-seed", {"tau": 0.1})
    np.testing.assert_array_equal(build(seed.recipe.name, **seed.recipe.options)(image), seed(image))
    assert found.DINO_WEIGHTS.name in (tmp_path / "weights/known_hashes.json").read_text()
    torch.save(DinoViT().state_dict(), tmp_path / "weights" / found.DINO_WEIGHTS.name)
    with pytest.raises(WeightsError, match="recorded at first use"):
        build("found")
