"""One HTML file: sections, inspector, configuration and how to repeat it; nothing is fetched, every word is escaped."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr

from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.text import printable
from clipdiy_lab.views import data_uris
from clipdiy_lab.views.page.inspector import inspector_data
from clipdiy_lab.views.page.panels import Bar, Panel, Section, areas
from clipdiy_lab.views.page.sections import Look, maps, stages
from clipdiy_lab.views.repeat import Maker, image_line, image_path, python_code, shell_command

if TYPE_CHECKING:
    from clipdiy_lab.pipeline.segmenter import Segmenter

_PARTS = {
    "inspector": "Why this pixel",
    "labels-found": "Labels",
    "maps": "What would change it",
    "stages": "Stage by stage",
    "configuration": "Configuration",
    "repeat": "How to repeat it",
}
_MANY = 2
_MOST_PROMPTS = 3


def document(run: xr.DataTree, tables: Mapping[str, pd.DataFrame], segmenter: Segmenter | None) -> str:
    """Write the page of a run.

    Parameters
    ----------
    run : xarray.DataTree
    tables : mapping of title to DataFrame
        The first stands under the labels' heading, the others under their own.
    segmenter : Segmenter or None
        Whose text encoder is asked for the map of the words; None leaves it out.
    """
    look = Look(run)
    title = f"CLIP-DIY, taken apart: {run.attrs.get('image_source', 'an image')}"
    links = "".join(f"<li><a href='#{name}'>{words}</a></li>" for name, words in _PARTS.items())
    saliency = run.attrs["saliency_source"]
    body = [
        f"<header><h1>{_text(title)}</h1>",
        f"<p>Segmented by clipdiy_lab with the encoder {_text(run.attrs['encoder'])} and the saliency "
        f"{_text(saliency)}. This page is one file: nothing is loaded from elsewhere.</p>",
        _caution(run),
        f"<nav aria-label='Parts of this page'><ul>{links}</ul></nav></header><main>",
        _inspector(look),
        _heading("labels-found"),
        *_tables(tables),
        _heading("maps"),
        *(_section(one) for one in maps(look, segmenter)),
        _heading("stages"),
        *(_section(one) for one in stages(look)),
        _heading("configuration"),
        _configuration(look),
        _heading("repeat"),
        _repeat(look),
        "</main>",
        f"<script>{_asset('inspector.js')}</script>",
    ]
    head = (
        "<meta charset='utf-8'><meta name='viewport' content='width=device-width, initial-scale=1'>"
        "<link rel='icon' href='data:,'>"  # or browsers would ask the server for one
        f"<title>{_text(title)}</title><style>{_asset('page.css')}</style>"
    )
    return f"<!doctype html>\n<html lang='en'><head>{head}</head><body>{''.join(body)}</body></html>\n"


def _caution(run: xr.DataTree) -> str:
    """Return the banner of a run whose image is not of the world that its encoder knows."""
    said = run.attrs.get(s.CAUTION)
    return f"<p class='caution' role='note'>{_text(said)}</p>" if said else ""


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _text(words: object) -> str:
    return html.escape(printable(str(words)))


def _lines(words: str) -> str:
    return "\n".join(map(_text, words.split("\n")))


def _heading(name: str) -> str:
    return f"<h2 id='{name}'>{_PARTS[name]}</h2>"


def _tables(tables: Mapping[str, pd.DataFrame]) -> Iterable[str]:
    for place, (name, table) in enumerate(tables.items()):
        if place:
            yield f"<h3>{_text(name)}</h3>"
        shown = table.reset_index().map(lambda cell: printable(cell) if isinstance(cell, str) else cell)
        cells = shown.to_html(index=False, float_format="{:.4g}".format, na_rep="–", border=0)
        yield f"<div class='scroll'>{cells}</div>"


def _section(section: Section) -> str:
    few = " few" if len(section.panels) <= _MANY else ""
    panels = "".join(map(_panel, section.panels))
    parts = [
        f"<section id='{section.name}'><h3>{_text(section.title)}</h3><p class='how'>{_text(section.how)}</p>",
        f"<div class='panels{few}'>{panels}</div>" if panels else "",
        _bar(section.bar) if section.bar else "",
        _keys(section.keys) if section.keys else "",
        f"<p class='note'>{_text(section.note)}</p>" if section.note else "",
        "</section>",
    ]
    return "".join(parts)


def _panel(panel: Panel) -> str:
    picture = f"<img src='{panel.source}' alt='{_text(panel.alt)}'>"
    return f"<figure><figcaption>{_text(panel.title)}</figcaption>{picture}</figure>"


def _bar(bar: Bar) -> str:
    ramp = f"linear-gradient(to right, {', '.join(bar.stops)})"
    ends = [f"<span>{value:.3g}</span>" for value in (bar.low, bar.high)]
    strip = f"<i style='background:{ramp}'></i>"
    return f"<div class='bar-scale'>{ends[0]}{strip}{ends[1]}<span>{_text(bar.unit)}</span></div>"


def _keys(keys: Mapping[str, str]) -> str:
    entries = (f"<li><span class='swatch' style='background:{c}'></span>{_text(name)}</li>" for name, c in keys.items())
    return f"<ul class='keys'>{''.join(entries)}</ul>"


def _inspector(look: Look) -> str:
    data = json.dumps(inspector_data(look), separators=(",", ":"))
    # A label may hold "</script>": no "<" is left in the data, and no "&" either.
    safe = data.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    described = areas("labels", look["labels"], look.names, look.colors).alt
    return (
        f"{_heading('inspector')}<noscript><p class='note'>The inspector needs JavaScript; everything else on this "
        "page does not.</p></noscript>"
        "<section><div id='inspector-body' hidden>"
        "<p class='how'>Click the picture, or move the point with the arrow keys (Shift: four steps). A label's score "
        "is the sum of what the grids give it, exactly; the label with the highest score wins.</p>"
        "<div class='inspect'><div><div id='inspector-picture' tabindex='0' role='application' "
        "aria-label='Picture to choose a pixel from; the arrow keys move the point' aria-describedby='inspector-said'>"
        f"<img src='{data_uris.photograph(look['image'])}' alt='The image in the frame'>"
        f"<img id='inspector-overlay' src='{data_uris.photograph(look.overlay)}' alt='{_text(described)}'>"
        "<span id='inspector-mark'></span></div>"
        "<p><label><input type='checkbox' id='inspector-labels' checked> labels over the image</label></p></div>"
        "<div id='inspector-said' role='status' aria-live='polite'></div></div></div></section>"
        f"<script type='application/json' id='inspector-data'>{safe}</script>"
    )


def _configuration(look: Look) -> str:
    paper = Config.paper()
    changed = set(look.config.changed(paper)) - {"precision"}
    rows = []
    for name, knob in Config.knobs().items():
        mark = " <span class='quiet'>(not the paper's)</span>" if name in changed else ""
        value = _plain(getattr(look.config, name))
        words = f"<span class='quiet'>{_text(knob['help'])}</span>"
        rows.append(f"<tr><th scope='row'>{name}</th><td>{_text(value)}{mark}</td><td>{words}</td></tr>")
    return (
        f"<div class='scroll'><table class='facts'>{''.join(rows)}</table></div><h3>Prompts</h3>{_prompts(look)}"
        "<p class='note'>One image has no score, so no scoring protocol was applied. To score this configuration on a "
        "dataset, see <code>clipdiy-lab evaluate</code>: it names its protocol in every result.</p>"
    )


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return json.dumps({str(key): list(one) if isinstance(one, tuple) else one for key, one in value.items()})
    return str(value)


def _prompts(look: Look) -> str:
    rows = []
    for label, phrases in _json(look.run, "prompts").items():
        listed = [prompt for prompts in phrases.values() for prompt in prompts]
        more = f" and {len(listed) - _MOST_PROMPTS} more" if len(listed) > _MOST_PROMPTS else ""
        words = "; ".join(listed[:_MOST_PROMPTS])
        rows.append(f"<tr><th scope='row'>{_text(label)}</th><td>{_text(words)}{more}</td></tr>")
    return f"<div class='scroll'><table class='facts'>{''.join(rows)}</table></div>"


def _json(run: xr.DataTree, attr: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.attrs.get(attr, "{}"))
    return found


def _repeat(look: Look) -> str:
    run, maker = look.run, Maker.of(look.run.attrs)
    shown = "lab.report(run, 'page.html'" + (")" if maker.own else ", segmenter=segmenter)")
    code = python_code(maker, image_line(run.attrs), look.names, look.config, shown)
    facts = {key: _unpacked(value) for key, value in run.attrs.items()}
    pixels = f"The image's pixels have the sha256 {run.attrs['image_sha256']}."
    return (
        f"<h3>Python</h3><pre><code>{_lines(code)}</code></pre>"
        f"<h3>Command line</h3>{_command(look, maker)}"
        f"<p class='note'>{_text(pixels)}</p>"
        "<details><summary>Everything that decided this run</summary>"
        f"<pre>{_lines(json.dumps(facts, indent=2, default=str))}</pre></details>"
    )


def _unpacked(value: object) -> object:
    if isinstance(value, str) and value.startswith("{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):  # a note of somebody's own that only begins like JSON
            return value
    return value


def _changed(config: Config) -> dict[str, Any]:
    values = json.loads(config.to_json())
    return {name: values[name] for name in config.changed(Config.paper()) if name != "precision"}


def _command(look: Look, maker: Maker) -> str:
    settings = _changed(look.config)
    image = image_path(look.run.attrs)
    command = None if image is None else shell_command(maker, image, look.names, settings)
    if command is None:
        return "<p class='note'>The command line cannot make this segmenter or name this image; use Python.</p>"
    asked = ""
    if settings:
        listed = _text(json.dumps(settings))
        asked = f"<p class='how'>with this as <code>config.json</code>:</p><pre><code>{listed}</code></pre>"
    return f"<pre><code>{_text(command)}</code></pre>{asked}"
