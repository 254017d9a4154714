"""Everything that shows and explains runs, on runs with grids of patch tokens."""

import numpy as np
import pytest

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.method.config import Config
from clipdiy_lab.views import figures
from clipdiy_lab.views.explorer.explorer import Explorer
from clipdiy_lab.views.explorer.show import explorer_widgets
from clipdiy_lab.views.gallery import gallery
from clipdiy_lab.views.live.scheduler import LatestWins
from clipdiy_lab.views.report import label_table

LABELS = ["cat", "car", "chair"]
CONFIGS = {
    "frame": Config(scales=(128, 64), dense="sclip"),
    "frame alone": Config(scales=(), dense="clearclip", image_size=(192, 128)),
    "crops": Config(scales=(64, 32), image_size=128, dense="naclip", dense_from="crops", weights={"dense": 0.5}),
}


@pytest.fixture(scope="module")
def runs(tiny, scenes):
    return {name: tiny.segment(scenes[0].image, LABELS, config) for name, config in CONFIGS.items()}


@pytest.fixture(params=CONFIGS)
def run(request, runs):
    return runs[request.param]


def test_parts_of_a_pixel_sum_to_its_scores(run):
    for y, x in ((0, 0), (64, 100), (127, 127)):
        parts = lab.explain.pixel(run, y, x)
        sums = parts.groupby("label", sort=False)["contribution"].sum()
        np.testing.assert_allclose(sums, run["fused"].values[:, y, x], atol=2e-6)
        assert (parts["bottom"] <= run.sizes["y"]).all()
        assert (parts["right"] <= run.sizes["x"]).all()
        lead = lab.explain.contrast(run, y, x, "cat", "car")["difference"].sum()
        assert lead == pytest.approx(float(run["fused"].values[1, y, x] - run["fused"].values[2, y, x]), abs=2e-6)


def test_the_story_names_patches(runs):
    assert "that of the dense patch at rows" in lab.explain.story(runs["frame alone"], 60, 60)
    assert "at dense 64 px" in lab.explain.story(runs["crops"], 60, 60)


def test_maps_of_grids_and_flips(run):
    found = lab.explain.grid_importance(run)
    assert list(found["grid"].values) == list(run["logits"]["grid"].values)
    top = np.sort(run["fused"].values, axis=0)
    for name in ("grid_contribution", "grid_shapley"):
        np.testing.assert_allclose(found[name].values.sum(0), top[-1] - top[-2], atol=2e-6)
    assert lab.explain.flip_weight(run)["flip_change"].shape == run["labels"].shape
    agreement = lab.explain.uncertainty(run)["grid_agreement"]
    assert float(agreement.max()) <= 1


def test_every_figure_and_picture_can_be_drawn(run):
    for grid in run["logits"]["grid"].values:
        assert figures.image(run, str(grid)).data
        assert figures.windows(run, str(grid), "cat").data
    assert figures.similarity(run, "cat").data
    assert figures.grids(run, "cat").data
    assert {"similarity", "logits", "labels"} <= {drawing.entry.name for drawing, _ in gallery(run)}
    assert len(label_table(run))


def test_the_report_shows_them(runs, tmp_path):
    text = lab.report(runs["crops"], tmp_path / "run.html").read_text()
    assert "dense 64 px" in text
    assert "naclip" in text


def test_patches_are_no_crops(runs, tiny):
    with pytest.raises(errors.RunError, match=r"the grid 'dense' holds patch tokens, not crops"):
        lab.explain.occlude(runs["frame"], tiny, ("dense", 0, 0), "cat")


def test_the_error_budget_counts_them_as_grids(tiny, scenes):
    budget = lab.explain.error_budget(tiny, scenes, CONFIGS["crops"], limit=1)
    assert "grid" in budget["loss"].values
    whole = lab.evaluate(tiny, scenes, CONFIGS["crops"], limit=1)
    assert float(budget["miou"].sel(ingredient="as_is")) == pytest.approx(whole.attrs["miou"], abs=1e-12)


@pytest.fixture
def explorer(tiny):
    scheduler = LatestWins(start=lambda run: run(), later=lambda seconds, run: run() or (lambda: None))
    config = Config(scales=(128, 64))
    made = Explorer(None, LABELS, tiny, config=config, scheduler=scheduler, make_widgets=explorer_widgets)
    yield made
    made.close()


def test_the_explorer_turns_them_on_weighs_them_and_turns_them_off(explorer):
    screen = explorer.widget

    def ask(what, **content):
        screen.root._handle_custom_msg({"what": what, "id": 1, **content}, [])
        assert not explorer.error

    assert "patches" not in [control["name"] for control in screen.root.asks]
    assert [grid["name"] for grid in screen.root.scene["grids"]] == ["s128", "s064"]
    ask("encode", values={"dense": "naclip"})
    assert [grid["name"] for grid in screen.root.scene["grids"]] == ["s128", "s064", "dense"]
    assert list(explorer.run["logits"]["grid"].values) == ["s128", "s064", "dense"]
    ask("follow", chosen={"knobs": {"weights": {"s128": 1.0, "s064": 2.0, "dense": 0.5}}})
    assert explorer.config.weights == {"s064": 2.0, "dense": 0.5}
    ask("encode", values={"dense_from": "crops"})
    assert explorer.config.weights == {"s064": 2.0, "dense128": 0.5, "dense064": 0.5}
    assert [grid["name"] for grid in screen.root.scene["grids"]] == ["s128", "s064", "dense128", "dense064"]
    ask("encode", values={"dense": "none"})
    assert explorer.config.weights == {"s064": 2.0}


def test_the_explorer_looks_at_patches_alone_and_keeps_its_state(explorer, tmp_path):
    explorer.change(dense="clearclip", scales_off=(128, 64))
    assert not explorer.error
    assert explorer.config.grids == ("dense",)
    explorer.save(tmp_path / "state.json")
    before = explorer.run["labels"].values
    explorer.change(dense="none", scales_off=())
    explorer.load(tmp_path / "state.json")
    assert (explorer.config.dense, explorer.config.grids) == ("clearclip", ("dense",))
    assert np.array_equal(explorer.run["labels"].values, before)
    explorer.change(dense="none", scales_off=(128, 64))
    assert "every scale is switched off" in explorer.error or "so there is no grid" in explorer.error


def test_the_board_offers_them(tiny, scenes):
    board = lab.ablation_board(tiny, scenes)
    assert {"dense", "dense_from", "dense_side"} <= {knob["name"] for knob in board.widget.root.form["knobs"]}
    assert "patches" not in {knob["name"] for knob in board.widget.root.form["knobs"]}
    board.close()
