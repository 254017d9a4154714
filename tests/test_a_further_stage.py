"""A stage after `fused` is a row of the table and a function; it is then found everywhere, or refused in words."""

from dataclasses import replace

import numpy as np
import pytest
import torch.nn.functional as F

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.method import frame_stages, labelling, metrics, schema
from clipdiy_lab.pipeline.fusion import fuse, label_map
from clipdiy_lab.views import figures
from clipdiy_lab.views.explorer.explorer import Explorer
from clipdiy_lab.views.gallery import gallery
from clipdiy_lab.views.instrument.scene import scene
from clipdiy_lab.views.report import label_table, write_folder

LABELS = ["cat", "car", "chair"]
CONFIG = lab.Config(scales=(128, 64), temperature=2.0)
PLAIN = CONFIG.replace(temperature=1.0)


def smooth(maps):
    """Mean of 9 x 9 pixels: other labels at edges, and no sum of windows at a pixel any more."""
    return F.avg_pool2d(maps, 9, 1, 4, count_include_pad=False)


@pytest.fixture(autouse=True)
def smoothed(monkeypatch):
    """A score that a configuration asks for by its temperature, which the tests of the stage need for nothing else."""
    row = schema.Stage(
        name="smoothed",
        dims=(schema.LABEL, schema.Y, schema.X),
        kind="f4",
        title="Smoothed",
        sentence="The fused scores, averaged over 9 x 9 pixels.",
        unit="score",
        needs=("fused",),
        is_score=True,
        asked=lambda config: config.temperature == 2.0,
    )
    table = {}
    for name, stage in schema.STAGES.items():
        table |= {name: stage} | ({row.name: row} if name == "fused" else {})
    monkeypatch.setattr(schema, "STAGES", table)
    monkeypatch.setitem(frame_stages.MAKERS, "smoothed", lambda inputs, made: smooth(made["fused"]))
    return row


@pytest.fixture(scope="module")
def tiny():
    return lab.load("tiny")


@pytest.fixture(scope="module")
def scenes():
    return lab.open_dataset("scenes", split="val", length=3)


@pytest.fixture
def run(tiny, scenes):
    return tiny.segment(scenes[1].image, LABELS, CONFIG)


def test_it_stands_in_the_run_and_decides(run, tiny, scenes, tmp_path):
    schema.validate(run)
    assert list(run.data_vars).index("smoothed") == list(run.data_vars).index("fused") + 1
    assert run["smoothed"].attrs == {"long_name": "Smoothed", "units": "1"}
    assert schema.scores(run).name == "smoothed"
    np.testing.assert_array_equal(run["labels"], run["smoothed"].argmax("label"))
    assert (run["labels"] != run["fused"].argmax("label")).any()
    top = np.sort(run["smoothed"].values, axis=0)
    np.testing.assert_allclose(run["margin"], top[-1] - top[-2], atol=1e-6)
    again = lab.open_run(lab.save_run(run, tmp_path / "run.nc"))
    assert schema.scores(again).equals(run["smoothed"])
    without = lab.recombine(run, temperature=1.0)
    assert "smoothed" not in without
    assert schema.scores(without).name == "fused"


def test_the_fast_path_steps_aside(tiny, scenes):
    encoded = tiny.encode(scenes[1].image, CONFIG)
    for config in (CONFIG, PLAIN):
        text = tiny.text_embeddings(LABELS, config)
        np.testing.assert_array_equal(label_map(encoded, text, config), fuse(encoded, text, config)["labels"])
    assert (labelling.knows(CONFIG), labelling.knows(PLAIN)) == (False, True)


def test_evaluate_and_sweep_score_its_labels(tiny, scenes, tmp_path):
    counted = np.zeros((20, 20), dtype=np.int64)
    for index in range(len(scenes)):
        sample = scenes[index]
        labels = tiny.segment(sample.image, scenes.label_names, CONFIG)["labels_full"].values
        counted += metrics.confusion(sample.mask, labels, len(scenes.label_names))
    result = lab.evaluate(tiny, scenes, CONFIG)
    np.testing.assert_array_equal(result["confusion"], counted)
    plain = lab.evaluate(tiny, scenes, PLAIN)
    assert plain.attrs["miou"] != result.attrs["miou"]
    store = lab.embed(tiny, scenes, tmp_path / "store", CONFIG)
    for source in (tiny, store):
        table = lab.sweep(source, scenes, [CONFIG, PLAIN, CONFIG.replace(saliency_weight=0.5)])
        assert list(table["error"]) == [""] * 3
        close = {"abs": 1e-12} if source is tiny else {"abs": 1e-3}  # a store keeps half precision
        assert table["miou_percent"][0] / 100 == pytest.approx(result.attrs["miou"], **close)
        assert table["miou_percent"][1] / 100 == pytest.approx(plain.attrs["miou"], **close)
        assert table["miou_percent"][2] != table["miou_percent"][0]


