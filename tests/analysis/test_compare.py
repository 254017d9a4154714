"""Results, rows and runs compared: paired intervals, what differs, and what cannot be compared."""

import json

import numpy as np
import pytest
import xarray as xr
from killed_run import MeanColour
from test_predictions import CONFIG, Pictures

import clipdiy_lab as lab
from clipdiy_lab.analysis.scoring.counts import draws
from clipdiy_lab.errors import ConfigError, FigureError, RunError

PARTS = ("tp", "fp", "fn")


@pytest.fixture(scope="module")
def segmenter():
    return lab.Segmenter(MeanColour(), "none")


@pytest.fixture(scope="module")
def results(segmenter):
    dataset = Pictures(12)
    other = CONFIG.replace(background="none", placement="centred")
    return tuple(lab.evaluate(segmenter, dataset, config) for config in (CONFIG, other))


def replicate_mious(result):
    """In our own words: mIoU of every replicate, from the counts of the images."""
    times = np.stack([draws(position) for position in range(result.sizes["image_id"])])
    tp, fp, fn = (np.einsum("ir,il->rl", times, result[part].values) for part in PARTS)
    return tp / (tp + fp + fn)


def test_the_interval_is_that_of_paired_replicates(results):
    a, b = results
    found = lab.compare(a, b, names=("paper", "other"))
    first, second = (replicate_mious(result) for result in results)
    assert np.quantile(first.mean(1), 0.025) == pytest.approx(a.attrs["miou_low"], abs=1e-12)  # the draws are those
    totals = second.mean(1) - first.mean(1)
    assert found.attrs["miou_difference"] == pytest.approx(b.attrs["miou"] - a.attrs["miou"], abs=1e-12)
    bounds = [found.attrs["miou_difference_low"], found.attrs["miou_difference_high"]]
    np.testing.assert_allclose(bounds, np.quantile(totals, [0.025, 0.975]), atol=1e-12)
    holds = (np.sign(totals) == np.sign(found.attrs["miou_difference"])).mean()
    assert found.attrs["sign_holds"] == holds
    of_labels = second - first
    np.testing.assert_allclose(found["difference"], b["iou"].values - a["iou"].values, atol=1e-12)
    np.testing.assert_allclose(found["difference_low"], np.quantile(of_labels, 0.025, axis=0), atol=1e-12)
    np.testing.assert_allclose(found["difference_high"], np.quantile(of_labels, 0.975, axis=0), atol=1e-12)
    np.testing.assert_allclose(found["image_difference"], b["image_miou"].values - a["image_miou"].values, atol=1e-12)
    # What is hard for both cancels out: the difference is surer than two unpaired scores would say.
    unpaired = np.hypot(first.mean(1).std(), second.mean(1).std())
    assert totals.std() < unpaired


def test_what_differs_is_listed(results):
    found = lab.compare(*results, names=("paper", "other"))
    differs = json.loads(found.attrs["differs"])
    assert differs["config.background"] == ["saliency", "none"]
    assert differs["config.placement"] == ["stretched", "centred"]
    assert set(differs) == {"config.background", "config.placement", "background_rule"}
    table = lab.results.setting_differences(found)
    assert table.columns.tolist() == ["setting", "paper", "other"]
    assert len(table) == 3
    assert "'paper' and 'other'" in found.attrs["summary"]
    assert "12 images of pictures, protocol mmseg." in found.attrs["summary"]


def test_a_result_against_itself_does_not_differ(results):
    found = lab.compare(results[0], results[0])
    assert found.attrs["miou_difference"] == 0
    assert not found["difference"].any()
    assert found.attrs["differs"] == "{}"
    assert "cannot be told apart" in found.attrs["summary"]
    assert lab.results.setting_differences(found).empty


def test_tables_and_figure(results):
    found = lab.compare(*results, names=("paper", "other"))
    labels = lab.results.label_differences(found)
    points = ["difference_points", "low_points", "high_points"]
    assert labels.columns.tolist() == ["label", "iou_percent paper", "iou_percent other", *points, "sign_holds"]
    assert labels["difference_points"].is_monotonic_decreasing
    np.testing.assert_allclose(
        labels["difference_points"], labels["iou_percent other"] - labels["iou_percent paper"], atol=1e-9
    )
    images = lab.results.image_differences(found)
    assert images["difference_points"].is_monotonic_decreasing
    assert set(images["image_id"]) == set(Pictures(12).ids)
    figure = lab.figures.differences(found)
    trace = figure.data[0]
    assert trace.y[0] == "mIoU"
    assert trace.x[0] == pytest.approx(100 * found.attrs["miou_difference"])
    assert list(trace.y[1:]) == labels["label"].tolist()
    assert len(lab.figures.differences(found, most=1).data[0].x) == 2
    with pytest.raises(FigureError, match="lacks 'difference'"):
        lab.figures.differences(results[0])
    with pytest.raises(ConfigError, match="is given where"):
        lab.results.label_differences(results[0])


