"""Measure this repository's own figures anew, and write them into data_manifests/expected_results.csv.

    python tools/renew_expected.py [--images N]

Needed whenever `tiny`, `found-tiny` or `scenes` change. Figures and fingerprints of the rows of `scenes` are replaced,
everything else stays. Each image is encoded once for all rows; `lab.reproduce("scenes")`, which evaluates row by row,
then has to agree. The documents that quote the figures are named by tests/test_quoted_figures.py.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable

import clipdiy_lab as lab
from clipdiy_lab.analysis.expected import Expectation, expected_file
from clipdiy_lab.analysis.protocols import get_protocol
from clipdiy_lab.analysis.scoring.block import Block
from clipdiy_lab.analysis.scoring.workers import score
from clipdiy_lab.analysis.trials import ORACLE, Trial
from clipdiy_lab.files import atomic_path
from clipdiy_lab.method import metrics
from clipdiy_lab.pipeline.sources import SegmenterSource
from clipdiy_lab.pipeline.watch import ImageProgress

Rows = list[dict[str, str]]


def renew(rows: Rows) -> None:
    """Replace the figures of rows of one split and number of images by what comes out now."""
    first = Expectation.of_row(rows[0])
    segmenter, dataset = lab.load(first.model), lab.open_dataset(first.benchmark, split=first.split)
    listed = [Expectation.of_row(row) for row in rows]
    paper = lab.published_method(first.method).config
    trials = tuple(
        Trial(config=paper.replace(**one.config), saliency=ORACLE if one.saliency == ORACLE else None) for one in listed
    )
    (protocol,) = {one.protocol for one in listed}
    images = first.images or len(dataset)
    block = Block(SegmenterSource(segmenter, dataset, paper), trials, get_protocol(protocol or "mmseg"), images)
    with ImageProgress(images, f"{first.split}, {images} images", show=True) as counting:
        counts = score(block, counting)
    for place, (row, one) in enumerate(zip(rows, listed, strict=True)):
        percent = 100 * metrics.mean_iou(counts.confusion[place], block.protocol.absent)
        row["miou_percent"] = f"{percent:.4f}"
        row["encoder_fingerprint"] = segmenter.encoder.fingerprint
        row["saliency_fingerprint"] = "" if one.saliency == ORACLE else segmenter.saliency.fingerprint
        print(f"{one.split:11} {images:>4} {one.row:45} {percent:6.2f}", flush=True)


def groups(rows: Iterable[dict[str, str]]) -> dict[tuple[str, str], Rows]:
    """Sort rows of `scenes` by split and number of images."""
    found: dict[tuple[str, str], Rows] = {}
    for row in rows:
        if row["benchmark"] == "scenes":
            found.setdefault((row["split"], row["images"]), []).append(row)
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", help="only rows of so many images")
    options = parser.parse_args()
    with expected_file().open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for (_, images), some in groups(rows).items():
        if options.images in (None, images):
            renew(some)
            with atomic_path(expected_file()) as part, part.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)


if __name__ == "__main__":
    main()
