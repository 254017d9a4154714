"""Scores and probabilities of chosen labels, one NetCDF file per image beside its prediction."""

from __future__ import annotations

from typing import Final

import numpy as np
import xarray as xr

from clipdiy_lab.datasets.predictions import PredictionFolder
from clipdiy_lab.errors import OutputError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.pipeline.encoding import Encoding
from clipdiy_lab.pipeline.fusion import fuse
from clipdiy_lab.pipeline.netcdf import read_netcdf, write_netcdf
from clipdiy_lab.pipeline.untrusted import UnreadableError

SUFFIX: Final = ".nc"
_SHAPE: Final = (s.LABEL, s.Y, s.X)


def write_soft(folder: PredictionFolder, image_id: str, encoding: Encoding, text: xr.DataArray, config: Config) -> None:
    """Write ``score`` and ``probability`` (label, y, x) of the folder's soft labels, in the frame.

    Raises
    ------
    OutputError
        If the file is there already and holds other numbers, or the folder cannot be written to.
    """
    run = fuse(encoding, text, config)
    names = list(folder.soft)
    places = [s.labels_of(run).index(name) for name in names]
    decides = s.scores(run)
    found = xr.Dataset(
        {
            "score": (_SHAPE, decides.values[places], {"long_name": f"stage {decides.name!r}", "units": "1"}),
            "probability": (
                _SHAPE,
                s.stage(run, "probability").values[places],
                {"long_name": "softmax over all labels", "units": "1"},
            ),
        },
        coords={s.LABEL: np.array(names, dtype=object), s.Y: decides[s.Y], s.X: decides[s.X]},
        attrs={
            "image_id": image_id,
            "height": int(encoding.size[0]),
            "width": int(encoding.size[1]),
            "config": config.to_json(),
            "encoder_fingerprint": encoding.provenance["encoder_fingerprint"],
            "saliency_fingerprint": encoding.provenance.get("saliency_fingerprint", ""),
        },
    )
    target = folder.path(image_id, SUFFIX)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        write_netcdf(found, target)
        return
    try:
        same = read_netcdf(target).to_dataset().equals(found)
    except (UnreadableError, OSError, ValueError):
        same = False
    if not same:
        raise OutputError(
            f"{target} already exists and holds other scores, so it is not replaced; remove it, or choose another "
            "folder."
        )
