"""Pages of the knobs, from the metadata of `Config`, and of the stages, from the table of the schema."""

from dataclasses import Field, fields
from typing import Any, get_args

from pages import SOURCE, code, table, write

from clipdiy_lab.method.config import Config
from clipdiy_lab.method.knobs import Place
from clipdiy_lab.method.schema import SCORES, STAGES

PLACES = {
    "embedding": "What the image network sees: these ask it again",
    "saliency": "What the localiser sees: these ask it again",
    "text": "Words: these ask the text network at most",
    "similarity": "Which label wins in a window",
    "merged": "From windows to a map",
    "guide": "Saliency",
    "fused": "Which labels compete",
    "refined": "Edges of the image",
    "probability": "Probabilities",
}
"""Where a knob acts first, in the words of a heading."""


def _values(knob: Field[Any]) -> str:
    meta = knob.metadata
    if "choices" in meta:
        return ", ".join(code(choice) for choice in meta["choices"])
    if "suggestions" in meta:
        return f"{meta['form']}, such as " + ", ".join(code(one) for one in meta["suggestions"])
    bounds = f"{meta['min']} to {meta['max']}" if "min" in meta and "max" in meta else ""
    return f"{meta['form']} {bounds}".strip()


def _row(knob: Field[Any]) -> tuple[str, str, str, str]:
    idle = knob.metadata.get("idle", {})
    unless = " or ".join(f"`{other}` is `{value}`" for other, value in idle.items() if other != knob.name)
    said = knob.metadata["help"] + (f"; idle where {unless}" if unless else "")
    default = getattr(Config(), knob.name)
    return code(knob.name), said, code(default if default != "" else '""') or "`None`", _values(knob)


def knobs_page() -> str:
    """Return the page of the knobs."""
    text = (
        "# Configuration: the knobs\n\n"
        "Every field of {py:obj}`clipdiy_lab.Config`, by where it acts first. What is made there, and everything "
        "made of it, depends on the knob. The words and ranges are those from which controls, command line and "
        "sweeps are built. What each value means is told in the [class itself](api/method.rst).\n\n"
        "On the command line: `--set saliency_weight=0.3`. In Python: `lab.Config(saliency_weight=0.3)`, or "
        "`lab.recombine(run, saliency_weight=0.3)` for knobs that ask no image network.\n\n"
    )
    knobs = [one for one in fields(Config) if one.metadata]
    for place in get_args(Place):
        here = [one for one in knobs if one.metadata["acts_on"] == place]
        if here:
            text += f"## {PLACES[place]}\n\n" + table(["knob", "what", "default", "values"], map(_row, here)) + "\n"
    return text


def stages_page() -> str:
    """Return the page of the stages."""
    rows = []
    for stage in STAGES.values():
        where = "grids/*NAME*/" if stage.of_grid else ""
        bounds = [("" if value is None else f"{value:g}") for value in (stage.low, stage.high)]
        spans = "" if bounds == ["", ""] else f"{bounds[0]} to {bounds[1]}" if bounds[1] else f"from {bounds[0]}"
        needs = ", ".join("the scores that decide" if one == SCORES else code(one) for one in stage.needs)
        rows.append((f"{where}`{stage.name}`", code(", ".join(stage.dims)), stage.sentence, stage.unit, spans, needs))
    return (
        "# Stages of a run\n\n"
        "A run is one `xarray.DataTree`. Stages of the frame stand at its root, those of a grid in a node of their "
        "own: "
        '`run["fused"]`, `run["grids/s064"]["similarity"]`. They are listed in the order in which they are made; '
        "`presence`, `kept` and `refined` only where a configuration asks for them. Of the stages that are scores, "
        "the last decides.\n\n"
    ) + table(["stage", "dimensions", "what", "unit", "range", "made of"], rows)


def make_pages() -> None:
    """Write both pages."""
    write(SOURCE / "reference" / "config.md", knobs_page())
    write(SOURCE / "reference" / "stages.md", stages_page())
