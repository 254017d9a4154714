"""Images per second, end to end, beside the official loop: decode, frame, crops, encoder, FOUND, fuse, counts.

``python benchmarks/throughput.py [--rounds 5] [--images 2] [--only PART ...] [--out FOLDER]``. ViT-B/32 and DINO
ViT-S/8 have random weights, FOUND its published head where it lies beside the repository; speed does not depend on
them. Every round takes other images, and every way takes the same ones.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from baseline import embed_plainly, encode_plainly, segment_plainly
from floor import floor, operations, products
from parts import parts_of
from pictures import HEIGHT, WIDTH, Pictures, calibration, pictures
from PIL import Image
from speed import load
from timing import machine, peak_memory

import clipdiy_lab as lab
from clipdiy_lab.analysis.protocols import get_protocol
from clipdiy_lab.method import metrics
from clipdiy_lab.method import schema as s
from clipdiy_lab.models.checkpoints import read_checkpoint
from clipdiy_lab.models.openvino import OpenVinoEncoder
from clipdiy_lab.models.saliency.dino_vit import DinoViT
from clipdiy_lab.models.saliency.found import Found
from clipdiy_lab.pipeline.fusion import fuse

HEAD = Path(__file__).parents[2] / "shared/found/decoder_weights.pt"
OFFICIAL = "official loop, torch fp32"
LOADED = ("torch, fp32", "torch, bf16", "OpenVINO, int8")
"""Ways that are also timed on a busy machine, and whose memory is taken."""
WAYS = {
    "torch, fp32": ("torch", "fp32"),
    "torch, bf16": ("torch", "bf16"),
    "OpenVINO, fp32": ("openvino", "fp32"),
    "OpenVINO, bf16": ("openvino", "bf16"),
    "OpenVINO, int8": ("openvino", "int8"),
}


def segmenters(small: bool, runtimes: tuple[str, ...] = ("torch", "openvino")) -> dict[str, lab.Segmenter]:
    """Return a segmenter by runtime; its configuration says the precision."""
    encoder = load("tiny" if small else "ViT-B-32")
    torch.manual_seed(0)
    backbone = DinoViT(depth=2 if small else 12).eval()
    head = read_checkpoint(HEAD).tensors if HEAD.exists() else _random_head(backbone)
    made = {"torch": lab.Segmenter(encoder, Found(backbone, head))}
    if runtimes == ("torch",):
        return made
    images = calibration()
    by_openvino = Found(backbone, head, runtime="openvino", calibration=lambda: images)
    made["openvino"] = lab.Segmenter(OpenVinoEncoder(encoder, calibration=lambda: images), by_openvino)
    return made


def _random_head(backbone: DinoViT) -> dict[str, torch.Tensor]:
    return {"weight": torch.randn(1, backbone.embed_dim, 1, 1), "bias": torch.zeros(1)}


class Official:
    """The official loop: the crops of a scale are one batch, all in float32 by torch, and nothing is shared."""

    def __init__(self, segmenter: lab.Segmenter, names: tuple[str, ...]) -> None:
        self.encoder, self.saliency = segmenter.encoder, segmenter.saliency
        self.text, self.names = embed_plainly(self.encoder, names), names
        self.scores: torch.Tensor | None = None

    def __call__(self, jpeg: bytes, mask: np.ndarray) -> np.ndarray:
        """Return the labels of an image, and keep its scores in the frame."""
        pixels = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
        frame = cv2.resize(pixels, (256, 256), interpolation=cv2.INTER_LINEAR)
        merged, soft = encode_plainly(self.encoder, frame, self.text), self.saliency(pixels)
        labels = segment_plainly(merged, soft, mask.shape)
        np.bincount(mask.ravel().astype(int) * len(self.names) + labels.ravel(), minlength=len(self.names) ** 2)
        return labels


class Ours:
    """What `evaluate` does with an image."""

    def __init__(self, segmenter: lab.Segmenter, names: tuple[str, ...], precision: str) -> None:
        self.segmenter, self.names = segmenter, names
        self.config = lab.Config.paper().replace(precision=precision)
        self.text = segmenter.text_embeddings(names, self.config)
        self.protocol = get_protocol("mmseg")

    def __call__(self, jpeg: bytes, mask: np.ndarray) -> np.ndarray:
        """Return the labels of an image at its own size."""
        encoding = self.segmenter.encoding(jpeg, self.config)
        labels = lab_labels(encoding, self.text, self.config)
        resized = self.protocol.prediction(labels, mask.shape)
        metrics.confusion(mask, resized, len(self.names))
        return resized


def lab_labels(encoding: Any, text: Any, config: lab.Config) -> np.ndarray:
    """Return the labels in the frame, found the short way."""
    from clipdiy_lab.pipeline.fusion import label_map

    found: np.ndarray = label_map(encoding, text, config).values
    return found


def end_to_end(data: Pictures, made: dict[str, lab.Segmenter], rounds: int, images: int) -> list[dict[str, Any]]:
    """Time all ways on the same images, round by round, and compare their labels with the official loop's."""
    ways: dict[str, Any] = {OFFICIAL: Official(made["torch"], data.label_names)}
    ways |= {name: Ours(made[runtime], data.label_names, one) for name, (runtime, one) in WAYS.items()}
    for way in ways.values():
        way(data.files[0], data.mask)  # compiles
    took: dict[str, list[float]] = {name: [] for name in ways}
    changed: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    margins = []
    for number in range(rounds):
        chosen = [data.files[(number * images + n) % len(data)] for n in range(images)]
        found = {}
        for name, way in ways.items():
            start = time.perf_counter()
            found[name] = [way(jpeg, data.mask) for jpeg in chosen]
            took[name].append((time.perf_counter() - start) / images)
        exact: Ours = ways["torch, fp32"]
        for place, jpeg in enumerate(chosen):
            margins.append(_margin(exact, jpeg))
            for name, maps in found.items():
                changed[name].append(maps[place] != found[OFFICIAL][place])
        print(
            f"round {number + 1}: " + ", ".join(f"{name} {times[-1]:.2f} s" for name, times in took.items()), flush=True
        )
    return [_row(name, took, np.array(changed[name]), np.array(margins)) for name in ways]


