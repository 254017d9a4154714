"""The catalogue lists all that can be seen, and four renderers draw each entry with its words, range and colours."""

import base64
import html
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import xarray as xr
from PIL import Image

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.method import schema as s
from clipdiy_lab.views import catalogue, figures, scales
from clipdiy_lab.views.catalogue import Entry, Explanation
from clipdiy_lab.views.colors import css
from clipdiy_lab.views.figures.fitting import unwrapped
from clipdiy_lab.views.gallery import picture
from clipdiy_lab.views.instrument.scene import scene
from clipdiy_lab.views.look import Look
from clipdiy_lab.views.report import write_folder

LABELS = ["cat", "sofa", "<b>x's", "bus", "car", "dog", "cow", "sheep"]
CONFIG = lab.Config(scales=(32, 16), image_size=(48, 64), saliency_weight=0.6)
OF_REFINEMENT = ("refined", "label_unrefined", "refine_changed")
VIEWS = Path(lab.__file__).parent / "views"


@pytest.fixture(scope="module")
def run(golden_segmenter):
    rng = np.random.default_rng(2)
    photo = rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)
    return golden_segmenter.segment(photo, LABELS, CONFIG, saliency=rng.random((50, 70)))


@pytest.fixture(scope="module")
def look(run):
    return Look(run)


@pytest.fixture(scope="module")
def refined(run):
    """The run with what only a refinement makes; `background_threshold` is of runs without one."""
    return lab.recombine(run, refine="pamr", refine_iterations=1, refine_dilations=(1, 2))


@pytest.fixture(scope="module")
def drawings(look, refined, golden_segmenter):
    """Every entry of the catalogue drawn from one run, by name."""
    run, window = look.run, ("s032", 0, 1)
    own = {
        "label_changed": lab.explain.label_changed(
            run, lab.recombine(run, saliency_weight=0.1), differing=["saliency_weight"]
        ),
        "occlusion": lab.explain.occlude(run, golden_segmenter, window, "cat"),
        "evidence": lab.explain.occlude(run, golden_segmenter, window, "cat"),
        "attention": abs(
            lab.explain.occlude(run, golden_segmenter, window, "cat")
        ),  # values of their kind: they need a ViT
    }
    entries = catalogue.explanations()
    listed = [*look.stages(), *look.explained(golden_segmenter)[0]]
    listed += [look.draw(entries[name], {"": array}) for name, array in own.items()]
    after = Look(refined)
    listed += [one for one in (*after.stages(), *after.explained(None)[0]) if one.entry.name in OF_REFINEMENT]
    return {drawing.entry.name: drawing for drawing in listed}


@pytest.fixture(scope="module")
def page(run, refined, golden_segmenter, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    pages = (lab.report(shown, folder / "page.html", segmenter=golden_segmenter) for shown in (run, refined))
    return "".join(page.read_text() for page in pages)


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    made = tmp_path_factory.mktemp("folder")
    write_folder(run, made)
    return made


def numbers(drawing):
    return [values for values in drawing.maps.values() if np.isfinite(values).any()]


def opened(source):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition("base64,")[2]))).convert("RGBA"))


def section_of(page, name):
    return re.search(rf"<section id='{name}'.*?</section>", page, re.DOTALL)[0]


def names_of(kinds):
    known = catalogue.stages() | catalogue.explanations()
    return [name for name, entry in known.items() if entry.kind in kinds]


NUMBERS = names_of(("sequential", "diverging"))
NAMES = names_of(("label", "grid", "mark"))
FROM_A_RUN = [
    entry.name
    for made in catalogue.EXPLANATIONS
    if made.make and not made.needs_segmenter
    for entry in made.entries
    if entry.name not in OF_REFINEMENT
]


# ----------------------------------------------------------------------------------------------------- what it lists


def test_every_stage_and_every_explanation_that_has_pixels_is_listed(run, refined, golden_segmenter):
    stages = {name for name, stage in s.STAGES.items() if {s.Y, s.X} <= set(stage.dims) or s.LABEL in stage.dims}
    assert catalogue.stages().keys() == stages - {"best_phrase", "presence", "kept"}
    explain = lab.explain
    made = [explain.flip_weight(run), explain.background_threshold(run), explain.grid_importance(run)]
    made += [explain.uncertainty(run), explain.prompt_sensitivity(run, golden_segmenter)]
    made += [
        explain.occlude(run, golden_segmenter, ("s032", 0, 0), "cat").to_dataset(),
        explain.refine_changed(refined),
    ]
    pixels = {str(name) for found in made for name, array in found.items() if {"y", "x"} <= set(array.dims)}
    assert pixels - {"margin"} <= catalogue.explanations().keys()
    assert not catalogue.explanations().keys() & catalogue.stages().keys()