def test_explanations_of_sums_refuse_and_the_others_go_on(run, tiny, scenes):
    for explain in (
        lambda: lab.explain.pixel(run, 100, 90),
        lambda: lab.explain.story(run, 100, 90),
        lambda: lab.explain.contrast(run, 100, 90, "cat", "car"),
    ):
        with pytest.raises(errors.RunError, match=r"\(smoothed\), its windows sum to"):
            explain()
    for explain in (lab.explain.grid_importance, lab.explain.uncertainty):
        with pytest.raises(errors.RunError, match="not a sum over the grids"):
            explain(run)
    for explain in (lab.explain.flip_weight, lab.explain.background_threshold):
        with pytest.raises(errors.RunError, match="come from the stage 'smoothed', which follows saliency"):
            explain(run)
    budget = lab.explain.error_budget(tiny, scenes, CONFIG)
    assert budget["miou"].sel(ingredient="as_is") == lab.evaluate(tiny, scenes, CONFIG).attrs["miou"]
    changed = lab.explain.label_changed(run, lab.recombine(run, temperature=1.0), differing=["temperature"])
    np.testing.assert_array_equal(changed, run["labels"] != run["fused"].argmax("label"))
    assert set(lab.explain.absent(run, ["dog"], tiny)["label"]) == set(LABELS)


def test_it_is_drawn_everywhere(run, tmp_path):
    shown = {drawing.entry.name: drawing for drawing, _ in gallery(run)}
    names = list(shown)
    assert names[names.index("fused") + 1] == "smoothed"
    assert shown["smoothed"].heading == "8. Smoothed"
    assert shown["smoothed"].entry.stage.sentence == "The fused scores, averaged over 9 x 9 pixels."
    figure = figures.stage(run, "smoothed", ["cat"])
    assert figure.layout.title.text == "Smoothed"
    assert "Smoothed" in [note.text for note in figures.overview(run).layout.annotations]
    best = label_table(run)["best_score"]
    np.testing.assert_allclose(best["cat"], run["smoothed"].sel(label="cat").max())
    write_folder(run, tmp_path)
    assert (tmp_path / "08_smoothed.png").exists()
    page = (tmp_path / "index.html").read_text()
    assert "8. Smoothed" in page
    assert "which is not supported in the browser" in page
    assert "<script" not in page
    with pytest.raises(errors.RunError, match="from the stage 'smoothed'"):
        scene(run)


def test_the_explorer_shows_it(tiny, scenes):
    explorer = Explorer(scenes[1].image, LABELS, tiny, config=CONFIG)
    assert schema.scores(explorer.run).name == "smoothed"
    np.testing.assert_array_equal(explorer.run["labels"], explorer.shown().labels)


def test_a_stage_that_needs_the_image_gets_it_or_is_refused(tiny, scenes, tmp_path, monkeypatch, smoothed):
    seen = []

    def make(inputs, made):
        seen.append(inputs.image.shape)
        return smooth(made["fused"])

    row = replace(smoothed, needs=("image", "fused"))
    monkeypatch.setitem(schema.STAGES, "smoothed", row)
    monkeypatch.setitem(frame_stages.MAKERS, "smoothed", make)
    run = tiny.segment(scenes[0].image, LABELS, CONFIG)
    assert seen == [(256, 256, 3)]
    says = "the stage 'smoothed' needs 'image', which is not at hand"
    bare = run.copy()
    del bare["image"]
    with pytest.raises(errors.RunError, match=says):
        lab.recombine(bare, saliency_weight=0.5)
    store = lab.embed(tiny, scenes, tmp_path / "store", CONFIG)
    seen.clear()
    table = lab.sweep(store, scenes, [CONFIG, PLAIN])  # a store keeps no images, its dataset has them
    assert list(table["error"]) == ["", ""]
    assert seen == [(256, 256, 3)] * len(scenes)


def test_the_table_is_in_order():
    known = {schema.SCORES: any(stage.is_score for stage in schema.STAGES.values())}
    made = set()
    for name, stage in schema.STAGES.items():
        assert stage.title, name
        assert stage.sentence, name
        for need in stage.needs:
            assert need in made or (need == schema.SCORES and known[need]), (name, need)
        made.add(name)
    assert frame_stages.MAKERS.keys() <= schema.STAGES.keys()
    assert schema.deciding(PLAIN) == labelling.LAST_STAGE
