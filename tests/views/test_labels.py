"""Labels of any number and spelling, in everything that shows a run."""

import base64
import json
import re
import unicodedata
from io import BytesIO

import numpy as np
import pytest
import xarray as xr
from PIL import Image

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.views import data_uris, figures
from clipdiy_lab.views.colors import label_colors
from clipdiy_lab.views.explorer.explorer import Explorer
from clipdiy_lab.views.gallery import gallery, strip
from clipdiy_lab.views.report import write_folder

SMALL = lab.Config(scales=(32,), image_size=(64, 96))
HOSTILE = ["\x1b[31mred", "two\nlines", "\u202egpj.exe", "cat\u200b", "\x9bm", "x" * 900]


def opened(uri):
    return np.asarray(Image.open(BytesIO(base64.b64decode(uri.partition("base64,")[2]))).convert("RGBA"))


@pytest.fixture(scope="module", params=[254, 255, 300])
def many(request, golden_segmenter):
    rng = np.random.default_rng(3)
    picture = rng.integers(0, 256, (70, 110, 3), dtype=np.uint8)
    labels = [f"thing {i}" for i in range(request.param)]
    return golden_segmenter.segment(picture, labels, SMALL, saliency=np.ones((70, 110)))


def test_every_picture_and_page_of_many_labels(many, tmp_path):
    write_folder(many, tmp_path)
    with Image.open(tmp_path / "labels.png") as image:
        np.testing.assert_array_equal(np.asarray(image), many["labels_full"].values)
        assert image.mode == ("P" if many.sizes["label"] <= 255 else "I;16")
    names = [str(name) for name in many["label"].values]
    painted = label_colors(names)[many["labels"].values]
    layer = figures.overlay(many).data[1]
    np.testing.assert_array_equal(opened(layer.source)[..., :3], painted)
    page = (tmp_path / "index.html").read_text()
    shown = re.search(r"<img src='(data:image/png[^']*)' alt='Labels: ", page).group(1)
    np.testing.assert_array_equal(opened(shown)[..., :3], painted)
    assert many.diy._repr_html_().count("<tr>") <= 20


def test_the_explorer_refuses_more_labels_than_it_tells_apart_before_it_computes(counting_encoder):
    labels = [f"thing {i}" for i in range(300)]
    with pytest.raises(errors.LabelError, match="there are 300 labels; the explorer can distinguish at most 64"):
        Explorer(np.zeros((70, 110, 3), np.uint8), labels, lab.Segmenter(counting_encoder))
    assert counting_encoder.batches == []


@pytest.mark.parametrize("used", [3, 256, 257, 847])
def test_an_index_map_of_any_palette_is_drawn_exactly(used):
    rng = np.random.default_rng(used)
    palette = rng.integers(0, 256, (848, 3), dtype=np.uint8)
    indices = np.resize(rng.permutation(848)[:used], (40, 50))
    clear = (int(indices[0, 0]), 847)
    drawn = opened(data_uris.indexed(indices, palette, clear))
    np.testing.assert_array_equal(drawn[..., :3], palette[indices])
    np.testing.assert_array_equal(drawn[..., 3] == 0, np.isin(indices, clear))


@pytest.fixture(scope="module")
def foreign(golden_segmenter):
    """A run whose names nobody checked, as a file from elsewhere may hold them."""
    rng = np.random.default_rng(4)
    run = golden_segmenter.segment(
        rng.integers(0, 256, (70, 110, 3), dtype=np.uint8), [f"thing {i}" for i in range(len(HOSTILE))], SMALL
    )
    names = np.array(["background", *HOSTILE], dtype=object)
    nodes = {
        node.path: node.to_dataset(inherit=False).assign_coords(label=names)
        if "label" in node.to_dataset(inherit=False).sizes
        else node.to_dataset(inherit=False)
        for node in run.subtree
    }
    tree = xr.DataTree.from_dict(nodes)
    tree.attrs |= {"prompts": json.dumps({"\ud800": {"\x1b[31m": ["a\nb\x00"]}}), "image_source": "'\x1b]0;x\x07.jpg'"}
    return tree


def test_nothing_of_a_foreign_run_is_obeyed(foreign, tmp_path):
    page = lab.report(foreign, tmp_path / "page.html").read_text(encoding="utf-8")
    said = f"{foreign.diy!r}{foreign.diy._repr_html_()}{page}".replace("\n", "")
    assert not [c for c in said if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert r"\x1b[31mred" in page
    assert r"\u202egpj.exe" in page
    for _, picture in gallery(foreign):
        assert picture.width < 3000
    assert strip(foreign).width < 3000


def test_the_background_alone(golden_segmenter):
    with pytest.raises(errors.LabelError, match="every pixel would be background"):
        golden_segmenter.segment(np.zeros((70, 110, 3), np.uint8), ["background"], SMALL)
    run = golden_segmenter.segment(np.zeros((70, 110, 3), np.uint8), ["background"], SMALL.replace(background="none"))
    assert "background 100%" in repr(run.diy)
    assert "<img" in run.diy._repr_html_()


def test_a_label_whose_variation_does_not_fit_has_a_page(golden_segmenter, tmp_path):
    label = " ".join(["cat"] * 10)
    run = golden_segmenter.segment(np.zeros((70, 110, 3), np.uint8), ["dog", label], SMALL)
    with pytest.warns(errors.ClipdiyWarning, match="Left out 1"):
        page = lab.report(run, tmp_path / "page.html", segmenter=golden_segmenter).read_text()
    assert "Left out, because a prompt would be too long for the text encoder: template: a close-up photo" in page
