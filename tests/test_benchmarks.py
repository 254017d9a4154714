"""What the benchmarks compare with: the official loop restated, and the floor of a network's own matrix products."""

from collections import Counter

import numpy as np
import pytest
import torch
from baseline import embed_plainly, encode_plainly
from floor import operations, products
from parts import inputs, parts_of
from pictures import HEIGHT, WIDTH, pictures
from torch.utils.flop_counter import FlopCounterMode

import clipdiy_lab as lab
from clipdiy_lab.models.encoders import to_input
from clipdiy_lab.models.saliency.dino_vit import DinoViT


@pytest.fixture(scope="module")
def segmenter():
    return lab.load("tiny", saliency="none", device="cpu")


def test_the_official_loop_gives_the_labels_of_the_lab(segmenter):
    scene, names = lab.open_dataset("scenes")[0], ("cat", "car", "sofa")
    run = segmenter.segment(scene.image, names, lab.Config.paper().replace(saliency_weight=0, background="none"))
    merged = encode_plainly(segmenter.encoder, run["image"].values, embed_plainly(segmenter.encoder, names))
    np.testing.assert_allclose(run["merged"].values, merged.numpy(), atol=1e-5)


def test_products_are_all_that_torch_counts_and_attention_which_it_does_not_count_on_a_processor():
    vit, image = DinoViT(depth=2).eval(), torch.zeros(1, 3, 64, 80)
    with FlopCounterMode(display=False) as counter:
        vit.keys_and_attention(image)
    found = products(lambda: vit.keys_and_attention(image))
    attention = 2 * (2 * 6 * 81 * 64 * 81)  # of the block before the last: two products, six heads, 81 tokens
    assert operations(found) == counter.get_total_flops() + attention
    assert found[(1, 81, 384, 1152, True)] == 2
    assert operations(Counter({(2, 3, 4, 5, False): 2})) == 2 * 2 * 2 * 3 * 4 * 5


def test_pictures_are_jpeg_files_of_one_size_that_every_label_stands_in():
    data = pictures().first(12)
    assert {data[place].image.shape for place in (0, 9, 10)} == {(HEIGHT, WIDTH, 3)}
    assert set(np.unique(data.mask)) == set(range(len(data.label_names)))


def test_parts_encode_what_the_lab_encodes(segmenter):
    data, config = pictures().first(1), lab.Config()
    assert all(seconds > 0 for part, seconds in parts_of(segmenter, data, config).items() if part != "FOUND")
    frame = segmenter.prepare(data.files[0], config).frame
    whole = inputs(frame, config, segmenter.encoder)
    assert torch.equal(whole[:1], to_input(frame.permute(2, 0, 1)[None], 64, segmenter.encoder))
