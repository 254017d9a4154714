"""Tables of what `throughput.py` measured, as people read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

IDLE = 1.0
"""Load up to which a machine counts as idle before a measurement."""


def facts(machine: dict[str, Any]) -> str:
    """Say on which machine, and at which load."""
    instructions = ", ".join(machine["instructions"])
    card = f", {machine['gpu']}" if machine["gpu"] else ""
    busy = " A load above 1 before it: other work may have slowed it." if machine["load before"] > IDLE else ""
    return (
        f"{machine['cores']} cores of {machine['processor']} ({instructions}){card}; threads: {machine['threads']}, "
        f"waiting: {machine.get('waiting threads', 'as OpenMP has it')}; "
        f"load before: {machine['load before']:.1f}; torch {machine['torch']}.{busy}"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [_line(head), "|" + "---|" * len(head), *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |".replace("  |", " |")


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _end_to_end(rows: list[dict[str, Any]]) -> list[str]:
    cells = []
    for row in rows:
        margin = row.get("margin_of_changed")
        near = "" if margin is None else f"{margin[0]:.4f}, {margin[1]:.4f}, {margin[2]:.4f}"
        rare = "" if margin is None else f"{_percent(row['share_below'][0])}, {_percent(row['share_below'][1])}"
        speed = [f"{row['seconds']:.2f}", f"{row['images_per_second']:.2f}", f"{row['ratio']:.2f}"]
        cells.append([row["way"], *speed, _percent(row["same_labels"]), near, rare])
    head = ("end to end", "seconds an image", "images/s", "times the official loop", "same labels")
    margins = ("margin of changed pixels: half, 95 %, all below", "share of all pixels below the first two")
    median = rows[0]["median_margin"]
    note = f"Margins are in standard deviations of the labels' scores; the median over all pixels is {median:.4f}."
    return [*table((*head, *margins), cells), "", note]


def _networks(rows: list[dict[str, Any]]) -> list[str]:
    cells = []
    for row in rows:
        times = [f"{1000 * row[key]:.0f}" for key in ("seconds", "floor")]
        cells.append([row["network"], row["way"], *times, f"{row['times_floor']:.2f}", f"{row['gflop']:.0f}"])
    return table(("network", "way", "ms an image", "floor, ms", "times the floor", "GFLOP"), cells)


def _whole_and_parts(rows: list[dict[str, Any]]) -> list[str]:
    names = list(rows[0]["parts"])
    cells = []
    for row in rows:
        total = sum(row["parts"].values())
        shares = [f"{1000 * one / row['images']:.1f} ({100 * one / total:.0f} %)" for one in row["parts"].values()]
        cells.append([row["way"], *shares, f"{row['embed_over_parts']:.3f}", f"{row['evaluate_over_parts']:.3f}"])
    return table(("ms an image (share)", *names, "`embed` / its parts", "`evaluate` / its parts"), cells)


def _busy(rows: list[dict[str, Any]]) -> list[str]:
    cells = [[row["work"], f"{row['idle']:.3f}", f"{row['busy']:.3f}", f"{row['times']:.2f}"] for row in rows]
    return table(("work", "seconds", "while others keep all cores at work", "times"), cells)


def _waiting(rows: list[dict[str, Any]]) -> list[str]:
    cells = [[row["policy"], *(f"{1000 * row[key]:.0f}" for key in ("fp32", "bf16"))] for row in rows]
    return table(("OMP_WAIT_POLICY", "`tiny` by torch, fp32, ms", "bf16, ms"), cells)


def _memory(rows: list[dict[str, Any]]) -> list[str]:
    cells = []
    for row in rows:
        peaks = ", ".join(f"{count} images: {peak}" for count, peak in row["MB"].items())
        cells.append([row["work"], peaks, f"{100 * row['growth']:+.1f} %" if "growth" in row else ""])
    return table(("work", "peak memory, MB", "growth"), cells)


def _growth(kinds: dict[str, Any]) -> list[str]:
    rows = []
    for kind, one in kinds.items():
        points = one["points"]
        times = ", ".join(f"{point['at']}: {_seconds(point['seconds'])}" for point in points)
        memory = f"{points[0]['MB']} to {points[-1]['MB']}"
        each = "" if one["each"] is None else _seconds(one["each"])
        rows.append([kind, one["what"], times, memory, f"{one['power']:.2f}", each])
    return table(("by", "what", "time", "peak memory, MB", "power", "for one more"), rows)


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if abs(value) >= 1 else f"{1000 * value:.3g} ms"


TABLES: dict[str, Callable[[Any], list[str]]] = {
    "end_to_end": _end_to_end,
    "networks": _networks,
    "whole_and_parts": _whole_and_parts,
    "busy": _busy,
    "waiting": _waiting,
    "memory": _memory,
    "kinds": _growth,
}
"""What writes the table of each part."""


def tables(found: dict[str, Any]) -> str:
    """Return the tables of the parts that were measured."""
    lines = [facts(found["machine"])]
    for part, write in TABLES.items():
        if part in found:
            lines += ["", *write(found[part])]
    return "\n".join(lines) + "\n"
