"""The ablation board without widgets: grids, rows, figures, the images of a row; and the widgets without a browser."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from commands import python

import clipdiy_lab as lab
from clipdiy_lab.datasets.manifests import load_manifest
from clipdiy_lab.datasets.sample import Sample
from clipdiy_lab.errors import ConfigError, FigureError, OutputError, StoreError
from clipdiy_lab.views.board import told
from clipdiy_lab.views.board.board import Board
from clipdiy_lab.views.board.grid import PORTION, BoardPlan, spelled, suggested, values
from clipdiy_lab.views.board.show import board_widgets
from clipdiy_lab.views.explorer.explorer import Explorer
from clipdiy_lab.views.explorer.show import explorer_widgets
from clipdiy_lab.views.live.scheduler import LatestWins

GRID = {"saliency_weight": [0.0, 0.5, 1.0], "placement": ["stretched", "centred"]}
SCENES = 2


def at_once() -> LatestWins:
    return LatestWins(start=lambda run: run())


class Screen:
    def __init__(self) -> None:
        self.drawn, self.choices, self.lines, self.steps, self.scored_images = 0, 0, {}, [], []

    def choice(self):
        self.choices += 1

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
    explorer = partial(Explorer, make_widgets=explorer_widgets)
    kinds = {"make_widgets": board_widgets, "make_explorer": explorer}
    made = Board(store, scenes, scheduler=at_once(), looker=at_once(), **kinds)
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
    assert (2 * SCENES, 2 * SCENES) in screen.steps  # two passes over the images
    assert screen.steps[-1] == (0, 0)  # the bar goes when all is done
    assert screen.lines["busy"].startswith("Done: 6 rows, in ")


def test_a_segmenter_instead_of_a_store_gives_the_same_within_half_precision(board, tiny, scenes):
    board.choose(saliency_weight=[0.0, 1.0])
    board.start()
    other = Board(tiny, scenes, limit=SCENES, scheduler=at_once())
    other.choose(saliency_weight=[0.0, 1.0])
    assert other.estimate() > 0
    other.start()
    np.testing.assert_allclose(other.table["miou_percent"], board.table["miou_percent"], atol=0.2)
    assert other.estimate() == 0  # every row is finished
    other.close()


def test_a_cancelled_sweep_keeps_its_finished_rows(board):
    board.choose(saliency_weight=[i / 10 for i in range(10)])
    screen = board.screens[0]

    def progress(done, total, left):
        screen.steps.append((done, total))
        if done == SCENES + 1:
            board.cancel()

    screen.progress = progress
    board.start()
    assert len(board.table) == PORTION
    assert screen.lines["busy"] == "Stopped; 4 of 10 rows are finished and kept. Press Run to continue."
    assert screen.steps[-1] == (0, 0)
    assert not board.scheduler.busy


def test_a_grid_that_runs_again_takes_the_rows_that_are_finished(board, monkeypatch):
    board.choose(saliency_weight=[0.0, 0.5])
    board.start()
    scored, whole = [], board.passes.run

    def run(portion, *rest):
        scored.append(len(portion.trials))
        whole(portion, *rest)

    monkeypatch.setattr(board.passes, "run", run)
    board.choose(saliency_weight=[0.0, 0.25, 0.5])
    assert sum(len(portion.trials) for portion in board.left) == 1
    board.start()
    assert scored == [1]
    assert list(board.table["saliency_weight"]) == [0.0, 0.25, 0.5]
    board.start()
    assert scored == [1]
    assert board.screens[0].lines["busy"] == "Done: 3 rows, all already finished."
    board.limit = 1
    board.start()
    assert scored == [1, 3]  # another number of images is another score


def test_the_figure_is_a_line_a_heat_map_or_bars(board):
    with pytest.raises(FigureError, match="no row has a score yet"):
        board.figure()
    for kind, more in (
        ("scatter", {"saliency_weight": [1.0, 0.0]}),
        ("heatmap", {"placement": ["stretched", "centred"]}),
        ("bar", {"interpolation": ["bilinear", "nearest"]}),
    ):
        board.choose(**more)
        board.start()
        assert board.figure().data[0].type == kind
    assert list(board.figure().data[0].y) == [board.results.name_of(row) for row in range(8)]


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
        shown = look.explorer.shown()
        assert {picture.size for picture in look.pictures().values()} == {shown.labels.shape[::-1]}
        assert look.differs.any() == (look.miou_percent < 100)
        assert 1 - look.differs.mean() == pytest.approx(_accuracy(board, look), abs=0.02)  # at the frame's size
        assert set(look.keys()) <= {*shown.names, *board.dataset.label_names} - {"background"}


def test_table_and_figure_go_into_files(board, tmp_path):
    board.choose(scales=[(256, 128, 64), (64,)])
    with pytest.raises(OutputError, match="there are no rows yet"):
        board.export(tmp_path / "a.tex")
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
    for wrong, said in (({"saliencyweight": [1]}, "saliency_weight"), ({"stride": [99]}, "is never valid"),
                        ({"saliency_weight": []}, "empty list")):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            board.choose(**wrong)
    assert board.grid == {"saliency_weight": [0.5]}
    board.choose(saliency_weight=None)
    board.start()
    assert "the grid is empty" in board.error
    board.choose(saliency_weight=[0.5])
    assert (board.error, board.screens[0].lines["error"]) == ("", "")
    for images in (0, SCENES + 1):
        with pytest.raises(ConfigError, match=f"images is {images}; expected 1 to {SCENES}"):
            board.limit = images
    assert board.images == SCENES


def test_a_refusal_names_the_knob_that_is_wrong(board):
    board.choose(scales=[(256, 128, 64), (64,)])
    with pytest.raises(ConfigError, match=r"in the grid, saliency_weight=\(0, 0.5, 1\) is never valid"):
        board.choose(saliency_weight=[(0, 0.5, 1)])
    assert list(board.grid) == ["scales"]


@pytest.mark.parametrize("grid", [GRID, {"align_corners": [False, True], "placement": ["stretched", "centred"]}])
def test_the_latex_is_that_of_the_sweep(board, store, scenes, grid):
    board.choose(**grid)
    board.start()
    expected = lab.sweep(store, scenes, grid)
    assert board.results.latex() == lab.results.to_latex(expected)
    assert board.results.standing == lab.results.standing(
        expected, [board.results.name_of(i) for i in range(len(expected))]
    )


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
        assert values(spelled(several), knob) == several
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
    assert [row["name"] for row in shown.root.rows["rows"]] == ["saliency weight 0", "saliency weight 1"]
    board.close()
    assert set(_instances) - before == set()


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


def _accuracy(board, look):
    """Share of the pixels of an image that have the right label, as `evaluate` counts them at the mask's size."""
    result = lab.evaluate(board.source, board.dataset, board.config_of(look.row))
    return float(result["image_pixel_accuracy"].sel(image_id=look.image_id))


