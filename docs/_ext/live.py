"""The live pages: the instrument with a scene, with methods side by side, and with an ablation."""

import html
import tempfile
from collections.abc import Callable
from contextlib import chdir

import numpy as np
from pages import EXTRA, SOURCE, write
from PIL import Image

import clipdiy_lab as lab

IMAGES = 4
"""Scenes behind the table of the ablation."""
COMPARED, ABLATED = 5, 10
"""Which scenes are shown."""
SCALES = ((256,), (256, 128), (256, 128, 64))


def one_scene(segmenter: lab.Segmenter, scenes: lab.Dataset) -> None:
    """One scene, every knob that needs no network."""
    image = _saved(scenes[1], "street.png")
    run = segmenter.segment(image, ["background", "car", "tv/monitor", "train"])
    lab.report(run, EXTRA / "live" / "scene.html", segmenter=segmenter, image=image)


def methods(segmenter: lab.Segmenter, scenes: lab.Dataset) -> None:
    """One scene by crops, by patches, and by both; the name of a file is what the page calls a run."""
    ways = {
        "CLIP-DIY.png": lab.Config(),
        "ClearCLIP.png": lab.Config(scales=(), dense="clearclip", dense_side=128),
        "both.png": lab.Config().replace(dense="naclip", dense_from="crops", weights={"dense": 0.25}),
    }
    labels = _shown(scenes[COMPARED], scenes)
    runs = [segmenter.segment(_saved(scenes[COMPARED], name), labels, way) for name, way in ways.items()]
    lab.report(runs, EXTRA / "live" / "methods.html")


def ablation(segmenter: lab.Segmenter, scenes: lab.Dataset) -> None:
    """One scene with one, two and three scales, and what they score over some scenes."""
    labels, runs = _shown(scenes[ABLATED], scenes), []
    for scales in SCALES:
        image = _saved(scenes[ABLATED], f"{len(scales)} of 3 scales.png")
        runs.append(segmenter.segment(image, labels, lab.Config(scales=scales)))
    table = lab.sweep(segmenter, scenes, {"scales": list(SCALES)}, limit=IMAGES)
    shown = table[["scales", "miou_percent", "miou_low_percent", "miou_high_percent"]]
    lab.report(runs, EXTRA / "live" / "ablation.html", {f"mIoU over {IMAGES} scenes": shown})


PAGES: dict[str, tuple[str, str, Callable[[lab.Segmenter, lab.Dataset], None]]] = {
    "scene": (
        "One scene",
        "A click explains a pixel, a drag a region. Turn saliency down, move weights, change labels: the page "
        "computes it.",
        one_scene,
    ),
    "methods": (
        "Three methods",
        "One scene by 59 crops (CLIP-DIY), by the patches of one pass (ClearCLIP's last block), and by both "
        "(NACLIP's, of the crops). The film strip turns from one to the other.",
        methods,
    ),
    "ablation": (
        "An ablation",
        "The same scene with one, two and three scales, and below it what they score.",
        ablation,
    ),
}
"""Name of a page to its title, its sentence, and what makes it."""


def _saved(sample: lab.Sample, name: str) -> str:
    Image.fromarray(sample.image).save(name)
    return name


def _shown(sample: lab.Sample, scenes: lab.Dataset) -> list[str]:
    """Labels of a sample's mask, and the background first."""
    return [scenes.label_names[i] for i in sorted({0, *np.unique(sample.mask).tolist()} - {255})]


def make_pages() -> None:
    """Write the pages, and the one that shows them."""
    segmenter, scenes = lab.load("tiny"), lab.open_dataset("scenes")
    (EXTRA / "live").mkdir(parents=True, exist_ok=True)
    text = (
        "# Live\n\n"
        "The instrument without Python: pages of `lab.report`, each one file. What no network is needed for is "
        "computed by the page itself.\n\n"
    )
    for name, (title, sentence, make) in PAGES.items():
        # A page calls an image as its path does, so the paths are short.
        with tempfile.TemporaryDirectory() as folder, chdir(folder):
            make(segmenter, scenes)
        text += f"## {title}\n\n{sentence} "
        text += f'<a href="{name}.html">Open it alone</a>.\n\n```{{raw}} html\n'
        text += (
            f'<iframe class="lab-live" src="{name}.html" title="{html.escape(title)}" loading="lazy"></iframe>\n```\n\n'
        )
    write(SOURCE / "live" / "index.md", text)
