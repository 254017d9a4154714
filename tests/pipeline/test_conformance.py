"""Conformance reports: every encoder, source and dataset of the lab's passes; every fault is seen by its check."""

import itertools

import numpy as np
import open_clip
import pytest
import torch
from counting import CountingEncoder

import clipdiy_lab as lab
from clipdiy_lab.datasets.sample import Sample
from clipdiy_lab.models.openclip_encoder import OpenClipEncoder
from clipdiy_lab.models.saliency.dino_vit import DinoViT
from clipdiy_lab.models.saliency.found import Found, FoundSeed


def failed(report):
    return [check.name for check in report.checks if not check.passed]


@pytest.fixture(scope="module")
def random_encoder():
    """A small open_clip model of random weights."""
    vision = {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.CLIP(embed_dim=24, vision_cfg=vision, text_cfg=text)
    return OpenClipEncoder(model, open_clip.SimpleTokenizer(), name="random", mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.mark.parametrize("name", ["tiny", "random", "bf16", "openvino", "counting"])
def test_every_encoder_of_the_lab_passes(name, random_encoder):
    encoder = {
        "tiny": lambda: lab.load("tiny", saliency="none").encoder,
        "random": lambda: random_encoder,
        "bf16": lambda: random_encoder.with_precision("bf16"),
        "openvino": lambda: lab.load("tiny", saliency="none", runtime="openvino").encoder,
        "counting": CountingEncoder,
    }[name]()
    report = lab.check_encoder(encoder)
    assert report.ok, report
    checks = set(report.table["check"])
    assert {"crops: batches", "texts: batches", "fingerprint", "pickle", "image"} <= checks
    assert ("recipe" in checks) == (name in ("tiny", "openvino"))


@pytest.mark.parametrize("name", ["found-tiny", "spectral", "constant", "file", "none", "found", "found-seed"])
def test_every_source_of_the_lab_passes(name, tmp_path):
    np.save(tmp_path / "map.npy", np.full((9, 7), 0.25, np.float32))
    backbone = DinoViT(image_size=32, embed_dim=16, depth=1, heads=2)  # of random weights, in the place of DINO's
    head = {"weight": torch.randn(1, 16, 1, 1), "bias": torch.zeros(1)}
    options = {"constant": {"value": 0.5}, "file": {"path": tmp_path / "map.npy"}}.get(name, {})
    own = {"found": lambda: Found(backbone, head), "found-seed": lambda: FoundSeed(backbone)}
    source = own[name]() if name in own else lab.saliency.build(name, **options)
    images = [np.zeros((9, 7, 3), np.uint8)] if name == "file" else None
    report = lab.check_saliency(source, images)
    assert report.ok, report
    assert name == "file" or "map: 1 x 1 noise" in set(report.table["check"])


def test_the_scenes_pass():
    report = lab.check_dataset(lab.open_dataset("scenes"), limit=3)
    assert report.ok, report
    assert report.table["check"].tolist() == ["protocol", "labels", "length", "sample 0", "sample 1", "sample 2", "ids",
                                              "determinism", "end", "pickle"]  # fmt: skip


def test_a_report_says_what_was_seen_and_what_to_do():
    class Long(CountingEncoder):
        def encode_crops(self, crops):
            return super().encode_crops(crops) * 2

    report = lab.check_encoder(Long())
    assert not report.ok
    row = report.table.set_index("check").loc["crops"]
    assert row["seen"] == "5 x 12, lengths within 1.0e+00 of 1"
    assert "normalize" in row["advice"]
    text = repr(report)
    assert text.startswith("Long 'counting': ")
    assert "FAILED crops: 5 x 12" in text
    assert "ok     texts: determinism: equal" in text
    assert "<td>crops</td>" in report._repr_html_()


class Restless(CountingEncoder):
    def encode_crops(self, crops):
        return torch.nn.functional.normalize(super().encode_crops(crops) + torch.randn(self.embedding_dim), dim=-1)


class Crowd(CountingEncoder):
    def encode_crops(self, crops):
        return super().encode_crops(crops - crops.mean(0))


class Greedy(CountingEncoder):
    def encode_crops(self, crops):
        return super().encode_crops(crops.clamp_(min=0))


class Blind(CountingEncoder):
    def encode_crops(self, crops):
        return super().encode_crops(torch.ones_like(crops))


class Ticking(CountingEncoder):
    count = itertools.count()

    @property
    def fingerprint(self):
        return str(next(self.count))


class Stuck(CountingEncoder):
    def __reduce__(self):
        raise TypeError("a lock cannot be pickled")


class Narrow(CountingEncoder):
    embedding_dim = 11

    def encode_crops(self, crops):
        return torch.ones(len(crops), 12) / 12**0.5


class Doubles(CountingEncoder):
    def encode_texts(self, texts):
        return super().encode_texts(texts).numpy()


class Short(CountingEncoder):
    def encode_texts(self, texts):
        if any(len(text) > 1000 for text in texts):
            raise RuntimeError("size mismatch")
        return super().encode_texts(texts)


class Wordless(CountingEncoder):
    mean = (0.5, 0.5)


class Stubborn(CountingEncoder):
    precision = "bf16"

    def with_precision(self, precision):
        return self


ENCODERS = {
    Restless: ["crops: what they show", "pickle", "crops: batches", "crops: determinism"],
    Crowd: ["crops: batches"],
    Greedy: ["crops: input"],
    Blind: ["crops: what they show"],
    Ticking: ["fingerprint", "pickle"],
    Stuck: ["pickle"],
    Narrow: ["crops"],
    Doubles: ["texts"],
    Short: ["texts: too long"],
    Wordless: ["facts"],
    Stubborn: ["precision"],
    dict: ["protocol"],
}


@pytest.mark.parametrize("kind", ENCODERS, ids=lambda kind: kind.__name__)
def test_a_fault_of_an_encoder_is_seen_by_its_check(kind):
    found = failed(lab.check_encoder(kind()))
    assert found
    assert set(found) <= set(ENCODERS[kind]) | {"image"}
    assert ENCODERS[kind][-1] in found


class Source:
    name, fingerprint = "mine", "mine-1"

    def __call__(self, image):
        return self.map(image.mean(axis=-1) / 255)

    def map(self, gray):
        return gray.astype(np.float32)


def source(change, **facts):
    return type("Changed", (Source,), {"map": change, **facts})()


KEPT = np.full((48, 64), 0.5, np.float32)
SOURCES = {
    "fine": (source(lambda self, gray: gray.astype(np.float32)), []),
    "doubles": (source(lambda self, gray: gray), "map: 48 x 64 noise"),
    "bytes": (source(lambda self, gray: gray.astype(np.float32) * 255), "map: 48 x 64 noise"),
    "transposed": (source(lambda self, gray: gray.astype(np.float32).T), "map: 1 x 37 noise"),
    "stretched": (source(lambda self, gray: ((gray - gray.min()) / np.ptp(gray)).astype(np.float32)), "map: black"),
    "smaller": (source(lambda self, gray: gray[::2, ::2].astype(np.float32)), "map: 48 x 64 noise"),
    "random": (source(lambda self, gray: np.random.default_rng().random(gray.shape, np.float32)), "determinism"),
    "shared": (source(lambda self, gray: KEPT if gray.shape == KEPT.shape else gray.astype(np.float32)), "input"),
    "nameless": (source(lambda self, gray: gray.astype(np.float32), name=""), "facts"),
    "function": (lambda image: image, "protocol"),
}


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("name", SOURCES)
def test_a_fault_of_a_source_is_seen_by_its_check(name):
    thing, check = SOURCES[name]
    found = failed(lab.check_saliency(thing))
    assert found == [] if not check else check in found
    KEPT[...] = 0.5


class Mine:
    name, label_names = "mine", ("background", "cat")

    def __len__(self):
        return 2

    def __getitem__(self, index):
        if index >= 2:
            raise IndexError(index)
        return self.sample(index)

    def sample(self, index):
        return Sample(f"s{index}", np.full((4, 5, 3), index, np.uint8), np.eye(4, 5, dtype=np.uint8))


def dataset(**parts):
    return type("Changed", (Mine,), parts)()


def altered(**parts):
    def sample(self, index):
        plain = Mine.sample(self, index)
        values = {"id": plain.id, "image": plain.image, "mask": plain.mask} | {k: f(plain) for k, f in parts.items()}
        return Sample(**values)

    return dataset(sample=sample)


SHARED = Mine().sample(0)
DATASETS = {
    "fine": (dataset(), None),
    "floats": (altered(image=lambda s: s.image / 255), "sample 0"),
    "gray": (altered(image=lambda s: s.image[..., 0]), "sample 0"),
    "larger": (altered(mask=lambda s: np.zeros((5, 5), np.uint8)), "sample 0"),
    "unknown": (altered(mask=lambda s: s.mask + np.uint8(7)), "sample 0"),
    "same ids": (altered(id=lambda s: "one"), "ids"),
    "numbers": (altered(id=lambda s: 3), "ids"),
    "other ids": (dataset(ids=("a", "b")), "ids"),
    "twice": (dataset(label_names=("cat", "cat")), "labels"),
    "none": (dataset(label_names=()), "labels"),
    "many": (dataset(label_names=tuple(map(str, range(256)))), "labels"),
    "empty": (dataset(__len__=lambda self: 0), "length"),
    "endless": (dataset(__getitem__=lambda self, index: self.sample(min(index, 1))), "end"),
    "cropped": (altered(image=lambda s: np.random.default_rng().integers(0, 256, (4, 5, 3), np.uint8)), "determinism"),
    "shared": (dataset(sample=lambda self, index: SHARED), "determinism"),
    "other masks": (dataset(mask=lambda self, index: np.zeros((4, 5), np.uint8)), "mask"),
    "list": ([1], "protocol"),
}


@pytest.mark.parametrize("name", DATASETS)
def test_a_fault_of_a_dataset_is_seen_by_its_check(name):
    thing, check = DATASETS[name]
    found = failed(lab.check_dataset(thing))
    assert found == [] if check is None else check in found
