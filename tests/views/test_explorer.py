"""The explorer without widgets: state, workbench, code, files, and everything bad that can be given to it."""

import json
import re

import numpy as np
import pytest
from PIL import Image

import clipdiy_lab as lab
from clipdiy_lab.errors import ConfigError, ImageError, LabelError, StateError
from clipdiy_lab.method import schema as s
from clipdiy_lab.pipeline.embeddings.opened import as_encoded
from clipdiy_lab.pipeline.embeddings.read import EmbeddingStore
from clipdiy_lab.pipeline.fusion import label_map
from clipdiy_lab.pipeline.sources import StoreSource, as_source
from clipdiy_lab.pipeline.watch import StoppedError, Watch
from clipdiy_lab.views.explorer import fields, image_sources, state
from clipdiy_lab.views.explorer.engine import Engine
from clipdiy_lab.views.explorer.explorer import Explorer
from clipdiy_lab.views.live.scheduler import LatestWins

LABELS = ("cat", "car", "train", "tvmonitor")


class Screen:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.shown, self.steps = [], []
        self.lines: dict[str, str] = {}

    def show(self, shown, generation):
        self.shown.append(shown)

    def progress(self, done, total):
        self.steps.append((done, total))

    def say(self, text, kind):
        self.lines[kind] = text

    def read_draft(self):
        pass

    def close(self):
        self.lines.clear()


def at_once() -> LatestWins:
    """A scheduler that computes before `submit` returns, and does not pause."""
    return LatestWins(start=lambda run: run(), later=lambda seconds, run: run() or (lambda: None))


@pytest.fixture(scope="module")
def engine(tiny):
    """Embeddings that all tests share, so that an image is encoded once."""
    return Engine(tiny)


@pytest.fixture
def explorer(tiny, engine):
    made = Explorer(None, LABELS, tiny, scheduler=at_once())
    made._bench = engine
    made.attach(Screen())
    made.refresh()
    return made


def screen_of(explorer) -> Screen:
    return explorer.screens[0]


# The view and its labels


CHANGES = [
    {"saliency_weight": 0.3},
    {"weights": {256: 0.0, 128: 2.0, 64: 0.5}},
    {"scales_off": (256,)},
    {"placement": "centred", "interpolation": "nearest"},
    {"labels": ("car", "dog")},
    {"background": "threshold", "background_threshold": 0.3},
    {"template": "a drawing of a {label}"},
    {"saliency": "none"},
    {"saliency": "constant", "saliency_value": 0.4},
    {"scales": (128, 32)},
    {"stride": 1, "scales": (128,)},
    {"image_size": (192, 256), "scales": (192, 64), "saliency_input": "frame"},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda one: "-".join(one))
def test_every_change_shows_what_the_segmenter_gives(explorer, tiny, change):
    explorer.change(**change)
    view = explorer.view
    source = explorer._bench.segmenter(view)
    expected = source.segment(view.image.pixels, view.labels, view.config)
    shown = screen_of(explorer).shown[-1]
    np.testing.assert_array_equal(shown.labels, expected["labels"].values)
    run = explorer.run
    np.testing.assert_array_equal(run["labels"].values, expected["labels"].values)
    assert {k: v for k, v in run.attrs.items() if k != "image_source"} == {
        k: v for k, v in expected.attrs.items() if k != "image_source"
    }
    s.validate(run)


def test_fuse_knobs_and_scales_that_come_back_never_touch_the_image_network(tiny, counting_encoder):
    explorer = Explorer(None, ["a", "b"], lab.Segmenter(counting_encoder, "none"), scheduler=at_once())
    explorer.attach(Screen())
    explorer.refresh()
    crops = sum(counting_encoder.batches)
    assert crops == 59
    for change in ({"scales_off": (64, 256)}, {"weights": {128: 2.0}}, {"scales_off": ()}, {"labels": ("c", "d")},
                   {"placement": "centred"}, {"opacity": 0.2}, {"panel": "margin"}, {"pixel": (3, 4)},
                   {"hidden": ("c",)}):  # fmt: skip
        explorer.change(**change)
        assert not explorer.error
    assert sum(counting_encoder.batches) == crops
    explorer.change(scales=(256, 128, 64, 32))
    assert sum(counting_encoder.batches) == crops + 15 * 15  # only the new grid


