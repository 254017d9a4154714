"""Every fuse-tier knob turns without the image network, and gives what segmenting anew gives."""

import itertools
import json
import warnings

import numpy as np
import pytest
import xarray as xr

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.pipeline.fusion import label_map

SMALL = lab.Config(scales=(64, 32), image_size=(64, 96))
TURNS = {
    "weights": {64: 0, "s032": 1.5},
    "placement": "centred",
    "interpolation": "nearest",
    "align_corners": True,
    "template": "a drawing of the {label}",
    "article": "grammatical",
    "synonyms": {"cat": ["cat", "tiger"], "apple": ["pear"]},
    "background": "prompt",
    "background_words": ["sky", "wall"],
    "background_threshold": 0.2,
    "logit_scale": 7.0,
    "background_label": "stuff",
    "saliency_weight": 0.3,
    "saliency_threshold": 0.5,
    "temperature": 0.05,
    "keep_labels": 1,
    "refine": "pamr",
    "refine_iterations": 2,
    "refine_dilations": (1, 2),
    "refine_radius": 2,
    "refine_eps": 0.1,
}
# Every policy, and around it the knobs that only it reads.
POLICIES = {
    "saliency": {"background": "saliency", "saliency_weight": 0.7},
    "prompt": {"background": "prompt"},
    "threshold": {"background": "threshold", "background_threshold": 0.52, "logit_scale": 20.0},
    "words": {"background": "words", "background_words": ("sky", "wall", "grass")},
    "none": {"background": "none"},
    "synonyms of it": {"background": "saliency", "synonyms": {"background": ("sky", "wall")}},
    "80 templates": {"background": "prompt", "template": "imagenet80", "article": "grammatical"},
}


@pytest.fixture
def picture():
    return np.random.default_rng(5).integers(0, 256, (70, 110, 3), dtype=np.uint8)


@pytest.fixture
def saliency():
    return np.random.default_rng(6).random((70, 110), dtype=np.float32)


@pytest.fixture
def segmenter(counting_encoder):
    return lab.Segmenter(counting_encoder)


def test_the_table_of_turns_names_every_fuse_knob():
    assert set(TURNS) == set(lab.Config.knobs("fuse"))


@pytest.mark.parametrize("knob", TURNS)
def test_a_turned_knob_equals_a_new_run_and_calls_no_network(segmenter, counting_encoder, picture, saliency, knob):
    run = segmenter.segment(picture, ["apple", "cat"], SMALL, saliency=saliency)
    untouched = run.copy(deep=True)
    fresh = segmenter.segment(picture, ["apple", "cat"], SMALL.replace(**{knob: TURNS[knob]}), saliency=saliency)
    counting_encoder.batches.clear()
    again = lab.recombine(run, segmenter=segmenter, **{knob: TURNS[knob]})
    assert counting_encoder.batches == []
    xr.testing.assert_identical(again["labels"], fresh["labels"])
    xr.testing.assert_allclose(again["fused"], fresh["fused"], atol=1e-6)
    assert lab.Config.from_json(again.attrs["config"]) == lab.Config.from_json(fresh.attrs["config"])
    assert run.identical(untouched)


@pytest.mark.parametrize(("was", "turned"), list(itertools.permutations(POLICIES, 2)), ids="->".join)
def test_from_every_policy_to_every_other(segmenter, counting_encoder, picture, saliency, was, turned):
    base = SMALL.replace(temperature=0.1)
    run = segmenter.segment(picture, ["apple", "cat"], base.replace(**POLICIES[was]), saliency=saliency)
    config = base.replace(**POLICIES[turned])
    fresh = segmenter.segment(picture, ["apple", "cat"], config, saliency=saliency)
    counting_encoder.batches.clear()
    again = lab.recombine(run, config=config, segmenter=segmenter)
    assert counting_encoder.batches == []
    assert again.identical(fresh)
    assert (label_map(run, again["text_embedding"], config) == fresh["labels"]).all()
    assert again.attrs["background_index"] == (-1 if turned == "none" else 0)


def test_policies_share_one_text_embedding_where_they_prompt_the_same(segmenter, counting_encoder, picture):
    """The threshold keeps the background's embedding, though it does not compete: turning back needs no encoder."""
    run = segmenter.segment(picture, ["apple", "cat"], SMALL.replace(background="threshold"))
    counting_encoder.texts.clear()
    for policy in ("saliency", "prompt", "none"):
        turned = lab.recombine(run, background=policy)
        assert turned.identical(segmenter.segment(picture, ["apple", "cat"], SMALL.replace(background=policy)))
    with pytest.raises(errors.RunError, match=r"no text embeddings for 'sky'; pass segmenter="):
        lab.recombine(run, background="words", background_words=["sky"])
    assert counting_encoder.texts == []


