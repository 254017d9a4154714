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

from clipdiy_lab.views.scales import LEVELS, ColorRange

_WEBP_QUALITY: Final = 88
_DRAWN_QUALITY: Final = 80
_PALETTE: Final = 256
"""Colours that the palette of a PNG holds."""


def photograph(image: npt.NDArray[np.uint8]) -> str:
    """Encode an RGB image, y x x x 3, as WebP."""
    return _uri(Image.fromarray(image), "webp", quality=_WEBP_QUALITY)


def picture(image: Image.Image) -> str:
    """Encode a drawn picture: as palette PNG where few colours make it exact and small, else as WebP."""
    if image.convert("RGB").getcolors(_PALETTE) is None:
        return _uri(image, "webp", quality=_DRAWN_QUALITY)
    return _uri(image.convert("P", palette=Image.Palette.ADAPTIVE), "png", optimize=True)


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


def colored(values: npt.NDArray[np.floating], colors: ColorRange) -> str:
    """Encode a map of numbers, y x x, in the colours of a range; a pixel without a value is transparent."""
    values = values.astype(np.float64)  # so that single precision rounds to the same colours
    missing = ~np.isfinite(values)
    share = (np.where(missing, colors.low, values) - colors.low) / (colors.high - colors.low)
    levels = np.round(np.clip(share, 0, 1) * (LEVELS - 1)).astype(np.uint8)
    levels[missing] = LEVELS
    ramp = colors.scale.ramp
    return indexed(levels, np.concatenate([ramp, ramp[:1]]), (LEVELS,) if missing.any() else ())


def _uri(picture: Image.Image, kind: str, **options: object) -> str:
    buffer = BytesIO()
    picture.save(buffer, format=kind.upper(), **options)
    return f"data:image/{kind};base64," + base64.b64encode(buffer.getvalue()).decode()
