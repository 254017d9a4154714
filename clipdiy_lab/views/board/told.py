"""What the board's widget is told, for JSON: what the scores are of, the grid, the rows, the images of a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from clipdiy_lab.analysis.trials import SALIENCY
from clipdiy_lab.errors import ClipdiyError
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.naming import knob_title
from clipdiy_lab.models.saliency import names as saliency_names
from clipdiy_lab.text import printable
from clipdiy_lab.views import data_uris
from clipdiy_lab.views.board.board import Board
from clipdiy_lab.views.board.grid import spelled
from clipdiy_lab.views.board.pace import counted, spoken
from clipdiy_lab.views.board.results import BoardResults
from clipdiy_lab.views.board.row_images import ScoredImage
from clipdiy_lab.views.figures.inputs import is_number, knob_text
from clipdiy_lab.views.scales import SEQUENTIAL

SHOWN: Final = 4
"""Images of a row at each end."""


def head(board: Board) -> dict[str, Any]:
    """Return what every score is of.

    Returns
    -------
    dict
        ``facts`` with ``name``, ``text`` and ``more``, a sentence or empty; ``caution``, as of the board.
    """
    protocol, segmenter = board.protocol, board.passes.opened.segmenter
    split = getattr(board.dataset, "split", None)
    facts = [
        ("protocol", protocol.id, protocol.summary),
        ("dataset", board.dataset.name, ""),
        ("split", split, ""),
        ("model", segmenter.encoder.name, ""),
        ("saliency", board.passes.opened.saliency[0], ""),
        ("images", f"{board.images} of {board.images_known}", "on which every row is scored"),
    ]
    told = [{"name": name, "text": printable(str(text)), "more": more} for name, text, more in facts if text]
    return {"facts": told, "caution": board.caution}


def form(board: Board) -> dict[str, Any]:
    """Return the grid as the form shows it.

    Returns
    -------
    dict
        ``images`` and ``most``; ``knobs``, all that there are, with ``name``, ``title``, ``help``; ``chosen``: ``name``
        and ``text`` of those in the grid; ``rows`` and ``left``, how many there are and how many of them are not
        finished; ``price``, a sentence.
    """
    listed = {SALIENCY: f"source of the foreground map: {', '.join(saliency_names())}, oracle"}
    listed |= {name: meta["help"] for name, meta in Config.knobs().items() if meta["form"] != "settled"}
    knobs = [{"name": name, "title": knob_title(name), "help": text} for name, text in listed.items()]
    chosen = [{"name": name, "text": printable(spelled(several))} for name, several in board.grid.items()]
    rows = len(board.plan.trials) if board.grid else 0
    left = sum(len(portion.trials) for portion in board.left) if board.grid else 0
    return {
        "images": board.images,
        "most": board.images_known,
        "knobs": knobs,
        "chosen": chosen,
        "rows": rows,
        "left": left,
        "price": _price(board, rows, left) if rows else "",
    }


def _price(board: Board, rows: int, left: int) -> str:
    """Say how many rows a grid is, how many of them are left and, where that is known, how long they take."""
    said = [f"{counted(rows, 'row')} on {counted(board.images, 'image')}"]
    able = sum(trial.config is not None for trial in board.plan.trials)
    if able < rows:
        said.append(f"{rows - able} of them invalid")
    if left < able:
        said.append("all are finished" if not left else f"{able - left} are finished")
    seconds = board.expected() if left else None
    if seconds is not None:
        said.append(f"about {spoken(seconds)}")
    return ", ".join(said)


def rows(results: BoardResults) -> dict[str, Any]:
    """Return the rows that arrived.

    Returns
    -------
    dict
        ``knobs`` that tell rows apart, with ``name``, ``title`` and ``numeric``; ``rows`` with ``row``, ``name``,
        ``values`` (``text`` and, of a number, ``number``), scores in percent or None, ``error`` and ``behind`` (see
        `ranking.behind`; None of the best row); ``best``, its row; ``standing`` and ``note``, sentences;
        ``published``; ``colors`` of the heat map.
    """
    table, knobs = results.table, results.varied or results.knobs
    numeric = {name: all(map(is_number, results.ran[name])) for name in knobs}
    behind: dict[Any, dict[Any, Any]] = results.behind.to_dict("index")
    best = next((place for place, found in behind.items() if found["points"] == 0), None)
    listed = []
    for place, row in zip(results.sweep.index.tolist(), table.to_dict("records"), strict=True):
        values = [
            {"text": printable(knob_text(row[name])), "number": float(row[name]) if numeric[name] else None}
            for name in knobs
        ]
        scores = {key: _number(row[f"{key}_percent"]) for key in ("miou", "miou_low", "miou_high", "pixel_accuracy")}
        far = None if scores["miou"] is None or place == best else behind[place]
        listed.append({"row": place, "name": printable(results.name_of(place)), "values": values, **scores,
                       "error": printable(row["error"]), "behind": far})  # fmt: skip
    return {
        "knobs": [{"name": name, "title": knob_title(name), "numeric": numeric[name]} for name in knobs],
        "rows": listed,
        "best": best,
        "standing": printable(results.standing),
        "note": printable(results.note.removesuffix(results.standing).strip()),
        "protocol": str(table["protocol"].dropna().iloc[0]) if behind else "",
        "published": _published(results),
        "colors": SEQUENTIAL.colors,
    }


def _number(value: Any) -> float | None:
    return None if value is None or value != value else float(value)


def _published(results: BoardResults) -> list[dict[str, Any]]:
    columns = {"method": "method", "backbone": "backbone", "miou_percent": "miou", "protocol_notes": "protocol",
               "source": "source"}  # fmt: skip
    found = results.published[list(columns)].rename(columns=columns)
    return [{str(name): value for name, value in row.items()} for row in found.to_dict("records")]


def cards(scored_images: Sequence[ScoredImage]) -> list[dict[str, Any]]:
    """Return the worst and the best images of a row, each with its pictures and the colours of its labels.

    An image that cannot be shown has an ``error`` instead.
    """
    places = range(len(scored_images))
    ends = places if len(places) <= 2 * SHOWN else [*places[:SHOWN], *places[-SHOWN:]]
    return [_card(place, scored_images[place]) for place in ends]


def _card(place: int, look: ScoredImage) -> dict[str, Any]:
    known = {"place": place, "title": printable(look.image_id), "miou": _number(look.miou_percent)}
    try:
        height, width = look.size
        pictures = [{"title": title, "source": data_uris.picture(one)} for title, one in look.pictures().items()]
    except ClipdiyError as error:
        return {**known, "error": str(error), "pictures": [], "keys": [], "ratio": 1.0}
    keys = [{"name": printable(name), "color": color} for name, color in look.keys().items()]
    return {**known, "error": "", "pictures": pictures, "keys": keys, "ratio": width / height}