def test_background_below_a_threshold_of_probability(segmenter, picture, saliency):
    """By brute force over the merged scores, and not by the score that the lab gives to the background."""
    prompted = segmenter.segment(picture, ["apple", "background", "cat", "bus"], SMALL, saliency=saliency)
    others = prompted["merged"].sel(label=["apple", "cat", "bus"]).values.astype(float)
    powers = np.exp(13.0 * others)
    probability = (powers / powers.sum(0)).max(0)
    threshold = float(np.median(probability))
    run = lab.recombine(prompted, background="threshold", background_threshold=threshold, logit_scale=13.0)
    assert list(run["label"].values) == ["apple", "background", "cat", "bus"]
    winner = np.array([0, 2, 3])[others.argmax(0)]
    clear = abs(probability - threshold) > 1e-5
    expected = np.where(probability < threshold, 1, winner)
    np.testing.assert_array_equal(run["labels"].values[clear], expected[clear])
    assert 0.4 < (run["labels"] == 1).mean() < 0.6
    assert (run["guide"] == 1).all()  # saliency is there, and does not matter
    # What documents say of the stages: all rows but the background's are the merged ones, and the margin of a
    # background pixel is log(t / p) / k.
    xr.testing.assert_equal(
        run["fused"].drop_sel(label="background"), run["merged"].drop_sel(label="background").rename("fused")
    )
    below = clear & (run["labels"].values == 1)
    np.testing.assert_allclose(run["margin"].values[below], np.log(threshold / probability[below]) / 13.0, atol=1e-6)
    everything = lab.recombine(run, background_threshold=1)
    assert (everything["labels"] == 1).all()
    assert not (lab.recombine(run, background_threshold=0)["labels"] == 1).any()


def test_words_stand_for_the_background(segmenter, picture, saliency):
    words = ["sky", "wall", "grass"]
    run = segmenter.segment(
        picture, ["cat"], SMALL.replace(background="words", background_words=words), saliency=saliency
    )
    every = segmenter.segment(picture, [*words, "cat"], SMALL.replace(background="none"))
    for node in ("grids/s064", "grids/s032"):
        best = every[node]["similarity"].sel(label=words)
        np.testing.assert_allclose(run[node]["similarity"].sel(label="background"), best.max("label"), atol=1e-6)
        which = run[node]["best_phrase"].sel(label="background")
        assert (np.array(words)[which.values] == best.idxmax("label").values).all()
    assert (run["guide"] == 1).all()
    assert json.loads(run.attrs["prompts"])["background"] == {word: [f"a photo of a {word}"] for word in words}


def test_synonyms_are_left_out_with_their_labels(segmenter, picture):
    config = SMALL.replace(synonyms={"sofa": ["sofa", "couch"], "cat": ["tiger"]})
    run = segmenter.segment(picture, ["sofa", "cat"], config)
    fewer = lab.recombine(run, labels=["cat"])
    assert lab.Config.from_json(fewer.attrs["config"]).synonyms == {"cat": ("tiger",)}
    xr.testing.assert_allclose(fewer["fused"].sel(label="cat"), run["fused"].sel(label="cat"))
    couch = lab.recombine(run, labels=["couch", "cat"])  # the run holds the phrase, whoever it stood for
    assert couch.identical(segmenter.segment(picture, ["couch", "cat"], SMALL.replace(synonyms={"cat": ["tiger"]})))
    plain = lab.recombine(run, synonyms={"cat": ["tiger"]})
    assert plain.identical(segmenter.segment(picture, ["sofa", "cat"], SMALL.replace(synonyms={"cat": ["tiger"]})))
    with pytest.raises(errors.RunError, match="no text embeddings for 'cat'"):
        lab.recombine(run, synonyms={})
    with pytest.raises(errors.LabelError, match="synonyms are given for 'bus'"):
        lab.recombine(run, synonyms={"bus": ["coach"]})


