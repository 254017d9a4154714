"""Prompts as the official code writes them, and the ways to write them better."""

import numpy as np
import pytest
import torch

from clipdiy_lab import errors
from clipdiy_lab.method.config import Config
from clipdiy_lab.models.prompts import (
    MAX_PHRASES,
    TextCache,
    check_labels,
    phrases,
    prompts,
    templates,
    with_background,
)


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


def test_the_80_templates_of_imagenet(golden_encoder):
    """By open_clip's own class of zero-shot weights, an implementation that the lab shares nothing with."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES, build_zero_shot_classifier

    config = Config(template="imagenet80")
    assert len(set(templates(config))) == 80
    assert all(text.count("{label}") == 1 for text in templates(config))
    embedded = TextCache(golden_encoder).embed(["cat", "tv/monitor"], config)
    theirs = build_zero_shot_classifier(
        golden_encoder._source, golden_encoder._tokenizer, ["cat", "tv/monitor"], OPENAI_IMAGENET_TEMPLATES
    )
    np.testing.assert_allclose(embedded, theirs.T.numpy(), atol=1e-6)
    written = prompts("owl", config.replace(article="grammatical"))
    assert "a bad photo of an owl." in written
    assert "a photo of many owl." in written
    scene = templates(Config(template="scene85"))
    assert scene[:80] == templates(config)
    assert [text for text in scene[80:] if "{label} in the scene" not in text] == []
    assert len(set(scene)) == 85
    assert "a bad photo of a owl." in prompts("owl", config)


def test_many_prompts_are_embedded_in_parts_and_each_once(counting_encoder, monkeypatch):
    asked = []
    whole = counting_encoder.encode_texts
    monkeypatch.setattr(counting_encoder, "encode_texts", lambda texts: (asked.append(len(texts)), whole(texts))[1])
    cache = TextCache(counting_encoder)
    labels = [f"thing {i}" for i in range(7)]
    rows = cache.embed(labels, Config(template="imagenet80"))
    assert sum(asked) == len(set(counting_encoder.texts)) == 7 * 80
    assert max(asked) < 560
    for label, row in zip(labels, rows, strict=True):
        mean = torch.stack([whole([prompt])[0] for prompt in prompts(label, Config(template="imagenet80"))]).mean(0)
        np.testing.assert_allclose(row, mean / mean.norm(), atol=1e-6)


def test_phrases_of_labels_by_policy():
    config = Config(synonyms={"Sofa": ["couch", "settee"]}, background_words=["sky"])
    assert phrases(("cat", "SOFA"), config) == {
        "background": ("background",),
        "cat": ("cat",),
        "SOFA": ("couch", "settee"),
    }
    words = config.replace(background="words")
    assert phrases(("sofa", "Background"), words) == {"sofa": ("couch", "settee"), "Background": ("sky",)}
    assert phrases(("sofa",), config.replace(background="none")) == {"sofa": ("couch", "settee")}
    stuff = Config(synonyms={"background": ["wall", "sky"]})
    assert phrases(("cat",), stuff)["background"] == ("wall", "sky")
    assert phrases(("cat",), stuff.replace(background="none")) == {"cat": ("cat",)}


def test_synonyms_of_a_label_that_nobody_prompts():
    with pytest.raises(errors.LabelError, match=r"synonyms are given for 'sofaa', .*Did you mean 'sofa'"):
        phrases(("cat", "sofa"), Config(synonyms={"sofaa": ["couch"]}))


@pytest.mark.parametrize("labels", [("cat",), ("background",), ("cat", "background")])
def test_a_threshold_needs_two_labels_to_compare(labels):
    with pytest.raises(errors.LabelError, match="give at least two, or use another background policy"):
        with_background(labels, Config(background="threshold"))
    assert with_background(("cat", "dog"), Config(background="threshold")) == (("background", "cat", "dog"), 0)


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("big\ncat", r"label 1 is 'big\ncat', which holds U+000A LINE FEED"),
        ("tab\tcat", "U+0009 TAB"),
        ("ca\0t", r"'ca\x00t', which holds U+0000 NULL"),
        ("\ud800cat", r"'\ud800cat', which holds U+D800 LONE SURROGATE"),
        ("\x1b[31mcat", r"'\x1b[31mcat', which holds U+001B ESCAPE"),
        ("cat\x9bm", "U+009B CONTROL CHARACTER"),
        ("cat\u200b", r"'cat\u200b', which holds U+200B ZERO WIDTH SPACE"),
        ("cat\u200d", "U+200D ZERO WIDTH JOINER"),
        ("\u202etac", "U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("cat\ufe0f", "U+FE0F VARIATION SELECTOR-16"),
        ("\u3164", "U+3164 HANGUL FILLER"),
        ("a\u2028b", "U+2028 LINE SEPARATOR"),
        ("cat" * 4000, "cat'... (12,000 characters); expected at most 1,000"),
    ],
)
def test_a_label_that_cannot_be_seen_whole_is_refused_in_one_line(label, said):
    with pytest.raises(errors.LabelError) as refused:
        check_labels(["dog", label])
    assert said in str(refused.value)
    assert len(str(refused.value)) < 300
    assert str(refused.value).isprintable()


def test_labels_of_many_scripts_and_signs_are_taken_as_they_are():
    labels = [
        "猫",
        "кошка",
        "café",
        "قط",
        "می\u200cخواهم",
        "👩\u200d🔬",
        "❤\ufe0f",
        "a\u00a0cat",
        "building, edifice",
        "=1+1",
    ]
    assert check_labels(labels) == tuple(labels)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["cat", "dog", "Cat"], r"label 'Cat' is there twice \(positions 0 and 2\)"),
        (["caf\u00e9", "Cafe\u0301"], r"labels 0 and 1, 'caf\\xe9' and 'Cafe\\u0301', differ only in how accents"),
        (["a cat", "a\u00a0cat"], r"'a cat' and 'a\\xa0cat', differ only"),
    ],
)
def test_labels_that_the_text_encoder_cannot_tell_apart(labels, said):
    with pytest.raises(errors.LabelError, match=said):
        check_labels(labels)


def test_what_counts_as_twice_gets_one_embedding():
    """By open_clip's own tokenizer."""
    import open_clip

    tokenize = open_clip.SimpleTokenizer()
    for one, other in (("Cat", "cat"), ("caf\u00e9", "cafe\u0301"), ("a  cat", "a\u00a0cat")):
        assert tokenize([one]).tolist() == tokenize([other]).tolist()


