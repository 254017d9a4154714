"""One image as encoded by the networks: the value that all later stages start from.

A segmenter makes it, a store keeps it (`sources`); `fusion` turns it into labels or a whole run. Inside the lab it goes
from hand to hand as it is; as a labelled tree it stands only where a user meets it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from clipdiy_lab.errors import RunError
from clipdiy_lab.method import ops
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.pipeline import stages
from clipdiy_lab.threads import one_thread


@dataclass(frozen=True, eq=False, kw_only=True)
class Encoding:
    """One encoded image.

    Attributes
    ----------
    config : Config
        With which it was encoded, its precision settled.
    embeddings : mapping of grid to float32 tensor, rows x cols x features
        Unit vectors, by the name of the grid (``s064``). There may be more grids than `config` has.
    saliency : float32 tensor, y x x, in [0, 1], or None
        In the frame; None where no source was applied.
    frame : uint8 tensor, y x x x 3, or None
        The image as it was encoded; None where it comes from a store, which does not keep it.
    size : (int, int)
        Height and width of the image itself, in pixels.
    provenance : mapping
        The attributes of a run that say where it comes from, apart from `config` and `size`.
    """

    config: Config
    embeddings: Mapping[str, Tensor]
    saliency: Tensor | None
    frame: Tensor | None
    size: tuple[int, int]
    provenance: Mapping[str, Any]

    def seen(self, pixels: npt.NDArray[np.uint8]) -> Encoding:
        """Return the encoding with its frame, made from the image, height x width x 3, that it is of."""
        frame = ops.resize_image(torch.from_numpy(pixels), self.config.image_size, self.config.image_resize)
        return replace(self, frame=frame)

    def attrs(self) -> dict[str, Any]:
        """Return the attributes of a run of this image."""
        height, width = self.size
        own = {"config": self.config.to_json(), "image_height": height, "image_width": width}
        return {**self.provenance, **own}

    def root(self) -> dict[str, xr.DataArray]:
        """Return the stages of a run that have no grid: ``image`` and ``saliency``, where they are there."""
        arrays = {}
        if self.frame is not None:
            arrays["image"] = stages.image(self.frame)
        if self.saliency is not None:
            arrays["saliency"] = stages.saliency(self.saliency)
        return arrays

    def tree(self) -> xr.DataTree:
        """Return the encoding as a run without labels."""
        nodes: dict[str, Any] = {"/": xr.Dataset(self.root(), attrs=self.attrs())}
        for grid in Plan.of(self.config):
            vectors = stages.embedding(self.embeddings[grid.name], grid)
            nodes[f"/{s.GRIDS}/{grid.name}"] = xr.Dataset({"embedding": vectors})
        return xr.DataTree.from_dict(nodes)

    @classmethod
    def of(cls, tree: xr.DataTree) -> Encoding:
        """Read the encoding in a run.

        Raises
        ------
        RunError
            If the tree is no run, or its size is not there.
        """
        s.validate(tree, need=())
        root = tree.to_dataset()
        embeddings = {
            name: stages.tensor(node.to_dataset()["embedding"])
            for name, node in tree[s.GRIDS].children.items()
            if "embedding" in node.data_vars
        }
        return cls(
            config=Config.from_json(tree.attrs["config"]),
            embeddings=embeddings,
            saliency=stages.tensor(root["saliency"]) if "saliency" in root else None,
            frame=stages.tensor(root["image"]) if "image" in root else None,
            size=own_size(tree),
            provenance={str(name): value for name, value in tree.attrs.items()},
        )


def own_size(run: xr.DataTree) -> tuple[int, int]:
    """Return height and width of the image of a run, before it became a frame."""
    return whole_attribute(run, "image_height"), whole_attribute(run, "image_width")


def whole_attribute(run: xr.DataTree, name: str) -> int:
    """Return an attribute of a run that is a whole number.

    Raises
    ------
    RunError
        If it is missing or something else.
    """
    try:
        return int(run.attrs[name])
    except (KeyError, TypeError, ValueError) as error:
        what = run.attrs.get(name, "missing")
        raise RunError(f"The run's attribute {name!r} is {what!r}, expected a whole number; segment again.") from error


@one_thread()
def saliency_in_frame(values: npt.NDArray[np.float32], size: tuple[int, int]) -> Tensor:
    """Bring a saliency map, height x width in [0, 1], to the frame of this height and width, bilinear."""
    return ops.resize_saliency(torch.from_numpy(np.ascontiguousarray(values)), size).clamp(0, 1)