def _margin(exact: Ours, jpeg: bytes) -> np.ndarray:
    """Winner's score less the runner-up's in fp32, at the image's own size, in units of the scores' deviation."""
    run = fuse(exact.segmenter.encoding(jpeg, exact.config), exact.text, exact.config)
    scores = torch.from_numpy(s.scores(run).values)
    spread = float(scores.std(0).mean())
    found: np.ndarray = exact.protocol.prediction(s.stage(run, "margin").values, (HEIGHT, WIDTH)) / spread
    return found


def _row(name: str, took: dict[str, list[float]], changed: np.ndarray, margins: np.ndarray) -> dict[str, Any]:
    seconds = statistics.median(took[name])
    ratios = [one / other for one, other in zip(took[OFFICIAL], took[name], strict=True)]
    row = {
        "way": name,
        "seconds": seconds,
        "images_per_second": 1 / seconds,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "same_labels": 1 - float(changed.mean()),
        "median_margin": float(np.median(margins)),
    }
    if changed.any():
        levels = (0.5, 0.95, 1.0)
        row["margin_of_changed"] = [float(one) for one in np.quantile(margins[changed], levels)]
        # How rare such a margin is: the share of all pixels whose margin is no greater.
        row["share_below"] = [float((margins <= one).mean()) for one in row["margin_of_changed"]]
    return row


def networks(made: dict[str, lab.Segmenter], rounds: int) -> list[dict[str, Any]]:
    """Time encoder and FOUND alone beside the matrix products that they are made of."""
    encoder, saliency = made["torch"].encoder, made["torch"].saliency
    crops = torch.randn(59, 3, encoder.image_size, encoder.image_size)
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    shapes = {"encoder": products(lambda: encoder.encode_crops(crops)), "FOUND": products(lambda: saliency(image))}
    floors = {p: {part: floor(found, p) for part, found in shapes.items()} for p in ("fp32", "bf16", "int8")}
    rows = []
    for name, (runtime, precision) in WAYS.items():
        segmenter = made[runtime]
        config = lab.Config.paper().replace(precision=precision)
        for part, found in shapes.items():
            network, given = (
                (segmenter._at(config).encode_crops, crops)
                if part == "encoder"
                else (segmenter._saliency_at(config), image)
            )
            seconds = _median(lambda network=network, given=given: network(given), rounds)
            least = floors[precision][part]
            row = {"network": part, "way": name, "seconds": seconds, "floor": least, "times_floor": seconds / least}
            rows.append(row | {"gflop": operations(found) / 1e9})
    return rows