@pytest.mark.parametrize(
    ("labels", "name", "expected"),
    [
        (["cat", "sofa"], "stuff", ["stuff", "cat", "sofa"]),
        (["cat", "background", "sofa"], "stuff", ["cat", "stuff", "sofa"]),
        (["cat", "background", "sofa"], "Sofa", ["cat", "sofa"]),
        (["cat", "Background"], "background", ["cat", "Background"]),
    ],
)
def test_another_name_for_the_background_takes_its_place(segmenter, picture, saliency, labels, name, expected):
    run = segmenter.segment(picture, labels, SMALL, saliency=saliency)
    renamed = lab.recombine(run, background_label=name, segmenter=segmenter)
    assert list(renamed["label"].values) == expected
    assert expected[renamed.attrs["background_index"]].lower() == name.lower()
    fresh = segmenter.segment(picture, expected, SMALL.replace(background_label=name), saliency=saliency)
    assert renamed.identical(fresh)


def test_given_rows_and_synonyms_of_the_same_label(segmenter, picture):
    config = SMALL.replace(synonyms={"cat": ["cat", "tiger"]})
    rows = np.random.default_rng(0).normal(size=(2, 12))
    run = segmenter.segment(picture, ["sofa", "bus"], SMALL, text_embeddings=rows)
    for call in (
        lambda: segmenter.segment(picture, ["cat", "bus"], config, text_embeddings=rows),
        lambda: lab.recombine(run, labels=["cat", "bus"], text_embeddings=rows, synonyms={"cat": ["tiger"]}),
    ):
        with pytest.raises(errors.LabelError, match="one row for 'cat', the configuration gives it the phrases"):
            call()
    words = SMALL.replace(background="words", background_words=["sky", "wall"])
    given = segmenter.segment(picture, ["sofa", "bus"], words, text_embeddings=rows)
    assert list(given["phrase"].values) == ["sky", "wall", "sofa", "bus"]
    xr.testing.assert_allclose(given["fused"].sel(label="bus"), run["merged"].sel(label="bus").rename("fused"))


def test_a_given_row_stays_its_labels_own(segmenter, picture):
    config = SMALL.replace(background="words", background_words=["bed", "sky"])
    rows = np.random.default_rng(0).normal(size=(2, 12))
    run = segmenter.segment(picture, ["bed", "cat"], config, text_embeddings=rows)
    word, own = run["text_embedding"].sel(phrase="bed").values
    np.testing.assert_allclose(own, rows[0] / np.linalg.norm(rows[0]), atol=1e-6)
    assert abs(word - own).max() > 0.1
    assert lab.recombine(run).identical(run)


def test_a_phrase_that_stands_for_two_labels_is_said_and_the_first_wins(segmenter, picture):
    config = SMALL.replace(background="words", background_words=["bed", "sky"])
    with pytest.warns(errors.ClipdiyWarning, match=r"several labels \('bed' for 'background' and 'bed'\)"):
        run = segmenter.segment(picture, ["bed", "cat"], config)
    assert not (run["labels"] == 1).any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lab.recombine(run).identical(run)


def test_texts_of_another_configuration(segmenter, picture):
    config = SMALL.replace(synonyms={"cat": ["cat", "tiger"]})
    encoded = segmenter.encode(picture, SMALL)
    for made, used in ((SMALL, config), (config, SMALL)):
        text = segmenter.text_embeddings(["cat", "bus"], made)
        with pytest.raises(errors.RunError, match="which are not those of the configuration"):
            label_map(encoded, text, used)


def test_dropping_scales_needs_no_network(segmenter, counting_encoder, picture):
    run = segmenter.segment(picture, ["cat"], SMALL)
    counting_encoder.batches.clear()
    fine = lab.recombine(run, scales=(32,))
    assert counting_encoder.batches == []
    xr.testing.assert_allclose(
        fine["merged"], run["logits"].sel(grid="s032").drop_vars(["grid", "window"]).rename("merged")
    )
    assert list(fine["grids"].children) == ["s032"]


def test_labels_of_the_run_can_be_dropped_and_reordered_without_a_segmenter(segmenter, picture):
    run = segmenter.segment(picture, ["cat", "sofa", "bus"], SMALL)
    fewer = lab.recombine(run, labels=["bus", "cat"])
    assert list(fewer["label"].values) == ["background", "bus", "cat"]
    xr.testing.assert_allclose(fewer["fused"].sel(label="bus"), run["fused"].sel(label="bus"))


def test_background_none_drops_the_label_and_the_guide(segmenter, picture, saliency):
    run = segmenter.segment(picture, ["cat", "sofa"], SMALL, saliency=saliency)
    bare = lab.recombine(run, background="none")
    assert list(bare["label"].values) == ["cat", "sofa"]
    assert (bare["guide"] == 1).all()
    back = lab.recombine(bare, segmenter=segmenter, background="saliency")
    xr.testing.assert_allclose(back["fused"], run["fused"], atol=1e-6)


