"""Larger images, window by window: every window is segmented as an image, scores are averaged where windows overlap."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor
from torch.nn import functional as F

from clipdiy_lab.analysis.protocols import Protocol
from clipdiy_lab.method import ops
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.pipeline.fusion import fuse
from clipdiy_lab.pipeline.segmenter import Segmenter


def resized_size(shape: tuple[int, ...], protocol: Protocol) -> tuple[int, int]:
    """Height and width of the image that windows are cut from: aspect ratio kept, sides rounded to whole pixels.

    The scale is the smaller of short side / `image_short` and long side / `image_long`, as in mmseg.
    """
    height, width = shape[0], shape[1]
    scale = (protocol.image_short or min(height, width)) / min(height, width)
    if protocol.image_long is not None:
        scale = min(scale, protocol.image_long / max(height, width))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """First pixel of every window along one side; the last window ends with the image.

    Examples
    --------
    >>> window_starts(896, 448, 224)
    [0, 224, 448]
    >>> window_starts(600, 448, 224), window_starts(300, 448, 224)
    ([0, 152], [0])
    """
    steps = max(length - window + stride - 1, 0) // stride + 1
    return [max(min(step * stride, length - window), 0) for step in range(steps)]


def sliding_labels(
    segmenter: Segmenter,
    image: npt.NDArray[np.uint8],
    text: xr.DataArray,
    config: Config,
    protocol: Protocol,
    size: tuple[int, int],
) -> npt.NDArray[np.int16]:
    """Segment an image window by window.

    Parameters
    ----------
    segmenter : Segmenter
    image : uint8 array, height x width x 3
    text : array (phrase, feature)
        What `Segmenter.text_embeddings` gives for the configuration.
    config : Config
    protocol : Protocol
        One that slides.
    size : (int, int)
        Height and width of the label map asked for.

    Returns
    -------
    int16 array
        Averaged scores, brought to `size` bilinearly, then the best label.
    """
    height, width = resized_size(image.shape, protocol)
    pixels = ops.resize_image(torch.from_numpy(image), (height, width), "bilinear").numpy()
    total: Tensor = torch.zeros(len(s.labels_of(text)), height, width)
    times = torch.zeros(height, width)
    competes = np.zeros(len(total), dtype=bool)
    window, stride = protocol.window, protocol.stride
    if window is None or stride is None:
        config = config.replace(image_size=(height, width))
        window = stride = max(height, width)
    rows, cols = (window_starts(side, window, stride) for side in (height, width))
    for top, left in product(rows, cols):
        place = slice(top, min(top + window, height)), slice(left, min(left + window, width))
        part = np.ascontiguousarray(pixels[place])
        run = fuse(segmenter.encoding(part, config), text, config)
        scores = s.scores(run).values
        competes |= s.competing(run)
        total[(slice(None), *place)] += _bilinear(torch.from_numpy(scores), (part.shape[0], part.shape[1]))
        times[place] += 1
    return _best(total / times, [int(label) for label in np.flatnonzero(competes)], size)


def _bilinear(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps[None].float(), size=size, mode="bilinear", align_corners=False)[0]


def _best(scores: Tensor, labels: list[int], size: tuple[int, int]) -> npt.NDArray[np.int16]:
    """Best of some labels at another size, one after the other: 171 maps of a large photograph would fill the memory.

    A label competes that was kept in one window at least.
    """
    first, *others = labels
    best, label = _bilinear(scores[first : first + 1], size)[0], torch.full(size, first, dtype=torch.int16)
    for index in others:
        score = _bilinear(scores[index : index + 1], size)[0]
        label[score > best] = index
        best = torch.maximum(best, score)
    return np.asarray(label.numpy())
