"""From a frame to embeddings: the windows of all grids as crops, through the encoder in shared batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clipdiy_lab.errors import ModelError
from clipdiy_lab.method import ops
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan, WindowGrid
from clipdiy_lab.method.naming import DENSE, token_grid_name
from clipdiy_lab.method.patch_grid import encoder_size
from clipdiy_lab.models.capabilities import HasDevice, TakesOtherSides, as_token_encoder
from clipdiy_lab.models.encoders import Encoder, as_vectors, to_input
from clipdiy_lab.pipeline.watch import UNWATCHED, Watch
from clipdiy_lab.threads import one_thread

Pass = Callable[[Tensor], tuple[Tensor, ...]]
"""What one pass of the network makes of crops: their embeddings, or these and their patch tokens."""


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
        """Embed the windows of a frame, and its patches where they are asked for.

        Parameters
        ----------
        frame : uint8 tensor, y x x x 3
        config : Config
            Settled; its plan says which windows and patches; `crop_input`, at which side the encoder reads crops.
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
            If the encoder cannot read crops of such a side, has no patch tokens, or gives something else than finite
            vectors of its width.
        StoppedError
            If the watch stops the work.
        """
        # Products of 22-bit weights need float64, which mps lacks; there the crops are prepared on the CPU.
        if isinstance(encoder, HasDevice) and encoder.device.type == "cuda":
            frame = frame.to(encoder.device)
        plan = Plan.of(config)
        with torch.inference_mode():
            embedded = self._embed_windows(frame, config, encoder, plan, watch)
            if plan.tokens and config.dense_from == "frame":
                watch.check()
                tokens = as_token_encoder(encoder).encode_tokens(frame_input(frame, config, encoder), config.dense)
                embedded[DENSE] = as_vectors(tokens, encoder, "encode_tokens")
        for grid in plan:
            _check_vectors(embedded[grid.name], (grid.rows, grid.cols, encoder.embedding_dim), encoder)
        # A cosine is meant whatever length one's own encoder gives; unit vectors keep theirs.
        return {grid.name: torch.nn.functional.normalize(embedded[grid.name], dim=-1) for grid in plan}

    def _embed_windows(
        self, frame: Tensor, config: Config, encoder: Encoder, plan: Plan, watch: Watch
    ) -> dict[str, Tensor]:
        """Encode the crops of every grid, and where it is asked for their patch tokens in the same pass."""
        grids = plan.crops
        sides = [config.crop_input.get(grid.window, encoder.image_size) for grid in grids]
        for side in set(sides) - {encoder.image_size}:
            _check_side(encoder, side)
        encode = _token_pass(encoder, config) if plan.tokens and config.dense_from == "crops" else _plain_pass(encoder)
        embedded = {}
        inputs = {side: _inputs(frame, _of(grids, sides, side), side, encoder) for side in dict.fromkeys(sides)}
        for grid, (vectors, *tokens) in self._encode_grids(encode, inputs, grids, sides, watch):
            embedded[grid.name] = _placed(vectors, grid)
            for patches in tokens:
                embedded[token_grid_name(grid.window)] = _side_by_side(_placed(patches, grid))
        return embedded

    def _encode_grids(
        self, encode: Pass, inputs: Mapping[int, Tensor], grids: Sequence[WindowGrid], sides: list[int], watch: Watch
    ) -> Iterator[tuple[WindowGrid, tuple[Tensor, ...]]]:
        """Encode the crops of every grid; grids whose input has one size share the batches."""
        done, total = 0, sum(len(crops) for crops in inputs.values())
        for side, crops in inputs.items():
            here = _of(grids, sides, side)
            parts = self._encode_batched(encode, crops, watch, done, total)
            done += len(crops)
            counts = [grid.rows * grid.cols for grid in here]
            yield from zip(here, zip(*(torch.split(part, counts) for part in parts), strict=True), strict=True)

    def _encode_batched(self, encode: Pass, crops: Tensor, watch: Watch, before: int, total: int) -> tuple[Tensor, ...]:
        size = min(self.size or len(crops), watch.every or len(crops))
        while True:
            try:
                batches = []
                for place, part in enumerate(torch.split(crops, size)):
                    watch.check()
                    batches.append(encode(part))
                    watch.progress(before + place * size + len(part), total)
                return tuple(torch.cat(parts) for parts in zip(*batches, strict=True))
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                size = self.size = (size + 1) // 2
                torch.cuda.empty_cache()


def _of(grids: Sequence[WindowGrid], sides: Sequence[int], side: int) -> list[WindowGrid]:
    """Return the grids whose crops the encoder reads at a side."""
    return [grid for grid, other in zip(grids, sides, strict=True) if other == side]


@one_thread()
def _inputs(frame: Tensor, grids: Sequence[WindowGrid], side: int, encoder: Encoder) -> Tensor:
    """Cut the windows of grids, and bring them to the encoder's input one after the other, N x 3 x side x side."""
    counts = [grid.rows * grid.cols for grid in grids]
    inputs = torch.empty(sum(counts), 3, side, side, device=frame.device)
    for grid, place in zip(grids, torch.split(inputs, counts), strict=True):
        to_input(ops.cut_windows(frame, grid), side, encoder, out=place)
    return inputs


