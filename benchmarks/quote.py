"""Writes what was measured into the documents: ``python benchmarks/quote.py``, after `throughput.py` and `growth.py`.

A document holds ``<!-- measured: NAME -->``, a table and ``<!-- end -->``; what stands between them is written here,
from `benchmarks/results`, and nowhere else.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from reports import TABLES, facts, table

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
DOCUMENTS = ("docs/benchmarks/speed.md", "docs/howto/cluster.md")
MARKED = re.compile(r"(<!-- measured: ([a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
H100 = 989e12
"""Operations a second of an H100 SXM in dense bf16, by NVIDIA's data sheet."""
SHARES = (0.15, 0.3)


def read(name: str) -> dict[str, Any]:
    """Return what a benchmark wrote; nothing where it has not run yet."""
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def million() -> list[str]:
    """Return what a million images take, computed from what one takes."""
    found, count = read("throughput"), 1_000_000
    rows = []
    for row in found["end_to_end"]:
        hours = row["seconds"] * count / 3600
        rows.append([f"CPU, {row['way']}", f"{hours:,.0f} h of two cores", f"{hours * 1000 / 8760:,.0f} years"])
    work = {row["network"]: row["gflop"] for row in found["networks"]}
    total = sum(work.values()) * 1e9
    low, high = (total / (share * H100) * count / 3600 for share in reversed(SHARES))
    estimate = "H100 hours (estimate, 30 % to 15 % of its peak)"
    rows.append([estimate, f"{low:.1f} to {high:.1f}", f"{1000 * low:,.0f} to {1000 * high:,.0f}"])
    for parts in found.get("whole_and_parts", [])[:1]:
        each = (parts["parts"]["decode"] + parts["parts"]["frame"]) / parts["images"]
        hours = each * count / 3600
        rows.append(["decoding and frames", f"{hours:.1f} core hours", f"{hours * 1000:,.0f} core hours"])
    names = " and ".join(f"{name} {gflop / 1000:.2f}" for name, gflop in work.items())
    note = f"TFLOP of an image of 500 x 375, by the networks' matrix products: {names}."
    return [facts(found["machine"]), "", *table(("", "a million", "a billion"), rows), "", note]


def written(name: str) -> list[str]:
    """Return the lines that stand between the marks of a name."""
    if name == "million":
        return million()
    source, key = ("growth", "kinds") if name == "growth" else ("throughput", name.replace(" ", "_"))
    found = read(source)
    if key not in found:
        return [f"Not measured yet (`python benchmarks/{source}.py`)."]
    return [facts(found["machine"]), "", *TABLES[key](found[key])]


def renewed(text: str) -> str:
    """Return a document with all its marked tables written anew."""
    return MARKED.sub(lambda found: found[1] + "\n".join(written(found[2])) + "\n" + found[3], text)


if __name__ == "__main__":
    for path in DOCUMENTS:
        document = ROOT / path
        document.write_text(renewed(document.read_text()))
        print(f"written: {path}")
