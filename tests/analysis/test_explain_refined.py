"""Explanations of refined scores, and of those where only some labels compete: exact, or refused in words."""

import numpy as np
import pytest

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.method import metrics, schema
from clipdiy_lab.pipeline.embeddings.write import embed

PAMR = {"refine": "pamr", "refine_dilations": (1, 4), "refine_iterations": 4}
REFINED = {"pamr": PAMR, "guided": {"refine": "guided", "refine_radius": 6}}
CONFIG = lab.Config(scales=(128, 64), saliency_weight=0.4)
PIXELS = ((100, 90), (0, 0), (255, 31), (180, 130))


@pytest.fixture(scope="module")
def tiny():
    return lab.load("tiny")


@pytest.fixture(scope="module")
def scenes():
    return lab.open_dataset("scenes", split="val", length=3)


@pytest.fixture(scope="module")
def plain(tiny, scenes):
    return tiny.segment(scenes[1].image, scenes.label_names, CONFIG)


@pytest.fixture(scope="module", params=list(REFINED))
def run(request, plain):
    return lab.recombine(plain, **REFINED[request.param])


def test_a_run_says_what_was_refined(run, tiny, scenes, tmp_path):
    assert schema.scores(run).name == "refined"
    assert list(run.data_vars).index("refined") == list(run.data_vars).index("fused") + 1
    np.testing.assert_array_equal(run["labels"], run["refined"].argmax("label"))
    fresh = tiny.segment(scenes[1].image, scenes.label_names, lab.Config.from_json(run.attrs["config"]))
    assert fresh.identical(run)
    assert lab.open_run(lab.save_run(run, tmp_path / "run.nc"))["refined"].equals(run["refined"])
    bare = run.copy()
    del bare["image"]
    with pytest.raises(errors.RunError, match="the stage 'refined' needs 'image', which is not at hand; segment the"):
        lab.recombine(bare, saliency_weight=0.5)
    with pytest.raises(errors.RunError, match="the run has no stage 'image'"):
        lab.explain.pixel(bare, 100, 90)


def test_the_parts_of_a_pixel_and_of_a_lead_sum_to_refined_scores(run):
    for y, x in PIXELS:
        parts = lab.explain.pixel(run, y, x)
        scores = run["refined"].sel(y=y, x=x).to_series()
        sums = parts.groupby("label")["contribution"].sum()
        np.testing.assert_allclose(sums[scores.index], scores, atol=1e-6)
        factors = ["interpolation_weight", "cosine", "grid_weight", "saliency_factor"]
        np.testing.assert_allclose(parts["contribution"], parts[factors].prod(axis=1), rtol=1e-12)
        lead = lab.explain.contrast(run, y, x, "car", "background")["difference"].sum()
        assert lead == pytest.approx(scores["car"] - scores["background"], abs=1e-6)


def test_the_parts_of_a_region_sum_to_its_refined_mean_score(run):
    mask = run["labels"].values == list(run["label"].values).index("car")
    parts = lab.explain.region(run, mask)
    sums = parts.groupby("label")["contribution"].sum()
    means = run["refined"].where(run["labels"].copy(data=mask)).mean(("y", "x")).to_series()
    np.testing.assert_allclose(sums[means.index], means, atol=1e-6)
    lines = lab.explain.region_story(run, mask).splitlines()
    assert len(lines) == 4
    kind = lab.Config.from_json(run.attrs["config"]).refine
    assert lines[3].startswith(f"Refinement ({kind}) makes these scores of those of ")
    other = run.copy(deep=True)
    other["image"] = other["image"].copy(data=other["image"].values[:, ::-1])
    with pytest.raises(errors.RunError, match=r"over the region is .* \(refined\), its windows sum to"):
        lab.explain.region(other, mask)


def test_a_run_whose_image_was_changed_is_refused(run):
    """Other pixels are other neighbours: the parts do not sum, and it says so."""
    other = run.copy(deep=True)
    other["image"] = other["image"].copy(data=other["image"].values[:, ::-1])
    with pytest.raises(errors.RunError, match=r"\(refined\), its windows sum to"):
        lab.explain.pixel(other, 180, 130)


