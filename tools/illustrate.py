"""Put a picture beside every plotly figure of executed notebooks, for readers that do not run plotly.

JupyterLab draws the figure; what has no plotly (nbconvert, GitHub, previews of editors) shows the picture: a WebP in an
SVG, because nbconvert (7.17) knows SVG and not WebP. Needs kaleido and Chromium, which is started once for all.

    python tools/illustrate.py notebooks/*.ipynb
"""

from __future__ import annotations

import argparse
import base64
import html
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
import plotly.graph_objects as go
from PIL import Image

from clipdiy_lab.views.figures.export import draw
from clipdiy_lab.views.figures.fitting import unwrapped

FIGURE, PICTURE = "application/vnd.plotly.v1+json", "image/svg+xml"
SHARPNESS = 1.5
"""Pixels of the picture for one of the figure."""
QUALITY = 75


def bundles(notebook: Any) -> Iterator[dict[str, Any]]:
    """Give the data of every output with a figure."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if FIGURE in output.get("data", {}):
                yield output["data"]


def picture(figure: go.Figure, png: bytes) -> str:
    """Write a drawn figure as an SVG of its size that holds a WebP."""
    packed = BytesIO()
    Image.open(BytesIO(png)).convert("RGB").save(packed, "webp", quality=QUALITY, method=6)
    wide, tall = round(figure.layout.width), round(figure.layout.height)
    title = html.escape(unwrapped(figure.layout.title.text) or "A figure")
    inside = base64.b64encode(packed.getvalue()).decode()
    size = f'width="{wide}" height="{tall}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {wide} {tall}" role="img">'
        f'<title>{title}</title><image {size} href="data:image/webp;base64,{inside}"/></svg>\n'
    )


def main() -> None:
    """Illustrate the notebooks that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="+", type=Path)
    opened = {path: nbformat.read(path, 4) for path in parser.parse_args().notebooks}
    found = [data for notebook in opened.values() for data in bundles(notebook)]
    made = [go.Figure(data[FIGURE]["data"], data[FIGURE]["layout"]) for data in found]
    drawn = draw([(figure, ".png", SHARPNESS) for figure in made])
    for data, figure, png in zip(found, made, drawn, strict=True):
        data[PICTURE] = picture(figure, png)
    for path, notebook in opened.items():
        nbformat.write(notebook, path)
    print(f"{len(found)} figures in {len(opened)} notebooks have pictures")


if __name__ == "__main__":
    main()