def test_new_labels_need_someone_who_embeds_them(segmenter, picture):
    run = segmenter.segment(picture, ["cat"], SMALL)
    with pytest.raises(errors.RunError, match=r"'dog'.*segmenter="):
        lab.recombine(run, labels=["cat", "dog"])
    with pytest.raises(errors.RunError, match="other prompts"):
        lab.recombine(run, template="an image of a {label}")
    with_dog = lab.recombine(run, labels=["cat", "dog"], segmenter=segmenter)
    assert list(with_dog["label"].values) == ["background", "cat", "dog"]


def test_given_text_embeddings_for_new_labels(segmenter, picture):
    run = segmenter.segment(picture, ["cat"], SMALL)
    rows = segmenter.text_embeddings(["dog", "bus"], SMALL).sel(phrase=["dog", "bus"]).values
    given = lab.recombine(run, labels=["dog", "bus"], text_embeddings=rows)
    known = lab.recombine(run, labels=["dog", "bus"], segmenter=segmenter)
    xr.testing.assert_allclose(given["fused"], known["fused"], atol=1e-6)
    with pytest.raises(errors.LabelError, match="row for each"):
        lab.recombine(run, labels=["dog"], text_embeddings=rows)


@pytest.mark.parametrize("shape", [(70, 110), (64, 96)])
def test_another_saliency_at_either_size(segmenter, picture, shape):
    run = segmenter.segment(picture, ["cat"], SMALL)
    hard = lab.recombine(run, saliency=np.ones(shape, np.float32))
    assert (hard["guide"].sel(label="background") == 0).all()
    assert hard.attrs["saliency_source"] == "given"
    assert run.attrs["saliency_source"] == "none"


def test_an_encode_knob_needs_the_network(segmenter, picture):
    run = segmenter.segment(picture, ["cat"], SMALL)
    for knobs in ({"stride": 4}, {"image_size": 96}, {"scales": (48,)}, {"image_resize": "nearest"}):
        with pytest.raises(errors.RunError, match="needs the encoder"):
            lab.recombine(run, **knobs)


def test_another_encoder_is_refused(segmenter, golden_segmenter, picture):
    run = segmenter.segment(picture, ["cat"], SMALL)
    with pytest.raises(errors.RunError, match="other weights"):
        lab.recombine(run, labels=["cat", "dog"], segmenter=golden_segmenter)


def test_something_else_than_a_run_is_refused():
    with pytest.raises(errors.RunError, match="expected a run"):
        lab.recombine({"fused": 1})
    with pytest.raises(errors.RunError, match="not a run"):
        lab.recombine(xr.DataTree(xr.Dataset({"a": 1})))


def test_text_embeddings_of_another_width_beside_the_runs_background(segmenter, picture):
    run = segmenter.segment(picture, ["cat"], SMALL)
    with pytest.raises(errors.ModelError, match="has 5 features, but the run's have 12"):
        lab.recombine(run, labels=["cat"], text_embeddings=np.ones((1, 5)))


def test_a_ragged_saliency(segmenter, picture):
    run = segmenter.segment(picture, ["cat"], SMALL)
    with pytest.raises(errors.SaliencyError):
        lab.recombine(run, saliency=[[0.1], [0.2, 0.3]])


@pytest.mark.parametrize("name", ["image_height", "image_width", "background_index"])
@pytest.mark.parametrize("value", [None, "many"])
def test_a_run_whose_numbers_are_missing_or_no_numbers(segmenter, picture, name, value):
    run = segmenter.segment(picture, ["cat"], SMALL)
    if value is None:
        del run.attrs[name]
    else:
        run.attrs[name] = value
    with pytest.raises(errors.RunError, match=name):
        lab.recombine(run, saliency_weight=0.5)


@pytest.mark.parametrize("config", ["paper", {"stride": 4}, {}, 0])
def test_something_else_than_a_config(segmenter, picture, config):
    run = segmenter.segment(picture, ["cat"], SMALL)
    for call in (
        lambda: segmenter.segment(picture, ["cat"], config),
        lambda: segmenter.encode(picture, config),
        lambda: segmenter.text_embeddings(["cat"], config),
        lambda: lab.recombine(run, config=config),
    ):
        with pytest.raises(errors.ConfigError, match="expected a Config"):
            call()