@pytest.mark.parametrize(
    ("knob", "text", "expected"),
    [
        ("saliency_weight", "0, 0.5, 1", [0, 0.5, 1]),
        ("saliency_weight", " 0;0.5 ;; 1; 0.5,", [0, 0.5, 1]),
        ("placement", "stretched, centred", ["stretched", "centred"]),
        ("saliency", "found-tiny; none", ["found-tiny", "none"]),
        ("scales", "256, 128, 64", [(256, 128, 64)]),
        ("scales", "256, 128; 64", [(256, 128), (64,)]),
        ("scales", "(256, 128), (64,)", [(256, 128), (64,)]),
        ("weights", '{"s256": 0, "s064": 2}, {"s064": 1}', [{"s256": 0, "s064": 2}, {"s064": 1}]),
        ("template", "a photo of a {label}; {label}, drawn", ["a photo of a {label}", "{label}, drawn"]),
        ("keep_labels", "None, 3", [None, 3]),
        ("align_corners", "true, False", [True, False]),
    ],
)
def test_values_are_typed_with_commas_or_semicolons(knob, text, expected):
    assert values(text, knob) == expected


def test_a_field_that_is_blank_is_refused_with_an_example():
    with pytest.raises(ConfigError, match=r"placement has no values; .* such as stretched; centred"):
        values(" ; , ", "placement")


