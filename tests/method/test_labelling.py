"""The short way to the labels gives what the dense stages give, for every knob."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipdiy_lab import Config
from clipdiy_lab.method import ops
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.method.labelling import candidates, choose, merged_scores

SIDE = 32


@st.composite
def cases(draw):
    scales = tuple(draw(st.lists(st.sampled_from([8, 12, 16, 32]), min_size=1, max_size=3, unique=True)))
    interpolation, placement = (
        draw(st.sampled_from(["bilinear", "nearest"])),
        draw(st.sampled_from(["stretched", "centred"])),
    )
    corners = draw(st.booleans()) and (interpolation, placement) == ("bilinear", "stretched")
    config = Config(
        scales=scales,
        stride=draw(st.sampled_from([1, 2, 4])),
        image_size=(SIDE, SIDE + draw(st.integers(0, 9))),
        weights={s: draw(st.sampled_from([0.0, 0.5, 2.0] if s != scales[0] else [0.5, 1.0])) for s in scales},
        interpolation=interpolation,
        placement=placement,
        align_corners=corners,
        background=draw(st.sampled_from(["saliency", "prompt", "threshold", "none"])),
        background_threshold=draw(st.sampled_from([0.0, 0.3, 1.0])),
        saliency_weight=draw(st.sampled_from([0.0, 0.3, 1.0])),
        saliency_threshold=draw(st.sampled_from([None, 0.5])),
    )
    count = draw(st.integers(1, 6))
    background = None if config.background == "none" else draw(st.integers(0, count - 1))
    return config, count, background, draw(st.booleans()), draw(st.integers(0, 10_000))


def fill(config, count, background, salient, seed):
    """Random similarities of every window, and a random saliency map."""
    generator = torch.Generator().manual_seed(seed)
    grids = [torch.rand(grid.rows, grid.cols, count, generator=generator) * 2 - 1 for grid in Plan.of(config)]
    saliency = torch.rand(config.image_size, generator=generator) if salient else None
    return config, grids, saliency, background


def dense(config, grids, saliency, background):
    """The stages one after the other, every map built."""
    maps = []
    for grid, values in zip(Plan.of(config), grids, strict=True):
        matrices = grid.matrices(config.placement, config.interpolation, config.align_corners)
        maps.append(ops.upsample(values, *(torch.tensor(m, dtype=torch.float32) for m in matrices)))
    merged = ops.merge(torch.stack(maps), [config.weight(grid.name) for grid in Plan.of(config)])
    others = [label for label in range(len(merged)) if label != background]
    if config.background == "threshold" and others:
        fused = merged.clone()
        fused[background] = ops.threshold_score(merged[others], config.background_threshold, config.logit_scale)
        return merged, fused
    if saliency is None or background is None or config.background != "saliency":
        return merged, merged
    if config.saliency_threshold is not None:
        saliency = (saliency > config.saliency_threshold).float()
    return merged, merged * ops.guide(saliency, len(merged), background, config.saliency_weight)


@given(cases())
def test_labels_are_those_of_the_dense_stages(case):
    config, grids, saliency, background = fill(*case)
    merged, fused = dense(config, grids, saliency, background)
    torch.testing.assert_close(merged_scores(grids, config).permute(1, 0, 2), merged, atol=1e-5, rtol=0)
    labels = choose(candidates(grids, config, background), saliency, config)
    won = fused.gather(0, labels[None])[0]
    assert (fused.max(0).values - won).max() < 1e-5  # where it is another label, the two are equal but for rounding
    clear = ops.margin(fused) > 1e-5
    assert (labels == fused.argmax(0))[clear].all()


def test_equal_scores_go_to_the_lower_index():
    config = Config(scales=(SIDE,), image_size=SIDE)
    half = torch.full((SIDE, SIDE), 0.5)
    grid = torch.full((1, 1, 4), 0.25)
    for background in range(4):
        labels = choose(candidates([grid], config, background), half, config)
        assert (labels == 0).all()


@pytest.mark.parametrize("background", [0, 2])
def test_one_search_serves_every_saliency_weight(background):
    generator = torch.Generator().manual_seed(3)
    base = Config(scales=(16, 8), image_size=SIDE)
    grids = [torch.rand(grid.rows, grid.cols, 5, generator=generator) for grid in Plan.of(base)]
    saliency = torch.rand(SIDE, SIDE, generator=generator)
    found = candidates(grids, base, background)
    for weight in (0.0, 0.25, 1.0):
        config = base.replace(saliency_weight=weight)
        _, fused = dense(config, grids, saliency, background)
        assert (choose(found, saliency, config) == fused.argmax(0)).float().mean() > 0.999


@given(cases(), st.data())
def test_barred_labels_lose_and_nothing_else_changes(case, data):
    config, grids, saliency, background = fill(*case)
    among = data.draw(st.lists(st.integers(0, case[1] - 1), min_size=background is None, unique=True))
    _, fused = dense(config, grids, saliency, background)
    allowed = sorted({*among, background} - {None})
    labels = choose(candidates(grids, config, background, among), saliency, config)
    assert torch.isin(labels, torch.tensor(allowed)).all()
    best = fused[allowed].max(0).values
    assert (best - fused.gather(0, labels[None])[0]).abs().max() < 1e-5