def _median(way: Callable[[], object], rounds: int) -> float:
    took = []
    for number in range(rounds + 1):
        start = time.perf_counter()
        with torch.inference_mode():
            way()
        took += [time.perf_counter() - start] * bool(number)
    return statistics.median(took)


def whole_and_parts(data: Pictures, made: dict[str, lab.Segmenter], images: int) -> list[dict[str, Any]]:
    """Time `embed` and `evaluate` of a few images beside the sum of what they are made of."""
    rows = []
    for name, (runtime, precision) in WAYS.items():
        if precision == "fp32" and runtime == "openvino":
            continue
        segmenter, some = made[runtime], data.first(images)
        config = lab.Config.paper().replace(precision=precision)
        before = parts_of(segmenter, some, config)
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            lab.embed(segmenter, some, Path(folder) / "store", config)
            embedded = time.perf_counter() - start
        start = time.perf_counter()
        lab.evaluate(segmenter, some, config)
        evaluated = time.perf_counter() - start
        after = parts_of(segmenter, some, config)
        parts = {part: (seconds + after[part]) / 2 for part, seconds in before.items()}
        fusing = parts["fuse"] + parts["count"]
        total = sum(parts.values())
        row = {"way": name, "images": images, "parts": parts, "embed": embedded, "evaluate": evaluated}
        row |= {"embed_over_parts": embedded / (total - fusing), "evaluate_over_parts": evaluated / total}
        rows.append(row)
    return rows


def busy(data: Pictures, made: dict[str, lab.Segmenter]) -> list[dict[str, Any]]:
    """Time work on the machine as it is, and while another process keeps every core at work."""
    scenes, tiny = lab.open_dataset("scenes", length=20), lab.load("tiny", device="cpu")
    grid = {"saliency_weight": np.linspace(0, 1, 10).tolist(), "scales": [(256, 128, 64), (128, 64)]}
    ours = {name: Ours(made[runtime], data.label_names, one) for name, (runtime, one) in WAYS.items() if name in LOADED}
    encoding = ours["torch, bf16"].segmenter.encoding(data.files[0], ours["torch, bf16"].config)
    work: dict[str, Callable[[], object]] = {
        f"an image, {name}": lambda way=way: way(data.files[0], data.mask) for name, way in ours.items()
    }
    one = ours["torch, bf16"]
    work["a run with all stages"] = lambda: fuse(encoding, one.text, one.config)
    work["labels of an encoded image"] = lambda: lab_labels(encoding, one.text, one.config)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        lab.embed(tiny, scenes, store)
        work["sweep of 20 configurations over 20 scenes"] = lambda: lab.sweep(store, scenes, grid, segmenter=tiny)
        work["evaluate 20 scenes, tiny"] = lambda: lab.evaluate(tiny, scenes)
        idle = {name: _median(one, 2) for name, one in work.items()}
        others = [
            multiprocessing.get_context("spawn").Process(target=_spin, daemon=True) for _ in range(os.cpu_count() or 1)
        ]
        for process in others:
            process.start()
        time.sleep(3)
        try:
            loaded = {name: _median(one, 2) for name, one in work.items()}
        finally:
            for process in others:
                process.terminate()
                process.join()
    return [
        {"work": name, "idle": idle[name], "busy": loaded[name], "times": loaded[name] / idle[name]} for name in work
    ]


def _spin() -> None:
    while True:
        pass