def test_every_entry_has_words_a_unit_and_a_range(drawings):
    assert drawings.keys() == {"overlay", *catalogue.stages(), *catalogue.explanations()}
    for name, drawing in drawings.items():
        stage = drawing.entry.stage
        assert stage.title[0].isupper(), name
        assert stage.sentence.endswith("."), name
        assert "_" not in stage.title + stage.unit, name
        if drawing.entry.scale is not None:
            assert stage.unit != "1", name
            assert drawing.colors.low < drawing.colors.high


@pytest.mark.parametrize("name", NUMBERS)
def test_what_has_a_sign_is_about_zero_and_what_has_none_is_not(drawings, name):
    drawing = drawings[name]
    signed = {"flip_change", "threshold_distance", "grid_contribution", "grid_shapley", "occlusion", "evidence"}
    assert (drawing.entry.kind == "diverging") == (name in signed)
    if name in signed:
        assert drawing.colors.low == -drawing.colors.high
    for bound, end in ((drawing.entry.stage.low, drawing.colors.low), (drawing.entry.stage.high, drawing.colors.high)):
        if bound is not None and drawing.entry.whole and name not in signed:
            assert end == bound


def test_the_same_quantity_has_the_same_range_everywhere(run, drawings, page):
    """Whichever renderer draws it, and whatever else stands beside it."""
    for name in ("saliency", "guide", "grid_agreement"):
        assert (drawings[name].colors.low, drawings[name].colors.high) == (0, 1)
    overview = figures.overview(run, "cat")
    titles = [note.text for note in overview.layout.annotations]
    layers = [trace for trace in overview.data if isinstance(trace, go.Image)]
    shown = opened(layers[titles.index("Saliency")].source)[..., :3]
    alone = opened(figures.saliency(run).data[0].source)[..., :3]
    np.testing.assert_array_equal(shown, alone)
    np.testing.assert_array_equal(opened(re.search("src='(.*?)'", section_of(page, "saliency"))[1])[..., :3], alone)


# -------------------------------------------------------------------------------------------------- the four renderers


@pytest.mark.parametrize("name", [name for name in NUMBERS if name not in ("similarity", "logits")])
def test_the_figure_has_title_unit_and_scale(run, drawings, name):
    drawing = drawings[name]
    titles = {("", "")} | {(row, column) for row, column in drawing.maps}
    figure = figures.maps.drawn(drawing)
    axis = figure.layout.coloraxis
    assert unwrapped(figure.layout.title.text) == drawing.entry.stage.title
    assert unwrapped(axis.colorbar.title.text) == drawing.entry.stage.unit
    assert [list(stop) for stop in axis.colorscale] == drawing.entry.scale.stops
    assert (axis.cmin, axis.cmax) == (drawing.colors.low, drawing.colors.high)
    layers = [trace for trace in figure.data if isinstance(trace, go.Image)]
    assert len(layers) == len(drawing.maps) <= len(titles)
    for layer, values in zip(layers, drawing.maps.values(), strict=True):
        painted, known = opened(layer.source), np.isfinite(values)
        np.testing.assert_array_equal(painted[..., 3] > 0, known)
        off = np.abs(painted[..., :3].astype(int) - drawing.colors.paint(values))[known]
        assert off.max(initial=0) <= 3  # 255 levels


@pytest.mark.parametrize("name", NUMBERS)
def test_the_page_has_title_sentence_unit_and_scale(drawings, page, name):
    if f"<section id='{name}'" not in page:  # of a window or of two runs, which a page has not
        assert name in ("occlusion", "attention", "evidence")
        return
    drawing, section = drawings[name], html.unescape(section_of(page, name))
    for words in (drawing.heading, drawing.entry.stage.sentence, f"<span>{drawing.entry.stage.unit}</span>"):
        assert words in section
    assert f"background:{drawing.entry.scale.css}" in section
    assert f"<span>{drawing.colors.low:.3g}</span>" in section
    sources = re.findall("<img src='(.*?)'", section)
    for source, values in zip(sources, drawing.maps.values(), strict=True):
        known = np.isfinite(values)
        off = np.abs(opened(source)[..., :3].astype(int) - drawing.colors.paint(values))[known]
        assert off.max(initial=0) <= 3


