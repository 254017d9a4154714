"""Pictures as data URIs: a map of 256 x 256 travels as some kilobytes and not as 65,536 numbers.

A colour map or a label map is a palette PNG (exact, small); a photograph is a WebP.
"""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

_WEBP_QUALITY: Final = 88
_PALETTE: Final = 256
"""Colours that the palette of a PNG holds."""
_LEVELS: Final = 255
"""Colours of a map; entry 255 of its palette is left for pixels without a value, which are clear."""


def photograph(image: npt.NDArray[np.uint8]) -> str:
    """Encode an RGB image, y x x x 3, as WebP."""
    return _uri(Image.fromarray(image), "webp", quality=_WEBP_QUALITY)


def indexed(indices: npt.NDArray[np.integer], palette: npt.NDArray[np.uint8], clear: tuple[int, ...] = ()) -> str:
    """Encode an index map, y x x, as PNG; the indices in `clear` are transparent.

    The palette may have any number of colours: of more than 256 the PNG holds those that the map uses, and where these
    are still too many it holds the colour of every pixel.
    """
    opaque = ~np.isin(np.arange(len(palette)), clear)
    if len(palette) > _PALETTE:
        used, places = np.unique(indices, return_inverse=True)
        if len(used) > _PALETTE:
            alpha = np.where(opaque, 255, 0).astype(np.uint8)
            return _uri(Image.fromarray(np.dstack([palette[indices], alpha[indices]])), "png", optimize=True)
        indices, palette, opaque = places.reshape(indices.shape), palette[used], opaque[used]
    picture = Image.fromarray(indices.astype(np.uint8))
    picture.putpalette(palette.astype(np.uint8).tobytes())
    alphas = bytes(np.where(opaque, 255, 0).tolist())
    return _uri(picture, "png", optimize=True, **({} if opaque.all() else {"transparency": alphas}))


def levels(values: npt.NDArray[np.floating], low: float, high: float) -> npt.NDArray[np.uint8]:
    """Round a map to 0..254 between `low` and `high`; what is not a number becomes 255."""
    span = high - low if high > low else 1.0
    missing = ~np.isfinite(values)
    share = np.clip((np.where(missing, low, values) - low) / span, 0, 1)
    placed = np.round(share * (_LEVELS - 1)).astype(np.uint8)
    placed[missing] = _LEVELS
    return placed


def colored(values: npt.NDArray[np.floating], low: float, high: float, ramp: npt.NDArray[np.uint8]) -> str:
    """Encode a map, y x x, in the colours of a ramp of 255; a pixel without a value is transparent."""
    clear = (_LEVELS,) if not np.isfinite(values).all() else ()
    return indexed(levels(values, low, high), np.concatenate([ramp, ramp[:1]]), clear)


def _uri(picture: Image.Image, kind: str, **options: object) -> str:
    buffer = BytesIO()
    picture.save(buffer, format=kind.upper(), **options)
    return f"data:image/{kind};base64," + base64.b64encode(buffer.getvalue()).decode()
