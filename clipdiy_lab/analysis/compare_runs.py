"""Two runs of one image: where their labels differ, which label became which, and what was set otherwise."""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xarray as xr

from clipdiy_lab.analysis.paired import RESULT, differing
from clipdiy_lab.errors import ConfigError, RunError
from clipdiy_lab.method import schema as s

OTHER_LABEL: Final = "other_label"
_SETTINGS: Final = ("encoder", "encoder_fingerprint", "saliency_source", "saliency_fingerprint", "versions", "prompts")


def compare_runs(a: xr.DataTree, b: xr.DataTree, names: tuple[str, str]) -> xr.Dataset:
    """Compare two runs of one image; see `compare`."""
    hashes = [run.attrs.get("image_sha256") for run in (a, b)]
    if hashes[0] != hashes[1]:
        raise RunError(
            f"the runs are of different images ({a.attrs.get('image_source', hashes[0])!r} and "
            f"{b.attrs.get('image_source', hashes[1])!r}), so their pixels cannot be compared; segment the same "
            "image twice."
        )
    maps = [s.stage(run, "labels_full").values for run in (a, b)]
    if maps[0].shape != maps[1].shape:
        raise ConfigError(f"the label maps have the shapes {maps[0].shape} and {maps[1].shape}; segment again.")
    known = list(dict.fromkeys(label for run in (a, b) for label in s.labels_of(run)))
    places = [_among(known, run)[one] for run, one in zip((a, b), maps, strict=True)]
    changed = places[0] != places[1]
    pairs = places[0].astype(np.int64) * len(known) + places[1]
    pixels = np.bincount(pairs.ravel(), minlength=len(known) ** 2).reshape(len(known), len(known))
    share = float(changed.mean())
    differs = differing(_card(a), _card(b))
    return xr.Dataset(
        {
            "labels": ((RESULT, s.Y, s.X), np.stack(places), {"long_name": "label", "units": "index of label"}),
            "image": (
                ("frame_y", "frame_x", s.CHANNEL),
                s.stage(a, "image").values,
                {"long_name": "image of the frame"},
            ),
            "changed": ((s.Y, s.X), changed, {"long_name": "whether the label differs"}),
            "pixels": ((s.LABEL, OTHER_LABEL), pixels, {"long_name": "label before and after", "units": "pixel"}),
        },
        coords={
            RESULT: np.array(names, dtype=object),
            s.LABEL: np.array(known, dtype=object),
            OTHER_LABEL: np.array(known, dtype=object),
        },
        attrs={
            "kind": "runs",
            "image_source": a.attrs.get("image_source", ""),
            "image_sha256": hashes[0],
            "changed_share": share,
            "differs": json.dumps(differs),
            "summary": _told(names, share, pixels, known, differs),
        },
    )


def _among(known: list[str], run: xr.DataTree) -> npt.NDArray[np.int32]:
    """Place of every label of a run among those of both runs."""
    return np.array([known.index(label) for label in s.labels_of(run)], dtype=np.int32)


def _card(run: xr.DataTree) -> dict[str, Any]:
    card: dict[str, Any] = {name: run.attrs[name] for name in ("config", *_SETTINGS) if name in run.attrs}
    return {**card, "labels": list(s.labels_of(run))}


def _told(
    names: tuple[str, str], share: float, pixels: np.ndarray, known: list[str], differs: dict[str, list[Any]]
) -> str:
    set_otherwise = f"{len(differs)} settings differ" if len(differs) != 1 else f"{next(iter(differs))} differs"
    if not share:
        return f"{names[0]!r} and {names[1]!r} have the same label on every pixel; {set_otherwise}."
    moved = pixels.copy()
    np.fill_diagonal(moved, 0)
    before, after = np.unravel_index(int(moved.argmax()), moved.shape)
    most = moved[before, after] / pixels.sum()
    return (
        f"{names[0]!r} and {names[1]!r} have different labels on {100 * share:.1f} % of the pixels, most of all "
        f"{known[before]!r} that became {known[after]!r} ({100 * most:.1f} % of the pixels); {set_otherwise}."
    )
