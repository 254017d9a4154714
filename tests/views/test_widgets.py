"""What the instrument's kernel side does without a browser: scenes, choices, questions and answers."""

import base64
import json
import threading

import numpy as np
import pytest
from PIL import Image

import clipdiy_lab as lab
from clipdiy_lab.method import schema as s
from clipdiy_lab.views.explorer.image_sources import MAX_UPLOAD
from clipdiy_lab.views.explorer.state import PANELS
from clipdiy_lab.views.instrument.bundle import source
from clipdiy_lab.views.instrument.scene import KNOBS

pytestmark = pytest.mark.filterwarnings("ignore:Widget:DeprecationWarning")


class Browser:
    """Asks the kernel as the browser does, and keeps what it answers."""

    def __init__(self, explorer) -> None:
        self.explorer, self.screen = explorer, explorer.widget
        self.answers, self.sent = [], 0
        self.screen.root.send = lambda content, buffers=None: self.answers.append(content)
        assert explorer.scheduler.wait(60)

    def ask(self, what, buffers=(), **content):
        self.screen.root._handle_custom_msg({"what": what, "id": len(self.answers), **content}, list(buffers))
        assert self.explorer.scheduler.wait(60)
        assert self.answers[-1]["answer"] == len(self.answers) - 1
        return self.answers[-1]

    @property
    def root(self):
        return self.screen.root

    def chosen(self, **changes):
        """What the browser would send: the last choice with some values changed."""
        known = self.root.chosen
        knobs = {name: changes.pop(name) for name in list(changes) if name in KNOBS}
        return {**known, **changes, "knobs": {**known["knobs"], **knobs}}


@pytest.fixture
def browser(tiny):
    explorer = lab.explore(None, ["cat", "car", "train"], tiny)
    yield Browser(explorer)
    explorer.close()


def test_the_first_scene_has_everything_and_is_small(browser):
    scene = browser.root.scene
    assert scene["labels"] == ["background", "cat", "car", "train"]
    assert scene["title"] == "scene val/1"
    assert scene["truth"]
    assert scene["size"] == list(browser.explorer.image.shape[:2])
    assert len(json.dumps(scene)) < 1_000_000
    assert browser.root.chosen["knobs"]["weights"] == {"s256": 1.0, "s128": 1.0, "s064": 1.0}


def test_what_the_browser_chose_is_in_run_config_and_code_and_computes_nothing(browser, monkeypatch):
    scene, painted = browser.root.scene, browser.screen.painted
    monkeypatch.setattr(browser.explorer._bench, "labels", lambda *_: pytest.fail("nothing is to be computed"))
    chosen = browser.chosen(saliency_weight=0.35, weights={"s256": 0.0, "s128": 1.0, "s064": 2.0},
                            hidden=["train"], pixel=[3, 4], opacity=0.3, panel="margin")  # fmt: skip
    assert browser.ask("follow", chosen=chosen, by="here")["error"] == ""
    monkeypatch.undo()
    explorer = browser.explorer
    assert (explorer.config.saliency_weight, explorer.config.weights) == (0.35, {"s256": 0.0, "s064": 2.0})
    assert (explorer.view.pixel, explorer.view.opacity, explorer.view.panel) == ((3, 4), 0.3, "margin")
    assert s.labels_of(explorer.run) == ("background", "cat", "car")
    assert explorer.view.labels == ("cat", "car", "train")
    space = {}
    exec(explorer.code(), space)
    np.testing.assert_array_equal(space["run"]["labels"].values, explorer.run["labels"].values)
    assert (browser.root.scene is scene, browser.screen.painted) == (True, painted)
    assert browser.root.chosen["by"] == "here"


def test_a_choice_without_background_is_a_run_without_background(browser):
    browser.ask("follow", chosen=browser.chosen(hidden=["background"]))
    assert s.labels_of(browser.explorer.run) == ("cat", "car", "train")
    browser.ask("follow", chosen=browser.chosen(hidden=[], background="none"))
    assert browser.explorer.config.background == "none"
    browser.ask("add", words=["dog"], chosen=browser.chosen())
    assert browser.root.scene["background"] == 0  # so that it can be turned on again
    assert browser.root.scene["knobs"]["background"] == "none"


