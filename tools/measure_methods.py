"""Measure ways of segmenting on `scenes`: crops, patch tokens and both, refined and not, all from one pass per image.

    python tools/measure_methods.py [--limit N] [--split val] [--rows EXPRESSION] [--out FILE.csv]

Percent mIoU on the masks at their own size, `tiny` and `found-tiny`. The tokens of every method come from the same pass
through the blocks before the last. Choose by `val`; `val_unseen` is for looking. `--rows` takes the configurations
whose name holds the expression, such as "PAMR|^crops$".
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

import clipdiy_lab as lab
from clipdiy_lab.method import metrics, ops
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.method.last_block import METHODS
from clipdiy_lab.method.naming import DENSE, token_grid_name
from clipdiy_lab.pipeline import crops as crop_passes
from clipdiy_lab.pipeline import stages
from clipdiy_lab.pipeline.encoding import Encoding
from clipdiy_lab.pipeline.fusion import label_map

PAPER = Config.paper()
PAMR = {"refine": "pamr", "refine_dilations": (4, 8, 16)}
SIDES = (64, 128, 256)
WEIGHTS = (0.1, 0.25, 0.5)


def rows() -> Iterator[tuple[str, Config]]:
    """Name and configuration of everything that is measured."""
    yield "crops", PAPER
    for dilations in ((8, 16), (1, 2, 4), (4, 8, 16)):
        yield f"crops, PAMR {dilations}", PAPER.replace(refine="pamr", refine_dilations=dilations)
    yield "crops, guided, radius 16", PAPER.replace(refine="guided", refine_radius=16)
    for labels in (3, 4, 5):
        yield f"crops, keep_labels {labels}", PAPER.replace(keep_labels=labels)
    yield "crops, PAMR (4, 8, 16), keep_labels 3", PAPER.replace(keep_labels=3, **PAMR)
    for method in METHODS:
        for side in SIDES:
            yield f"{method}, frame at {side}", PAPER.replace(scales=(), dense=method, dense_side=side)
        whole = PAPER.replace(dense=method, dense_from="crops")
        alone = whole.replace(weights={f"s{side:03d}": 0 for side in whole.scales})
        yield f"{method}, crops' tokens", alone
        yield f"{method}, crops' tokens, PAMR", alone.replace(**PAMR)
        for weight in WEIGHTS:
            yield (
                f"crops + {weight} {method}, frame at 128",
                PAPER.replace(dense=method, dense_side=128, weights={DENSE: weight}),
            )
            yield f"crops + {weight} {method}, crops' tokens", whole.replace(weights={DENSE: weight})
        yield f"crops + 0.5 {method}, crops' tokens, PAMR", whole.replace(weights={DENSE: 0.5}, **PAMR)


@torch.inference_mode()
def tokens_of(
    segmenter: lab.Segmenter, encoding: Encoding, methods: Collection[str]
) -> dict[str, dict[str, torch.Tensor]]:
    """Patch tokens of some methods: by method, those of the crops by grid, those of the frame by its side."""
    encoder, frame = segmenter.encoder, encoding.frame
    tower, found = encoder.tokens, {method: {} for method in methods}
    for grid in Plan.of(PAPER) if methods else ():
        before = tower.before_last(crop_passes.to_input(ops.cut_windows(frame, grid), encoder.image_size, encoder))
        heads, side = tower.heads(before), encoder.image_size // tower.patch
        for method in methods:
            tokens = tower.dense(before, heads, METHODS[method], (side, side))
            unit = F.normalize(tokens.float(), dim=-1)
            placed = unit.reshape(grid.rows, grid.cols, side, side, -1)
            found[method][token_grid_name(grid.window)] = placed.transpose(1, 2).flatten(2, 3).flatten(0, 1)
    for method in methods:
        for side in SIDES:
            config = PAPER.replace(dense=method, dense_side=side)
            found[method][str(side)] = encoder.encode_tokens(crop_passes.frame_input(frame, config, encoder), method)
    return found


def measure(split: str, limit: int, expression: str) -> pd.Series:
    """Percent mIoU of the rows whose name holds an expression."""
    segmenter, dataset = lab.load("tiny"), lab.open_dataset("scenes", split=split)
    configs = {name: segmenter.settled(config) for name, config in rows() if re.search(expression, name)}
    dense = {config.dense for config in configs.values()} - {"none"}
    text = segmenter.text_embeddings(dataset.label_names, PAPER)
    labels = len(dataset.label_names)
    counts = {name: np.zeros((labels, labels), dtype=np.int64) for name in configs}
    for index in range(min(limit, len(dataset))):
        sample = dataset[index]
        plain = segmenter.encoding(sample.image, PAPER)
        tokens = tokens_of(segmenter, plain, dense)
        for name, config in configs.items():
            embeddings = dict(plain.embeddings)
            if config.dense != "none":
                embeddings |= tokens[config.dense]
                embeddings[DENSE] = embeddings[str(config.dense_side or SIDES[-1])]
            encoding = replace(plain, config=config, embeddings=embeddings)
            predicted = stages.labels_full(label_map(encoding, text, config), plain.size).values
            counts[name] += metrics.confusion(sample.mask, predicted, labels)
        if index % 20 == 19:
            print(f"{split}: {index + 1} images", flush=True)
    return pd.Series({name: 100 * metrics.mean_iou(pooled) for name, pooled in counts.items()}, name=split)


def main() -> None:
    """Print a table with a column a split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", nargs="*", default=["val", "val_unseen"])
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--rows", default="")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    table = pd.DataFrame()
    for split in options.split:
        table[split] = measure(split, options.limit, options.rows)
        print(table.round(1).to_string(), flush=True)
        if options.out is not None:
            table.round(2).to_csv(options.out, index_label="configuration")


if __name__ == "__main__":
    main()
