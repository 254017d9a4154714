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
    manifest = dataset.manifest if isinstance(dataset, FileDataset) else None
    by_design = manifest is not None and manifest.palette is not None and bool(manifest.palette.ignored)
    for text in findings(result, whole=_is_whole(result, dataset), by_design=by_design):
        warnings.warn(f"{dataset.name}: {text}", ClipdiyWarning, stacklevel=3)
    return result


def findings(result: xr.Dataset, *, whole: bool = True, by_design: bool = False) -> list[str]:
    """Say which labels occur nowhere in the masks of a result, how much is ignored, and the likely cause.

    Parameters
    ----------
    result : xarray.Dataset
        From `evaluate`.
    whole : bool
        Whether it is of a whole dataset; of a part, labels may well be missing.
    by_design : bool
        Whether the benchmark itself ignores some of its classes, such as the background; then the share says nothing.

    Returns
    -------
    list of str
        Empty if nothing is conspicuous.
    """
    names = [str(name) for name in result["label"].values]
    pixels = result["pixels"].values
    ignored = 0 if by_design else int(np.sum(result["ignored"].values))
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
