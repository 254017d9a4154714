"""The second stage of `tiny`'s training: what it leaves alone, and what its loss asks of patch tokens."""

import numpy as np
import pytest
import torch
import train_tiny as first_stage
from train_tiny_tokens import KEPT_BLOCKS, SIDE, Recipe, Training, kept_tokens, token_loss

from clipdiy_lab.datasets.grounds import GROUNDS
from clipdiy_lab.models.saliency.dino_vit import OpenClipViT

CAT, CAR, NAMES = 5, 9, 30


@pytest.fixture(scope="module")
def stepped(tmp_path_factory):
    """A run after three steps on noise from the shipped weights; its images, its state before and its losses."""
    training = Training(
        tmp_path_factory.mktemp("run"),
        first_stage.ASSETS,
        Recipe(steps=3, warmup=1, falling=1),
    )
    images = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    tokens = kept_tokens(training.model, images).detach()
    targets = torch.zeros(8, len(training.words))
    targets[:, CAT] = 1
    prompts = training.texts.plain()
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    losses = [training.learn(tokens, targets, prompts) for _ in range(3)]
    return training, images, before, losses


def test_what_found_tiny_reads_stays_to_the_last_bit(stepped):
    training, images, start, _ = stepped
    now = OpenClipViT(training.model.visual, mean=first_stage.MEAN, std=first_stage.STD)
    after = now.keys_and_attention(images, -2)
    training.model.load_state_dict(start)
    before = now.keys_and_attention(images, -2)
    training.model.load_state_dict(training.average)
    averaged = now.keys_and_attention(images, -2)
    for found in (after, averaged):
        assert torch.equal(found.keys, before.keys)
        assert torch.equal(found.attention, before.attention)


def test_it_learns_what_comes_after(stepped):
    training, _, start, losses = stepped
    changed = {name for name, value in start.items() if not torch.equal(value, training.average[name])}
    assert f"visual.transformer.resblocks.{KEPT_BLOCKS}.mlp.c_fc.weight" in changed
    assert "visual.proj" in changed
    assert all(name.startswith("visual.") for name in changed)
    assert losses[-1][1] < losses[0][1]


def test_a_crop_is_embedded_as_the_tower_does(stepped):
    training, images, _, _ = stepped
    tokens = kept_tokens(training.model, images)
    with torch.no_grad():
        before = training.before(tokens)
        found = training.tower.embedding(before, training.tower.heads(before))
        torch.testing.assert_close(found, training.model.visual(images), atol=1e-4, rtol=0)


def said(*names: int) -> torch.Tensor:
    """Cosines of one crop whose tokens say these names in turn."""
    cosines = torch.full((1, SIDE * SIDE, NAMES), 0.1)
    for token in range(SIDE * SIDE):
        cosines[0, token, names[token % len(names)]] = 0.3
    return cosines


def caption(*names: int) -> torch.Tensor:
    words = torch.zeros(1, NAMES, dtype=torch.bool)
    words[0, list(names)] = True
    return words


def test_tokens_may_say_any_word_of_the_caption_and_background_and_no_other():
    both = caption(CAT, CAR)
    assert token_loss(said(CAT, CAR), both) < token_loss(said(CAT), both)  # a word that no token says
    assert token_loss(said(CAT, CAR), both) < token_loss(said(CAT, CAR, 12), both)  # a word that nobody wrote
    assert token_loss(said(CAT, 0), caption(CAT)) < token_loss(said(CAT, 12), caption(CAT))
    ground = NAMES - len(GROUNDS)
    assert token_loss(said(0), caption()) == pytest.approx(float(token_loss(said(ground), caption())))


def test_where_a_word_is_said_does_not_matter():
    order = np.random.default_rng(0).permutation(SIDE * SIDE)
    cosines = said(CAT, CAR, CAR)
    assert token_loss(cosines[:, order], caption(CAT, CAR)) == pytest.approx(
        float(token_loss(cosines, caption(CAT, CAR))), rel=1e-5
    )