def test_parts_of_grids_sum_to_the_margin(run):
    found = lab.explain.grid_importance(run)
    for name in ("grid_contribution", "grid_shapley"):
        np.testing.assert_allclose(found[name].sum("grid"), run["margin"], atol=2e-6)
    assert lab.explain.uncertainty(run)["grid_agreement"].max() <= 1


def test_saliency_weights_that_flip_do_so(run):
    """Recombined a little beyond the crossing, the named label wins; below it nothing changes."""
    found = lab.explain.flip_weight(run)
    change, rival = found["flip_change"].values, found["flip_label"].values
    ahead = np.argwhere((change > 0.01) & (change < 0.5))[::97]
    assert len(ahead) > 3
    for y, x in ahead[:: len(ahead) // 12 + 1]:
        for step, label in ((1e-4, rival[y, x]), (-1e-4, int(run["labels"][y, x]))):
            weight = CONFIG.saliency_weight + float(change[y, x]) + step
            assert int(lab.recombine(run, saliency_weight=weight)["labels"][y, x]) == label
    with pytest.raises(errors.RunError, match=r"from the stage 'refined', .* only where they come from 'fused'"):
        lab.explain.background_threshold(run)


def test_what_the_refinement_changed(run, plain):
    found = lab.explain.refine_changed(run)
    np.testing.assert_array_equal(found["label_unrefined"], plain["labels"])
    np.testing.assert_array_equal(found["refine_changed"], plain["labels"].values != run["labels"].values)
    assert 0 < found.attrs["changed_share"] == float(found["refine_changed"].mean())
    before, now = plain["labels"].values, run["labels"].values
    moved = metrics.confusion(before.astype(np.int64), now, run.sizes["label"])
    np.testing.assert_array_equal(found["moved"], moved)
    car = found["moved"].sel(label_before="car", label="background")
    assert int(car) == int(((run["label"].values[before] == "car") & (now == 0)).sum())
    with pytest.raises(errors.RunError, match=r"the stage 'fused', so it has no refinement to explain"):
        lab.explain.refine_changed(plain)


def test_the_story_says_that_a_score_is_that_of_many_pixels(run, plain):
    assert len(lab.explain.story(plain, 180, 130).splitlines()) == 3
    lines = lab.explain.story(run, 180, 130).splitlines()
    assert len(lines) == 4
    assert "on average; without saliency" in lines[2]
    kind = lab.Config.from_json(run.attrs["config"]).refine
    assert lines[3].startswith(f"Refinement ({kind}) makes these scores of those of ")
    before = run["label"].values[int(plain["labels"][180, 130])]
    assert f"before it {before!r} would win here" in lines[3]


def test_labels_that_were_not_kept_win_nowhere_and_are_nobody_s_rival(plain):
    run = lab.recombine(plain, keep_labels=1, **PAMR)
    kept = schema.competing(run)
    assert kept.sum() == 2
    assert kept[schema.background_of(run)]
    assert kept[run["labels"].values].all()
    everywhere = lab.recombine(plain, **PAMR)
    assert (run["labels"] != everywhere["labels"]).any()
    np.testing.assert_array_equal(run["refined"], everywhere["refined"])  # the scores stay what they are
    out = str(run["label"].values[~kept][0])
    parts = lab.explain.pixel(run, 180, 130, [out])
    assert parts["contribution"].sum() == pytest.approx(float(run["refined"].sel(label=out)[180, 130]), abs=1e-6)
    alone = lab.recombine(run, keep_labels=None, labels=list(run["label"].values[kept]))
    for explain in (lab.explain.grid_importance, lab.explain.uncertainty):
        for name, values in explain(run).data_vars.items():
            np.testing.assert_allclose(values, explain(alone)[name], atol=1e-6, err_msg=name)
    flips, fewer = lab.explain.flip_weight(run), lab.explain.flip_weight(alone)
    named = np.where(fewer["flip_label"] < 0, -1, np.flatnonzero(kept)[fewer["flip_label"]])
    np.testing.assert_array_equal(flips["flip_label"], named)
    # A change of weight is a lead over how steeply it falls, so where that is little the lead's rounding is magnified.
    rise = (lab.recombine(run, saliency_weight=1)["refined"] - lab.recombine(run, saliency_weight=0)["refined"]).values
    own, rival = (
        np.take_along_axis(rise, which[None], axis=0)[0] for which in (run["labels"].values, named.clip(min=0))
    )
    steep = np.abs(rival - own)
    np.testing.assert_allclose(flips["flip_change"] * steep, fewer["flip_change"] * steep, atol=1e-6)
    unrefined = lab.recombine(run, refine="none"), lab.recombine(alone, refine="none")
    one, other = (lab.explain.background_threshold(each)["background_threshold"] for each in unrefined)
    np.testing.assert_allclose(one, other, atol=1e-6)
    assert "labels the 2 with the most evidence compete" in lab.explain.story(run, 180, 130).splitlines()[-1]
    assert f"{out!r} cannot win" in lab.explain.story(run, 180, 130, against=out).splitlines()[-1]
    too_many = f"keep_labels is 20, but there are only {len(kept) - 1} labels beside the background"
    with pytest.raises(errors.ConfigError, match=too_many):
        lab.recombine(plain, keep_labels=20)


def test_the_budget_says_what_the_refinement_repairs_and_what_the_kept_labels_close(tiny, scenes, tmp_path):
    config = CONFIG.replace(keep_labels=3, **PAMR)
    budget = lab.explain.error_budget(tiny, scenes, config)
    changes = {
        "as_is": {},
        "unrefined": {"refine": "none"},
        "all_labels": {"keep_labels": None},
    }
    assert list(budget["ingredient"].values[:3]) == list(changes)
    for name, knobs in changes.items():
        assert budget["miou"].sel(ingredient=name) == lab.evaluate(tiny, scenes, config.replace(**knobs)).attrs["miou"]
    accuracy = budget["pixel_accuracy"].to_series() * int(budget["pixels"].sum())
    gained = int(budget["repaired"].sum() - budget["broken"].sum())
    assert gained == round(accuracy["as_is"] - accuracy["unrefined"])
    assert int(budget["repaired"].sum()) > 0
    unrefined = lab.explain.error_budget(tiny, scenes, config.replace(refine="none"))
    assert (budget["repaired"] <= unrefined["wrong"]).all()
    assert (budget["broken"] <= budget["wrong"]).all()
    assert "repaired" not in unrefined
    stored = lab.explain.error_budget(embed(tiny, scenes, tmp_path / "store", CONFIG).path, scenes, config)
    np.testing.assert_allclose(stored["miou"], budget["miou"], atol=5e-3)


def test_a_sweep_from_a_store_refines_with_the_images_of_its_dataset(tiny, scenes, tmp_path):
    grid = {"refine": ["none", "pamr"], "refine_dilations": [(1, 4)], "keep_labels": [None, 3, 20]}
    store = lab.embed(tiny, scenes, tmp_path / "store", CONFIG)
    table = lab.sweep(store, scenes, grid)
    refused = table["keep_labels"] == 20
    assert table["error"][refused].str.contains("keep_labels is 20, but there are only 19 labels beside the back").all()
    assert (table["error"][~refused] == "").all()
    assert table["miou_percent"][0] != table["miou_percent"][3]
    settings = {"scales": [CONFIG.scales], "saliency_weight": [CONFIG.saliency_weight]}
    own = lab.sweep(tiny, scenes, {**grid, "keep_labels": [None, 3], **settings})
    np.testing.assert_allclose(table["miou_percent"][~refused], own["miou_percent"], atol=0.2)
    others = lab.open_dataset("scenes", split="val", length=3, seed=1)
    with pytest.raises(errors.StoreError, match="contains other images"):
        lab.sweep(store, others, grid)