def test_words_are_added_with_what_was_chosen_and_a_bad_one_changes_nothing(browser):
    answer = browser.ask("add", words=["dog", "hot, dog"], chosen=browser.chosen(saliency_weight=0.5))
    assert answer["error"] == ""
    assert browser.root.scene["labels"][-2:] == ["dog", "hot, dog"]
    assert browser.root.chosen["knobs"]["saliency_weight"] == 0.5
    before, scene = browser.explorer.view, browser.root.scene
    for words, said in ((["x" * 190], "shorten the label"), (["cat"], "cat"), ([f"w{i}" for i in range(70)], "64")):
        assert said in browser.ask("add", words=words)["error"]
    assert browser.ask("add", words=[])["error"] == ""
    assert (browser.explorer.view, browser.root.scene is scene) == (before, True)
    assert browser.root.status["error"] == ""  # it is said where the word was typed


def test_encode_knobs_are_asked_for_by_encode_and_refused_in_words(browser):
    for values, said in (
        ({"scales": [128, "small"]}, "scales: 'small' is not a whole number"),
        ({"stride": 99}, "stride is 99"),
        ({"image_size": "large"}, "write height x width"),
        ({"model": "tyni"}, "tyni"),
        ({"strid": 1}, "Did you mean 'stride'"),
    ):
        answer = browser.ask("encode", values=values)
        assert said in answer["error"] + browser.root.status["error"]
    assert browser.explorer.config == lab.Config()
    scene = browser.root.scene
    assert browser.ask("encode", values={"scales": [128, 48], "stride": "1"})["error"] == ""
    assert browser.root.status["error"] == ""
    assert browser.root.scene is not scene
    assert (browser.explorer.config.scales, browser.explorer.config.stride) == ((128, 48), 1)
    asks = {one["name"]: one for one in browser.root.asks}
    assert asks["scales"]["value"] == [128, 48]
    assert browser.ask("encode", values={"background_words": ["sky", "wall"]})["error"] == ""
    assert browser.root.scene["knobs"]["background"] == "words"
    assert browser.ask("encode", values={"background_words": []})["error"] == ""
    assert browser.root.scene["knobs"]["background"] == "saliency"


def test_every_knob_is_either_the_browsers_or_asked_for(browser):
    asked = {one["name"] for one in browser.root.asks}
    own = {"model", "saliency", "saliency_path", "saliency_value"}
    assert own <= asked
    assert (asked - own) | set(KNOBS) | {"patches"} == set(lab.Config.knobs())
    assert not asked & set(KNOBS)


def test_python_and_the_browser_see_the_same(browser):
    browser.explorer.change(saliency_weight=0.15, hidden=("car",))
    assert browser.explorer.scheduler.wait(60)
    assert browser.root.chosen["knobs"]["saliency_weight"] == 0.15
    assert (browser.root.chosen["hidden"], browser.root.chosen["by"]) == (("car",), "")
    browser.explorer.change(saliency_weight=7)
    assert "saliency_weight is 7" in browser.root.status["error"]
    browser.explorer.change(saliency_weight=0.2)
    assert browser.root.status["error"] == ""