class Mine:
    """A saliency source that only its owner can make."""

    name, fingerprint = "mine", "mine-1"

    def __call__(self, image):
        return np.linspace(0, 1, image.shape[0] * image.shape[1], dtype=np.float32).reshape(image.shape[:2])


def test_a_store_spares_the_networks_for_the_images_that_it_holds(counting_encoder, tmp_path):
    scenes, config = lab.open_dataset("scenes", length=3), lab.Config(image_size=(128, 128), scales=(128, 64))
    segmenter = lab.Segmenter(counting_encoder, Mine())
    store = lab.embed(segmenter, scenes, tmp_path / "store", config, shard_size=2)
    counting_encoder.batches.clear()
    for given in (store, lab.open_store(store.path)):
        source = StoreSource(as_source(given), scenes, lab.Segmenter(counting_encoder))
        explorer = Explorer(image_sources.scene("val", 2), LABELS, source, scheduler=at_once())
        explorer.attach(Screen())
        explorer.refresh()
        text = segmenter.text_embeddings(LABELS, config)
        expected = label_map(as_encoded(lab.open_store(store.path).isel(image=2)), text, config)
        np.testing.assert_array_equal(screen_of(explorer).shown[-1].labels, expected)
        np.testing.assert_array_equal(explorer.run["image"], segmenter.encode(scenes[2].image, config)["image"])
        assert (explorer.config, explorer.run.attrs["saliency_source"]) == (config, "mine")
        counting_encoder.batches.clear()
        for change in ({"scales_off": (64,)}, {"saliency_weight": 0.5}, {"scales_off": ()}):
            explorer.change(**change)
        assert (explorer.error, counting_encoder.batches) == ("", [])
        explorer.change(scales=(128, 64, 32))
        assert sum(counting_encoder.batches) == 7 * 7  # only the new scale
        explorer.change(saliency="none")
        explorer.open_scene("val", 5)  # not in the store
        assert sum(counting_encoder.batches) == 7 * 7 + 1 + 3 * 3 + 7 * 7
        assert not explorer.error
        explorer.change(saliency="mine")
        assert "There is no saliency 'mine'" in explorer.error


def test_a_store_by_its_path_starts_with_its_own_configuration(tiny, tmp_path):
    config = lab.Config(image_size=(96, 96), scales=(96, 48))
    lab.embed(tiny, lab.open_dataset("scenes", length=2), tmp_path / "store", config)
    explorer = lab.explore(image_sources.scene("val", 1), LABELS, tmp_path / "store")
    assert explorer.config == EmbeddingStore(tmp_path / "store").config
    assert (explorer.view.model, explorer.view.saliency) == ("tiny", "found-tiny")
    assert explorer.run.attrs["saliency_fingerprint"] == tiny.saliency.fingerprint


def test_encoding_reports_every_batch_and_stops_between_two(tiny):
    view = Explorer(None, LABELS, tiny).view
    seen = []
    with pytest.raises(StoppedError):
        Engine(tiny).labels(view, Watch(lambda done, total: seen.append((done, total)), lambda: len(seen) == 3))
    assert seen == [(8, 59), (16, 59), (24, 59)]
    engine = Engine(tiny)
    assert not engine.ready(view)
    engine.labels(view)
    assert engine.ready(view)


# Code, state, export


@pytest.mark.parametrize("change", [CHANGES[0], CHANGES[1], CHANGES[8], CHANGES[11]], ids=str)
def test_the_code_makes_the_view(explorer, change):
    explorer.change(**change)
    space: dict = {}
    exec(explorer.code(), space)
    np.testing.assert_array_equal(space["run"]["labels"].values, explorer.run["labels"].values)


