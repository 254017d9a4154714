"""A real run passes the check; each kind of damage is named."""

import numpy as np
import pytest
import xarray as xr

import clipdiy_lab as lab
from clipdiy_lab.errors import RunError
from clipdiy_lab.method import schema

EVERYTHING = tuple(name for name, stage in schema.STAGES.items() if not stage.of_grid)
OF_GRIDS = tuple(name for name, stage in schema.STAGES.items() if stage.of_grid)
MAPS = ("logits", "merged", "guide", "fused", "probability")


@pytest.fixture(scope="module")
def whole_run(golden_segmenter):
    rng = np.random.default_rng(2)
    picture = rng.integers(0, 256, (30, 50, 3), dtype=np.uint8)
    config = lab.Config(scales=(16, 8), image_size=(24, 32), keep_labels=2, refine="pamr", refine_dilations=(1, 3))
    return golden_segmenter.segment(picture, ["cat", "bus"], config, saliency=rng.random((30, 50)))


@pytest.fixture
def run(whole_run):
    """A copy that a test may damage."""
    return whole_run.copy(deep=True)


def refused(run, says, **options):
    with pytest.raises(RunError, match=says):
        schema.validate(run, **options)


def test_a_run_passes_and_holds_every_stage(run):
    schema.validate(run)
    schema.validate(run, need=EVERYTHING)
    assert set(run.data_vars) == set(EVERYTHING)
    for name in ("s016", "s008"):
        assert set(run["grids"][name].data_vars) == set(OF_GRIDS)
    for name in EVERYTHING:
        stage = schema.STAGES[name]
        assert run[name].dims == stage.dims
        assert run[name].dtype == np.dtype(stage.kind)
        assert run[name].attrs == stage.attrs()


def test_half_precision_and_wider_types_pass(run):
    for dtype in (np.float16, np.float64):
        run["fused"] = run["fused"].astype(dtype)
        schema.validate(run)
    for dtype in (np.int64, np.uint8):
        run["labels"] = run["labels"].astype(dtype)
        schema.validate(run)


@pytest.mark.parametrize("attr", schema.RUN_ATTRS)
def test_a_missing_attribute(run, attr):
    del run.attrs[attr]
    refused(run, f"lacks the attributes .*'{attr}'")


@pytest.mark.parametrize("version", [1, 2, 4, 0, "abc", None, np.nan, "", np.array([3, 3])], ids=str)
def test_another_schema_version(run, version):
    run.attrs["schema_version"] = version
    refused(run, "schema version .* this clipdiy_lab reads 3; segment the image again")


@pytest.mark.parametrize("version", [3, "3", np.int64(3), np.array([3])], ids=repr)
def test_the_version_however_a_file_keeps_it(run, version):
    run.attrs["schema_version"] = version
    schema.validate(run)


def test_a_tree_without_grids(run):
    del run["grids"]
    refused(run, "lacks the node 'grids'")


@pytest.mark.parametrize("name", EVERYTHING)
def test_a_missing_stage(run, name):
    del run[name]
    refused(run, f"the run has no stage '{name}'", need=(name,))


def test_stages_that_nobody_needs_may_be_missing(run):
    del run["fused"], run["refined"]
    schema.validate(run, need=("labels",))
    refused(run, "no stage 'fused'")


def turned(tree, name):
    """A copy whose stage `name` has its dimensions in the reverse order."""
    dataset = tree.to_dataset().drop_vars(name)
    return dataset.assign({name: tree[name].transpose(*reversed(tree[name].dims))})


@pytest.mark.parametrize("name", [name for name in EVERYTHING if len(schema.STAGES[name].dims) > 1])
def test_wrong_dimensions(run, name):
    run.dataset = turned(run, name)
    refused(run, f"stage '{name}' has dimensions .* expected")


@pytest.mark.parametrize("name", OF_GRIDS)
def test_wrong_dimensions_of_a_grid(run, name):
    run["grids/s008"].dataset = turned(run["grids/s008"], name)
    refused(run, f"stage 'grids/s008/{name}' has dimensions")


