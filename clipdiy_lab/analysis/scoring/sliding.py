"""Larger images, window by window: every window is segmented as an image, scores are averaged where windows overlap."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from clipdiy_lab.analysis.protocols import Protocol
from clipdiy_lab.analysis.scoring.deciding import Brought, best, bilinear, decide
from clipdiy_lab.method import ops
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.frame_stages import Inputs, contest
from clipdiy_lab.models.prompts import with_background
from clipdiy_lab.pipeline import stages
from clipdiy_lab.pipeline.encoding import Encoding
from clipdiy_lab.pipeline.fusion import fuse
from clipdiy_lab.pipeline.segmenter import Segmenter
from clipdiy_lab.threads import one_thread


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
        Averaged scores, brought to `size` bilinearly, refined where the configuration asks for it, then the best label,
        or what the protocol decides.

    Raises
    ------
    ConfigError
        If the refinement reaches beyond the sides of `size`.
    """
    height, width = resized_size(image.shape, protocol)
    pixels = ops.resize_image(torch.from_numpy(image), (height, width), "bilinear").numpy()
    scores, competes = sliding_scores(segmenter, pixels, text, config, protocol)
    maps, names = Brought.of(scores, pixels, config, size), s.labels_of(text)
    if protocol.decision is None:
        return best(maps, range(len(names)), competes)
    owners = [names.index(label) for label in text[s.PHRASE_LABEL].values]
    return decide(maps, owners, with_background(names, config)[1], protocol.decision)


def sliding_scores(
    segmenter: Segmenter, pixels: npt.NDArray[np.uint8], text: xr.DataArray, config: Config, protocol: Protocol
) -> tuple[Tensor, list[int]]:
    """Average the scores of the windows of a resized image.

    Parameters
    ----------
    segmenter : Segmenter
    pixels : uint8 array, height x width x 3
        Of the size that the windows are cut from.
    text : array (phrase, feature)
    config : Config
    protocol : Protocol

    Returns
    -------
    float32 tensor, N x height x width
        Of every label; of every phrase, where the protocol has a decision. Not refined.
    list of int
        Those that compete in one window at least.
    """
    height, width = pixels.shape[:2]
    config, (window, stride) = _window_config(config, protocol, (height, width))
    scores_of, count = (
        (_label_scores, len(s.labels_of(text))) if protocol.decision is None else (_phrase_scores, len(text))
    )
    total, times = torch.zeros(count, height, width), torch.zeros(height, width)
    competes: set[int] = set()
    rows, cols = (window_starts(side, window, stride) for side in (height, width))
    for top, left in product(rows, cols):
        place = slice(top, min(top + window, height)), slice(left, min(left + window, width))
        part = np.ascontiguousarray(pixels[place])
        scores, competing = scores_of(segmenter.encoding(part, config), text)
        competes |= set(competing)
        total[(slice(None), *place)] += bilinear(scores, (part.shape[0], part.shape[1]))
        times[place] += 1
    return total / times, sorted(competes)


def _window_config(config: Config, protocol: Protocol, size: tuple[int, int]) -> tuple[Config, tuple[int, int]]:
    """Return the configuration of a window of an image of this size, the window's side, and the stride."""
    config = config.replace(refine="none")
    window, stride = protocol.window, protocol.stride
    if window is None or stride is None:
        return config.replace(image_size=size), (max(size), max(size))
    # A window that the image cuts off is a smaller image to patch tokens; it is not stretched.
    if not config.scales and config.image_size == (window, window):
        config = config.replace(image_size=(min(window, size[0]), min(window, size[1])))
    return config, (window, stride)


def _label_scores(encoding: Encoding, text: xr.DataArray) -> tuple[Tensor, list[int]]:
    run = fuse(encoding, text, encoding.config)
    return torch.from_numpy(s.scores(run).values), [int(label) for label in np.flatnonzero(s.competing(run))]


@one_thread()
def _phrase_scores(encoding: Encoding, text: xr.DataArray) -> tuple[Tensor, list[int]]:
    vectors = stages.tensor(text)
    similarities = {name: ops.cosine(cells, vectors) for name, cells in encoding.embeddings.items()}
    inputs = Inputs(similarities=similarities, saliency=None, background=None, config=encoding.config)
    return contest(inputs), list(range(len(vectors)))
