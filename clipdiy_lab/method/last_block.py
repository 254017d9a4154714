"""The last block of a vision transformer, computed so that its patch tokens compare with texts.

CLIP trains its class token only. The methods here change the last block, so that what the patch tokens say about their
own place gets through: other pairs of queries and keys, and some of them without the residual and the MLP.

With X = LN1(x) of the tokens x after the last block but one, q, k, v the heads of X, d their width and O the output
projection (with bias): ``A = sum over pairs (a, b) of softmax(a b^T / sqrt(d) + G)``, or the identity where there is no
pair; ``y = O(A v)``; where the block is whole, ``u = x + y`` and then ``u + MLP(LN2 u)``. The class token takes part as
a query and as a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Pair = Literal["qk", "qq", "kk"]
Positions = Literal["antialias", "exact", "offset"]
Remainder = Literal["cut", "pad", "centre"]


@dataclass(frozen=True, kw_only=True)
class LastBlock:
    """How the last block is computed, and how its method reads images of other sizes.

    Attributes
    ----------
    pairs : tuple of {"qk", "qq", "kk"}
        The softmaxes that are added up; none: every token takes its own value.
    whole : bool
        Whether the residual and the MLP are kept.
    sigma : float or None
        Of the Gaussian G over the distance of patches, in patches, with a peak of 1; None: no such term.
    positions : {"antialias", "exact", "offset"}
        How position embeddings come to another grid. ``antialias``: bicubic with antialias, as open_clip does it.
        ``exact``: bicubic without. ``offset``: that, at the scale (n + 0.1) / n_native, as DINO does it. The last two
        leave them alone where the number of patches is the native one, whatever the shape of the grid.
    remainder : {"cut", "pad", "centre"}
        What becomes of sides that are no multiple of the patch. ``cut``: the rest at the right and at the bottom is
        dropped, and the grid stretched over the whole image. ``pad``: zeros there, after normalisation, and the larger
        grid squeezed into the image. ``centre``: zeros on both sides, and each patch keeps its true place.
    """

    pairs: tuple[Pair, ...]
    whole: bool
    sigma: float | None = None
    positions: Positions = "offset"
    remainder: Remainder = "cut"


METHODS = {
    # chongzhou96/MaskCLIP at 245d31f; residual and MLP are kept, unlike in later papers' "MaskCLIP".
    "maskclip": LastBlock(pairs=(), whole=True, positions="exact", remainder="pad"),
    # wangf3014/SCLIP at b56bd30; a sum, so that rows add up to 2.
    "sclip": LastBlock(pairs=("qq", "kk"), whole=True),
    # mc-lan/ClearCLIP at ad68a40.
    "clearclip": LastBlock(pairs=("qq",), whole=False, remainder="centre"),
    # sinahmr/NACLIP at 0cac3a6, arch "reduced".
    "naclip": LastBlock(pairs=("kk",), whole=False, sigma=5.0),
}
"""By the name of the method; the values of `Config.dense` other than ``none``."""
