"""A run as one HTML page that needs nothing but itself, and as a folder of pictures."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from PIL import Image

from clipdiy_lab.atomic import atomic_path
from clipdiy_lab.datasets.palette import write_palette_png
from clipdiy_lab.method import schema as s
from clipdiy_lab.views.colors import label_colors
from clipdiy_lab.views.gallery import StagePicture, gallery, strip

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .2rem; }
p.how { color: GrayText; margin: .2rem 0 .6rem; }
img { max-width: 100%; background: #fff; border-radius: 4px; }
table { border-collapse: collapse; font-size: .92rem; margin: .6rem 0; }
th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; }
details { margin: 1.5rem 0; } pre { overflow-x: auto; }
"""


def label_table(run: xr.DataTree) -> pd.DataFrame:
    """Tabulate the labels of a run: share of the image, mean margin where they won, best fused score.

    Returns
    -------
    pandas.DataFrame
        Index ``label``; columns ``share`` (0 to 1), ``mean_margin`` (NaN where a label won nothing), ``best_score``;
        largest share first.
    """
    names = s.labels_of(s.stage(run, "fused"))
    labels, margin = s.stage(run, "labels").values, s.stage(run, "margin").values
    pixels = np.bincount(labels.ravel(), minlength=len(names))
    margins = np.bincount(labels.ravel(), weights=margin.ravel(), minlength=len(names))
    table = pd.DataFrame(
        {
            "share": pixels / labels.size,
            "mean_margin": np.divide(margins, pixels, out=np.full(len(names), np.nan), where=pixels > 0),
            "best_score": s.stage(run, "fused").values.reshape(len(names), -1).max(1),
        },
        index=pd.Index(names, name="label"),
    )
    return table.sort_values(["share", "best_score"], ascending=False)


def report(run: xr.DataTree, path: str | PathLike[str], tables: Mapping[str, pd.DataFrame] | None = None) -> Path:
    """Write one self-contained HTML page that shows every stage of a run in order.

    Parameters
    ----------
    run : xarray.DataTree
    path : path
        The page appears there only when it is complete.
    tables : mapping of title to DataFrame, optional
        Shown after the labels.

    Raises
    ------
    RunError
        If it is not a whole run.
    OutputError
        If the place cannot be written to.
    """
    return _write_page(run, list(gallery(run)), Path(path), tables or {})


def _write_page(
    run: xr.DataTree, shown: Sequence[StagePicture], target: Path, tables: Mapping[str, pd.DataFrame]
) -> Path:
    with atomic_path(target) as part:
        part.write_text(_page(run, shown, tables), encoding="utf-8")
    return target


def write_folder(
    run: xr.DataTree, folder: str | PathLike[str], tables: Mapping[str, pd.DataFrame] | None = None
) -> Path:
    """Write a run's pictures into a folder that exists: every stage, strip, label map, and ``index.html``.

    ``labels.png`` is the label map at the image's own size as a palette PNG: its pixel values are label indices.

    Raises
    ------
    RunError, OutputError
        As `report`.
    """
    where = Path(folder)
    shown = list(gallery(run))
    for number, one in enumerate(shown, 1):
        _save(one.picture, where / f"{number:02d}_{one.name}.png")
    _save(strip(run), where / "strip.png")
    names = s.labels_of(s.stage(run, "fused"))
    index = int(run.attrs["background_index"])
    colors = label_colors(names, index if index >= 0 else None)
    write_palette_png(where / "labels.png", s.stage(run, "labels_full").values, colors)
    return _write_page(run, shown, where / "index.html", tables or {})


def _save(picture: Image.Image, path: Path) -> None:
    with atomic_path(path) as part:
        picture.save(part, format="PNG", optimize=True)


def _page(run: xr.DataTree, shown: Sequence[StagePicture], tables: Mapping[str, pd.DataFrame]) -> str:
    title = f"CLIP-DIY, stage by stage: {run.attrs['image_source']}"
    model = f"{run.attrs['encoder']} with saliency {run.attrs['saliency_source']}"
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>Segmented by clipdiy_lab, encoder {html.escape(model)}. Every picture below is one stage of the method, "
        "in the order in which it is made.</p>",
        _img("The method in one row", strip(run)),
        "<h2>Labels</h2>",
        _table(label_table(run)),
    ]
    for name, table in tables.items():
        parts += [f"<h2>{html.escape(name)}</h2>", _table(table)]
    for one in shown:
        parts.append(f"<h2>{html.escape(one.title)}</h2><p class='how'>{html.escape(one.caption)}</p>")
        parts.append(_img(one.title, one.picture))
    facts = {key: _pretty(value) for key, value in run.attrs.items()}
    listed = html.escape(json.dumps(facts, indent=2, default=str))
    parts.append(f"<details><summary>What it takes to repeat this run</summary><pre>{listed}</pre></details>")
    head = f"<meta charset='utf-8'><title>{html.escape(title)}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _pretty(value: object) -> object:
    if isinstance(value, str) and value.startswith("{"):
        return json.loads(value)
    return value


def _img(alt: str, picture: Image.Image) -> str:
    buffer = BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"<img alt='{html.escape(alt, quote=True)}' src='data:image/png;base64,{data}'>"


def _table(table: pd.DataFrame) -> str:
    made: str = table.reset_index().to_html(index=False, float_format="{:.4g}".format, na_rep="–", border=0)
    return made
