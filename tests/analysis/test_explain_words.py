"""Sensitivity to the wording, with real text encoders and no image network."""

import numpy as np
import pytest

import clipdiy_lab as lab
from clipdiy_lab import errors

SMALL = lab.Config(scales=(64, 32), image_size=(64, 96))


@pytest.fixture
def segmenter(counting_encoder):
    return lab.Segmenter(counting_encoder)


@pytest.fixture
def run(segmenter):
    rng = np.random.default_rng(5)
    picture = rng.integers(0, 256, (70, 110, 3), dtype=np.uint8)
    return segmenter.segment(picture, ["apple", "cat", "bus"], SMALL, saliency=rng.random((70, 110)))


def names(run):
    return run["label"].values[run["labels"].values]


def test_every_variation_is_what_segmenting_with_it_gives(run, segmenter, counting_encoder):
    counting_encoder.batches.clear()
    found = lab.explain.prompt_sensitivity(
        run, segmenter, templates=["{label}"], synonyms={"cat": ["kitten"]}, added=["sofa"]
    )
    assert counting_encoder.batches == []
    assert list(found["variation"].values) == [
        "article: grammatical",
        "template: {label}",
        "synonym: cat = kitten",
        "dropped: apple",
        "dropped: cat",
        "dropped: bus",
        "added: sofa",
    ]
    again = {
        "template: {label}": lab.recombine(run, template="{label}", segmenter=segmenter),
        "dropped: cat": lab.recombine(run, labels=["apple", "bus"]),
        "added: sofa": lab.recombine(run, labels=["apple", "cat", "bus", "sofa"], segmenter=segmenter),
    }
    for name, other in again.items():
        changed = names(other) != names(run)
        np.testing.assert_array_equal(found["label_changed"].sel(variation=name), changed)
        assert float(found["changed_share"].sel(variation=name)) == pytest.approx(changed.mean())
    assert float(found["changed_share_of_label"].sel(variation="dropped: apple", label="apple")) == 1
    kitten = lab.recombine(run, labels=["apple", "kitten", "bus"], segmenter=segmenter)
    np.testing.assert_array_equal(
        found["label_changed"].sel(variation="synonym: cat = kitten"), kitten["labels"].values != run["labels"].values
    )


@pytest.mark.parametrize("policy", ["saliency", "prompt", "words", "none"])
def test_a_label_without_pixels_changes_nothing_when_it_is_dropped(run, segmenter, counting_encoder, policy):
    many = lab.recombine(
        run,
        labels=[*(f"thing {i}" for i in range(40)), "cat"],
        segmenter=segmenter,
        background=policy,
        background_words=["sky", "wall"],
    )
    won = set(names(many).ravel())
    counting_encoder.texts.clear()
    found = lab.explain.prompt_sensitivity(many, segmenter, templates=[])
    dropped = [str(name) for name in found["variation"].values if name.startswith("dropped: ")]
    assert len(dropped) == 41
    losers = [label for label in map(str, many["label"].values) if label not in {*won, "background"}]
    assert losers
    for label in losers[:3]:
        other = lab.recombine(many, labels=[one for one in map(str, many["label"].values) if one != label])
        np.testing.assert_array_equal(names(other), names(many))
        assert not found["label_changed"].sel(variation=f"dropped: {label}").any()
    share = found["changed_share_of_label"]
    for label in sorted(won - {"background"}):
        assert float(share.sel(variation=f"dropped: {label}", label=label)) == 1
    assert np.isnan(share.sel(variation=f"dropped: {losers[0]}", label=losers[0]))


def test_shares_of_labels_are_those_of_their_pixels(run, segmenter):
    found = lab.explain.prompt_sensitivity(run, segmenter, templates=["{label}"], added=["sofa"])
    before, after = names(run), names(lab.recombine(run, template="{label}", segmenter=segmenter))
    for label in map(str, run["label"].values):
        had, has = before == label, after == label
        expected = 1 - (had & has).sum() / (had | has).sum() if (had | has).any() else np.nan
        value = float(found["changed_share_of_label"].sel(variation="template: {label}", label=label))
        assert value == pytest.approx(expected, nan_ok=True)