def test_other_methods_are_compared_by_their_masks(results, segmenter, tmp_path):
    dataset = Pictures(12)
    lab.evaluate(segmenter, dataset, CONFIG.replace(background="none"), predictions=tmp_path / "masks")
    found = lab.compare(results[0], lab.score(tmp_path / "masks", dataset, method="SCLIP"))
    assert json.loads(found.attrs["differs"])["method"] == [None, "SCLIP"]


def test_other_images_are_refused_or_left_out(results, segmenter):
    fewer = lab.evaluate(segmenter, Pictures(12), CONFIG, limit=9)
    with pytest.raises(ConfigError, match=r"12 and 9 \(only in the first: 'p009', 'p010', 'p011'\).*common=True"):
        lab.compare(results[1], fewer)
    found = lab.compare(results[1], fewer, common=True)
    assert found.attrs["images"] == 9
    assert found.attrs["mious"][1] == pytest.approx(fewer.attrs["miou"], abs=1e-12)
    shuffled = results[0].isel(image_id=slice(None, None, -1))
    again = lab.compare(results[1], shuffled)
    np.testing.assert_array_equal(again["difference"], lab.compare(results[1], results[0])["difference"])
    with pytest.raises(ConfigError, match="1 images in common"):
        lab.compare(results[1], fewer.isel(image_id=[0]), common=True)


def test_what_cannot_be_compared_says_what_differs(results, segmenter):
    a, b = results
    official = lab.evaluate(segmenter, Pictures(12), CONFIG, protocol="official")
    with pytest.raises(ConfigError, match=r"'mmseg', 'official': truth_short is None in one, 448 in the other"):
        lab.compare(a, official)
    renamed = b.assign_coords(label=["background", "dog", "sofa"])
    with pytest.raises(ConfigError, match="only one of them has 'cat', 'dog'"):
        lab.compare(a, renamed)
    masks = b.copy(deep=True)
    masks["fn"].values[3, 1] += 1
    with pytest.raises(ConfigError, match="the masks of 1 of 12 images differ between the results, the first 'p003'"):
        lab.compare(a, masks)
    for names in (("a", "a"), ("a",)):
        with pytest.raises(ConfigError, match="two different names"):
            lab.compare(a, b, names=names)
    with pytest.raises(ConfigError, match="a Dataset and a DataArray are given; expected two results of evaluate"):
        lab.compare(a, b["iou"])
    with pytest.raises(ConfigError, match="Dataset is given where a result of evaluate is expected"):
        lab.compare(a, xr.Dataset())
    with pytest.raises(ConfigError, match="this is not a comparison"):
        lab.results.setting_differences(a)


@pytest.fixture(scope="module")
def table(segmenter):
    grid = {"placement": ["stretched", "centred"], "background": ["saliency", "none"]}
    return lab.sweep(segmenter, Pictures(12), grid, base=CONFIG)


def test_rows_of_a_sweep_are_compared_as_their_results_are(table, results):
    whole = lab.compare(*results)
    shuffled = table.sort_values("background")
    found = lab.compare(shuffled.loc[0], shuffled.loc[3])
    for name in ("mious", "miou_difference", "miou_difference_low", "miou_difference_high", "sign_holds", "images"):
        assert found.attrs[name] == pytest.approx(whole.attrs[name], abs=1e-12)
    np.testing.assert_allclose(found["difference"], whole["difference"], atol=1e-12)
    assert "difference_low" not in found  # only the replicates of mIoU are kept
    assert json.loads(found.attrs["differs"]) == {
        "config.placement": ["stretched", "centred"],
        "config.background": ["saliency", "none"],
    }
    assert lab.results.label_differences(found).columns.tolist()[-1] == "difference_points"
    assert lab.figures.differences(found).data[0].y[0] == "mIoU"


