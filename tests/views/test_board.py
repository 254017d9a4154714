"""The ablation board without widgets: grids, rows, figures, the images of a row; and the widgets without a browser."""

import numpy as np
import pandas as pd
import pytest
from commands import python

import clipdiy_lab as lab
from clipdiy_lab.datasets.manifests import load_manifest
from clipdiy_lab.errors import ConfigError, FigureError, OutputError, StoreError
from clipdiy_lab.views.board.board import Board
from clipdiy_lab.views.board.grid import PORTION, BoardPlan, spelled, suggested, values
from clipdiy_lab.views.board.show import board_widgets
from clipdiy_lab.views.live.scheduler import LatestWins

GRID = {"saliency_weight": [0.0, 0.5, 1.0], "placement": ["stretched", "centred"]}
SCENES = 2


def at_once() -> LatestWins:
    return LatestWins(start=lambda run: run())


class Screen:
    def __init__(self) -> None:
        self.drawn, self.lines, self.steps, self.scored_images = 0, {}, [], []

    def rows(self):
        self.drawn += 1

    def progress(self, done, total, left):
        self.steps.append((done, total))

    def images(self, scored_images):
        self.scored_images = scored_images

    def say(self, text, kind):
        self.lines[kind] = text

    def close(self):
        self.lines.clear()


@pytest.fixture(scope="module")
def store(tiny, scenes, tmp_path_factory):
    return lab.embed(tiny, scenes, tmp_path_factory.mktemp("board") / "scenes.store", limit=SCENES)


@pytest.fixture
def board(store, scenes):
    made = Board(store, scenes, scheduler=at_once(), looker=at_once(), make_widgets=board_widgets)
    made.attach(Screen())
    yield made
    made.close()


