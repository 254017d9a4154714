"""One card, one table: the official loop, the lab, and what the card could give. ``bash benchmarks/gpu.sh`` runs it.

``python benchmarks/gpu.py --device cpu --small`` does the same with tiny sizes where there is no card, to see that it
runs. Goals on one H100 (none measured yet): 300 images/s for 59 crops of ViT-B/32, 20 times the official loop on the
same card, 40 % of the card's measured bf16 matrix peak in the encoder, 99.4 % of the labels of fp32.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from baseline import embed_plainly, encode_plainly
from floor import operations, products
from parts import inputs
from pictures import pictures
from PIL import Image
from reports import table
from speed import load
from timing import machine

import clipdiy_lab as lab
from clipdiy_lab.datasets.images import read_image
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.models.saliency.dino_vit import DinoViT
from clipdiy_lab.models.saliency.found import Found
from clipdiy_lab.pipeline.fusion import label_map


class Card:
    """A device, and how its time is taken."""

    def __init__(self, device: str, rounds: int) -> None:
        self.device, self.rounds = torch.device(device), rounds

    def seconds(self, way: Callable[[], object]) -> float:
        """Median seconds, after one round to warm up; the device has finished before the clock is read."""
        took = []
        for number in range(self.rounds + 1):
            self.wait()
            start = time.perf_counter()
            with torch.inference_mode():
                way()
            self.wait()
            took += [time.perf_counter() - start] * bool(number)
        return statistics.median(took)

    def wait(self) -> None:
        """Wait for what the device was asked for."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def peak(self, side: int) -> float:
        """Operations a second of a square matrix product in bf16: what the card gives at best."""
        left, right = (torch.randn(side, side, device=self.device, dtype=torch.bfloat16) for _ in range(2))
        return 2 * side**3 / self.seconds(lambda: left @ right)


def exact_integers(card: Card) -> float:
    """Share of the values of a frame's crops that are Pillow's to the last bit, cut and resized on the device."""
    frame = torch.randint(0, 256, (256, 256, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    plain = _PlainValues()
    found = inputs(frame.to(card.device), Config.paper(), plain).cpu()
    expected = []
    for grid in Plan.of(Config.paper()).crops:
        for row in range(grid.rows):
            for col in range(grid.cols):
                top, left = row * grid.hop, col * grid.hop
                crop = Image.fromarray(frame[top : top + grid.window, left : left + grid.window].numpy())
                expected.append(np.asarray(crop.resize((224, 224), Image.Resampling.BICUBIC)))
    whole = torch.from_numpy(np.stack(expected)).permute(0, 3, 1, 2)
    return float(((found * 255).round() == whole).float().mean())


class _PlainValues:
    """Stands for an encoder that reads values over 255, neither shifted nor scaled."""

    image_size, mean, std = 224, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def encoder_rows(card: Card, segmenter: lab.Segmenter, batches: tuple[int, ...], peak: float) -> Iterator[list[str]]:
    """Time the encoder for batches of several images, as torch runs it and compiled."""
    config = segmenter.settled(Config(precision="bf16"))
    encoder, side = segmenter._at(config), segmenter.encoder.image_size
    per_image = operations(products(lambda: segmenter.encoder.encode_crops(torch.zeros(59, 3, side, side)))) / 1e9
    tower = encoder._model.visual.to(memory_format=torch.channels_last)
    ways = {"bf16, channels last": tower}
    if card.device.type == "cuda":
        ways["bf16, torch.compile (CUDA graphs)"] = torch.compile(tower, mode="max-autotune")
    for images in batches:
        crops = torch.randn(images * 59, 3, side, side, device=card.device, dtype=torch.bfloat16)
        crops = crops.to(memory_format=torch.channels_last)
        for name, way in ways.items():
            seconds = card.seconds(lambda way=way, crops=crops: way(crops)) / images
            share = per_image * 1e9 / seconds / peak
            yield [f"encoder, {name}, {images} images at once", f"{1 / seconds:.1f}", f"{100 * share:.1f} %", ""]


def whole_rows(card: Card, data: Any, segmenter: lab.Segmenter) -> Iterator[list[str]]:
    """Time the official loop and the lab end to end, from decoded images; compare labels with those of fp32."""
    images = [read_image(file) for file in data.files]
    text = embed_plainly(segmenter.encoder, data.label_names)
    frame = segmenter.prepare(images[0], Config.paper()).frame.numpy()
    exact, found = Config.paper(), segmenter.saliency
    official = card.seconds(lambda: (encode_plainly(segmenter.encoder, frame, text), found(images[0])))
    yield ["official loop, fp32", f"{1 / official:.1f}", "", ""]
    names = segmenter.text_embeddings(data.label_names, exact)
    wanted = [label_map(segmenter.encoding(one, exact), names, exact).values for one in images]
    for precision in ("fp32", "bf16"):
        config = exact.replace(precision=precision)

        def one(image: np.ndarray, config: Config = config) -> np.ndarray:
            labels: np.ndarray = label_map(segmenter.encoding(image, config), names, config).values
            return labels

        seconds = card.seconds(lambda one=one: [one(image) for image in images]) / len(images)
        same = np.mean([(one(image) == labels).mean() for image, labels in zip(images, wanted, strict=True)])
        ours = f"the lab, {precision}, one image after the other"
        yield [ours, f"{1 / seconds:.1f}", f"{official / seconds:.1f} times the official loop", f"{100 * same:.2f} %"]


def decode_rows(data: Any, workers: tuple[int, ...], images: int) -> Iterator[list[str]]:
    """Time decoding in worker processes."""
    files = data.first(images).files
    for count in workers:
        with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
            list(pool.map(_decoded, files[:count]))
            start = time.perf_counter()
            list(pool.map(_decoded, files, chunksize=8))
            yield [f"decoding in {count} processes", f"{images / (time.perf_counter() - start):.0f}", "", ""]


def _decoded(file: bytes) -> int:
    return int(read_image(file).sum())


def main() -> None:
    """Measure, print one table, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    card = Card(options.device, 1 if options.small else 5)
    data = pictures().first(2 if options.small else 10)
    torch.manual_seed(0)
    encoder = load("tiny" if options.small else "ViT-B-32", device=options.device)
    backbone = DinoViT(depth=2) if options.small else DinoViT()
    head = {"weight": torch.randn(1, backbone.embed_dim, 1, 1), "bias": torch.zeros(1)}
    segmenter = lab.Segmenter(encoder, Found(backbone.eval(), head, device=options.device, precision="fp32"))
    peak = card.peak(512 if options.small else 8192)
    rows = [["bf16 matrix product", f"{peak / 1e12:.2f} TFLOP/s", "", ""]]
    rows += [["crops on the device that are Pillow's", "", f"{100 * exact_integers(card):.4f} %", ""]]
    rows += list(encoder_rows(card, segmenter, (1, 2) if options.small else (1, 2, 4, 8, 16, 32), peak))
    rows += list(whole_rows(card, data, segmenter))
    rows += list(decode_rows(data, (1, 2) if options.small else (1, 4, 8, 16), 16 if options.small else 512))
    head_line = ("what", "images/s", "share of the peak, or times", "labels as in fp32")
    text = "\n".join([*(f"{name}: {value}" for name, value in machine().items()), "", *table(head_line, rows)])
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "gpu.md").write_text(text + "\n")
    (options.out / "gpu.json").write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
