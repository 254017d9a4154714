"""Controls of what the browser cannot answer by itself: model, saliency, and the knobs that ask a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from clipdiy_lab.errors import ConfigError
from clipdiy_lab.method.config import Config
from clipdiy_lab.models.loading import list_models
from clipdiy_lab.views.explorer.fields import Field, fields, read, spell
from clipdiy_lab.views.explorer.state import Draft, saliency_names
from clipdiy_lab.views.instrument.scene import KNOBS

_SHOWN: Final = ("help", "min", "max", "step", "choices", "suggestions")


def asked_fields() -> dict[str, Field]:
    """Describe the knobs that the instrument does not turn by itself: a network or the text encoder has to answer."""
    return {name: field for name, field in fields().items() if name not in KNOBS}


def controls(draft: Draft) -> list[dict[str, Any]]:
    """Describe every control with its value, for JSON.

    Returns
    -------
    list of dict
        ``name``, ``title``, ``help``, ``form`` (of `method.knobs.Form`), ``value`` as it is spelled, and as the form
        needs them ``min``, ``max``, ``step``, ``choices``, ``suggestions``. ``idle`` holds the values of other controls
        with which this one has no meaning.
    """
    return [*_sources(draft), *(_control(field, draft) for field in asked_fields().values())]


def _control(field: Field, draft: Draft) -> dict[str, Any]:
    meta = {key: field.meta[key] for key in _SHOWN if field.meta.get(key) is not None}
    value = spell(field, draft.values[field.name])
    # A knob that is idle by its own value is the one that turns the others on.
    idle = {name: found for name, found in field.meta.get("idle", {}).items() if name != field.name}
    return {**meta, "name": field.name, "title": field.title, "form": field.form, "value": value, "idle": idle}


def _sources(draft: Draft) -> list[dict[str, Any]]:
    values = draft.values
    known = list_models()
    here = list(dict.fromkeys([str(values["model"]), *known.loc[known["here"], "name"]]))
    sources = list(dict.fromkeys([*saliency_names(draft.view()), str(values["saliency"])]))
    other = {name: [one for one in sources if one != name] for name in ("file", "constant")}
    return [
        {"name": "model", "title": "model", "help": "model name, as for lab.load", "form": "text", "suggestions": here,
         "value": values["model"]},
        {"name": "saliency", "title": "saliency source", "help": "source of the foreground map", "form": "choice",
         "choices": sources, "value": values["saliency"]},
        {"name": "saliency_path", "title": "saliency file", "help": "map.npy or a gray image", "form": "text",
         "idle": {"saliency": other["file"]}, "value": values["saliency_path"]},
        {"name": "saliency_value", "title": "constant saliency", "help": "value of the constant map", "form": "number",
         "min": 0.0, "max": 1.0, "step": 0.05, "idle": {"saliency": other["constant"]},
         "value": values["saliency_value"]},
    ]  # fmt: skip


def read_controls(shown: Mapping[str, Any], draft: Draft) -> dict[str, Any]:
    """Return the values of controls that somebody changed, as `Explorer.change` takes them.

    Raises
    ------
    ConfigError
        For a text of the wrong form, beginning with the title of its control.
    """
    known = asked_fields()
    values = {name: _read(known[name], value) if name in known else value for name, value in shown.items()}
    # Words for the background are asked for by typing them, and left by deleting them.
    words = [values[name] for name, field in known.items() if field.form == "words" and name in values]
    if any(words):
        values["background"] = "words"
    elif words and draft.values["background"] == "words":
        values["background"] = Config().background
    return values


def _read(field: Field, shown: Any) -> Any:
    if field.form == "numbers":
        return tuple(_whole(field, str(text)) for text in shown)
    if field.form == "optional":
        return None if shown is None or shown == "" else _whole(field, str(shown))
    if field.form == "count":
        return _whole(field, str(shown))
    return read(field, shown)


def _whole(field: Field, text: str) -> int:
    if not text.strip().isdecimal():
        raise ConfigError(f"{field.title}: {text!r} is not a whole number; write one such as 96.")
    return int(text)
