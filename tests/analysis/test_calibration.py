"""Calibration: counts against torchmetrics and plain sums, the fitted temperature, and what is refused."""

import numpy as np
import pytest
import torch
import xarray as xr
from killed_run import MeanColour
from test_predictions import CONFIG, Interrupting, Pictures
from torchmetrics.functional.classification import multiclass_calibration_error

import clipdiy_lab as lab
from clipdiy_lab.analysis.scoring import resume
from clipdiy_lab.errors import ConfigError, DatasetError, FigureError
from clipdiy_lab.method import ops
from clipdiy_lab.method.reliability import TEMPERATURES, Reliability, best_temperature

OWN = CONFIG.replace(temperature=0.05)


class Training(Pictures):
    name = "pictures-train"


@pytest.fixture(scope="module")
def segmenter():
    return lab.Segmenter(MeanColour(), "none")


@pytest.fixture(scope="module")
def fitted(segmenter):
    return lab.calibration(segmenter, Training(4), OWN)


@pytest.fixture(scope="module")
def reported(segmenter, fitted):
    return lab.calibration(segmenter, Pictures(), OWN, fitted=fitted)


def pixels_of(segmenter, dataset, temperature):
    """Probabilities, pixels x labels, and true labels of every pixel that counts, in our own words."""
    probabilities, truths = [], []
    for index in range(len(dataset)):
        sample = dataset[index]
        run = segmenter.segment(sample.image, dataset.label_names, OWN)
        scores = torch.from_numpy(run["fused"].values)
        rows, cols = (ops.nearest(old, new) for old, new in zip(scores.shape[1:], sample.mask.shape, strict=True))
        of_image = torch.softmax(scores[:, rows[:, None], cols].double() / temperature, 0)
        valid = torch.from_numpy(sample.mask != 255)
        probabilities.append(of_image[:, valid].T)
        truths.append(torch.from_numpy(sample.mask)[valid].long())
    return torch.cat(probabilities), torch.cat(truths)


def test_errors_are_those_of_torchmetrics(segmenter, reported, fitted):
    temperatures = [0.05, fitted.attrs["fitted_temperature"]]
    assert reported["temperature"].values.tolist() == temperatures
    for place, temperature in enumerate(temperatures):
        probabilities, truth = pixels_of(segmenter, Pictures(), temperature)
        expected = multiclass_calibration_error(probabilities, truth, num_classes=3, n_bins=15, norm="l1")
        assert float(reported["ece"][place]) == pytest.approx(float(expected), abs=2e-4)  # counted in float32 there
        nll = torch.nn.functional.nll_loss(probabilities.log(), truth)
        assert float(reported["nll"][place]) == pytest.approx(float(nll), abs=1e-5)
        assert int(reported["pixels"][place].sum()) == len(truth)
        assert int(reported["right"][place].sum()) == int((probabilities.argmax(1) == truth).sum())
    assert reported.attrs["fitted_on"] == "pictures-train, 4 images"


def test_the_fitted_temperature_has_the_least_loss(segmenter, fitted):
    best = fitted.attrs["fitted_temperature"]

    def loss(temperature):
        probabilities, truth = pixels_of(segmenter, Training(4), temperature)
        return float(torch.nn.functional.nll_loss(probabilities.log(), truth))

    around = [loss(best * factor) for factor in (0.8, 1.0, 1.25)]
    if TEMPERATURES[0] < best < TEMPERATURES[-1]:
        assert around[1] == min(around)
    else:  # random masks: the flatter the better
        assert best == pytest.approx(TEMPERATURES[-1])
        assert around == sorted(around, reverse=True)


def test_a_temperature_that_made_the_labels_is_found_again():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(5, 20_000)).astype(np.float32)
    for true in (0.03, 0.4, 2.0):
        chances = torch.softmax(torch.from_numpy(scores).double() / true, 0).T
        # Drawn with NumPy's numbers: torch.multinomial draws others in other versions.
        truth = (chances.cumsum(1) < torch.from_numpy(rng.random((len(chances), 1)))).sum(1)
        pairs = torch.stack([torch.arange(len(truth)), truth])
        counted = Reliability.of(torch.from_numpy(scores), pairs, torch.ones(len(truth)), TEMPERATURES)
        assert best_temperature(TEMPERATURES, counted.mean_nll) == pytest.approx(true, rel=0.03)


def test_a_run_goes_on_and_a_result_is_read(segmenter, reported, fitted, tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "KEEP_SECONDS", 0)
    monkeypatch.setattr(resume, "WRITING_SHARE", np.inf)
    config, out = lab.Config(scales=(16,), image_size=16, temperature=0.1), tmp_path / "calibration.nc"
    with pytest.raises(KeyboardInterrupt) as caught:
        lab.calibration(lab.Segmenter(Interrupting(3), "none"), Pictures(), config, out=out)
    assert "3 of 6 images" in caught.value.__notes__[0]
    encoder = Interrupting(None)
    found = lab.calibration(lab.Segmenter(encoder, "none"), Pictures(), config, out=out)
    assert encoder.calls == 3
    alone = lab.calibration(segmenter, Pictures(), config)
    xr.testing.assert_equal(found, alone)
    xr.testing.assert_identical(lab.calibration(segmenter, Pictures(), config, out=out), found)
    assert [path.name for path in tmp_path.iterdir()] == ["calibration.nc"]


def test_what_says_nothing_is_refused(segmenter, fitted, reported):
    with pytest.raises(ConfigError, match="fitted on 'pictures-train' itself"):
        lab.calibration(segmenter, Training(2), OWN, fitted=fitted)
    with pytest.raises(ConfigError, match="fitted with another config"):
        lab.calibration(segmenter, Pictures(), OWN.replace(placement="centred"), fitted=fitted)
    for other in (reported, lab.evaluate(segmenter, Pictures(2), OWN), "fit"):
        with pytest.raises(ConfigError, match=r"a result of lab\.calibration made without fitted="):
            lab.calibration(segmenter, Pictures(), OWN, fitted=other)
    with pytest.raises(DatasetError, match="has one label"):
        lab.calibration(segmenter, Pictures(labels=("cat",)), OWN.replace(background="none"))
    with pytest.raises(ConfigError, match="uses sliding windows"):
        lab.calibration(segmenter, Pictures(), OWN, protocol="sliding")
    with pytest.raises(ConfigError, match="where a result of evaluate is expected"):
        lab.results.table(reported)


def test_figures(segmenter, fitted, reported):
    figure = lab.figures.reliability(reported)
    assert [trace.name[:12] for trace in figure.data[1:]] == ["temperature "] * 2
    there = reported["pixels"].values[0] > 0
    np.testing.assert_allclose(figure.data[1].y, 100 * reported["bin_accuracy"].values[0][there])
    table = lab.results.calibration_bins(reported)
    np.testing.assert_allclose(table["accuracy_percent"][: there.sum()], figure.data[1].y)
    assert table["pixels"].sum() == int(reported["pixels"].sum())
    result = lab.evaluate(segmenter, Pictures(), OWN)
    curve = lab.figures.trimap(result, result, names=["one", "two"]).data
    np.testing.assert_allclose(curve[0].y, 100 * result["trimap_miou"])
    assert [trace.name for trace in curve] == ["one", "two"]
    with pytest.raises(FigureError, match="lacks 'bin_accuracy'"):
        lab.figures.reliability(result)
    with pytest.raises(FigureError, match="lacks 'trimap_miou'"):
        lab.figures.trimap(fitted)
    with pytest.raises(FigureError, match="0 results"):
        lab.figures.trimap()
