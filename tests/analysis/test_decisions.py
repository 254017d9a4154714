"""From windows to labels as the official codes decide: their outputs, and what the rules of a decision imply."""

import json
from typing import ClassVar

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file

import clipdiy_lab as lab
from clipdiy_lab.analysis.protocols import Decision, Protocol
from clipdiy_lab.analysis.scoring.deciding import Brought, best, decide
from clipdiy_lab.analysis.scoring.sliding import sliding_labels, sliding_scores
from clipdiy_lab.errors import ConfigError
from clipdiy_lab.method.refine import Pamr
from clipdiy_lab.models.openclip_encoder import OpenClipEncoder
from clipdiy_lab.pipeline import stages

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1}
WHOLE, WINDOWS = ("native", "square", "wide", "tall", "same_count", "odd", "small"), ("slide", "slide_ragged")
FILES = {"sclip": "sclip_csa", "clearclip": "clearclip_default", "naclip": "naclip_default"}


@pytest.fixture(scope="module")
def known(shared):
    return json.loads(shared("golden_peers/index.json").read_text())


@pytest.fixture(scope="module")
def segmenter(shared):
    """The small network of the official codes' outputs; its texts come from a file."""
    config = json.loads(shared("golden_peers/model_config.json").read_text()) | {"quick_gelu": True, "text_cfg": TEXT}
    model = open_clip.CLIP(**config).eval()
    model.visual.load_state_dict(load_file(shared("golden_peers/visual.safetensors")))
    mean, std = (tuple(np.array(one) / 255) for one in ([122.771, 116.746, 104.094], [68.501, 66.632, 70.323]))
    tokenizer = open_clip.SimpleTokenizer(context_length=77)
    return lab.Segmenter(OpenClipEncoder(model, tokenizer, name="peer", mean=mean, std=std))


def text_of(peer, owners=range(6)):
    """Texts of the phrases, which belong to labels in this order."""
    phrases = {}
    for place, owner in enumerate(owners):
        phrases.setdefault(f"label {owner}", []).append(f"phrase {place}")
    return stages.text_embedding(peer("text")["text"], phrases)


def config_of(method, text, **knobs):
    """The method in windows of 112 pixels, label 0 as the background."""
    synonyms = {}
    for label, phrase in zip(text["phrase_label"].values, text["phrase"].values, strict=True):
        synonyms.setdefault(label, []).append(phrase)
    return lab.Config(
        scales=(), dense=method, image_size=112, background="prompt", background_label="label 0", synonyms=synonyms,
        **knobs,
    )  # fmt: skip


def protocol_of(image, slides, decision):
    """The official windows of 224, stride 112, halved, on an image that has its size already."""
    windows = {"window": 112, "stride": 56} if slides else {}
    return Protocol(
        id="mine", summary="as the official code", absent="nan", image_short=min(image.shape[:2]), decision=decision,
        **windows,
    )  # fmt: skip


def labels_of(segmenter, peer, known, method, name, setting, **knobs):
    rules = dict(known["cases_by_file"][FILES[method]]["parameters"]["settings"][setting])
    owners = known["merged_query_index"] if rules.pop("merge", None) else range(6)
    decision = Decision(
        logit_scale=rules["scale"], probability_threshold=rules.get("prob"), area_threshold=rules.get("area")
    )
    image, text = peer("inputs")[f"{name}.image"], text_of(peer, owners)
    protocol = protocol_of(image, name in WINDOWS, decision)
    size = tuple(known["inputs"][name]["ori_shape"])
    return sliding_labels(segmenter, image, text, config_of(method, text, **knobs), protocol, size)


@pytest.fixture(scope="module", autouse=True)
def cases_by_file(known):
    known["cases_by_file"] = {case["file"].removesuffix(".npz"): case for case in known["cases"]}


def settings(method):
    shared = ["plain", "thd", "merged"]
    return [*shared, "voc21", "area"] if method == "sclip" else shared


CASES = [(method, setting) for method in FILES for setting in settings(method)]


@pytest.mark.parametrize(("method", "setting"), CASES)
def test_labels_are_those_of_the_official_code(segmenter, peer, known, method, setting):
    expected = peer(FILES[method])
    for name in (*WHOLE, *WINDOWS):
        size, original = (known["inputs"][name][key] for key in ("shape", "ori_shape"))
        if method == "sclip" and name in WHOLE and size[:2] != original:
            continue  # without windows its code brings the grid to the original in one step; officially it has windows
        found = labels_of(segmenter, peer, known, method, name, setting)
        assert (found == expected[f"{name}.labels_{setting}"]).mean() >= 0.9995, name


@pytest.mark.parametrize("method", FILES)
@pytest.mark.parametrize("name", WINDOWS)
def test_averaged_cosines_are_those_of_the_official_code(segmenter, peer, known, method, name):
    image, text = peer("inputs")[f"{name}.image"], text_of(peer)
    protocol = protocol_of(image, True, Decision(logit_scale=40))
    scores, _ = sliding_scores(segmenter, image, text, config_of(method, text), protocol)
    size = tuple(known["inputs"][name]["ori_shape"])
    maps = np.stack([one for _, one in Brought(scores, size).maps(range(6))])
    np.testing.assert_allclose(maps[:, ::8, ::8], peer(FILES[method])[f"{name}.logits_every8"], rtol=0, atol=5e-6)


