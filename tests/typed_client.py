"""A user's program, for the type checker alone: `make types` reads it, nothing runs it."""

from typing import assert_type

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

import clipdiy_lab as lab


class Middle:
    """A saliency source of one's own."""

    name = "middle"
    fingerprint = "middle-1"

    def __call__(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return np.ones(image.shape[:2], np.float32)


def study(image: npt.NDArray[np.uint8]) -> pd.DataFrame:
    source: lab.Saliency = Middle()
    segmenter = lab.load("tiny", saliency=source)
    assert_type(segmenter, lab.Segmenter)
    run = segmenter.segment(image, ["cat", "train"], lab.Config.paper().replace(saliency_weight=0.5))
    assert_type(run, xr.DataTree)
    return lab.sweep(segmenter, lab.open_dataset("scenes"), {"saliency_weight": [0, 1]})


def mistake() -> lab.Segmenter:
    return lab.load(3)  # type: ignore[arg-type]  # Were the types not seen, this comment would be reported as needless.
