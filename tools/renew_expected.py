"""Measure this repository's own figures anew, and write them into data_manifests/expected_results.csv.

    python tools/renew_expected.py [--benchmark scenes]

Needed whenever `tiny`, `found-tiny` or `scenes` change. Every row of the benchmark is run; figures and fingerprints of
weights are replaced, everything else stays. The documents that quote them are named by tests/test_quoted_figures.py.
"""

from __future__ import annotations

import argparse
import csv
import tempfile

import clipdiy_lab as lab
from clipdiy_lab.analysis.expected import expected_file
from clipdiy_lab.files import atomic_path


def renew(rows: list[dict[str, str]], benchmark: str, folder: str) -> None:
    """Replace the figures of a benchmark's rows by what comes out now."""
    own = [row for row in rows if row["benchmark"] == benchmark]
    whole = {split: len(lab.open_dataset(benchmark, split=split)) for split in {row["split"] for row in own}}
    for row in own:
        limit = None if int(row["images"]) == whole[row["split"]] else int(row["images"])
        found = lab.reproduce(benchmark, row["method"], split=row["split"], limit=limit, out=folder, progress=True)
        (got,) = (one for one in found.report["rows"] if one["row"] == row["row"])
        row["miou_percent"] = f"{got['got_percent']:.4f}"
        for name in ("encoder_fingerprint", "saliency_fingerprint"):
            row[name] = got["card"][name]
        print(f"{row['split']:11} {row['images']:>4} {row['row']:45} {got['got_percent']:6.2f}", flush=True)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmark", default="scenes")
    options = parser.parse_args()
    with expected_file().open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with tempfile.TemporaryDirectory() as folder:
        renew(rows, options.benchmark, folder)
    with atomic_path(expected_file()) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