def test_a_prompt_that_fits_and_a_variation_of_it_that_does_not(golden_segmenter):
    """This text encoder reads 16 tokens, CLIP's 77."""
    label = " ".join(["cat"] * 10)  # with "a photo of a" and the two ends: 16 tokens, with "a close-up photo of a" 19
    run = golden_segmenter.segment(np.zeros((64, 96, 3), np.uint8), ["dog", label], SMALL)
    with pytest.warns(errors.ClipdiyWarning, match=r"1 of the variations .*close-up.*19 tokens, golden reads 16"):
        found = lab.explain.prompt_sensitivity(run, golden_segmenter)
    assert found.attrs["left_out"] == ["template: a close-up photo of a {label}"]
    assert "template: a photo of the {label}" in found["variation"].values
    with pytest.raises(errors.LabelError, match="has 19 tokens, golden reads 16; shorten the label"):
        lab.explain.prompt_sensitivity(run, golden_segmenter, templates=["a close-up photo of a {label}"])
    with pytest.raises(errors.LabelError, match="tokens, golden reads 16"):
        lab.explain.prompt_sensitivity(run, golden_segmenter, templates=[], added=[f"{label} {label}"])


def test_the_same_words_change_nothing(run, segmenter):
    found = lab.explain.prompt_sensitivity(run, segmenter, templates=["a photo of a {label}"])
    assert not [name for name in found["variation"].values if name.startswith("template")]
    fruit = lab.recombine(run, labels=["cat", "bus"])
    article = lab.explain.prompt_sensitivity(fruit, segmenter, templates=[]).sel(variation="article: grammatical")
    assert float(article["changed_share"]) == 0  # "a cat" and "a bus" keep their article


def test_words_that_do_not_fit(run, segmenter, golden_segmenter):
    with pytest.raises(errors.LabelError, match="no label 'dog'"):
        lab.explain.prompt_sensitivity(run, segmenter, synonyms={"dog": ["puppy"]})
    with pytest.raises(errors.LabelError, match="expected a list of words"):
        lab.explain.prompt_sensitivity(run, segmenter, synonyms={"cat": "kitten"})
    with pytest.raises(errors.RunError, match="other weights"):
        lab.explain.prompt_sensitivity(run, golden_segmenter)


def test_runs_are_compared_only_where_they_differ_as_said(run, segmenter):
    other = lab.recombine(run, saliency_weight=0.2, temperature=0.5)
    with pytest.raises(errors.RunError, match=r"differ in saliency_weight \(1.0 and 0.2\)"):
        lab.explain.label_changed(run, other, differing=["temperature"])
    changed = lab.explain.label_changed(run, other, differing=["saliency_weight", "temperature"])
    np.testing.assert_array_equal(changed, names(run) != names(other))
    assert changed.any()
    stranger = segmenter.segment(np.zeros((70, 110, 3), np.uint8), ["cat"], SMALL)
    with pytest.raises(errors.RunError, match="image_sha256"):
        lab.explain.label_changed(run, stranger)


def test_a_label_of_the_scene_stands_out_against_the_pool_and_one_that_is_not_there_does_not():
    """On the embedded world, where the truth is known."""
    segmenter = lab.load("tiny")
    scenes = lab.open_dataset("scenes")
    words = [name for name in scenes.label_names if name != "background"]
    present, missing = [], []
    for index in range(3):
        sample = scenes[index]
        there = [scenes.label_names[i] for i in np.unique(sample.mask) if 0 < i < 255]
        gone = [word for word in words if word not in there][:2]
        pool = [word for word in words if word not in (*there, *gone)]
        run = segmenter.segment(sample.image, [*there, *gone])
        table = lab.explain.absent(run, pool, segmenter).set_index("label")
        assert ((table["pool_rank"] >= 0) & (table["pool_rank"] <= 1)).all()
        labels = run["label"].values[run["labels"].values]
        for word in table.index:
            assert table.loc[word, "area"] == pytest.approx((labels == word).mean())
        present += list(table.loc[there, "pool_z"])
        missing += list(table.loc[gone, "pool_z"])
    assert np.mean(present) > np.mean(missing) + 1


@pytest.mark.parametrize("pool", [[], ["cat", "Bus"], "dog"])
def test_a_pool_with_nothing_new(run, segmenter, pool):
    with pytest.raises(errors.LabelError, match="pool is"):
        lab.explain.absent(run, pool, segmenter)