def test_rows_that_cannot_be_compared_say_why(table, segmenter):
    fewer = lab.sweep(segmenter, Pictures(12), {"placement": ["stretched"]}, base=CONFIG, limit=9)
    with pytest.raises(ConfigError, match="the rows are of sweeps that differ in images"):
        lab.compare(table.iloc[0], fewer.iloc[0])
    failed = lab.sweep(segmenter, Pictures(12), {"align_corners": [False, True], "placement": ["stretched", "centred"]})
    with pytest.raises(ConfigError, match=r"the row 'b' has no score \(align_corners=True applies only"):
        lab.compare(failed.iloc[0], failed.iloc[3])
    with pytest.raises(ConfigError, match="the row 'a' is not from a sweep's table"):
        lab.compare(failed["error"], failed.iloc[0])


def test_the_best_row_says_whether_the_others_can_be_told_apart(table, results):
    said = lab.results.standing(table)
    ranked = table.sort_values("miou_percent", ascending=False, kind="stable")
    assert said.startswith(f"Best: placement {ranked['placement'].iloc[0]}, background")
    assert "cannot be told apart from it on these 12 images" in said  # the runner-up has the same labels
    apart = [
        lab.compare(row, ranked.iloc[0]).attrs["miou_difference_low"] <= 0 for _, row in ranked.iloc[1:].iterrows()
    ]
    assert f"{sum(apart)} of 3 other rows cannot be told apart from the best." in said
    assert lab.results.standing(table.iloc[:1]) == ""
    pair = lab.results.standing(table.loc[[0, 2]])
    low = lab.compare(table.loc[0], table.loc[2]).attrs["miou_difference_low"]
    assert f"(95 %, paired: {100 * low:+.2f} to" in pair
    notes = lab.results.table(*results)["note"]
    assert notes.str.startswith("best of ours; runner-up").tolist() == [False, True]
    assert notes[1].split(";")[1].endswith(": not distinguishable")


@pytest.fixture(scope="module")
def runs(segmenter):
    dataset = Pictures(12)
    other = CONFIG.replace(background="none", placement="centred")
    names = [list(dataset.label_names), list(reversed(dataset.label_names))]
    return [segmenter.segment(dataset[1].image, x, config=c) for x, c in zip(names, (CONFIG, other), strict=True)]


def test_runs_of_one_image_are_compared_by_the_names_of_their_labels(runs):
    found = lab.compare(*runs, names=("paper", "other"))
    a, b = (np.array(run["fused"]["label"].values)[run["labels_full"].values] for run in runs)
    np.testing.assert_array_equal(found["changed"], a != b)
    assert found.attrs["changed_share"] == (a != b).mean() > 0
    changes = lab.results.label_changes(found)
    assert changes["pixels"].sum() == (a != b).sum()
    for row in changes.itertuples():
        assert row.pixels == ((a == row.label) & (b == row.other_label)).sum()
    assert {"config.placement", "config.background", "labels"} <= set(json.loads(found.attrs["differs"]))
    assert len(lab.figures.differences(found).layout.annotations) == 4
    assert "have the same label on every pixel; 0 settings differ" in lab.compare(runs[0], runs[0]).attrs["summary"]


def test_runs_of_other_images_are_refused(runs, segmenter):
    elsewhere = segmenter.segment(Pictures(12)[2].image, ["cat", "sofa"], config=CONFIG)
    with pytest.raises(RunError, match="the runs are of different images"):
        lab.compare(runs[0], elsewhere)


def test_a_comparison_is_a_page(results, table, runs, tmp_path):
    pairs = {"results": results, "rows": (table.iloc[0], table.iloc[3]), "runs": runs}
    for kind, pair in pairs.items():
        found = lab.compare(*pair, names=("<paper>", "other"))
        page = lab.report(found, tmp_path / f"{kind}.html").read_text()
        assert found.attrs["kind"] == kind
        assert "&lt;paper&gt;" in page
        assert "<paper>" not in page
        assert "http" not in page
        assert "placement" in page  # set otherwise
        assert ("protocol mmseg" in page) == (kind != "runs")
    with pytest.raises(RunError, match="expected a run"):
        lab.report(results[0], tmp_path / "none.html")
    with pytest.raises(FigureError, match="takes no tables, segmenter or image"):
        lab.report(found, tmp_path / "none.html", {"more": table})
    assert not (tmp_path / "none.html").exists()
