"""Galleries and pages of a real run."""

import base64
import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.views.colors import label_colors
from clipdiy_lab.views.gallery import gallery, strip
from clipdiy_lab.views.report import label_table, write_folder

SMALL = lab.Config(scales=(64, 32), image_size=(64, 96))


@pytest.fixture(scope="module")
def run(golden_segmenter):
    rng = np.random.default_rng(2)
    picture = rng.integers(0, 256, (70, 110, 3), dtype=np.uint8)
    labels = ["cat", "sofa", "<b>bold & bad</b>", "bus", "car", "dog", "cow", "sheep"]
    return golden_segmenter.segment(picture, labels, SMALL, saliency=rng.random((70, 110)))


def test_the_gallery_shows_every_stage_in_order(run):
    shown = list(gallery(run))
    names = [drawing.entry.name for drawing, _ in shown]
    assert names == [
        "image", "similarity", "logits", "merged", "saliency", "guide", "fused", "probability", "labels", "margin",
        "overlay",
    ]  # fmt: skip
    assert all(picture.width > 90 and drawing.entry.stage.sentence.endswith(".") for drawing, picture in shown)
    assert (np.asarray(shown[0][1]) == run["image"].values).all()


def test_a_run_without_saliency_has_a_gallery_too(golden_segmenter):
    plain = golden_segmenter.segment(np.zeros((70, 110, 3), np.uint8), ["cat"], SMALL)
    assert "saliency" not in [drawing.entry.name for drawing, _ in gallery(plain)]
    assert strip(plain).width > 0


def test_the_label_table_sums_to_the_image(run):
    table = label_table(run)
    assert table["share"].sum() == pytest.approx(1)
    assert table["share"].is_monotonic_decreasing
    best = table.index[0]
    index = list(run["label"].values).index(best)
    won = run["labels"].values == index
    assert table.loc[best, "share"] == pytest.approx(won.mean())
    assert table.loc[best, "mean_margin"] == pytest.approx(run["margin"].values[won].mean(), rel=1e-5)


def test_the_page_is_whole_self_contained_and_escapes_labels(run, tmp_path):
    path = lab.report(run, tmp_path / "page.html", {"An extra table": label_table(run).head(2)})
    page = path.read_text()
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
    assert "<b>bold" not in page
    assert "An extra table" in page
    assert not re.search(r"(src|href)='(?!data:|#)", page)
    pictures = [Image.open(BytesIO(base64.b64decode(d))) for d in re.findall(r"src='[^',]+;base64,([^']+)'", page)]
    assert len(pictures) > 40
    assert {picture.format for picture in pictures} == {"PNG", "WEBP"}
    assert path.stat().st_size < 3_000_000


def test_a_page_that_cannot_be_written(run, tmp_path):
    with pytest.raises(errors.OutputError):
        lab.report(run, tmp_path / "nowhere" / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_pictures_and_pages_use_the_colours_of_the_names(run, tmp_path):
    names = [str(name) for name in run["label"].values]
    colors = label_colors(names)
    write_folder(run, tmp_path)
    with Image.open(tmp_path / "labels.png") as mask:
        assert mask.getpalette()[: 3 * len(names)] == colors.ravel().tolist()
    labels = next(picture for drawing, picture in gallery(run) if drawing.entry.name == "labels")
    painted = np.asarray(labels)[: run.sizes["y"], : run.sizes["x"]]
    np.testing.assert_array_equal(painted, colors[run["labels"].values])
