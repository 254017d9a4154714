"""Doubtful truth: a mask that was changed comes first, with the region where it was; nothing is called an error."""

from dataclasses import replace

import numpy as np
import pytest

import clipdiy_lab as lab
from clipdiy_lab.errors import ConfigError, FigureError, StoreError

IMAGES = 8
CHANGED = 5


class Changed:
    """Scenes, of which one mask says background where a thing is."""

    def __init__(self):
        self.scenes = lab.open_dataset("scenes", length=IMAGES)
        self.name, self.label_names = "changed", self.scenes.label_names
        self.ids = tuple(self.scenes[place].id for place in range(IMAGES))
        mask = self.scenes[CHANGED].mask
        self.thing = int(np.bincount(mask[mask > 0]).argmax())

    def __len__(self):
        return IMAGES

    def __getitem__(self, place):
        sample = self.scenes[place]
        if place != CHANGED:
            return sample
        mask = np.where(sample.mask == self.thing, np.uint8(0), sample.mask)
        return replace(sample, mask=mask)


@pytest.fixture(scope="module")
def dataset():
    return Changed()


@pytest.fixture(scope="module")
def segmenter():
    return lab.load("tiny")


@pytest.fixture(scope="module")
def result(segmenter, dataset):
    return lab.evaluate(segmenter, dataset, lab.Config.paper())


@pytest.fixture(scope="module")
def table(result, segmenter, dataset):
    return lab.results.doubtful(result, segmenter, dataset)


def test_the_mask_that_was_changed_comes_first_with_its_region(table, dataset):
    first = table.iloc[0]
    assert first["image_id"] == dataset.ids[CHANGED]
    assert (first["mask_label"], first["label"]) == ("background", dataset.label_names[dataset.thing])
    frame = np.array(first[["top", "left", "bottom", "right"]], dtype=int)
    mask = dataset.scenes[CHANGED].mask == dataset.thing
    rows, columns = np.flatnonzero(mask.any(1)) * 256 / len(mask), np.flatnonzero(mask.any(0)) * 256 / mask.shape[1]
    assert abs(frame - [rows[0], columns[0], rows[-1], columns[-1]]).max() < 40
    assert table["image_share_percent"].is_monotonic_decreasing
    assert (table["confident_percent"] >= 0.5).all()
    assert (table["share_percent"] >= table["confident_percent"]).all()
    assert table.attrs["protocol"] == "mmseg"


def test_regions_are_those_of_the_run(table, segmenter, dataset):
    for row in table.head(5).itertuples():
        sample = dataset[dataset.ids.index(row.image_id)]
        run = segmenter.segment(sample.image, dataset.label_names, lab.Config.paper())
        labels = run["labels"].values[row.top : row.bottom, row.left : row.right]
        assert (labels == dataset.label_names.index(row.label)).sum() >= row.share_percent / 100 * 256 * 256


def test_a_store_finds_the_same(table, result, segmenter, dataset, tmp_path):
    store = lab.embed(segmenter, dataset, tmp_path / "store", lab.Config.paper())
    found = lab.results.doubtful(result, store, dataset)
    assert found["image_id"].iloc[0] == table["image_id"].iloc[0]
    assert len(lab.results.doubtful(result, store, dataset, limit=CHANGED)) < len(found)


def test_galleries_show_mask_prediction_and_where_they_differ(table, result, segmenter, dataset):
    def run_of(image_id):
        image = dataset[dataset.ids.index(image_id)].image
        return segmenter.segment(image, dataset.label_names, lab.Config.paper())

    def mask_of(image_id):
        return dataset[dataset.ids.index(image_id)].mask

    figure = lab.figures.doubtful(table, run_of, mask_of, dataset.label_names, count=2)
    assert [note.text for note in figure.layout.annotations[1:3]] == ["In the mask", "Not the same"]
    assert figure.layout.annotations[0].text.startswith(dataset.ids[CHANGED][:6])
    frames = [trace for trace in figure.data if trace.type == "scatter" and trace.mode == "lines"]
    assert len(frames) == table["image_id"].isin(table["image_id"].drop_duplicates()[:2]).sum()
    scores = lab.results.image_scores(result)
    plain = lab.figures.worst_and_best(scores, run_of, 1)
    beside = lab.figures.worst_and_best(scores, run_of, 1, truth=mask_of, names=dataset.label_names)
    assert len(beside.layout.annotations) == 3 * len(plain.layout.annotations)
    with pytest.raises(FigureError, match="is an image; give its run"):
        lab.figures.worst_and_best(scores, lambda _: np.zeros((9, 9, 3), np.uint8), 1, truth=mask_of)
    with pytest.raises(FigureError, match="holds"):
        lab.figures.worst_and_best(scores, run_of, 1, truth=mask_of, names=["background"])
    with pytest.raises(FigureError, match="there is no mask of"):
        lab.figures.doubtful(table, run_of, {}, dataset.label_names)
    with pytest.raises(FigureError, match="nothing to draw"):
        lab.figures.doubtful(table.iloc[:0], run_of, mask_of, dataset.label_names)


def test_what_cannot_be_doubted_says_why(result, segmenter, dataset, tmp_path):
    with pytest.raises(ConfigError, match="the dataset is 'scenes-val-voc'"):
        lab.results.doubtful(result, segmenter, lab.open_dataset("scenes"))
    with pytest.raises(ConfigError, match="another saliency_fingerprint"):
        lab.results.doubtful(result, lab.load("tiny", saliency="none"), dataset)
    with pytest.raises(ConfigError, match="least is 0; expected a share"):
        lab.results.doubtful(result, segmenter, dataset, least=0)
    oracle = lab.evaluate(segmenter, dataset, limit=1, oracle_saliency=True)
    with pytest.raises(ConfigError, match="the ground-truth masks as saliency"):
        lab.results.doubtful(oracle, segmenter, dataset)
    lab.evaluate(segmenter, dataset, limit=1, predictions=tmp_path / "masks")
    scored = lab.score(tmp_path / "masks", dataset, 1)
    with pytest.raises(ConfigError, match="has no configuration"):
        lab.results.doubtful(scored, segmenter, dataset)
    with pytest.raises(StoreError, match="source is None"):
        lab.results.doubtful(result, None, dataset)
