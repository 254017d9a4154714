"""The explorer as people use it: in JupyterLab, in a real browser, with the kernel's word beside it."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("playwright")
from laboratory import ROOT, Notebook

EXPLORER = """
import threading
import clipdiy_lab as lab
from ipywidgets.widgets.widget import _instances
explorer = lab.explore(labels=["cat", "dog", "car", "train"])
heard = []
explorer.widget.root.on_msg(lambda widget, content, buffers: heard.append(content["what"]))

def several():
    before = (threading.active_count(), len(_instances))
    for _ in range(4):
        other = lab.explore(labels=["cat", "car"])
        display(other)
        other.scheduler.wait(60)
        other.close()
    return before, (threading.active_count(), len(_instances))

explorer
"""
WEIGHT = ".cdi-strip input[type=range][aria-label='saliency weight']"


@pytest.fixture(scope="module")
def notebook(server, chromium):
    """One notebook with an explorer; every test brings it back to where it starts from."""
    made = Notebook(server, chromium, "explorer.ipynb", [EXPLORER])
    made.page.set_viewport_size({"width": 1400, "height": 900})
    made.run_all()
    made.find(".cdi-picture").wait_for()
    yield made
    made.close()


@pytest.fixture
def page(notebook):
    leave(notebook)
    for name in ("Fewer knobs", "Open, save"):
        button = notebook.page.get_by_role("button", name=name)
        if button.count() and button.get_attribute("aria-expanded") == "true":
            button.click()
    start = {"labels": ("cat", "dog", "car", "train"), "pixel": (120, 130), "panel": "labels", "hidden": (),
             "scales": (256, 128, 64), "weights": {}, "stride": 2, "saliency_weight": 1.0, "opacity": 0.65}  # fmt: skip
    notebook.ask(f"(explorer.open_scene('val', 1), explorer.change(**{start}), explorer.apply()) and None")
    notebook.until("explorer.scheduler.busy", False)
    assert notebook.ask("explorer.error") == ""
    notebook.page.wait_for_function("document.querySelectorAll('.cdi-chip').length === 5")
    weight_is(notebook, 1)
    return notebook


def leave(page: Notebook) -> None:
    """Take pointer and focus out of the instrument."""
    page.page.evaluate("document.activeElement?.blur()")
    page.find(".cdi-picture").hover()
    page.page.mouse.move(20, 20)


def weight_is(page: Notebook, value: float) -> None:
    page.page.wait_for_function(f"Number(document.querySelector(`{WEIGHT}`).value) === {value}")


def press(page: Notebook, key: str, times: int = 1) -> None:
    """Turn the saliency weight by keys."""
    page.find(WEIGHT).focus()
    for _ in range(times):
        page.page.keyboard.press(key)


def painted(page: Notebook) -> str:
    """Return what the browser shows over the photograph, once it is drawn."""
    page.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.page.evaluate("document.querySelector('.cdi-map').toDataURL()")


def type_label(page: Notebook, text: str) -> None:
    page.find(".cdi-add").click()
    page.page.keyboard.insert_text(text)
    page.page.keyboard.press("Enter")


def click(page: Notebook, name: str) -> None:
    page.page.get_by_role("button", name=name, exact=True).click()


def said(page: Notebook, place: str, text: str) -> None:
    page.page.locator(place, has_text=text).first.wait_for()


def test_the_explorer_appears_without_an_error(page):
    assert page.errors() == []
    assert page.page.locator(".cdi-chip").all_inner_texts()[0].startswith("background")
    assert page.page.locator(".jp-OutputArea-output[data-mime-type='text/html']").count() == 0  # no stand-in beside it
    box, why = page.find(".cdi-picture").bounding_box(), page.find(".cdi-inspector").bounding_box()
    assert why["x"] > box["x"] + box["width"]  # beside the picture, not below it
    assert why["y"] < box["y"] + 40


def test_a_fuse_knob_answers_without_a_message_and_python_knows_it_when_the_pointer_leaves(page):
    before = painted(page)
    page.ask("heard.clear()")
    press(page, "ArrowLeft", 12)
    weight_is(page, 0.4)
    assert painted(page) != before
    assert page.ask("(heard, explorer.config.saliency_weight)") == ([], 1.0)
    leave(page)
    page.until("explorer.config.saliency_weight", 0.4)
    assert set(page.ask("heard")) == {"follow"}
    drawn = "[...document.querySelector('.cdi-map').getContext('2d').getImageData(0, 0, 256, 256).data]"
    opaque = page.page.evaluate(f"{drawn}.filter((value, at) => at % 4 === 3 && value > 0).length")
    assert opaque == page.ask("int((explorer.run['labels'].values != 0).sum())")
    assert "saliency_weight=0.4" in page.ask("explorer.code()")


def test_knob_to_picture_takes_some_frames_at_most(page):
    times = page.page.evaluate(
        """async (selector) => {
        const range = document.querySelector(selector), times = [];
        for (let i = 0; i < 40; i++) {
            await new Promise(done => setTimeout(done, 50));
            const began = performance.now();
            range.value = String((i % 20) / 20);
            range.dispatchEvent(new Event('input', {bubbles: true}));
            await new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)));
            times.push(performance.now() - began);
        }
        return times.sort((one, other) => one - other);
    }""",
        WEIGHT,
    )
    print(f"\nfrom knob to picture in JupyterLab: median {times[20]:.1f} ms, nine of ten within {times[36]:.1f} ms")
    assert times[20] < 250  # machines of tests are busy


def test_what_python_changes_the_browser_shows(page):
    page.ask("explorer.change(saliency_weight=0.25, hidden=('train',))")
    weight_is(page, 0.25)
    said(page, ".cdi-chip[aria-pressed=false]", "train")


def test_words_are_added_by_typing_and_by_a_pasted_list_and_the_state_is_kept(page):
    press(page, "ArrowLeft")
    page.page.locator(".cdi-chip", has_text="dog").click()
    page.find(".cdi-chip[aria-pressed=false]").wait_for()
    type_label(page, "tvmonitor")
    page.until("explorer.view.labels[4:]", ("tvmonitor",))
    said(page, ".cdi-chip", "tvmonitor")
    page.page.wait_for_function("document.activeElement.classList.contains('cdi-add')")  # ready for the next
    type_label(page, 'bus, "salt, pepper", chair')
    page.until("explorer.view.labels[5:]", ("bus", "salt, pepper", "chair"))
    said(page, ".cdi-chip", "salt, pepper")
    assert page.ask("(explorer.config.saliency_weight, explorer.view.hidden)") == (0.95, ("dog",))
    assert page.page.locator(".cdi-chip[aria-pressed=false]").all_inner_texts()[0].startswith("dog")
    weight_is(page, 0.95)


def test_a_bad_word_is_refused_in_place_and_changes_nothing(page):
    for text, why in (("x" * 190, "shorten the label"), ("y" * 300, "too long for a prompt")):
        type_label(page, text)
        said(page, ".cdi-legend .cdi-refused", why)
        assert page.page.locator(".cdi-chip").count() == 5
        assert page.ask("explorer.view.labels") == ("cat", "dog", "car", "train")
        page.find(".cdi-add").fill("")
    type_label(page, "bus")
    page.until("explorer.view.labels[4:]", ("bus",))


def test_encode_appears_when_there_is_something_to_encode_and_a_bad_value_is_refused_in_place(page):
    click(page, "All knobs")
    encode, stride = page.find(".cdi-encode"), page.find("[data-ask=stride]")
    assert not encode.is_visible()
    stride.fill("99")
    assert encode.inner_text() == "Encode 1 change"
    encode.click()
    said(page, ".cdi-error", "stride is 99")
    assert stride.get_attribute("aria-invalid") == "true"
    assert page.ask("explorer.config.stride") == 2
    page.find(".cdi-cancel").click()
    assert stride.input_value() == "2"
    assert not encode.is_visible()
    page.find("[data-ask=scales]").fill("128, 64, 48")
    encode.click()
    page.until("explorer.config.scales", (128, 64, 48))
    page.find(".cdi-strip input[type=range][aria-label='48 px']").wait_for()
    assert page.find(".cdi-panel").is_visible()  # it stays open
    page.find(".cdi-encode").wait_for(state="hidden")


def test_a_click_on_a_pixel_is_explained_beside_the_picture(page):
    box = page.find(".cdi-picture").bounding_box()
    page.page.mouse.click(box["x"] + 0.55 * box["width"], box["y"] + 0.37 * box["height"])
    page.page.locator(".cdi-inspector", has_text=re.compile("row 9[345]")).wait_for()
    leave(page)
    page.until("abs((explorer.view.pixel or [0])[0] - 94) <= 2", True)
    row, column = page.ask("explorer.view.pixel")
    names, number = page.ask("explorer.run.attrs['labels']"), page.ask(f"int(explorer.run['labels'][{row}, {column}])")
    told = page.find(".cdi-winner").inner_text()
    assert json.loads(names)[number] in told
    best = page.ask(f"float(explorer.run['fused'].values[:, {row}, {column}].max())")
    assert f"{best:.4f}" in told
    assert page.page.locator(".cdi-crops canvas").count() >= 4


def test_a_bad_upload_is_said_and_a_good_one_is_shown(page):
    good = io.BytesIO()
    Image.fromarray(np.full((40, 60, 3), (200, 30, 30), np.uint8)).save(good, "PNG")
    click(page, "Open, save")
    upload = page.find(".cdi-files input[type=file]")
    upload.set_input_files({"name": "bad.png", "mimeType": "image/png", "buffer": b"this is no image"})
    said(page, ".cdi-files .cdi-refused", "the upload 'bad.png' cannot be used")
    assert page.ask("explorer.view.image.kind") == "scene"
    upload.set_input_files({"name": "large.png", "mimeType": "image/png", "buffer": bytes(11 * 2**20)})
    said(page, ".cdi-files .cdi-refused", "the limit is 10 MiB")
    upload.set_input_files({"name": "good.png", "mimeType": "image/png", "buffer": good.getvalue()})
    page.until("(explorer.view.image.kind, explorer.view.image.name)", ("upload", "good.png"))
    said(page, ".cdi-title strong", "good.png")
    page.find(".cdi-caution").wait_for()  # the embedded model knows pictograms
    assert page.ask("explorer.run['image'].values[9, 9].tolist()") == [200, 30, 30]


def test_a_folder_is_a_filmstrip_that_keys_turn(page, server):
    folder = server.work / "three"
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(("a.png", "b.png", "c.png")):
        Image.fromarray(np.full((40, 60, 3), 60 * number, np.uint8)).save(folder / name)
    click(page, "Open, save")
    path = page.find(".cdi-files input[aria-label='Path of an image or a folder']")
    path.fill(str(server.work / "none"))
    path.press("Enter")
    said(page, ".cdi-files .cdi-refused", "none")
    path.fill(str(folder))
    path.press("Enter")
    said(page, ".cdi-title strong", "a.png")
    page.page.locator(".cdi-film img").nth(2).wait_for()
    page.find(".cdi-picture").focus()
    for key, title in (("n", "b.png"), ("n", "c.png"), ("p", "b.png")):
        page.page.keyboard.press(key)
        said(page, ".cdi-title strong", title)
        page.page.wait_for_function("document.activeElement.classList.contains('cdi-picture')")
    page.page.locator(".cdi-film button", has_text="c.png").click()
    said(page, ".cdi-title strong", "c.png")
    said(page, ".cdi-film button[aria-current=true]", "c.png")


def test_a_state_is_saved_and_opened_again(page, server):
    press(page, "Home")
    click(page, "Open, save")
    click(page, "Save state")
    said(page, ".cdi-files", "Saved to explorer.json.")
    assert json.loads((server.work / "explorer.json").read_text())["config"]["saliency_weight"] == 0
    page.ask("explorer.change(saliency_weight=0.5)")
    weight_is(page, 0.5)
    click(page, "Load state")
    said(page, ".cdi-files", "Loaded explorer.json.")
    weight_is(page, 0)
    out = page.find(".cdi-files input[aria-label='File to export to']")
    for name, told in (("explorer.gif", "ends in '.gif'"), ("explorer.csv", "Exported to explorer.csv.")):
        out.fill(name)
        click(page, "Export")
        said(page, ".cdi-files", told)
    assert (server.work / "explorer.csv").stat().st_size > 100


def test_every_view_replaces_the_picture(page):
    tabs = page.page.locator(".cdi-views [role=tab]")
    seen = set()
    for number in range(tabs.count()):
        tabs.nth(number).click()
        page.page.wait_for_function(
            f"document.querySelectorAll('.cdi-views [role=tab]')[{number}].getAttribute('aria-selected') === 'true'"
        )
        seen.add(page.find(".cdi-caption strong").inner_text() + painted(page))
    assert len(seen) == tabs.count() == 7
    leave(page)
    page.until("explorer.view.panel", "errors")


def test_a_storm_of_five_hundred_events_ends_on_the_last_value(page):
    page.ask("heard.clear()")
    page.page.evaluate(
        """(selector) => {
        const range = document.querySelector(selector);
        for (let i = 0; i <= 500; i++) {
            range.value = String(i < 500 ? (i % 17) / 20 : 0.35);
            range.dispatchEvent(new Event('input', {bubbles: true}));
        }
    }""",
        WEIGHT,
    )
    painted(page)
    assert page.ask("heard") == []
    leave(page)
    page.until("explorer.config.saliency_weight", 0.35)
    assert len(page.ask("heard")) <= 4


def test_it_follows_the_theme_of_jupyterlab(page):
    themes = (("Dark", "dark", "normal"), ("Dark High Contrast", "dark", "more"), ("Light", "light", "normal"))
    for theme, wanted, contrast in themes:
        page.page.evaluate(
            "theme => jupyterapp.commands.execute('apputils:change-theme', {theme})", f"JupyterLab {theme}"
        )
        page.find(f".cdi-host[data-theme={wanted}][data-contrast={contrast}]").wait_for()
        paper = page.page.evaluate("getComputedStyle(document.querySelector('.cdi')).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", paper)[:3])) < 200) == (wanted == "dark")


@pytest.mark.parametrize("width", [600, 900, 1400, 1800])
def test_nothing_is_cut_at_any_width(page, width):
    click(page, "All knobs")
    click(page, "Open, save")
    page.page.set_viewport_size({"width": width, "height": 900})
    try:
        painted(page)
        wide = """() => [...document.querySelectorAll('.cdi *')].filter(one => {
            const box = one.getBoundingClientRect(), host = document.querySelector('.cdi').getBoundingClientRect();
            return box.width > 0 && !one.closest('.cdi-stage, .cdi-film, .cdi-scroll') && box.right > host.right + 1;
        }).map(one => one.className || one.tagName)"""
        assert page.page.evaluate(wide) == []
        host = page.find(".cdi-host").bounding_box()
        assert host["x"] + host["width"] <= width
    finally:
        page.page.set_viewport_size({"width": 1400, "height": 900})


def test_axe_finds_nothing_serious(page):
    axe = ROOT / "node_modules/axe-core/axe.min.js"
    assert axe.exists(), "npm ci has not been run"
    click(page, "All knobs")
    click(page, "Open, save")
    page.page.add_script_tag(content=axe.read_text())
    found = page.page.evaluate("() => axe.run('.cdi-host')")
    serious = [
        (one["id"], [node["html"][:120] for node in one["nodes"]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_twenty_explorers_opened_and_closed_leave_nothing(page):
    before, after = page.ask("several()")
    for _ in range(4):
        _, after = page.ask("several()")
    assert after[1] == before[1]
    assert after[0] <= before[0] + 1  # a worker that is just ending


def test_a_kernel_that_dies_leaves_the_knobs_and_says_that_encoding_is_gone(page):
    page.lose_kernel()
    dialog = page.find(".jp-Dialog-content")
    dialog.wait_for()
    assert "appears to have died. It will restart automatically" in dialog.inner_text()
    dialog.locator("button").last.click()
    said(page, ".cdi-lost", "The kernel has stopped")
    before = painted(page)
    press(page, "ArrowLeft", 12)
    weight_is(page, 0.4)
    assert painted(page) != before
    type_label(page, "sofa")
    said(page, ".cdi-legend .cdi-refused", "The kernel has stopped")
    assert not page.find(".cdi-encode").is_visible()
    page.await_kernel()
    works_again(page)


def test_after_a_restart_of_the_kernel_the_cell_runs_again(notebook):
    notebook.restart()
    works_again(notebook)


def works_again(notebook: Notebook) -> None:
    """Run the cell of a new kernel and turn a knob."""
    notebook.run_all()
    notebook.until("'explorer' in globals() and explorer.widget.painted >= 1", True)
    notebook.page.wait_for_function("document.querySelectorAll('.cdi-lost:not(:empty)').length === 0")
    notebook.until("explorer.scheduler.busy", False)
    weight_is(notebook, 1)
    press(notebook, "ArrowLeft")
    leave(notebook)
    notebook.until("explorer.config.saliency_weight", 0.95)
    assert notebook.errors() == []
