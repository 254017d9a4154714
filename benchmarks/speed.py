"""How fast beside the official loop, part by part: encoding, saliency, fusing, sweeping. Ratios, measured in one run.

``make bench``, or ``python benchmarks/speed.py [--model tiny|ViT-B-32] [--rounds N] [--scenes N] [--out FOLDER]``. A
model of open_clip is taken with random weights: speed does not depend on them. Rounds alternate between the ways.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from baseline import embed_plainly, encode_plainly, segment_plainly
from floor import floor, products
from timing import alternate, machine

import clipdiy_lab as lab
from clipdiy_lab.analysis.protocols import get_protocol
from clipdiy_lab.method import metrics
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.method.labelling import candidates, choose
from clipdiy_lab.models.openclip_encoder import OpenClipEncoder
from clipdiy_lab.models.openvino import OpenVinoEncoder
from clipdiy_lab.models.saliency.dino_vit import DinoViT
from clipdiy_lab.models.saliency.found import Found

GRID = {
    "saliency_weight": np.linspace(0, 1, 10).tolist(),
    "scales": [(256, 128, 64), (128, 64), (64,), (256,), (128,)],
    "placement": ["stretched", "centred"],
}


def load(model: str, device: str = "cpu") -> Any:
    """Return the embedded encoder, or a model of open_clip with random weights; in float32."""
    if model == "tiny":
        return lab.load("tiny", saliency="none", device=device, precision="fp32").encoder
    torch.manual_seed(0)
    return OpenClipEncoder(
        open_clip.create_model(model),
        open_clip.get_tokenizer(model),
        name=f"{model}, random weights",
        mean=open_clip.OPENAI_DATASET_MEAN,
        std=open_clip.OPENAI_DATASET_STD,
        device=device,
        precision="fp32",
    )


def encoding(encoder: Any, image: np.ndarray, names: tuple[str, ...], rounds: int) -> list[dict[str, Any]]:
    """Encode an image: the official loop, and the segmenter in every precision; with the labels that agree."""
    segmenter = lab.Segmenter(encoder)
    config = Config.paper()
    frame = segmenter.encode(image, config)["image"].values
    text = embed_plainly(encoder, names)
    by_openvino = lab.Segmenter(OpenVinoEncoder(encoder, calibration=calibration_scenes))
    tools = {"torch": (segmenter, ("fp32", "bf16")), "OpenVINO": (by_openvino, ("fp32", "bf16", "int8"))}
    ways = {
        f"{tool}, {one}": (how, config.replace(precision=one))
        for tool, (how, several) in tools.items()
        for one in several
    }
    base = "official loop, torch fp32"
    timed = {base: functools.partial(encode_plainly, encoder, frame, text)}
    timed |= {name: functools.partial(how.encode, image, one) for name, (how, one) in ways.items()}
    took = alternate(timed, rounds)
    side, crops = encoder.image_size, sum(grid.rows * grid.cols for grid in Plan.of(config).crops)
    shapes = products(lambda: encoder.encode_crops(torch.zeros(crops, 3, side, side)))
    least = {precision: floor(shapes, precision) for precision in ("fp32", "bf16", "int8")}
    rows = [row("encode", base, took[base], took[base], floor=least["fp32"])]
    for name, (how, one) in ways.items():
        same = same_labels(encoder, text, how, one, names)
        rows.append(row("encode", name, took[name], took[base], same_labels=same, floor=least[one.precision]))
    return rows


def same_labels(
    encoder: Any, text: Any, segmenter: Any, config: Config, names: tuple[str, ...], images: int = 10
) -> float:
    """Share of pixels of a few scenes with the official loop's label by the merged scores, without saliency."""
    plain, scenes = config.replace(saliency_weight=0, background="none"), lab.open_dataset("scenes", length=images)
    shares = []
    for sample in scenes:
        run = segmenter.segment(sample.image, names, plain)
        truth = encode_plainly(encoder, run["image"].values, text).argmax(0).numpy()
        shares.append((run["labels"].values == truth).mean())
    return float(np.mean(shares))


def calibration_scenes() -> list[np.ndarray]:
    """Scenes of the training split, to set the ranges of int8 by."""
    return [sample.image for sample in lab.open_dataset("scenes", split="train", length=8)]


def saliency(image: np.ndarray, rounds: int) -> list[dict[str, Any]]:
    """Saliency of an image: FOUND on DINO ViT-S/8 (random weights), and the embedded one."""
    torch.manual_seed(0)
    backbone = DinoViT()
    head = {"decoder.weight": torch.randn(1, backbone.embed_dim, 1, 1), "decoder.bias": torch.zeros(1)}
    sources = {"found": Found(backbone, head), "found-tiny": lab.load("tiny").saliency}
    took = alternate({name: functools.partial(source, image) for name, source in sources.items()}, rounds)
    return [row("saliency", name, seconds, took["found"]) for name, seconds in took.items()]


