"""Prompts as the official code writes them, and the ways to write them better."""

import numpy as np
import pytest

from clipdiy_lab import errors
from clipdiy_lab.method.config import Config
from clipdiy_lab.models.prompts import TextCache, check_labels, prompts, with_background


@pytest.mark.parametrize(
    ("label", "template", "article", "expected"),
    [
        ("aeroplane", "a photo of a {label}", "official", "a photo of a aeroplane"),
        ("aeroplane", "a photo of a {label}", "grammatical", "a photo of an aeroplane"),
        ("Orange", "A {label}", "grammatical", "An Orange"),
        ("cat", "a photo of a {label}", "grammatical", "a photo of a cat"),
        ("owl", "a photo of the {label}", "grammatical", "a photo of the owl"),
        ("owl", "visa {label}", "grammatical", "visa owl"),
        ("{label}", "a {label}", "official", "a {label}"),
    ],
)
def test_articles(label, template, article, expected):
    assert prompts(label, Config(template=template, article=article)) == (expected,)


def test_several_templates_are_averaged_and_scaled_to_length_one(counting_encoder):
    pair = Config(template=("a photo of a {label}", "a drawing of a {label}"))
    cache = TextCache(counting_encoder)
    one, two = (cache.embed(["cat"], Config(template=template)) for template in pair.templates)
    both = cache.embed(["cat"], pair)
    mean = (one + two) / 2
    np.testing.assert_allclose(both, mean / np.linalg.norm(mean), rtol=1e-5)
    assert sorted(counting_encoder.texts) == ["a drawing of a cat", "a photo of a cat"]


def test_labels_are_stripped_and_kept_in_order():
    assert check_labels((" tv/monitor ", "cat")) == ("tv/monitor", "cat")


def test_the_background_is_found_whatever_its_case():
    assert with_background(("cat", "Background"), Config()) == (("cat", "Background"), 1)


def test_an_encoder_with_the_wrong_width(counting_encoder, monkeypatch):
    whole = counting_encoder.encode_texts
    monkeypatch.setattr(counting_encoder, "encode_texts", lambda texts: whole(texts)[:, :-1])
    with pytest.raises(errors.ModelError, match=r"shape \(1, 11\), expected \(1, 12\)"):
        TextCache(counting_encoder).embed(["cat"], Config())