@pytest.mark.parametrize("name", NUMBERS)
def test_the_picture_has_the_colours_of_its_values(drawings, name):
    drawing = drawings[name]
    made = np.asarray(picture(drawing))
    for values in numbers(drawing):
        for color in (drawing.colors.paint(values)[np.isfinite(values)])[:: max(1, values.size // 7)]:
            assert (made == color).all(-1).any()
    for end in (0.0, 1.0):  # its colour bar
        assert (made[-36:] == drawing.entry.scale.at(end)).all(-1).any()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_coloured_by_names_has_the_same_colours_in_figure_page_and_picture(drawings, page, name):
    drawing = drawings[name]
    figure = figures.maps.drawn(drawing)
    keys = {trace.name: trace.marker.color for trace in figure.data if isinstance(trace, go.Scatter)}
    assert keys == {html.escape(key, quote=False): css(color) for key, color in drawing.keys.items()}
    layers = [trace.source for trace in figure.data if isinstance(trace, go.Image)]
    for source, values in zip(layers, drawing.maps.values(), strict=True):
        painted = opened(source)
        np.testing.assert_array_equal(painted[..., 3] > 0, values >= 0)
        np.testing.assert_array_equal(painted[values >= 0][:, :3], drawing.palette[values[values >= 0]])
    made = np.asarray(picture(drawing))
    for color in drawing.keys.values():
        assert (made == color).all(-1).sum() >= 100  # the square of the legend
    if f"id='{name}'" in page:
        section = html.unescape(section_of(page, name))
        for key, color in drawing.keys.items():
            assert f"style='background:{css(color)}'></span>{key}" in section


def test_the_instrument_has_titles_sentences_and_units_of_the_catalogue(run):
    told = scene(run)["maps"]
    known = catalogue.stages() | catalogue.explanations()
    assert {"margin", "saliency", "score"} <= set(told)
    for name, shown in told.items():
        stage = known["fused" if name == "score" else name].stage
        assert (shown["title"], shown["sentence"], shown["unit"]) == (stage.title, stage.sentence, stage.unit)


def test_the_folder_has_a_picture_of_every_stage_and_explanation(look, folder):
    names = [path.stem.partition("_")[2] for path in sorted(folder.glob("[0-9]*.png"))]
    assert names == [*(drawing.entry.name for drawing in look.stages()), *FROM_A_RUN]


def test_a_figure_of_an_explanation_is_the_one_of_its_array(run, drawings):
    for name in FROM_A_RUN:
        drawn = figures.maps.drawn(drawings[name], aspect=figures.inputs.aspect_of(run))
        assert figures.explanation(run, name).to_json() == drawn.to_json()
    array = lab.explain.grid_importance(run)["grid_shapley"]
    assert figures.pixel_map(array, run=run).to_json() == figures.explanation(run, "grid_shapley").to_json()
    for name, says in (
        ("occlusion", "make it with lab.explain and show it with pixel_map"),
        ("wording_sensitivity", "or give the segmenter"),
        ("grid_shaply", "Did you mean 'grid_shapley'"),
    ):
        with pytest.raises(errors.FigureError, match=says):
            figures.explanation(run, name)


def test_what_a_run_cannot_have_is_said_once_for_all_its_maps(golden_segmenter, tmp_path):
    run = golden_segmenter.segment(np.zeros((50, 70, 3), np.uint8), ["cat"], CONFIG.replace(background="none"))
    drawings, reasons = Look(run).explained()
    assert [drawing.entry.name for drawing in drawings] == ["entropy", "grid_agreement"]
    assert sum(map(len, reasons.values())) + len(drawings) == len(FROM_A_RUN)
    page = html.unescape(lab.report(run, tmp_path / "page.html").read_text())
    for reason, titles in reasons.items():
        assert page.count(f"Not shown: {'; '.join(titles)}. {reason}") == 1


# ------------------------------------------------------------------------------------------ adding one, and one place


def test_a_map_that_is_added_is_in_figure_page_and_picture(run, golden_segmenter, tmp_path, monkeypatch):
    """Two files: a function with its stage, as `analysis/explain` has them, and an entry of the catalogue."""
    stage = s.Stage(
        name="lead_of_the_cat",
        dims=(s.Y, s.X),
        kind="f4",
        title="Lead of the cat",
        sentence="The cat's score minus the best of the others.",
        unit="score of the cat",
    )

    def lead_of_the_cat(run):
        scores = s.scores(run)
        others = scores.drop_sel(label="cat").max("label")
        lead = (scores.sel(label="cat", drop=True) - others).rename(stage.name)
        return xr.Dataset({stage.name: lead.assign_attrs(stage.attrs())})

    entry = Entry(stage=stage, kind="diverging")
    added = Explanation(make=lambda run, _: lead_of_the_cat(run), entries=(entry,))
    monkeypatch.setattr(catalogue, "EXPLANATIONS", [*catalogue.EXPLANATIONS, added])

    end = float(abs(lead_of_the_cat(run)[stage.name]).max())
    figure = figures.explanation(run, "lead_of_the_cat")
    assert figure.to_json() == figures.pixel_map(lead_of_the_cat(run)[stage.name], run=run).to_json()
    assert figure.layout.title.text == "Lead of the cat"
    assert figure.layout.coloraxis.colorbar.title.text == "score of the cat"
    assert [list(stop) for stop in figure.layout.coloraxis.colorscale] == scales.DIVERGING.stops
    assert figure.layout.coloraxis.cmax == pytest.approx(end)

    write_folder(run, tmp_path)
    section = html.unescape(section_of((tmp_path / "index.html").read_text(), "lead_of_the_cat"))
    for words in ("Lead of the cat", stage.sentence, scales.DIVERGING.css, f"{end:.3g}", "score of the cat"):
        assert words in section
    (file,) = tmp_path.glob("*_lead_of_the_cat.png")
    with Image.open(file) as image:
        drawn = np.asarray(image.convert("RGB"))
    expected = scales.ColorRange(scales.DIVERGING, -end, end).paint(lead_of_the_cat(run)[stage.name].values)
    assert np.abs(drawn[:48, :64].astype(int) - expected).max() <= 1


def test_no_other_module_defines_a_colour_scale():
    """A scale is a list of colours to mix between; everything else that draws takes it from `scales`."""
    spelled = re.compile("viridis|cividis|plasma|rdbu|440154|fde725|f2f2f2|linear-gradient|np.interp", re.IGNORECASE)
    for path in VIEWS.rglob("*"):
        if path.suffix in (".py", ".html", ".css", ".js") and path.name != "scales.py":
            assert not spelled.search(path.read_text(encoding="utf-8")), path


def test_no_renderer_spells_a_title_or_sentence_of_the_catalogue():
    words = {
        text
        for entry in (catalogue.stages() | catalogue.explanations()).values()
        for text in (entry.stage.title, entry.stage.sentence)
        if " " in text
    }
    for path in VIEWS.rglob("*"):
        if path.suffix in (".py", ".html"):
            text = re.sub(r'"\s*\n\s*"', "", path.read_text(encoding="utf-8"))
            assert not [told for told in words if told in text], path


# ---------------------------------------------------------------------------------------------------------- templates


def test_html_is_written_by_templates_that_escape():
    """No module of views escapes by hand, or puts a value between tags with an f-string."""
    for path in VIEWS.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.parent.name == "figures":  # plotly's titles and hover, which are no HTML page
            continue
        assert "html.escape" not in text, path
        assert not re.search(r"""f(["']).*?<[a-z]+[^>]*>.*?\{.*?\}.*?</""", text), path


def test_labels_are_text_in_page_and_summary(run, page):
    for told in (page, run.diy._repr_html_()):
        assert "<b>x" not in told
        assert "&lt;b&gt;x&#39;s" in told


def test_a_table_of_ones_own_on_the_page_has_its_row_names_and_no_row_numbers(run, tmp_path):
    frame = pd.DataFrame({"configuration": ["all grids"], "mIoU %": [61.6]})
    for number, table in enumerate((frame, frame.set_index("configuration"))):
        page = lab.report(run, tmp_path / f"{number}.html", tables={"Mine": table}).read_text()
        heads = re.findall("<th>(.*?)</th>", page[page.index("<h3>Mine</h3>") :].partition("</thead>")[0])
        assert heads == ["configuration", "mIoU %"]
