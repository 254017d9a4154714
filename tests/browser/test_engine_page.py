"""The engine in Chromium against Python: ten scenes and two photographs, thirty states of each."""

import re
import sys
from pathlib import Path

import pytest
import torch

import clipdiy_lab as lab
from clipdiy_lab.method import schema as s
from clipdiy_lab.models.openclip_encoder import OpenClipEncoder
from clipdiy_lab.views.instrument.bundle import bundled
from clipdiy_lab.views.instrument.scene import scene

DRIVER = Path(__file__).parents[1] / "views/instrument"
sys.path.append(str(DRIVER))
from configurations import random_states  # noqa: E402
from parity import compare  # noqa: E402

STATES = 30
LABELS = ["person", "car", "cat", "dog", "sofa", "sky", "tree", "aeroplane"]


@pytest.fixture(scope="module")
def page(chromium):
    """An empty page that has the engine."""
    found = chromium.new_page()
    found.goto("about:blank")
    for module, name in (("engine", "Engine"), ("scene", "unpack")):
        found.add_script_tag(content=f"{bundled(module)}\nwindow.{name} = {name};", type="module")
    driver = re.sub(r"^import .*$", "", (DRIVER / "driver.js").read_text(), flags=re.MULTILINE)
    found.wait_for_function("() => window.Engine && window.unpack")
    found.add_script_tag(content=f"{driver}\nwindow.answers = answers;", type="module")
    found.wait_for_function("() => window.answers")
    yield found
    found.close()


def check(page, run, seed, most=0.001):
    states = random_states(run, STATES, seed)
    requests = [state.request(run) | {"maps": i % 3 == 0} for i, state in enumerate(states)]
    answers = page.evaluate("([packed, requests]) => answers(packed, requests, true)", [scene(run), requests])
    near = sum(compare(run, states[i], answer, whole=i % 3 == 0) for i, answer in enumerate(answers))
    pixels = STATES * run.sizes[s.Y] * run.sizes[s.X]
    print(f"{near} of {pixels} pixels were too near to call")
    assert near < most * pixels


@pytest.mark.parametrize("number", range(10))
def test_scenes(page, number):
    scenes = lab.open_dataset("scenes", split="val")
    segmenter = lab.load("tiny")
    labels = [name for name in scenes.label_names if name != "background"]
    config = lab.Config(dense="naclip", dense_from="crops") if number % 5 == 4 else None
    check(page, segmenter.segment(scenes[number].image, labels, config), number)


@pytest.fixture(scope="module")
def vit_b_32():
    """ViT-B/32 with random weights: what counts here is its sizes."""
    import open_clip

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model("ViT-B-32")
    encoder = OpenClipEncoder(
        model,
        open_clip.get_tokenizer("ViT-B-32"),
        name="ViT-B-32, random",
        mean=open_clip.OPENAI_DATASET_MEAN,
        std=open_clip.OPENAI_DATASET_STD,
    )
    return lab.Segmenter(encoder=encoder, saliency="spectral")


@pytest.mark.parametrize("number", range(2))
def test_photographs(page, vit_b_32, shared, number):
    photographs = sorted(shared("samples/voc2012/JPEGImages").glob("*.jpg"))
    # Random weights find all labels alike, so that more pixels are near to a tie than with trained ones.
    check(page, vit_b_32.segment(photographs[number], LABELS), seed=100 + number, most=0.1)