def test_naclip_refines_the_whole_image_at_its_own_size(segmenter, peer, known):
    expected = peer("naclip_default")
    names = [key.split(".")[0] for key in expected if key.endswith("pamr_labels_plain")]
    assert len(names) >= 2
    for name in names:
        found = labels_of(segmenter, peer, known, "naclip", name, "plain", refine="pamr")
        assert (found == expected[f"{name}.pamr_labels_plain"]).mean() >= 0.9995, name


def brought(seed=0, phrases=5, size=(12, 9)):
    scores = torch.randn(phrases, 6, 7, generator=torch.Generator().manual_seed(seed)) / 20
    return Brought(scores, size)


def plainly(maps, owners, background, decision):
    """The rules of a decision, on whole arrays."""
    whole = torch.stack([one for _, one in maps.maps(range(len(maps.scores)))])
    phrases = torch.softmax(decision.logit_scale * whole, 0)
    owners = torch.tensor(owners)
    p = torch.stack([phrases[owners == label].amax(0) for label in range(int(owners.max()) + 1)])
    if decision.area_threshold is not None:
        won = torch.bincount(p.argmax(0).flatten(), minlength=len(p))
        rest = won.sum() - won[background]
        for label in range(len(p)):
            if label != background and won[label] <= decision.area_threshold * rest:
                p[label] = 0
    labels = p.argmax(0)
    if decision.probability_threshold is not None:
        labels[p.amax(0) < decision.probability_threshold] = background
    return labels.numpy()


@pytest.mark.parametrize("background", [0, 1, 2])
@pytest.mark.parametrize("rules", [{}, {"probability_threshold": 0.6}, {"area_threshold": 0.3}])
def test_decisions_follow_their_rules_whatever_the_place_of_the_background(rules, background):
    owners = [0, 0, 1, 2, 2]
    for seed in range(5):
        decision, maps = Decision(logit_scale=30, **rules), brought(seed)
        expected = plainly(maps, owners, background, decision)
        assert np.array_equal(decide(maps, owners, background, decision), expected)
    both = Decision(logit_scale=30, probability_threshold=0.6, area_threshold=0.3)
    assert np.array_equal(decide(maps, owners, background, both), plainly(maps, owners, background, both))


def test_a_probability_needs_no_second_refinement():
    class Once(Brought):
        asked: ClassVar = []

        def maps(self, places):
            self.asked.append(list(places))
            return super().maps(places)

    owners = [0, 0, 1, 2, 2]
    decide(Once(brought().scores, (12, 9)), owners, 0, Decision(logit_scale=30, probability_threshold=0.6))
    assert Once.asked == [[0, 1, 2, 3, 4]]


def test_maps_that_are_brought_in_parts_are_those_brought_at_once():
    image = torch.randint(0, 256, (12, 9, 3), dtype=torch.uint8)
    maps = Brought(brought(phrases=35).scores, (12, 9), Pamr(image, 2, (1, 3)))
    at_once = maps.refinement(torch.nn.functional.interpolate(maps.scores[None], size=(12, 9), mode="bilinear")[0])
    for place, one in maps.maps(range(35)):
        torch.testing.assert_close(one, at_once[place], atol=1e-7, rtol=0)
    assert np.array_equal(best(maps, range(35), range(35)), at_once.argmax(0))


def test_a_decision_needs_phrases_and_for_thresholds_a_background():
    scenes, segmenter = lab.open_dataset("scenes", length=1), lab.load("tiny", saliency="none")
    config = lab.Config(scales=(), dense="naclip", image_size=64, background="prompt")
    protocol = Protocol(
        id="mine", summary="mine", absent="nan", image_short=64,
        decision=Decision(logit_scale=40, probability_threshold=0.1),
    )  # fmt: skip
    assert 0 <= lab.evaluate(segmenter, scenes, config, protocol=protocol).attrs["miou"] <= 1
    for knobs in ({"background": "threshold"}, {"background": "saliency"}, {"keep_labels": 3}):
        with pytest.raises(ConfigError, match=r"lets every phrase compete on its own, which .* does not"):
            lab.evaluate(segmenter, scenes, config.replace(**knobs), protocol=protocol)
    with pytest.raises(ConfigError, match="has thresholds below which pixels are background, and there is no"):
        lab.evaluate(segmenter, scenes, config.replace(background="none"), protocol=protocol)
    reaching = config.replace(refine="pamr", refine_dilations=(63,))
    with pytest.raises(
        ConfigError, match="refine_dilations reaches 63 pixels, but the frame has only 20 x 30; use at most 19"
    ):
        sliding_labels(segmenter, scenes[0].image, text(segmenter, scenes, reaching), reaching, protocol, (20, 30))


def text(segmenter, dataset, config):
    return segmenter.text_embeddings(dataset.label_names, config)


def test_decisions_belong_to_windows():
    with pytest.raises(ValueError, match="decision needs image_short"):
        Protocol(id="mine", summary="mine", absent="nan", decision=Decision(logit_scale=40))