def fusing(labels: int, mask: np.ndarray, rounds: int) -> list[dict[str, Any]]:
    """One configuration of one encoded image, from similarities to confusion counts; random similarities."""
    config, random, protocol = Config(), torch.Generator().manual_seed(0), get_protocol("mmseg")
    grids = [torch.randn(g.rows, g.cols, labels, generator=random) * 0.03 + 0.2 for g in Plan.of(config)]
    soft = torch.rand(256, 256, generator=random)

    def plain() -> np.ndarray:
        maps = [grid.permute(2, 0, 1)[None] for grid in grids]
        merged = sum(torch.nn.functional.interpolate(one, size=(256, 256), mode="bilinear")[0] for one in maps) / 3
        found = segment_plainly(merged, soft.numpy(), mask.shape)
        valid = mask != 255
        return np.bincount(mask[valid].astype(int) * labels + found[valid], minlength=labels**2)

    def settle(found: Any) -> None:
        metrics.confusion(mask, protocol.prediction(choose(found, soft, config).numpy(), mask.shape), labels)

    kept = candidates(grids, config, 0)
    took = alternate(
        {
            "plain: interpolate, multiply, argmax, count": plain,
            "sweep, first row of a search": lambda: settle(candidates(grids, config, 0)),
            "sweep, another saliency setting": lambda: settle(kept),
        },
        rounds * 4,
    )
    return [row("fuse", name, seconds, next(iter(took.values()))) for name, seconds in took.items()]


def sweeping(scenes: int, plain: float) -> list[dict[str, Any]]:
    """A hundred configurations of many scenes from a store, once; the plain way is what one fusion took, times all."""
    dataset, segmenter = lab.open_dataset("scenes", length=scenes), lab.load("tiny")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        lab.embed(segmenter, dataset, Path(folder) / "store")
        embedded = time.perf_counter() - start
        start = time.perf_counter()
        table = lab.sweep(Path(folder) / "store", dataset, GRID, segmenter=segmenter)
        swept = time.perf_counter() - start
    what = f"{len(table)} configurations of {scenes} scenes"
    return [
        row("sweep", f"{what}, plain fusing (computed)", plain * len(table) * scenes, plain * len(table) * scenes),
        row("sweep", f"{what}, from a store", swept, plain * len(table) * scenes),
        row("sweep", f"embedding {scenes} scenes first", embedded, embedded),
    ]


def row(part: str, way: str, seconds: float, baseline: float, **more: float) -> dict[str, Any]:
    """Return a line of the table."""
    return {"part": part, "way": way, "seconds": seconds, "ratio": baseline / seconds, **more}


def markdown(rows: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    """Return the table as people read it."""
    lines = [f"{name}: {value}" for name, value in facts.items()]
    lines += ["", "| part | way | ms | times the official way | floor, ms | same labels |", "|---|---|---|---|---|---|"]
    for one in rows:
        floor = f"{1000 * one['floor']:.0f}" if "floor" in one else ""
        same = f"{100 * one['same_labels']:.2f} %" if "same_labels" in one else ""
        lines.append(
            f"| {one['part']} | {one['way']} | {1000 * one['seconds']:.1f} | {one['ratio']:.1f} | {floor} | {same} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scenes", type=int, default=200, help="of the sweep; 0 leaves it out")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    load_before = os.getloadavg()[0]
    scenes = lab.open_dataset("scenes")
    sample, names = scenes[1], scenes.label_names
    encoder = load(options.model)
    rows = encoding(encoder, sample.image, names, options.rounds)
    rows += saliency(sample.image, options.rounds)
    rows += fusing(21, sample.mask, options.rounds)
    if options.scenes:
        rows += sweeping(options.scenes, next(one["seconds"] for one in rows if one["part"] == "fuse"))
    facts = {
        "model": encoder.name,
        "labels": len(names),
        "rounds": options.rounds,
        **machine(),
        "load before": load_before,
    }
    found = {"machine": facts, "rows": rows}
    options.out.mkdir(parents=True, exist_ok=True)
    stem = f"speed_{options.model}"
    (options.out / f"{stem}.json").write_text(json.dumps(found, indent=1))
    (options.out / f"{stem}.md").write_text(markdown(rows, facts))
    print(markdown(rows, facts))


if __name__ == "__main__":
    main()