@pytest.mark.parametrize("policy", ["saliency", "prompt"])
def test_the_background_alone_is_no_question(policy):
    with pytest.raises(errors.LabelError, match="'background', so every pixel would be background; give at least one"):
        with_background(("Background",), Config(background=policy))
    assert with_background(("background",), Config(background="none")) == (("background",), None)


@pytest.mark.parametrize(
    "knobs",
    [
        {"template": "a {label}\0"},
        {"background_label": "back\nground"},
        {"background_words": ["sky\u200b"], "background": "words"},
        {"synonyms": {"sofa": ["cou\ud800ch"]}},
        {"synonyms": {"so\x1bfa": ["couch"]}},
    ],
)
def test_phrases_of_a_configuration_are_seen_whole_too(knobs):
    with pytest.raises(errors.ConfigError, match=r"U\+.* write it without that character") as refused:
        Config(**knobs)
    assert str(refused.value).isprintable()


def test_more_phrases_than_a_run_can_number():
    most = tuple(f"thing {i}" for i in range(MAX_PHRASES - 1))
    assert len(phrases(most, Config())) == MAX_PHRASES
    with pytest.raises(errors.LabelError, match="have 32,768 phrases; expected at most 32,767"):
        phrases((*most, "one more"), Config())


def test_a_warning_of_many_unknown_words_names_the_first(counting_encoder):
    counting_encoder.known_words = frozenset({"cat"})
    with pytest.warns(errors.ClipdiyWarning, match=r"never learned 'thing 0', .*'thing 4' and 842 more, so") as warned:
        TextCache(counting_encoder).embed(["cat", *(f"thing {i}" for i in range(847))], Config())
    assert len(str(warned[0].message)) < 300


def test_labels_are_stripped_and_kept_in_order():
    assert check_labels((" tv/monitor ", "cat")) == ("tv/monitor", "cat")


def test_the_background_is_found_whatever_its_case():
    assert with_background(("cat", "Background"), Config()) == (("cat", "Background"), 1)


def test_an_encoder_with_the_wrong_width(counting_encoder, monkeypatch):
    whole = counting_encoder.encode_texts
    monkeypatch.setattr(counting_encoder, "encode_texts", lambda texts: whole(texts)[:, :-1])
    with pytest.raises(errors.ModelError, match=r"shape \(1, 11\), expected \(1, 12\)"):
        TextCache(counting_encoder).embed(["cat"], Config())
