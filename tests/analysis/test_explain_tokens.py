"""A patch token taken apart: its parts sum to its cosine, and are what the formula says."""

import numpy as np
import pytest
import torch

import clipdiy_lab as lab
from clipdiy_lab import errors

LABELS = ["cat", "car", "chair"]
FRAME = lab.Config(scales=(64,), image_size=(64, 96), dense="clearclip", background="prompt")
CONFIGS = {
    "frame": FRAME,
    "padded frame": FRAME.replace(image_size=(66, 93)),
    "larger frame": FRAME.replace(dense="naclip", dense_side=96),
    "crops": FRAME.replace(dense="naclip", dense_from="crops"),
}


@pytest.fixture(scope="module")
def tiny():
    return lab.load("tiny", saliency="none")


@pytest.fixture(scope="module")
def image():
    return lab.open_dataset("scenes", split="val", length=1)[0].image


@pytest.fixture(scope="module")
def runs(tiny, image):
    return {name: tiny.segment(image, LABELS, config) for name, config in CONFIGS.items()}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("label", ["cat", "chair"])
def test_parts_sum_to_the_cosine_of_the_run(runs, tiny, name, label):
    run = runs[name]
    grid = str(run["logits"]["grid"].values[-1])
    cosines = run[f"grids/{grid}/similarity"].sel(label=label)
    for row, col in ((0, 0), (3, 5), (cosines.shape[0] - 1, cosines.shape[1] - 1)):
        found = lab.explain.token(run, tiny, (grid, row, col), label)
        total = float(found["token_part"].sum() + found["class_part"].sum()) + found.attrs["bias"]
        assert total == pytest.approx(float(cosines[row, col]), abs=1e-5)
        assert found.attrs["cosine"] == float(cosines[row, col])
        assert f"Of the cosine {found.attrs['cosine']:.4f} with '{label}'" in found.attrs["story"]


def test_a_part_is_what_the_token_loses_without_it(runs, tiny):
    """Finite differences of the whole formula, its norms held fixed, along one head and one source patch."""
    run, tower = runs["frame"], tiny.encoder.tokens
    found = lab.explain.token(run, tiny, ("dense", 2, 4), "car")
    pixels = torch.from_numpy(run["image"].values).permute(2, 0, 1).float() / 255
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (tiny.encoder.mean, tiny.encoder.std))
    text = torch.from_numpy(run["text_embedding"].sel(phrase="car").values).double()
    with torch.inference_mode():
        tokens = tower.before_last(((pixels - mean) / std)[None], "offset")
        query, _, value = (part.double() for part in tower.heads(tokens))
        own = (query @ query.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(-1)
        out, norm = tower.visual.transformer.resblocks[-1].attn.out_proj, tower.visual.ln_post

        def written(kept):
            mixed = ((own * kept) @ value).transpose(1, 2).flatten(2)[0, 1 + 2 * 12 + 4]
            return mixed @ out.weight.double().T + out.bias.double()

        whole = written(1.0)
        deviation = (whole.var(unbiased=False) + norm.eps).sqrt()

        def projected(vector):
            return ((vector - vector.mean()) / deviation * norm.weight.double() + norm.bias.double()) @ (
                tower.visual.proj.double()
            )

        length = projected(whole).norm()
        for head, row, col in ((0, 2, 4), (3, 0, 0), (5, 7, 11)):
            kept = torch.ones_like(own)
            kept[:, head, :, 1 + row * 12 + col] = 0
            lost = (projected(whole) - projected(written(kept))) @ text / length
            assert float(found["token_part"][head, row, col]) == pytest.approx(float(lost), abs=1e-7)


def test_the_map_lies_where_the_encoder_looked(runs, tiny):
    found = lab.explain.token(runs["crops"], tiny, ("dense064", 2, 13), "cat")
    assert found["token_part"].shape == (6, 8, 8)
    # The second window of 64 pixels begins at column 32, and the token is in row 2, column 5 of it.
    assert (int(found.y[0]), int(found.x[0]), found["evidence"].shape) == (0, 32, (64, 64))
    by_patch = found["token_part"].sum("head").values
    np.testing.assert_allclose(found["evidence"].values[::8, ::8], by_patch, rtol=1e-6)
    found = lab.explain.token(runs["padded frame"], tiny, ("dense", 0, 0), "cat")
    # 66 pixels take nine patches: three rows of padding before the frame and three behind it.
    assert (found["token_part"].shape[1], found["evidence"].shape) == (9, (66, 93))
    by_patch = found["token_part"].sum("head").values
    np.testing.assert_allclose(found["evidence"].values[[4, 5], 0], by_patch[[0, 1], 0], rtol=1e-6)


def test_what_has_no_parts_is_refused(runs, tiny, image, counting_encoder):
    for method in ("maskclip", "sclip"):
        run = tiny.segment(image, LABELS, FRAME.replace(dense=method))
        with pytest.raises(errors.ModelError, match="only tokens that are attention alone"):
            lab.explain.token(run, tiny, ("dense", 0, 0), "cat")
    with pytest.raises(errors.RunError, match="the grid 's064' holds crops; give a grid of patch tokens"):
        lab.explain.token(runs["frame"], tiny, (64, 0, 0), "cat")
    with pytest.raises(errors.RunError, match=r"there is no window \('dense', 8, 0\)"):
        lab.explain.token(runs["frame"], tiny, ("dense", 8, 0), "cat")
    with pytest.raises(errors.LabelError, match="no label 'dog'"):
        lab.explain.token(runs["frame"], tiny, ("dense", 0, 0), "dog")
    changed = runs["frame"].copy(deep=True)
    changed["grids/dense/similarity"][0, 0] += 1e-3
    with pytest.raises(errors.RunError, match=r"its parts sum to .* or stages were changed"):
        lab.explain.token(changed, tiny, ("dense", 0, 0), "cat")