def test_images_come_by_scene_path_and_upload(browser, tmp_path):
    path = tmp_path / "red.png"
    Image.fromarray(np.full((40, 60, 3), (200, 30, 30), np.uint8)).save(path)
    assert browser.ask("open", path=str(path))["error"] == ""
    assert (browser.root.scene["title"], browser.root.scene["size"]) == ("red.png", [40, 60])
    assert "photograph" in browser.root.scene["about"]["caution"]
    assert browser.root.scene["truth"] is None
    assert browser.ask("scene", split="val", number=2)["error"] == ""
    assert browser.root.scene["title"] == "scene val/2"
    upload = [memoryview(path.read_bytes())]
    assert browser.ask("upload", buffers=upload, name="mine.png")["error"] == ""
    assert browser.explorer.view.image.name == "mine.png"
    scene = browser.root.scene
    for what, content, said in (
        ("open", {"path": str(tmp_path / "none.png")}, "none.png"),
        ("scene", {"split": "val", "number": 4000}, "no scene 4000"),
        ("scene", {"split": "val", "number": 1.5}, "no scene 1.5"),
        ("upload", {"name": "a.png", "buffers": [b"no image"]}, "the upload 'a.png' cannot be used"),
        ("upload", {"name": "b.png", "buffers": [bytes(MAX_UPLOAD + 1)]}, "the limit is 10 MiB"),
    ):
        assert said in browser.ask(what, **content)["error"]
    assert browser.root.scene is scene


def test_files_are_written_and_said(browser, tmp_path):
    state = str(tmp_path / "view.json")
    assert browser.ask("save", path=state, chosen=browser.chosen(saliency_weight=0.3))["told"].startswith("Saved to ")
    browser.ask("follow", chosen=browser.chosen(saliency_weight=0.9))
    assert browser.ask("load", path=state)["told"].startswith("Loaded ")
    assert browser.root.chosen["knobs"]["saliency_weight"] == 0.3
    assert "Exported to" in browser.ask("export", path=str(tmp_path / "a.csv"))["told"]
    assert "ends in '.gif'" in browser.ask("export", path=str(tmp_path / "a.gif"))["error"]
    assert "cannot be read" in browser.ask("load", path=str(tmp_path / "none.json"))["error"]
    assert "lab.load('tiny')" in browser.ask("code")["text"]


def test_a_cancelled_encoding_leaves_picture_and_view(tiny, counting_encoder):
    explorer = lab.explore(np.zeros((60, 60, 3), np.uint8), ["cat", "car"], lab.Segmenter(counting_encoder, "none"))
    browser = Browser(explorer)
    before, scene = explorer.view, browser.root.scene
    stop, whole = threading.Event(), counting_encoder.encode_crops

    def slow(crops):
        stop.wait(20)
        return whole(crops)

    counting_encoder.encode_crops = slow
    browser.root._handle_custom_msg({"what": "encode", "id": 0, "values": {"stride": 4}}, [])
    assert explorer.scheduler.busy
    browser.root._handle_custom_msg({"what": "cancel", "id": 1}, [])
    stop.set()
    assert explorer.scheduler.wait(60)
    assert (explorer.view, browser.root.scene is scene) == (before, True)
    assert browser.root.status["done"] == browser.root.status["total"] == 0
    explorer.close()


@pytest.mark.parametrize("end", [SystemExit(1), KeyboardInterrupt(), RuntimeError("broken")])
def test_what_a_callback_raises_is_said_and_never_leaves_it(browser, monkeypatch, end):
    def leave(*_, **__):
        raise end

    for name in ("take", "save", "load", "export", "code", "follow", "cancel"):
        monkeypatch.setattr(browser.explorer, name, leave)
    for what, content in (
        ("add", {"words": ["dog"]}), ("encode", {"values": {}}), ("save", {"path": "x"}), ("load", {"path": "x"}),
        ("export", {"path": "x"}), ("code", {}), ("cancel", {}), ("follow", {"chosen": browser.root.chosen}),
    ):  # fmt: skip
        assert type(end).__name__ in browser.ask(what, **content)["error"]
    monkeypatch.undo()


def test_the_views_of_the_picture_are_those_of_the_browser():
    text = source("views")
    names = text[text.index("export const VIEWS") :]
    assert tuple(line.strip()[:-3] for line in names.splitlines() if line[:2] == "  " and line[2:].endswith(": {")
                           and line[2] != " ") == PANELS  # fmt: skip


