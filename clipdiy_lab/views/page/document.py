"""One HTML file: the instrument, sections, configuration and how to repeat it; nothing is fetched."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.views import data_uris
from clipdiy_lab.views.html import html_table, render
from clipdiy_lab.views.instrument.bundle import bundled, source
from clipdiy_lab.views.instrument.scene import lifeless
from clipdiy_lab.views.look import Look, image_title
from clipdiy_lab.views.page.sections import section, shares
from clipdiy_lab.views.repeat import Maker, image_line, image_path, python_code, shell_command

if TYPE_CHECKING:
    import pandas as pd

    from clipdiy_lab.pipeline.segmenter import Segmenter

_MOST_PROMPTS: Final = 3


def document(
    look: Look, scenes: Sequence[Mapping[str, Any]], tables: Mapping[str, pd.DataFrame], segmenter: Segmenter | None
) -> str:
    """Write the page of a run.

    Parameters
    ----------
    look : Look
    scenes : sequence of mapping
        What the instrument shows, see `instrument.scene.scene`; the first is that of the run. None: a still picture.
    tables : mapping of title to DataFrame
        The first stands under the labels' heading, the others under their own.
    segmenter : Segmenter or None
        Whose text encoder is asked for the map of the words; None leaves it out.
    """
    attrs = look.run.attrs
    maps, reasons = look.explained(segmenter)
    page = render(
        "page.html",
        image=image_title(look.run),
        encoder=attrs["encoder"],
        saliency=attrs["saliency_source"],
        caution=attrs.get(s.CAUTION),
        css=[_asset("page.css"), Markup(source("instrument.css"))],  # noqa: S704  our own file
        script=Markup(bundled("page")),  # noqa: S704  our own file
        overlay=data_uris.photograph(look.overlay),
        described=f"Labels: {shares(look['labels'], look.names)}",
        tables={title: html_table(table) for title, table in tables.items()},
        scenes=scenes,
        lifeless=lifeless(look.run),
        maps=[section(look, drawing) for drawing in maps],
        reasons={reason: "; ".join(titles) for reason, titles in reasons.items()},
        stages=[section(look, drawing) for drawing in look.stages()],
        knobs=_knobs(look.config),
        prompts={label: _prompts(phrases) for label, phrases in json.loads(attrs.get("prompts", "{}")).items()},
        repeat=_repeat(look),
    )
    return str(page)


def _asset(name: str) -> Markup:
    return Markup(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))  # noqa: S704  our own file


def _knobs(config: Config) -> list[dict[str, Any]]:
    """Return name, value and help of every knob, and whether the value is the paper's."""
    changed = set(config.changed(Config.paper())) - {"precision"}
    return [
        {"name": name, "value": _plain(getattr(config, name)), "help": knob["help"], "changed": name in changed}
        for name, knob in Config.knobs().items()
    ]


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return json.dumps({str(key): list(part) if isinstance(part, tuple) else part for key, part in value.items()})
    return str(value)


def _prompts(phrases: Mapping[str, list[str]]) -> str:
    listed = [prompt for prompts in phrases.values() for prompt in prompts]
    more = f" and {len(listed) - _MOST_PROMPTS} more" if len(listed) > _MOST_PROMPTS else ""
    return "; ".join(listed[:_MOST_PROMPTS]) + more


def _repeat(look: Look) -> dict[str, Any]:
    """Return how to repeat the run: Python, the command and what it reads, the image's hash, and every attribute."""
    attrs, maker = look.run.attrs, Maker.of(look.run.attrs)
    shown = "lab.report(run, 'page.html'" + (")" if maker.own else ", segmenter=segmenter)")
    values = json.loads(look.config.to_json())
    settings = {name: values[name] for name in look.config.changed(Config.paper()) if name != "precision"}
    image = image_path(attrs)
    return {
        "python": python_code(maker, image_line(attrs), look.names, look.config, shown),
        "command": None if image is None else shell_command(maker, image, look.names, settings),
        "settings": json.dumps(settings) if settings else "",
        "sha256": attrs["image_sha256"],
        "facts": json.dumps({key: _unpacked(value) for key, value in attrs.items()}, indent=2, default=str),
    }


def _unpacked(value: object) -> object:
    if isinstance(value, str) and value.startswith("{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):  # a note of somebody's own that only begins like JSON
            return value
    return value