def _plain_pass(encoder: Encoder) -> Pass:
    """Encode crops to their embeddings."""

    def encode(crops: Tensor) -> tuple[Tensor, ...]:
        vectors = as_vectors(encoder.encode_crops(crops), encoder, "encode_crops")
        _check_vectors(vectors, (len(crops), encoder.embedding_dim), encoder)
        return (vectors,)

    return encode


def _token_pass(encoder: Encoder, config: Config) -> Pass:
    """Encode crops to their embeddings and their patch tokens."""
    able, method = as_token_encoder(encoder), "encode_crops_and_tokens"

    def encode(crops: Tensor) -> tuple[Tensor, ...]:
        vectors, tokens = (
            as_vectors(part, encoder, method) for part in able.encode_crops_and_tokens(crops, config.dense)
        )
        side = crops.shape[-1] // able.patch_size
        _check_vectors(vectors, (len(crops), encoder.embedding_dim), encoder)
        _check_vectors(tokens, (len(crops), side, side, encoder.embedding_dim), encoder)
        return vectors, tokens

    return encode


def _check_vectors(vectors: Tensor, expected: tuple[int, ...], encoder: Encoder) -> None:
    shape = tuple(vectors.shape)
    if shape != expected or not bool(torch.isfinite(vectors).all()):
        what = f"of shape {shape}" if shape != expected else "with NaN or infinite values"
        raise ModelError(f"The encoder {encoder.name!r} gave embeddings {what}, expected shape {expected}, all finite.")


def _placed(vectors: Tensor, grid: WindowGrid) -> Tensor:
    """Give what is known of every window its row and column."""
    return vectors.reshape(grid.rows, grid.cols, *vectors.shape[1:])


def _side_by_side(tokens: Tensor) -> Tensor:
    """Put the patches of all windows, rows x cols x T x T x D, side by side: (rows * T) x (cols * T) x D."""
    return tokens.transpose(1, 2).flatten(2, 3).flatten(0, 1)


def frame_input(frame: Tensor, config: Config, encoder: Encoder) -> Tensor:
    """Bring the frame to what the encoder reads for its patch tokens, 3 x height x width, normalised."""
    read = ops.resize_image(frame, encoder_size(config))
    return ops.normalise(read.permute(2, 0, 1).float(), encoder.mean, encoder.std)


def _check_side(encoder: Encoder, side: int) -> None:
    if not isinstance(encoder, TakesOtherSides):
        raise ModelError(
            f"the encoder {encoder.name!r} accepts only crops of {encoder.image_size} pixels; leave out crop_input."
        )
    encoder.check_side(side)