@pytest.mark.parametrize("name", [*MAPS, "text_embedding", "saliency", "margin"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite(run, name, value):
    run[name].values.flat[-1] = value
    refused(run, f"stage '{name}' holds NaN or infinite values")


@pytest.mark.parametrize("name", ["embedding", "similarity"])
def test_one_value_of_a_grid_that_is_not_finite(run, name):
    run[f"grids/s016/{name}"].values.flat[0] = np.nan
    refused(run, f"stage 'grids/s016/{name}' holds NaN")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("logits", 1.01),
        ("logits", -1.01),
        ("saliency", 1.01),
        ("saliency", -0.01),
        ("guide", 1.5),
        ("guide", -0.5),
        ("probability", 1.01),
        ("probability", -0.01),
        ("margin", -0.01),
        ("labels", -1),
        ("labels", 3),
        ("labels_full", -1),
        ("labels_full", 3),
        ("grids/s008/similarity", 1.01),
        ("grids/s008/similarity", -1.01),
        ("grids/s008/best_phrase", -1),
        ("grids/s008/best_phrase", 3),
    ],
)
def test_one_value_out_of_range(run, name, value):
    run[name].values.flat[-1] = value
    refused(run, f"stage '{name}' spans .*, expected")


def test_rounding_is_no_damage(run):
    run["grids/s008/similarity"].values.flat[0] = 1 + 1e-6
    schema.validate(run)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("fused", np.int32), ("labels", np.float32), ("image", np.float32), ("saliency", bool), ("merged", np.complex64)],
)
def test_wrong_kinds_of_numbers(run, name, dtype):
    run[name] = run[name].astype(dtype)
    refused(run, f"stage '{name}' holds {np.dtype(dtype)}, expected")


def test_an_empty_stage(run):
    empty = run.to_dataset().isel(y_full=slice(0))
    run.dataset = empty
    refused(run, "stage 'labels_full' is empty")


@pytest.mark.parametrize(
    "thing", [None, 3, "run.nc", {}, xr.Dataset(), xr.DataArray(0)], ids=lambda t: type(t).__name__
)
def test_something_else_than_a_tree(thing):
    refused(thing, rf"expected a run \(xarray.DataTree\), got {type(thing).__name__}")


def test_a_foreign_tree():
    refused(xr.DataTree(xr.Dataset({"fused": ("x", [1.0])})), "lacks the attributes")


@pytest.mark.parametrize(
    ("name", "grid"), [("nothing", None), ("grids", None), ("embedding", "s999"), ("fused", "s008")]
)
def test_asking_for_a_stage_that_is_not_there(run, name, grid):
    with pytest.raises(RunError, match=f"has no stage '.*{name}'"):
        schema.stage(run, name, grid)


def test_phrases_say_whose_they_are(run):
    assert schema.phrases_of(run["text_embedding"]) == {one: (one,) for one in ("background", "cat", "bus")}
    mixed = run["text_embedding"].assign_coords(phrase_label=("phrase", np.array(["cat", "bus", "cat"], object)))
    with pytest.raises(RunError, match="mixes the phrases"):
        schema.phrases_of(mixed)
    for lost in ("phrase", "phrase_label"):
        with pytest.raises(RunError, match="lacks the coordinates"):
            schema.phrases_of(run["text_embedding"].drop_vars(lost))


def test_a_run_says_its_labels_its_background_and_the_scores_that_decide(run):
    names = ("background", "cat", "bus")
    for data in (run, run.to_dataset(), run["fused"], run["text_embedding"], run["grids/s016/similarity"]):
        assert schema.labels_of(data) == names
    with pytest.raises(RunError, match="has no labels; segment"):
        schema.labels_of(run["saliency"].drop_vars("label", errors="ignore"))
    assert schema.background_of(run) == 0
    assert schema.scores(run).equals(run["refined"])
    assert schema.deciding(lab.Config.from_json(run.attrs["config"])) == "refined"
    del run["refined"]
    assert schema.scores(run).equals(run["fused"])
    assert schema.deciding(lab.Config()) == "fused"
    del run["fused"]
    with pytest.raises(RunError, match="no stage 'fused'"):
        schema.scores(run)
    with pytest.raises(RunError, match="no stage 'fused'"):
        schema.validate(run)


@pytest.mark.parametrize(
    ("value", "index"),
    [(-1, None), (2, 2), (np.int64(0), 0), (np.array([1]), 1), ("0", 0), ("x", RunError), (None, RunError)],
)
def test_the_background_however_a_file_keeps_it(run, value, index):
    run.attrs["background_index"] = value
    if index is RunError:
        with pytest.raises(RunError, match="'background_index' is"):
            schema.background_of(run)
    else:
        assert schema.background_of(run) == index


def test_the_window_sides_stand_beside_the_names_of_the_grids(run):
    assert run["logits"]["grid"].values.tolist() == ["s016", "s008"]
    assert run["logits"]["window"].dims == ("grid",)
    assert run["logits"]["window"].values.tolist() == [16, 8]
    assert run["logits"]["window"].attrs == {"units": "pixel"}
    assert list(run["grids"].children) == ["s016", "s008"]
