"""Random values that the property tests share."""

import numpy as np
from counting import TokenCountingEncoder
from hypothesis import strategies as st

import clipdiy_lab as lab
from clipdiy_lab.method.last_block import METHODS
from clipdiy_lab.text import unseen

seeds = st.integers(0, 2**32 - 1)


def sides(most):
    return st.integers(1, most)


def random_pixels(height, width, seed):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


words = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=8).filter(
    lambda text: text.strip() and unseen(text.strip()) is None
)


@st.composite
def synonyms_of(draw, labels):
    """Up to three phrases for some of the labels, no phrase for two of them."""
    chosen = draw(st.sets(st.sampled_from(labels)))
    return {
        label: [f"{label} {i}" if i else label for i in draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))]
        for label in sorted(chosen)
    }


@st.composite
def patch_tokens(draw, size):
    """Knobs of the grids of patch tokens; none for a frame that may be less than a patch."""
    if min(size) < TokenCountingEncoder.patch_size or draw(st.booleans()):
        return {}
    return {
        "dense": draw(st.sampled_from(list(METHODS))),
        "dense_from": draw(st.sampled_from(["frame", "crops"])),
        "dense_side": draw(st.none() | st.integers(8, 24)),
        "patches": (TokenCountingEncoder.image_size, TokenCountingEncoder.patch_size),
    }


@st.composite
def refinements(draw, size):
    """Knobs of a refinement that does not reach beyond the frame."""
    most = min(*size, 101) - 1
    if not most:
        return {}
    return {
        "refine": draw(st.sampled_from(["none", "pamr", "guided"])),
        "refine_iterations": draw(st.integers(0, 3)),
        "refine_dilations": draw(st.lists(st.integers(1, most), min_size=1, max_size=2, unique=True)),
        "refine_radius": draw(st.integers(1, most)),
        "refine_eps": draw(st.floats(1e-4, 1)),
    }


@st.composite
def configs(draw, max_side=8192, max_scale=None, labels=None):
    """Any configuration that makes sense, in a frame of up to `max_side` pixels, patch tokens and refinement included.

    Synonyms are of any texts, or of `labels` (then the background's name is the usual one, and there are at least three
    of them). Patches are those of `TokenCountingEncoder`.
    """
    size = (draw(sides(max_side)), draw(sides(max_side)))
    scales = draw(st.lists(st.integers(1, min(*size, max_scale or max_side)), min_size=1, max_size=4, unique=True))
    weight = st.floats(0, 4) | st.integers(0, 3)
    weights = draw(st.none() | st.lists(weight, min_size=len(scales), max_size=len(scales)).filter(any))
    weights = {} if weights is None else dict(zip(scales, weights, strict=True))
    tokens = draw(patch_tokens(size))
    if tokens:
        weights |= draw(st.just({}) | st.fixed_dictionaries({"dense": st.floats(0.1, 4)}))
    placement = draw(st.sampled_from(["stretched", "centred"]))
    interpolation = draw(st.sampled_from(["bilinear", "nearest"]))
    template = st.sampled_from(["{label}", "a photo of a {label}", "Ein Bild: {label}é \U0001f408 {label} {0}"])
    named = st.sampled_from(["imagenet80", "scene85"])
    knobs = lab.Config.knobs()
    background = draw(st.sampled_from(knobs["background"]["choices"]))
    background_label = draw(words) if labels is None else "background"
    entries = st.lists(
        st.tuples(words, st.lists(words, min_size=1, max_size=3)),
        max_size=3,
        unique_by=lambda one: one[0].strip().lower(),
    )
    synonyms = draw(entries.map(dict) if labels is None else synonyms_of(labels))
    if background == "words":
        name = background_label.strip().lower()
        synonyms = {label: several for label, several in synonyms.items() if label.strip().lower() != name}
    return lab.Config(
        scales=scales,
        stride=draw(st.integers(1, min(16, *scales))),
        image_size=size,
        weights=weights,
        placement=placement,
        interpolation=interpolation,
        align_corners=(placement, interpolation) == ("stretched", "bilinear") and draw(st.booleans()),
        template=draw(template | named | st.lists(template, min_size=1, max_size=3)),
        synonyms=synonyms,
        background=background,
        background_label=background_label,
        background_words=draw(st.lists(words if labels is None else st.sampled_from(["sky", "wall"]), min_size=1)),
        background_threshold=draw(st.floats(0, 1)),
        logit_scale=draw(st.floats(1, 200)),
        saliency_weight=draw(st.floats(0, 1)),
        saliency_threshold=draw(st.none() | st.floats(0, 1)),
        temperature=draw(st.floats(1e-3, 100)),
        keep_labels=draw(st.none() | st.integers(2, 100 if labels is None else 3)),
        **draw(refinements(size)),
        **tokens,
        **{
            name: draw(st.sampled_from(knobs[name]["choices"]))
            for name in ("image_resize", "precision", "saliency_input", "article")
        },
    )
