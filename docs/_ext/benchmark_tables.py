"""The page of the benchmarks, from the files that the programs of `benchmarks/` wrote."""

import csv
import re
import shutil
from pathlib import Path

from pages import ROOT, SOURCE, code, table, write

RESULTS = ROOT / "benchmarks" / "results"
PICTURES = {
    "frontier": "mIoU over seconds an image: what cheaper encodings cost",
    "growth": "How time and memory grow with labels, scales, size of the frame and images",
}
"""Name of a picture to its caption."""


def _cell(text: str) -> str:
    return f"{float(text):.4g}" if re.fullmatch(r"-?\d+\.\d{3,}(e-?\d+)?", text) else text


def _of_csv(path: Path) -> str:
    with path.open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    return table(head, [[_cell(cell) for cell in row] for row in rows])


def _of_speed(path: Path) -> str:
    """The facts above a table of `speed.py`, and the table."""
    facts, _, rows = path.read_text(encoding="utf-8").partition("\n\n")
    listed = "".join(f"- {line}\n" for line in facts.splitlines())
    return f"{listed}\n{rows.strip()}\n"


def _scores() -> str:
    """What `reproduce` expects of this repository's own benchmark."""
    with (ROOT / "data_manifests" / "expected_results.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["benchmark"] == "scenes"]
    shown = [
        [row["method"], row["split"], row["row"], row["images"], f"{float(row['miou_percent']):.1f}"] for row in rows
    ]
    return table(["method", "split", "configuration", "images", "mIoU, percent"], shown)


def make_page() -> None:
    """Write `benchmarks/index`."""
    text = (
        "# Benchmarks\n\n"
        "How good, how fast, and what cheaper settings cost. The tables are made from files of this repository: the "
        "scores from `data_manifests/expected_results.csv`, which `clipdiy-lab reproduce scenes` compares with, the "
        "others from what the programs of `benchmarks/` wrote (`make bench`). How it was measured, and what the "
        "figures mean, is told in [how fast it is](speed.md); published scores of other benchmarks stand in "
        "[reproducing the published scores](../howto/reproduce.md).\n\n"
        "```{toctree}\n:hidden:\n\nspeed\n```\n\n## Scores on `scenes`\n\n" + _scores() + "\n"
    )
    for path in sorted(RESULTS.iterdir()):
        title = f"## {code(path.name)}\n\n"
        if path.suffix == ".md":
            text += title + _of_speed(path) + "\n"
        elif path.suffix == ".csv":
            text += title + _of_csv(path) + "\n"
        elif path.suffix == ".png":
            (SOURCE / "benchmarks").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, SOURCE / "benchmarks" / path.name)
            caption = PICTURES.get(path.stem, path.stem)
            text += f"## {caption}\n\n![{caption}]({path.name})\n\n"
    write(SOURCE / "benchmarks" / "index.md", text)