def test_twenty_instruments_opened_and_closed_leave_nothing(tiny):
    from ipywidgets.widgets.widget import _instances

    before, threads = set(_instances), threading.active_count()
    for _ in range(20):
        explorer = lab.explore(None, ["cat", "car"], tiny)
        explorer._repr_mimebundle_()
        assert explorer.scheduler.wait(60)
        explorer.close()
    assert set(_instances) - before == set()
    assert threading.active_count() <= threads


def test_a_folder_is_looked_through_and_a_damaged_image_is_refused(browser, tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(np.full((40, 60, 3), ord(name[0]), np.uint8)).save(tmp_path / name)
    (tmp_path / "d.png").write_bytes(b"no image")
    assert browser.ask("open", path=str(tmp_path))["error"] == ""
    film = browser.root.film
    assert (film["count"], film["place"]) == (4, 0)
    assert [frame["title"] for frame in film["frames"]] == ["a.png", "b.png", "c.png", "d.png"]
    assert [bool(frame["source"]) for frame in film["frames"]] == [True, True, True, False]
    browser.ask("turn", step=1)
    assert (browser.root.scene["title"], browser.root.film["place"]) == ("b.png", 1)
    browser.ask("choose", place=0)
    assert "d.png" in browser.ask("turn", step=-1)["error"]
    assert browser.root.scene["title"] == "a.png"
    browser.ask("scene", split="val", number=3)
    assert browser.root.film == {}
    assert "only one image" in browser.ask("turn", step=1)["error"]


def test_a_dataset_is_looked_through_with_its_truth(tiny, scenes):
    browser = Browser(lab.explore(scenes, segmenter=tiny))
    assert browser.explorer.view.labels == tuple(name for name in scenes.label_names if name != "background")
    assert browser.root.film["count"] == len(scenes)
    assert len(browser.root.film["frames"]) == 24
    for _ in range(2):
        browser.ask("turn", step=1)
    assert browser.root.scene["title"] == "scene val/2"
    truth = np.frombuffer(base64.b64decode(browser.root.scene["truth"]), "<i2").reshape(256, 256)
    known = [browser.root.scene["labels"][index] for index in np.unique(truth) if index >= 0]
    assert set(known) == {scenes.label_names[index] for index in np.unique(scenes[2].mask) if index != 255}
    browser.explorer.close()


def test_a_result_shows_its_worst_images_first(tiny, results):
    result = results[1]
    explorer = lab.explore(result, segmenter=tiny)
    browser = Browser(explorer)
    worst = lab.results.worst(result, 3)
    assert [title.split()[0] for title in explorer.album.titles] == list(worst["image_id"])
    assert f"{worst['image_miou_percent'][0]:.1f} % mIoU" in explorer.album.titles[0]
    assert explorer.config.to_json() == result.attrs["config"]
    assert browser.root.scene["truth"]
    explorer.close()
    with pytest.raises(lab.errors.DatasetError, match="has no image"):
        lab.explore(result, dataset=lab.open_dataset("scenes", split="train", length=1))


def test_a_run_is_shown_without_the_image_network(counting_encoder, scenes, tmp_path):
    segmenter = lab.Segmenter(counting_encoder, "none")
    path = tmp_path / "photo.png"
    Image.fromarray(scenes[1].image).save(path)
    for image in (scenes[1].image, str(path)):
        run = segmenter.segment(image, ["cat", "car"], lab.Config(saliency_weight=0.0, background="prompt"))
        counting_encoder.batches.clear()
        explorer = lab.explore(run, segmenter=segmenter)
        browser = Browser(explorer)
        np.testing.assert_array_equal(explorer.run["labels"].values, run["labels"].values)
        assert counting_encoder.batches == []
        assert browser.root.scene["size"] == list(scenes[1].image.shape[:2])
        assert (explorer.view.image.kind == "file") == isinstance(image, str)
        explorer.close()
    explored = lab.explore(lab.load("tiny").segment(scenes[1].image, ["cat", "car"]))
    assert (explored.view.model, explored.view.saliency, explored.view.labels) == ("tiny", "found-tiny", ("cat", "car"))
