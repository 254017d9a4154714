"""From a frame to embeddings: the windows of all grids as crops, through the encoder in shared batches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clipdiy_lab.errors import ModelError
from clipdiy_lab.method import ops
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.models.capabilities import HasDevice, TakesOtherSides
from clipdiy_lab.models.encoders import Encoder, as_vectors, to_input
from clipdiy_lab.pipeline.watch import UNWATCHED, Watch


@dataclass
class CropBatches:
    """Encodes crops in batches.

    Attributes
    ----------
    size : int or None
        Crops that go through the network at once. None: all crops of an image; halved by itself, and kept there, where
        memory runs out.
    """

    size: int | None = None

    def embed(self, frame: Tensor, config: Config, encoder: Encoder, watch: Watch = UNWATCHED) -> dict[str, Tensor]:
        """Embed the windows of a frame, uint8 y x x x 3.

        Parameters
        ----------
        frame : uint8 tensor, y x x x 3
        config : Config
            Its plan says which windows; `crop_input`, at which side the encoder reads them.
        encoder : Encoder
            In the precision that is asked for.
        watch : Watch, optional
            Hears of the crops, and may stop the work between two batches.

        Returns
        -------
        dict of str to float32 tensor, rows x cols x features
            Unit vectors, by the name of the grid.

        Raises
        ------
        ModelError
            If the encoder cannot read crops of such a side, or gives something else than finite vectors of its width.
        StoppedError
            If the watch stops the work.
        """
        # Products of 22-bit weights need float64, which mps lacks; there the crops are prepared on the CPU.
        if isinstance(encoder, HasDevice) and encoder.device.type == "cuda":
            frame = frame.to(encoder.device)
        grids = Plan.of(config).crops
        sides = [config.crop_input.get(grid.window, encoder.image_size) for grid in grids]
        for side in set(sides) - {encoder.image_size}:
            _check_side(encoder, side)
        with torch.inference_mode():
            crops = [
                to_input(ops.cut_windows(frame, grid), side, encoder) for grid, side in zip(grids, sides, strict=True)
            ]
            parts = self._encode_grids(encoder, crops, sides, watch)
        # A cosine is meant whatever length one's own encoder gives; unit vectors keep theirs.
        unit = [torch.nn.functional.normalize(vectors, dim=-1).cpu().float() for vectors in parts]
        return {grid.name: vectors.reshape(grid.rows, grid.cols, -1) for grid, vectors in zip(grids, unit, strict=True)}

    def _encode_grids(self, encoder: Encoder, crops: list[Tensor], sides: list[int], watch: Watch) -> list[Tensor]:
        """Encode the crops of every grid; grids whose input has one size share the batches."""
        vectors_of: dict[int, Tensor] = {}
        done, total = 0, sum(len(part) for part in crops)
        for side in dict.fromkeys(sides):
            here = [place for place, other in enumerate(sides) if other == side]
            vectors = self._encode_batched(encoder, torch.cat([crops[place] for place in here]), watch, done, total)
            counts = [len(crops[place]) for place in here]
            done += sum(counts)
            shape, expected = tuple(vectors.shape), (sum(counts), encoder.embedding_dim)
            if shape != expected or not bool(torch.isfinite(vectors).all()):
                what = f"of shape {shape}" if shape != expected else "with NaN or infinite values"
                raise ModelError(
                    f"The encoder {encoder.name!r} gave embeddings {what}, expected shape {expected}, all finite."
                )
            vectors_of |= dict(zip(here, torch.split(vectors, counts), strict=True))
        return [vectors_of[place] for place in range(len(crops))]

    def _encode_batched(self, encoder: Encoder, crops: Tensor, watch: Watch, before: int, total: int) -> Tensor:
        size = min(self.size or len(crops), watch.every or len(crops))
        while True:
            try:
                parts = []
                for place, part in enumerate(torch.split(crops, size)):
                    watch.check()
                    parts.append(as_vectors(encoder.encode_crops(part), encoder, "encode_crops"))
                    watch.progress(before + place * size + len(part), total)
                return torch.cat(parts)
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                size = self.size = (size + 1) // 2
                torch.cuda.empty_cache()


def _check_side(encoder: Encoder, side: int) -> None:
    if not isinstance(encoder, TakesOtherSides):
        raise ModelError(
            f"the encoder {encoder.name!r} reads crops of {encoder.image_size} pixels only; leave out crop_input."
        )
    encoder.check_side(side)
