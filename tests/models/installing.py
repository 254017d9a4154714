"""Packages of other people, written into a folder as an installer leaves them there."""

from collections.abc import Mapping
from pathlib import Path

ENCODERS, SALIENCY = "clipdiy_lab.encoders", "clipdiy_lab.saliency"

MINE = '''
import hashlib
import zlib

import numpy as np
import torch
from torch.nn import functional as F


class Encoder:
    """Cheap and deterministic."""

    name, image_size, embedding_dim = "mine-clip", 8, 12
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)

    def __init__(self, seed):
        self.fingerprint = f"mine-{seed}"
        shape = (3 * self.image_size**2, self.embedding_dim)
        self.weights = torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))

    def encode_crops(self, crops):
        return F.normalize(crops.flatten(1) @ self.weights, dim=-1)

    def encode_texts(self, texts):
        rows = [np.random.default_rng(zlib.crc32(text.encode())).normal(size=self.embedding_dim) for text in texts]
        return F.normalize(torch.tensor(np.stack(rows), dtype=torch.float32), dim=-1)


def encoder(seed=12):
    return Encoder(seed)


class Darkness:
    """What is dark is an object."""

    name = "mine-dark"

    def __init__(self, gamma=1.0):
        self.gamma, self.fingerprint = gamma, hashlib.sha256(f"dark {gamma}".encode()).hexdigest()

    def __call__(self, image):
        return (1 - image.mean(axis=-1) / 255).astype(np.float32) ** np.float32(self.gamma)
'''


def install(
    folder: Path,
    name: str,
    modules: Mapping[str, str],
    points: Mapping[str, Mapping[str, str]] | str,
    version: str = "1.0",
) -> None:
    """Write the modules of a package and its metadata."""
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text, encoding="utf-8")
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    if not isinstance(points, str):
        parts = [[f"[{group}]", *(f"{key} = {value}" for key, value in some.items())] for group, some in points.items()]
        points = "\n".join("\n".join(part) for part in parts)
    (info / "entry_points.txt").write_text(points + "\n", encoding="utf-8")


def install_mine(folder: Path) -> None:
    """Write a package with an encoder and a saliency source."""
    points = {ENCODERS: {"mine-clip": "mine_pkg:encoder"}, SALIENCY: {"mine-dark": "mine_pkg:Darkness"}}
    install(folder, "mine-pkg", {"mine_pkg": MINE}, points, "1.2")