class Browser:
    """Asks the board as the browser does."""

    def __init__(self, board) -> None:
        self.root, self.answers = board.widget.root, []
        self.root.send = lambda content, buffers=None: self.answers.append(content)

    def ask(self, what, **content):
        self.root._handle_custom_msg({"what": what, "id": len(self.answers), **content}, [])
        return self.answers[-1]

    def refused(self, what, **content):
        return self.ask(what, **content)["error"]


@pytest.fixture
def browser(board):
    return Browser(board)


def test_the_head_says_what_every_score_is_of(browser):
    facts = {fact["name"]: fact["text"] for fact in browser.root.head["facts"]}
    assert facts == {"protocol": "mmseg", "dataset": "scenes-val-voc", "split": "val", "model": "tiny",
                     "saliency": "found-tiny", "images": "2 of 2"}  # fmt: skip
    browser.ask("limit", images="1")
    assert browser.root.head["facts"][-1]["text"] == "1 of 2"


def test_the_form_takes_values_and_refuses_beside_the_field(board, browser):
    assert browser.root.form["price"] == ""
    assert browser.refused("run") == "no knob varies yet; add one first."
    assert browser.refused("add", knob="saliency_weight") == ""
    assert "was already added" in browser.refused("add", knob="saliency_weight")
    assert browser.root.form["price"] == "3 rows on 2 images"
    assert browser.refused("choose", knob="saliency_weight", text="0, 0.5") == ""
    assert browser.root.form["chosen"] == [{"name": "saliency_weight", "text": "0; 0.5"}]
    before = browser.root.form
    for knob, text, said in (
        ("saliency_weight", "0; soon", "saliency_weight='soon' is never valid"),
        ("saliency_weight", "0; 7", "saliency_weight=7 is never valid"),
        ("saliency_weight", " ", "saliency_weight has no values"),
        ("placement", "left", "placement='left' is never valid"),
    ):
        assert said in browser.refused("choose", knob=knob, text=text)
    for images in ("0", "3", "many", "1.5", ""):
        assert "images is" in browser.refused("limit", images=images)
    assert (browser.root.form, browser.root.status["error"]) == (before, "")
    assert browser.refused("remove", knob="saliency_weight") == ""
    assert (browser.root.form["chosen"], browser.root.form["price"], board.grid) == ([], "", {})


def test_a_grid_with_senseless_rows_says_how_many(browser):
    browser.ask("choose", knob="align_corners", text="False, True")
    browser.ask("choose", knob="placement", text="stretched, centred")
    assert browser.root.form["price"] == "4 rows on 2 images, 1 of them invalid"
    browser.ask("run")
    failed = browser.root.rows["rows"][3]
    assert "applies only" in failed["error"]
    assert (failed["miou"], failed["behind"]) == (None, None)


def test_rows_are_named_the_best_is_marked_and_the_others_compared_in_pairs(board, browser, store, scenes):
    browser.ask("choose", knob="saliency_weight", text="0, 1")
    browser.ask("choose", knob="placement", text="stretched, centred")
    browser.ask("choose", knob="stride", text="2")
    browser.ask("run")
    shown = browser.root.rows
    assert [knob["title"] for knob in shown["knobs"]] == ["saliency weight", "placement"]
    assert shown["rows"][1]["name"] == "saliency weight 0, placement centred"
    table = lab.sweep(store, scenes, board.grid)
    best = int(table["miou_percent"].idxmax())
    assert (shown["best"], shown["rows"][best]["behind"]) == (best, None)
    for row in shown["rows"]:
        if row["row"] != best:
            found = lab.compare(table.iloc[row["row"]], table.iloc[best]).attrs
            assert row["behind"]["points"] == pytest.approx(100 * found["miou_difference"])
            assert row["behind"]["low_points"] == pytest.approx(100 * found["miou_difference_low"])
            assert row["behind"]["apart"] == (found["miou_difference_low"] > 0)
    assert shown["standing"].startswith(f"Best: {shown['rows'][best]['name']} (")
    assert "protocol mmseg" in shown["note"]
    assert browser.root.form["price"] == "4 rows on 2 images, all are finished"
    assert browser.root.status["running"] is False
    assert browser.root.status["left"] == ""