def test_the_rows_are_those_of_a_sweep(board, store, scenes):
    board.choose(**GRID)
    assert len(board.plan.trials) == 6
    board.start()
    assert not board.error
    expected = lab.sweep(store, scenes, GRID)
    for name in ("saliency_weight", "placement", "miou_percent", "miou_low_percent", "miou_high_percent"):
        assert list(board.table[name]) == list(expected[name])
    screen = board.screens[0]
    assert screen.drawn == 1 + -(-6 // PORTION)  # the rows grow, portion by portion
    assert screen.steps[-1][0] == screen.steps[-1][1]
    assert screen.lines["busy"] == "Done."


def test_a_segmenter_instead_of_a_store_gives_the_same_within_half_precision(board, tiny, scenes):
    board.choose(saliency_weight=[0.0, 1.0])
    board.start()
    other = Board(tiny, scenes, limit=SCENES, scheduler=at_once())
    other.choose(saliency_weight=[0.0, 1.0])
    other.start()
    np.testing.assert_allclose(other.table["miou_percent"], board.table["miou_percent"], atol=0.2)
    assert other.estimate() > 0
    other.close()


def test_a_cancelled_sweep_keeps_its_finished_rows(board):
    board.choose(saliency_weight=[i / 10 for i in range(10)])
    screen = board.screens[0]
    screen.progress = lambda done, total, left: done == SCENES + 1 and board.cancel()
    board.start()
    assert len(board.table) == PORTION
    assert "kept" in screen.lines["busy"]
    assert not board.scheduler.busy


def test_figure_and_point_belong_together(board):
    with pytest.raises(FigureError, match="no row has a score yet"):
        board.figure()
    board.choose(saliency_weight=[1.0, 0.0])
    board.start()
    assert board.figure().data[0].type == "scatter"
    assert board.results.row_at(0.0, 12.3) == 1
    board.choose(placement=["stretched", "centred"])
    board.start()
    figure = board.figure()
    assert figure.data[0].type == "heatmap"
    x, y = figure.data[0].x[1], figure.data[0].y[1]
    row = board.results.row_at(x, y)
    assert dict(board._plan.trials[row].given) == {
        "saliency_weight": 0.0,
        "placement": "centred",
    }
    board.choose(interpolation=["bilinear", "nearest"])
    board.start()
    figure = board.figure()
    assert [board.results.row_at(0, name) for name in figure.data[0].y] == list(range(8))
    assert board.results.row_at(59.9, "CLIP-DIY, ViT (published)") is None


def test_published_values_stand_beside_ours(board, monkeypatch):
    monkeypatch.setattr(type(board.dataset), "manifest", load_manifest("voc21"), raising=False)
    board.choose(saliency_weight=[0.0, 1.0])
    board.start()
    names = list(board.figure().data[2].y)
    assert names
    assert all(name.startswith("CLIP-DIY") for name in names)
    assert "59.9" in board.results.html_table()
    board.methods = ()
    assert board.published["method"].nunique() > 10


def test_a_row_shows_its_images_worst_first_and_opens_the_explorer_with_its_configuration(board):
    board.choose(saliency_weight=[0.25, 1.0])
    board.start()
    board.show(0)
    scored_images = board.screens[0].scored_images
    assert [look.miou_percent for look in scored_images] == sorted(look.miou_percent for look in scored_images)
    assert len(scored_images) == SCENES
    assert scored_images[0].explorer.config == board.config_of(0)
    assert scored_images[0].explorer.view.image.name == f"val/{scored_images[0].index}"
    truth = board.dataset[scored_images[0].index]
    np.testing.assert_array_equal(scored_images[0].explorer.image, truth.image)
    for look in scored_images:
        true, wrong = (np.asarray(picture) for picture in look.truth())
        shown = look.explorer.shown()
        assert true.shape == wrong.shape == (*shown.labels.shape, 3)
        share = (wrong != wrong.min((0, 1))).any(-1).mean() if wrong.std((0, 1)).any() else 0
        assert (share > 0) == (look.miou_percent < 100)


def test_table_and_figure_go_into_files(board, tmp_path):
    board.choose(scales=[(256, 128, 64), (64,)])
    board.start()
    for name in ("a.csv", "a.tex", "a.md", "a.html"):
        assert board.export(tmp_path / name).exists()
    back = pd.read_csv(tmp_path / "a.csv")
    np.testing.assert_allclose(back["miou_percent"], board.table["miou_percent"])
    assert list(back["scales"].astype(str)) == ["256 128 64", "64"]
    with pytest.raises(OutputError, match=r"ends in '\.doc'"):
        board.export(tmp_path / "a.doc")


def test_bad_choices_change_nothing_and_are_said(board):
    board.choose(saliency_weight=[0.5])
    for wrong, said in (({"saliencyweight": [1]}, "saliency_weight"), ({"stride": [99]}, "never makes sense"),
                        ({"saliency_weight": []}, "empty list")):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            board.choose(**wrong)
    assert board.grid == {"saliency_weight": [0.5]}
    board.choose(saliency_weight=None)
    board.start()
    assert "the grid is empty" in board.error


def test_a_source_that_the_store_lacks_gets_a_row_that_says_so(board):
    board.choose(saliency=["found-tiny", "oracle", "spectral"])
    board.start()
    table = board.table
    assert table["miou_percent"].notna().tolist() == [True, True, False]
    assert "the store holds the saliency" in table.loc[2, "error"]


class Mine:
    """A saliency source that only its owner can make."""

    name, fingerprint = "mine", "mine-1"

    def __call__(self, image):
        return np.full(image.shape[:2], 0.6, np.float32)


def test_a_store_of_objects_of_ones_own(counting_encoder, scenes, tmp_path):
    segmenter = lab.Segmenter(counting_encoder, Mine())
    config = lab.Config(image_size=(64, 64), scales=(64, 32))
    store = lab.embed(segmenter, scenes, tmp_path / "store", config, limit=SCENES)
    with pytest.raises(StoreError, match=r"cannot be loaded by that name .*; give segmenter="):
        Board(store, scenes)
    counting_encoder.batches.clear()
    for given in (store, lab.open_store(store.path)):
        board = Board(given, scenes, segmenter=segmenter, scheduler=at_once())
        board.choose(saliency=["mine", "oracle"], saliency_weight=[0.5, 1.0])
        board.start()
        expected = lab.sweep(store, scenes, board.grid, segmenter=segmenter)
        assert list(board.table["miou_percent"]) == list(expected["miou_percent"])
        scored_images = board.scored_images(0)
        assert len(scored_images) == SCENES
        shown = scored_images[0].explorer.shown()
        assert shown.view.saliency == "mine"
        board.close()
    assert counting_encoder.batches == []


def test_values_come_back_through_their_text_and_suggestions_make_sense():
    for knob in lab.Config.knobs():
        if knob == "weights":
            continue
        several = suggested(knob)
        assert values(spelled(several)) == several or knob in ("synonyms", "background_words")
        if knob not in ("synonyms", "background_words", "background"):
            assert all(trial.config for trial in BoardPlan.of({knob: several}, lab.Config()).trials)


# Widgets, without a browser


@pytest.mark.filterwarnings("ignore:Widget:DeprecationWarning")
def test_the_widgets_of_both_show_and_close_without_leaving_any(board, tiny):
    from ipywidgets.widgets.widget import _instances

    before = set(_instances)
    explorer = lab.explore(None, ["cat", "car"], tiny)
    bundle = explorer._repr_mimebundle_()
    assert {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"} == set(bundle)
    assert explorer.scheduler.wait(60)
    assert explorer.widget.root.scene["labels"] == ["background", "cat", "car"]
    explorer.close()
    board.choose(saliency_weight=[0.0, 1.0])
    shown = board.widget
    board.start()
    assert "<table" in shown.table.value
    assert len(shown.figure.data) == 1
    assert "2 runs on 2 images" in shown.cost.value
    board.close()
    left = [_instances[key] for key in set(_instances) - before]
    assert [one for one in left if hasattr(one, "children")] == []


def test_without_widgets_there_is_a_picture_and_a_sentence(tmp_path):
    code = """
import sys
import clipdiy_lab as lab
explorer = lab.explore(labels=["cat", "car"])
for missing in ("ipywidgets", "anywidget"):
    held = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == missing}
    sys.modules[missing] = None
    bundle = explorer._repr_mimebundle_()
    print(sorted(bundle), "<img" in bundle["text/html"], "pip install" in bundle["text/html"])
    del sys.modules[missing]
    sys.modules |= held
"""
    assert python(code, cwd=tmp_path).stdout.splitlines() == ["['text/html', 'text/plain'] True True"] * 2