def test_the_code_loads_the_model_as_it_was_loaded_and_labels_are_no_text():
    fast = lab.load("tiny", runtime="openvino", saliency="none")
    assert "lab.load('tiny', saliency='none', runtime='openvino')" in Explorer(labels=LABELS, segmenter=fast).code()
    half = lab.load("tiny", precision="bf16")
    assert "lab.load('tiny', precision='bf16')" in Explorer(labels=LABELS, segmenter=half).code()
    with pytest.raises(LabelError, match="expected a list of texts"):
        Explorer(labels="cat")


def test_the_code_of_a_file_runs_and_that_of_a_given_array_says_what_it_needs(explorer, tmp_path):
    path = tmp_path / "it's a photo.png"
    Image.fromarray(explorer.image[:200]).save(path)
    explorer.open(path)
    space: dict = {}
    exec(explorer.code(), space)
    np.testing.assert_array_equal(space["run"]["labels"].values, explorer.run["labels"].values)
    explorer.open(np.zeros((5, 4, 3), np.uint8))
    assert "# image is the one that lab.explore was given: an array of 4 x 5 pixels" in explorer.code()


@pytest.mark.parametrize(
    "change", [*CHANGES, {"opacity": 0.1, "panel": "margin", "pixel": (3, 5), "hidden": ("cat", "background")}], ids=str
)
def test_a_state_comes_back_equal(explorer, tiny, tmp_path, change):
    explorer.change(**change)
    path = explorer.save(tmp_path / "state.json")
    assert path.stat().st_size < 4000
    other = Explorer(np.zeros((9, 9, 3), np.uint8), ["x"], tiny, scheduler=at_once())
    other.load(path)
    assert other.view == explorer.view


def test_an_upload_comes_back_only_with_its_image(explorer, tiny, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(explorer.image[:100]).save(path)
    explorer.upload("a.png", memoryview(path.read_bytes()))
    assert explorer.view.image.kind == "upload"
    saved = explorer.save(tmp_path / "state.json")
    other = Explorer(None, ["x"], tiny, scheduler=at_once())
    before = other.view
    with pytest.raises(ImageError, match=r"is not in a file \(a.png\); open it with image="):
        other.load(saved)
    assert other.view == before
    other.load(saved, image=path)
    assert other.view.image.sha256 == explorer.view.image.sha256


def test_every_beginning_of_a_state_is_refused_with_one_error(explorer, tmp_path):
    text = state.to_json(explorer.view)
    for end in range(0, len(text) - 1, 7):
        with pytest.raises(StateError):
            state.from_json(text[:end])
    path = tmp_path / "state.json"
    path.write_bytes(b"\xff\xfe\x00")
    for wrong in (path, tmp_path / "nothing.json"):
        with pytest.raises(StateError, match="cannot be read"):
            explorer.load(wrong)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"version": 1}, StateError, "has version 1, this clipdiy_lab reads version 3"),
        ({"kind": "else"}, StateError, "not a state of the explorer"),
        ({"panel": "labls"}, StateError, "Did you mean 'labels'"),
        ({"hidden": 3}, StateError, "hidden is 3; expected a list of labels"),
        ({"opacity": 7}, StateError, "opacity is 7"),
        ({"pixel": "here"}, StateError, "expected \\(row, column\\)"),
        ({"labels": []}, lab.ClipdiyError, "there are no labels"),
        ({"config": {"stirde": 2}}, ConfigError, "Did you mean 'stride'"),
        ({"image": {"kind": "scene", "name": "val/1", "sha256": "0"}}, ImageError, "its pixels differ"),
        ({"image": {"kind": "scene", "name": "val/9999", "sha256": "0"}}, lab.ClipdiyError, "no scene"),
        ({"image": {"kind": "ftp", "name": "x", "sha256": "0"}}, StateError, "expected scene, file"),
        ({"image": 3}, StateError, "the name of its image"),
    ],
)
def test_a_state_that_makes_no_sense_is_refused_and_the_view_stays(explorer, tmp_path, change, error, said):
    path = tmp_path / "state.json"
    path.write_text(json.dumps(json.loads(state.to_json(explorer.view)) | change))
    before = explorer.view
    with pytest.raises(error, match=said):
        explorer.load(path)
    assert explorer.view == before


