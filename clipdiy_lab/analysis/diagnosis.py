"""What a result shows about its dataset: labels that occur nowhere, how much is ignored, and the likely cause."""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr

from clipdiy_lab.datasets.checks import label_findings
from clipdiy_lab.datasets.readers import FileDataset
from clipdiy_lab.datasets.sample import Dataset
from clipdiy_lab.errors import ClipdiyWarning


def diagnosed(result: xr.Dataset, dataset: Dataset) -> xr.Dataset:
    """Warn of what a result of `evaluate` shows about its masks, and return it.

    Warns
    -----
    ClipdiyWarning
        One per finding, see `findings`.
    """
    for text in findings(result, whole=_is_whole(result, dataset)):
        warnings.warn(f"{dataset.name}: {text}", ClipdiyWarning, stacklevel=3)
    return result


def findings(result: xr.Dataset, *, whole: bool = True) -> list[str]:
    """Say which labels occur nowhere in the masks of a result, how much is ignored, and the likely cause.

    Parameters
    ----------
    result : xarray.Dataset
        From `evaluate`.
    whole : bool
        Whether it is of a whole dataset; of a part, labels may well be missing.

    Returns
    -------
    list of str
        Empty if nothing is conspicuous.
    """
    names = [str(name) for name in result["label"].values]
    pixels, ignored = result["pixels"].values, int(np.sum(result["ignored"].values))
    return [finding.text for finding in label_findings(names, pixels, ignored, whole=whole)]


def _is_whole(result: xr.Dataset, dataset: Dataset) -> bool:
    """Whether the masks are files, and all that the dataset should have were scored."""
    if not isinstance(dataset, FileDataset):
        return False  # made by a program, which does not mix up files
    images, split = int(result.attrs["images"]), None
    if dataset.manifest is not None:
        split = dataset.manifest.splits.get(result.attrs["split"])
    # A filter of a benchmark leaves out a few images, never most of them.
    return images == len(dataset) and (split is None or images > split.images // 2)
