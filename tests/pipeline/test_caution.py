"""The embedded model says, in every place where one looks, that it was shown something else than its world."""

import warnings

import numpy as np
import pytest
from PIL import Image

import clipdiy_lab as lab
from clipdiy_lab.datasets.sample import Sample
from clipdiy_lab.errors import OutOfDistributionWarning

CONFIG = lab.Config(scales=(128,))
SAID = "trained only on the drawings of 'scenes'"


class Photographs:
    """Two pictures that no scene looks like."""

    name, label_names, ids = "photographs", ("background", "cat", "sofa"), ("a", "b")

    def __len__(self):
        return 2

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        mask = rng.integers(0, 3, (90, 120)).astype(np.uint8)
        return Sample(self.ids[index], rng.integers(0, 256, (90, 120, 3), dtype=np.uint8), mask)


@pytest.fixture(scope="module")
def tiny():
    return lab.load("tiny", saliency="none")


@pytest.fixture(scope="module")
def run(tiny):
    with pytest.warns(OutOfDistributionWarning, match=SAID):
        return tiny.segment(Photographs()[0].image, ["cat", "sofa"], CONFIG)


def test_a_run_says_it_as_a_warning_of_its_own_and_keeps_it(run, tiny, tmp_path):
    assert SAID in run.attrs["caution"]
    assert lab.recombine(run, placement="centred").attrs["caution"] == run.attrs["caution"]
    lab.save_run(run, tmp_path / "run.nc")
    assert lab.open_run(tmp_path / "run.nc").attrs["caution"] == run.attrs["caution"]
    with pytest.warns(OutOfDistributionWarning, match="this image is not one of them"):
        tiny.encode(Photographs()[0].image, CONFIG)


def test_the_place_of_the_warning_is_the_call(tiny):
    with pytest.warns(OutOfDistributionWarning) as caught:
        tiny.segment(Photographs()[0].image, ["cat"], CONFIG)
    assert caught[0].filename == __file__


def test_the_page_has_a_banner_only_where_there_is_a_caution(run, tiny, tmp_path):
    lab.report(run, tmp_path / "page.html")
    assert "<p class='caution' role='note'>The model &#39;tiny&#39; was" in (tmp_path / "page.html").read_text()
    scene = tiny.segment(lab.open_dataset("scenes")[1].image, ["cat", "car"], CONFIG)
    lab.report(scene, tmp_path / "page.html")
    assert "class='caution'" not in (tmp_path / "page.html").read_text()


def test_scenes_never_warn_however_they_come(tiny, tmp_path):
    sample = lab.open_dataset("scenes", split="val_unseen")[3]
    Image.fromarray(sample.image).save(tmp_path / "scene.png")
    for image in (sample.image, Image.fromarray(sample.image), tmp_path / "scene.png"):
        assert "caution" not in tiny.segment(image, ["cat"], CONFIG).attrs


def test_no_other_model_says_it(counting_encoder):
    counting_encoder.name = "tiny"  # a name alone is no world
    run = lab.Segmenter(counting_encoder).segment(Photographs()[0].image, ["cat"], CONFIG)
    assert "caution" not in run.attrs


def test_a_dataset_is_told_by_its_first_image_once(tiny, tmp_path):
    with pytest.warns(OutOfDistributionWarning, match="first image of 'photographs'") as caught:
        result = lab.evaluate(tiny, Photographs(), CONFIG, out=tmp_path / "result.nc")
    assert len(caught) == 1
    assert SAID in result.attrs["caution"]
    with pytest.warns(OutOfDistributionWarning):
        again = lab.evaluate(tiny, Photographs(), CONFIG, out=tmp_path / "result.nc")
    assert again.attrs["caution"] == result.attrs["caution"]
    with pytest.warns(OutOfDistributionWarning) as caught:
        lab.embed(tiny, Photographs(), tmp_path / "a.store", CONFIG)
    assert len(caught) == 1
    with pytest.warns(OutOfDistributionWarning) as caught:
        lab.sweep(tmp_path / "a.store", Photographs(), {"placement": ["stretched"]}, segmenter=tiny)
    assert len(caught) == 1


def test_sliding_windows_cut_from_scenes_do_not_warn(tiny):
    result = lab.evaluate(tiny, lab.open_dataset("scenes"), CONFIG, 1, protocol="sliding")
    assert "caution" not in result.attrs


def test_the_explorer_shows_it_as_long_as_the_image_is_on_show(tiny):
    from clipdiy_lab.views.explorer.explorer import Explorer

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explorer = Explorer(Photographs()[0].image, ["cat", "sofa"], tiny, config=CONFIG)
        assert SAID in explorer.shown().notes[0]
        explorer.change(saliency_weight=0.3, placement="centred")
        assert SAID in explorer.shown().notes[0]
        explorer.open_scene("val", 1)
        assert explorer.shown().notes == ()