def test_figure_data_and_picture_go_into_files(explorer, tmp_path):
    for name in ("a.html", "a.nc", "a.csv", "a.tex"):
        assert explorer.export(tmp_path / name).stat().st_size > 100
    assert lab.open_run(tmp_path / "a.nc").attrs["labels"] == explorer.run.attrs["labels"]
    with pytest.raises(StateError, match=r"ends in '\.gif'"):
        explorer.export(tmp_path / "a.gif")
    figure = explorer.static()
    assert type(figure).__name__ == "Figure"
    assert explorer.picture().width >= 256


# Bad input: it is said, and the explorer goes on


def bad_png() -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"\0" * 40


BAD = {
    "no image": (lambda e, _: e.upload("a.txt", b"hello"), "the upload 'a.txt' cannot be used"),
    "damaged image": (lambda e, _: e.upload("a.png", bad_png()), "the upload 'a.png' cannot be used"),
    "too large": (lambda e, _: e.upload("a.png", bytes(image_sources.MAX_UPLOAD + 1)), "the limit is 10 MiB"),
    "no labels": (lambda e, _: e.change(labels=()), "there are no labels"),
    "too many labels": (lambda e, _: e.change(labels=[f"l{i}" for i in range(65)]), "at most 64"),
    "a label of 300 letters": (lambda e, _: e.change(labels=("cat", "x" * 300)), "shorten the label"),
    "all scales off": (lambda e, _: e.change(scales_off=(256, 128, 64)), "every scale is switched off"),
    "all weights zero": (lambda e, _: e.change(weights={256: 0.0, 128: 0.0, 64: 0.0}), "every grid has weight"),
    "no such model": (lambda e, _: e.change(model="tyni"), "tyni"),
    "no such saliency": (lambda e, _: e.change(saliency="fuond"), "Did you mean 'found'"),
    "no saliency file": (lambda e, p: e.change(saliency="file", saliency_path=str(p / "no.npy")), "no saliency file"),
    "saliency that does not fit": (
        lambda e, p: (np.save(p / "s.npy", np.zeros((3, 3), np.float32)),
                      e.change(saliency="file", saliency_path=str(p / "s.npy"))),
        "has shape \\(3, 3\\)",
    ),
    "no such scene": (lambda e, _: e.open_scene("val", 4000), "no scene 4000"),
    "no such path": (lambda e, p: e.open(p / "none.png"), "none.png"),
    "an empty folder": (lambda e, p: e.open(p), "has no image"),
    "words without words": (lambda e, _: e.change(background="words"), "needs background_words"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_said_and_the_explorer_goes_on(explorer, tmp_path, name):
    act, said = BAD[name]
    pictures = len(screen_of(explorer).shown)
    act(explorer, tmp_path)
    assert re.search(said, explorer.error), explorer.error
    assert screen_of(explorer).lines["error"] == explorer.error
    assert len(screen_of(explorer).shown) == pictures
    good = {"labels": LABELS, "scales_off": (), "weights": {}, "model": "tiny", "saliency": "found-tiny",
            "background": "saliency", "saliency_weight": 0.7}  # fmt: skip
    explorer.change(**good)
    assert not explorer.error
    assert screen_of(explorer).lines["error"] == ""
    assert len(screen_of(explorer).shown) == pictures + 1


def test_fifty_labels_are_taken(explorer):
    explorer.change(labels=[f"thing {i}" for i in range(50)], background="none")
    assert not explorer.error
    assert len(screen_of(explorer).shown[-1].names) == 50
    assert "not known" in screen_of(explorer).lines["note"] or screen_of(explorer).lines["note"]


def test_a_defect_is_shown_too_and_the_explorer_goes_on(explorer, monkeypatch):
    monkeypatch.setattr(explorer._bench, "labels", lambda *_: 1 / 0)
    explorer.change(saliency_weight=0.2)
    assert "ZeroDivisionError" in explorer.error
    monkeypatch.undo()
    explorer.change(saliency_weight=0.3)
    assert not explorer.error


def test_an_unknown_control_raises_with_the_nearest(explorer):
    with pytest.raises(ConfigError, match="Did you mean 'stride'"):
        explorer.change(strid=3)


# Controls


def test_every_knob_has_a_control_and_every_value_comes_back_through_its_text():
    made = fields.fields()
    assert set(made) | {"weights", "patches"} == set(lab.Config.knobs())
    config = lab.Config(
        synonyms={"sofa": ["sofa", "couch"]}, background_words=("sky", "wall"), image_size=(192, 256), scales=(128, 64),
        template=("a {label}", "the {label}"),
    )  # fmt: skip
    values = {name: fields.read(field, fields.spell(field, getattr(config, name))) for name, field in made.items()}
    assert lab.Config(**values) == config


def test_a_size_or_phrases_that_cannot_be_read_say_what_to_write():
    made = fields.fields()
    assert fields.read(made["image_size"], "128") == (128, 128)
    with pytest.raises(ConfigError, match="write height x width"):
        fields.read(made["image_size"], "large")
    with pytest.raises(ConfigError, match="write 'label: phrase, phrase'"):
        fields.read(made["synonyms"], "sofa couch")


def test_a_folder_lists_its_images_by_name(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt"):
        Image.new("RGB", (4, 4)).save(tmp_path / name, "PNG") if name != "notes.txt" else (tmp_path / name).touch()
    assert [one.name for one in image_sources.folder(tmp_path)] == ["a.JPG", "b.png"]
    assert image_sources.file(tmp_path).name.endswith("a.JPG")


def test_sides_of_crops_are_lines_of_scale_and_side():
    field = fields.fields()["crop_input"]
    assert field.form == "sides"
    spelled = fields.spell(field, lab.Config(crop_input={64: 96, 128: 160}).crop_input)
    assert fields.read(field, spelled) == {64: 96, 128: 160}
    with pytest.raises(ConfigError, match="write 'scale: side'"):
        fields.read(field, "64 = 96")


# Screens and callbacks that fail


class Broken(Screen):
    """Raises whatever it was made with, whenever it is told something."""

    def __init__(self, end) -> None:
        super().__init__()
        self.end = end

    def _fail(self, *_):
        raise self.end

    show = progress = say = read_draft = close = _fail


@pytest.mark.parametrize("end", [RuntimeError("gone"), SystemExit(2)])
def test_a_screen_that_fails_keeps_nothing_from_the_others(tiny, engine, caplog, end):
    explorer = Explorer(None, LABELS, tiny, scheduler=at_once())
    explorer._bench = engine
    good = Screen()
    for screen in (Broken(end), good, Broken(end)):
        explorer.attach(screen)
    explorer.refresh()
    assert len(good.shown) == 1
    assert type(end).__name__ in good.lines["error"]  # the others say that one failed
    explorer.change(saliency_weight=0.2)
    assert good.shown[-1].view.config.saliency_weight == 0.2
    explorer.complain(LabelError("no such label"))
    assert good.lines["error"] == "no such label"
    assert any(record.exc_info[0] is type(end) for record in caplog.records)
    explorer.close()
    assert explorer.screens == []


@pytest.mark.parametrize("end", [SystemExit(4), KeyboardInterrupt(), ZeroDivisionError("0")])
def test_an_encoder_that_ends_everything_ends_one_change_only(tiny, counting_encoder, end):
    explorer = Explorer(np.zeros((40, 50, 3), np.uint8), ["cat"], lab.Segmenter(counting_encoder), scheduler=at_once())
    explorer.attach(Screen())
    whole = counting_encoder.encode_crops

    def leave(_):
        raise end

    counting_encoder.encode_crops = leave
    explorer.refresh()
    assert type(end).__name__ in explorer.error
    assert screen_of(explorer).lines["error"] == explorer.error
    counting_encoder.encode_crops = whole
    explorer.refresh()
    assert len(screen_of(explorer).shown) == 1


def test_a_callback_that_is_told_to_exit_says_so(explorer):
    def leave():
        raise SystemExit("enough")

    explorer.attempt(leave)
    assert screen_of(explorer).lines["error"] == (
        "The work was ended by SystemExit('enough'); what is shown is the state before it."
    )
    explorer.change(saliency_weight=0.35)
    assert screen_of(explorer).lines["error"] == ""
