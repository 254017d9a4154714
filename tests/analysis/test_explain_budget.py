"""The error budget on scenes, where the truth is exact: partitions, orderings, sums, and independent restatements."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.analysis.explain.losses import LOSSES, RIGHT, bins, near_boundary
from clipdiy_lab.analysis.explain.oracles import Case, window_votes
from clipdiy_lab.method import ops
from clipdiy_lab.pipeline.embeddings.write import embed

LIMIT = 4


@pytest.fixture(scope="module")
def scenes():
    return lab.open_dataset("scenes", split="val", length=LIMIT)


@pytest.fixture(scope="module")
def segmenter():
    return lab.load("tiny")


@pytest.fixture(scope="module")
def budget(segmenter, scenes):
    return lab.explain.error_budget(segmenter, scenes)


class TrueSaliency:
    """A localiser that knows the masks of a dataset."""

    name, fingerprint = "truth", "0"

    def __init__(self, dataset):
        self.masks = {sample.image.tobytes(): sample.mask for sample in dataset}

    def __call__(self, image):
        return (self.masks[image.tobytes()] != 0).astype(np.float32)


def test_what_is_replaced_gives_what_evaluate_gives(budget, segmenter, scenes):
    plain = lab.evaluate(segmenter, scenes)
    oracle = lab.evaluate(segmenter, scenes, oracle_saliency=True)
    assert budget["miou"].sel(ingredient="as_is") == plain.attrs["miou"]
    assert budget["miou"].sel(ingredient="saliency") == oracle.attrs["miou"]
    np.testing.assert_array_equal(budget["iou"].sel(ingredient="as_is"), plain["iou"])
    np.testing.assert_array_equal(budget["image_accuracy"].sel(ingredient="as_is"), plain["image_pixel_accuracy"])


def test_every_wrong_pixel_is_in_one_bin_and_the_lost_miou_is_shared_out(budget, segmenter, scenes):
    confusion = lab.evaluate(segmenter, scenes)["confusion"].values
    assert int(budget["wrong"].sum()) == confusion.sum() - confusion.trace()
    miou = budget["miou"].sel(ingredient="as_is")
    assert float(budget["lost_miou"].sum()) == pytest.approx(1 - float(miou), abs=1e-12)
    iou = budget["iou"].sel(ingredient="as_is")
    np.testing.assert_allclose(budget["lost_iou"].sum("loss", skipna=False), 1 - iou, atol=1e-12)
    assert (budget["image_wrong"].sum("image_id") == budget["wrong"]).all()
    missing = budget["area_pixels"] * (1 - budget["area_accuracy"].sel(ingredient="as_is"))
    np.testing.assert_allclose(budget["area_wrong"].sum("loss"), missing.fillna(0), atol=1e-6)
    assert (budget["miou_if_right"] >= miou).all()
    assert int(budget["area_pixels"].sum()) == int(budget["pixels"][1:].sum())


def test_truth_helps_in_the_order_that_it_must(budget):
    accuracy = budget["pixel_accuracy"].to_series()
    assert accuracy["frame"] == accuracy.max()
    assert budget["miou"].sel(ingredient="frame") == budget["miou"].max()
    assert accuracy["all"] >= accuracy[["as_is", "saliency", "labels", "windows"]].max()
    assert accuracy["as_is"] == accuracy.min()
    assert (budget["image_accuracy"].sel(ingredient="frame") == budget["image_accuracy"].max("ingredient")).all()
    assert (budget["gain"] == budget["miou"] - budget["miou"][0]).all()


def test_true_saliency_leaves_no_misses_away_from_the_boundaries(segmenter, scenes):
    knowing = lab.Segmenter(segmenter.encoder, TrueSaliency(scenes))
    budget = lab.explain.error_budget(knowing, scenes)
    wrong = budget["wrong"].to_series()
    # Resizing moves an edge by a pixel or two, which lies within the band.
    assert wrong["saliency_miss"] == wrong["false_foreground"] == 0
    assert wrong["boundary"] > 0
    assert budget["gain"].sel(ingredient="saliency") == 0


def test_sums_do_not_depend_on_the_order_of_the_images(budget, segmenter, scenes):
    order = [2, 0, 3, 1]
    mixed = SimpleNamespace(
        name=scenes.name, label_names=scenes.label_names, samples=[scenes[index] for index in order]
    )

    class Mixed(SimpleNamespace):
        def __len__(self):
            return len(self.samples)

        def __getitem__(self, index):
            return self.samples[index]

    again = lab.explain.error_budget(segmenter, Mixed(**vars(mixed)))
    for name, array in budget.data_vars.items():
        other = again[name]
        if "image_id" in array.dims:
            other = other.sel(image_id=array["image_id"])
        np.testing.assert_array_equal(array, other, err_msg=name)


def test_a_store_gives_nearly_the_same(budget, segmenter, scenes, tmp_path):
    embed(segmenter, scenes, tmp_path / "store", lab.Config())
    stored = lab.explain.error_budget(tmp_path / "store", scenes)
    assert abs(stored["miou"] - budget["miou"]).max() < 5e-3
    assert stored["miou"].sel(ingredient="frame") == budget["miou"].sel(ingredient="frame")
    assert list(stored["image_id"].values) == list(budget["image_id"].values)
    with pytest.raises(errors.StoreError, match=r"^The store .* was not encoded with the grids of 32 px"):
        lab.explain.error_budget(tmp_path / "store", scenes, lab.Config(scales=(64, 32)))


@pytest.mark.parametrize(
    "config",
    [
        lab.Config(background="none", scales=(64,)),
        lab.Config(background="threshold", background_threshold=0.2),
        lab.Config(background="prompt", weights={256: 0, 128: 1, 64: 2}),
        lab.Config(saliency_threshold=0.5, saliency_weight=0.5),
    ],
    ids=lambda config: config.background,
)
def test_every_policy_keeps_the_sums(segmenter, scenes, config):
    budget = lab.explain.error_budget(segmenter, scenes, config, limit=2, protocol="official")
    assert budget.attrs["lost_to_absent"] > 0
    whole = float(budget["lost_miou"].sum()) + budget.attrs["lost_to_absent"]
    assert whole == pytest.approx(1 - float(budget["miou"][0]), abs=1e-12)
    assert budget["pixel_accuracy"].idxmax() == "frame"
    if config.background == "none":
        assert budget["wrong"].sel(loss="saliency_miss") == budget["wrong"].sel(loss="false_foreground") == 0
    if len(config.scales) == 1:
        assert budget["wrong"].sel(loss="grid") == 0


def test_boundaries_against_brute_force():
    rng = np.random.default_rng(0)
    mask = np.kron(rng.integers(0, 3, (4, 5)), np.ones((5, 4), int)).astype(np.uint8)
    mask[7:9, 3:9] = 255
    for band in (0, 1, 3, 40):
        expected = np.zeros(mask.shape, bool)
        for y, x in np.ndindex(mask.shape):
            around = mask[max(y - band, 0) : y + band + 1, max(x - band, 0) : x + band + 1]
            expected[y, x] = (around != mask[y, x]).any()
        np.testing.assert_array_equal(near_boundary(mask, band), expected)


def test_the_first_bin_that_takes_a_pixel_has_it():
    #                 right  miss  false  grid   confusion  ignored
    mask = np.array([[1, 1, 0, 1, 1, 255]], np.uint8)
    said = np.array([[1, 0, 2, 2, 2, 2]])
    alone = np.array([[1, 1, 0, 1, 0, 2]])  # one grid alone would be right at the miss too; misses go first
    names = [None if i == RIGHT else LOSSES[i] for i in bins(mask, said, 0, 0, [alone])[0]]
    assert names == [None, "saliency_miss", "false_foreground", "grid", "confusion", None]
    assert set(bins(mask, said, 0, 5, [alone])[0]) == {RIGHT, LOSSES.index("boundary")}
    without = [None if i == RIGHT else LOSSES[i] for i in bins(mask, said, None, 0, [])[0]]
    assert without == [None, *["confusion"] * 4, None]


def at_size(labels, size):
    return ops.resize_labels(torch.from_numpy(labels), size).numpy()


@pytest.mark.parametrize("size", [(70, 93), (40, 30), (32, 32)])
def test_no_label_map_in_the_frame_has_more_pixels_right_than_the_ceiling(size):
    rng = np.random.default_rng(1)
    mask = rng.integers(0, 4, size).astype(np.uint8)
    mask[:3] = 255
    config = lab.Config(image_size=(32, 32), scales=(16,))
    case = Case(None, SimpleNamespace(background=0), config, mask, mask)
    best = 0
    for y, x in np.ndindex(32, 32):  # each pixel of the frame on its own: the label that is right most often
        read = mask[at_size(np.arange(1024).reshape(32, 32), size) == 32 * y + x]
        best += max((np.sum(read == label) for label in range(4)), default=0)
    assert int((at_size(case.true_frame, size) == mask)[mask != 255].sum()) == best


def test_windows_vote_for_what_covers_most_of_them():
    config = lab.Config(image_size=(32, 32), scales=(32, 16))
    truth = np.zeros((32, 32), np.uint8)
    truth[:10, :16], truth[20:, 16:] = 2, 1
    truth[16:, :16] = 255
    like = {"s032": torch.zeros(1, 1, 3), "s016": torch.zeros(3, 3, 3)}
    plain = window_votes(truth, like, None, config)
    assert plain["s032"][0, 0].tolist() == [1, 0, 0]
    assert plain["s016"][0, 0].tolist() == [0, 0, 1]
    assert plain["s016"][2, 0].tolist() == [0, 0, 0]  # nothing but ignored pixels
    assert plain["s016"][2, 2].tolist() == [0, 1, 0]
    guided = window_votes(truth, like, 0, config)
    assert guided["s032"][0, 0].tolist() == [1, 1, 0]  # 192 pixels of label 1, 160 of label 2
    assert guided["s016"][0, 2].tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"band": -1}, errors.ConfigError, "band is -1; expected whole pixels"),
        ({"band": 1.5}, errors.ConfigError, "band is 1.5"),
        ({"band": True}, errors.ConfigError, "band is True"),
        ({"limit": 0}, errors.ConfigError, "limit is 0"),
        ({"protocol": "sliding"}, errors.ConfigError, "uses sliding windows, which an error budget does not"),
        ({"config": lab.Config(background_label="sky")}, errors.ConfigError, "background_label is 'sky'"),
        ({"source": 3}, errors.StoreError, "source is a int; expected a segmenter .*, or a store"),
        ({"source": "nowhere"}, errors.StoreError, "nowhere"),
    ],
)
def test_what_makes_no_sense_is_one_error(segmenter, scenes, changes, error, says):
    with pytest.raises(error, match=says):
        lab.explain.error_budget(**{"source": segmenter, "dataset": scenes, **changes})