def waiting() -> list[dict[str, Any]]:
    """Time an image with `tiny` where threads spin while they wait and where they sleep, in processes of their own."""
    rows = []
    for policy in ("ACTIVE", "PASSIVE"):
        done = _run(["tiny", "-"], {"OMP_WAIT_POLICY": policy})
        rows.append({"policy": policy, **json.loads(done)})
    return rows


def memory(small: bool) -> list[dict[str, Any]]:
    """Peak memory of a process that embeds, and of one that evaluates, 50 and 500 images; and of one image by ways."""
    rows = []
    for what, amounts in dict.fromkeys(("embed", "evaluate"), (5, 10) if small else (50, 500)).items():
        peaks = {count: _child(what, str(count), small) for count in amounts}
        small, large = (peaks[count] for count in amounts)
        rows.append({"work": what, "MB": peaks, "growth": large / small - 1})
    rows += [{"work": f"one image, {name}", "MB": {1: _child("image", name, small)}} for name in (OFFICIAL, *LOADED)]
    return rows


def _child(what: str, argument: str, small: bool) -> int:
    return int(_run([what, argument, *["--small"] * small]).split()[-1])


def _run(child: list[str], environment: dict[str, str] | None = None) -> str:
    command, env = [sys.executable, __file__, "--child", *child], os.environ | (environment or {})
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)  # noqa: S603 - this file
    return done.stdout.splitlines()[-1]


def child(what: str, argument: str, small: bool) -> None:
    """Do one piece of work and print this process's peak memory, MB."""
    data = pictures()
    if what == "tiny":
        segmenter, image = lab.load("tiny", saliency="none", device="cpu"), lab.open_dataset("scenes")[0].image
        configs = {precision: lab.Config(precision=precision) for precision in ("fp32", "bf16")}
        took = {name: _median(lambda one=one: segmenter.encode(image, one), 9) for name, one in configs.items()}
        print(json.dumps(took))
        return
    if what == "image":
        runtime, precision = WAYS.get(argument, ("torch", "fp32"))
        segmenter = segmenters(small, (runtime,))[runtime]
        official = argument == OFFICIAL
        way = Official(segmenter, data.label_names) if official else Ours(segmenter, data.label_names, precision)
        for jpeg in data.files[:2]:
            way(jpeg, data.mask)
    else:
        segmenter = lab.load("tiny", saliency=lab.saliency.build("constant", value=0.5), device="cpu")
        some, config = data.first(int(argument)), lab.Config(precision="bf16")
        if what == "embed":
            with tempfile.TemporaryDirectory() as folder:
                lab.embed(segmenter, some, Path(folder) / "store", config)
        else:
            lab.evaluate(segmenter, some, config)
    print(peak_memory() // 1024)


PARTS = ("end_to_end", "networks", "whole_and_parts", "busy", "waiting", "memory")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=2, help="of every round")
    parser.add_argument("--small", action="store_true", help="`tiny` and two blocks of DINO, to see that it runs")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child, small=options.small)
        return
    from reports import tables  # reads what this file writes

    warnings.simplefilter("ignore", lab.ClipdiyWarning)  # `tiny` sees photographs where sizes are small
    data, load_before = pictures(), os.getloadavg()[0]
    made = segmenters(options.small)
    run = {
        "end_to_end": lambda: end_to_end(data, made, options.rounds, options.images),
        "networks": lambda: networks(made, options.rounds),
        "whole_and_parts": lambda: whole_and_parts(data, made, 2 * options.images),
        "busy": lambda: busy(data, made),
        "waiting": waiting,
        "memory": lambda: memory(options.small),
    }
    facts = {**machine(), "load before": load_before, "rounds": options.rounds, "images a round": options.images}
    found: dict[str, Any] = {"machine": facts}
    options.out.mkdir(parents=True, exist_ok=True)
    for part in options.only:
        start = time.perf_counter()
        found[part] = run[part]()
        print(f"{part}: {time.perf_counter() - start:.0f} s", flush=True)
        (options.out / "throughput.json").write_text(json.dumps(found, indent=1) + "\n")
        (options.out / "throughput.md").write_text(tables(found))
    print(tables(found))


if __name__ == "__main__":
    main()