def test_the_images_of_a_row_have_their_truth_and_one_opens_the_explorer(board, browser):
    browser.ask("choose", knob="saliency_weight", text="0.25, 1")
    browser.ask("run")
    assert browser.refused("show", row=7) == "there is no row 7; run a grid first."
    assert browser.refused("show", row=0) == ""
    images = browser.root.images
    assert (images["row"], images["name"], images["count"]) == (0, "saliency weight 0.25", SCENES)
    for card in images["cards"]:
        assert [one["title"] for one in card["pictures"]] == ["predicted", "truth", "errors"]
        assert all(one["source"].startswith("data:image/") for one in card["pictures"])
    assert browser.refused("open", place=1) == ""
    assert browser.root.opened is board.widget.explorer.widget.root
    assert board.widget.explorer.config == board.config_of(0)
    assert browser.root.heading == f"{images['cards'][1]['title']}, saliency weight 0.25"
    browser.ask("choose", knob="saliency_weight", text="0, 1")
    browser.ask("run")  # another grid: the images were of a row that is not there
    assert (browser.root.images, browser.root.opened) == ({}, None)
    assert "of another row" in browser.refused("open", place=1)


def test_many_images_are_shown_from_both_ends(board):
    board.choose(saliency_weight=[1.0])
    board.start()
    known = board.scored_images(0)
    assert [card["place"] for card in told.cards(known * 5)] == [0, 1, 2, 3, 6, 7, 8, 9]


def test_files_and_latex_for_the_clipboard(board, browser, tmp_path, store, scenes):
    assert "there are no rows yet" in browser.refused("latex")
    browser.ask("choose", knob="saliency_weight", text="0, 1")
    browser.ask("run")
    path = tmp_path / "board.tex"
    assert browser.ask("export", path=str(path))["told"] == f"Exported to {path}."
    expected = lab.results.to_latex(lab.sweep(store, scenes, {"saliency_weight": [0, 1]}))
    assert path.read_text() == browser.ask("latex")["text"] == expected
    assert "protocol: mmseg" in expected
    assert "ends in '.doc'" in browser.refused("export", path=str(tmp_path / "a.doc"))


def test_an_estimate_stands_with_its_grid_and_goes_with_it(board, browser):
    browser.ask("choose", knob="saliency_weight", text="0, 0.5, 1")
    browser.ask("estimate")
    assert "about" in browser.root.form["price"]
    assert browser.root.status["busy"] == ""
    browser.ask("run")
    assert browser.root.form["price"] == "3 rows on 2 images, all are finished"
    browser.ask("choose", knob="refine", text="none, guided")
    assert "about" not in browser.root.form["price"]  # nothing is known of refinement


def test_python_and_the_browser_see_the_same_grid(board, browser):
    board.choose(saliency_weight=[0.0, 1.0], placement=["centred"])
    assert [one["text"] for one in browser.root.form["chosen"]] == ["0.0; 1.0", "centred"]
    board.limit = 1
    assert browser.root.form["price"] == "2 rows on 1 image"


def test_a_model_that_does_not_know_such_images_is_said_to(tiny, scenes, browser, board):
    assert browser.root.head["caution"] == ""

    class Photographs:
        name, label_names = "photographs", scenes.label_names

        def __len__(self):
            return 1

        def __getitem__(self, index):
            noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
            return Sample("noise", noise, np.zeros((60, 60), np.uint8))

    other = Board(tiny, Photographs(), scheduler=at_once())
    assert "load another model" in other.caution
    assert told.head(other)["caution"] == other.caution
    other.close()
