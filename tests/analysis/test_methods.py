"""Published methods as data: each is a configuration and a protocol, and says what it does not reproduce."""

import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import clipdiy_lab as lab
from clipdiy_lab.analysis import methods
from clipdiy_lab.analysis.methods import features_title
from clipdiy_lab.analysis.protocols import Protocol
from clipdiy_lab.analysis.scoring import sliding
from clipdiy_lab.cli import app
from clipdiy_lab.datasets.manifests import load_manifest, manifest_folder
from clipdiy_lab.errors import ClipdiyWarning, ConfigError
from clipdiy_lab.method import schema as s
from clipdiy_lab.method.last_block import METHODS
from clipdiy_lab.pipeline.fusion import fuse

NAMES = ("clearclip", "clip_diy", "maskclip", "maskclip_clearclip_code", "naclip", "sclip")


def quietly(name, benchmark=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClipdiyWarning)
        return lab.published_method(name, benchmark=benchmark)


def test_every_method_on_every_benchmark_is_a_configuration_and_a_protocol():
    assert methods.method_names() == NAMES
    table = lab.list_methods()
    assert set(table["name"]) == set(NAMES)
    for name, benchmark in table[["name", "benchmark"]].itertuples(index=False):
        method = quietly(name, benchmark)
        assert method.protocol.id == f"{name}_{benchmark}"
        assert method.config == lab.Config.from_json(method.config.to_json())
        labels = load_manifest(benchmark).names(method.names)
        assert set(method.config.synonyms) <= set(labels)
        # A window that is the frame, or the resized image: nothing is stretched.
        if method.config.dense != "none" and method.protocol.window is not None:
            assert method.config.image_size == (method.protocol.window,) * 2


def test_settings_are_those_of_the_official_codes():
    table = lab.list_methods().set_index(["name", "benchmark"])
    assert tuple(table.loc[("sclip", "voc21"), ["logit_scale", "probability_threshold", "area_threshold"]]) == (
        65,
        0.1,
        0.1,
    )
    assert table.loc["clearclip", "probability_threshold"].dropna().to_dict() == {
        "voc21": 0.5,
        "context60": 0.15,
        "coco_object_tcl": 0.4,
    }
    sizes = table[["image_short", "window", "stride"]]
    assert tuple(sizes.loc[("naclip", "context59")]) == (336, 224, 112)
    assert tuple(sizes.loc[("clearclip", "ade20k150")]) == (448, 448, 224)
    assert tuple(sizes.loc[("clearclip", "cityscapes19")]) == (448, 224, 224)
    assert tuple(sizes.loc[("sclip", "cityscapes19")]) == (560, 224, 112)
    assert sizes.loc[("naclip", "voc21")].isna().tolist() == [False, True, True]
    words = quietly("sclip", "voc21").config.synonyms["background"]
    assert len(words) == 26
    assert words[:3] == ("sky", "wall", "tree")
    assert quietly("clip_diy", "voc21").config == lab.Config.paper()
    refined = table["refine"] == "pamr"
    assert set(table.index[refined].get_level_values("name")) == {"naclip"}
    assert refined.loc["naclip"].all()
    naclip = quietly("naclip", "context60").config
    assert (naclip.refine_iterations, naclip.refine_dilations) == (10, (8, 16))
    # A box of 520 x 520: the longer side decides.
    assert sliding.resized_size((375, 500), quietly("maskclip", "context59").protocol) == (390, 520)


def test_what_is_not_reproduced_is_said():
    with pytest.warns(ClipdiyWarning, match=r"NACLIP \(WACV 2025\) is not fully reproduced\. The official label"):
        lab.published_method("naclip", benchmark="voc21")
    with pytest.warns(ClipdiyWarning, match=r"MaskCLIP .* normalises images with ImageNet's mean"):
        lab.published_method("maskclip", benchmark="context59")
    with pytest.warns(ClipdiyWarning, match="on ade20k150 are not known; its general ones are used"):
        lab.published_method("clip_diy", benchmark="ade20k150")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lab.published_method("clip_diy", benchmark="voc21")
        lab.published_method("sclip", benchmark="voc21")
        lab.published_method("clearclip", benchmark="coco_object_tcl")


def test_results_of_every_way_of_making_patch_tokens_have_a_title():
    titles = [features_title(lab.Config(scales=(), dense=dense)) for dense in METHODS]
    titles.append(features_title(lab.Config()))
    assert len(set(titles)) == len(titles)
    known = set(pd.read_csv(manifest_folder() / "published_results.csv")["method"])
    assert {"CLIP-DIY", "MaskCLIP", "SCLIP", "ClearCLIP", "NACLIP"} <= known & set(titles)


def test_wrong_names():
    with pytest.raises(ConfigError, match=r"there is no method 'nacilp'\. Did you mean 'naclip'"):
        lab.published_method("nacilp")
    with pytest.raises(ConfigError, match=r"there is no benchmark 'voc12'\. Did you mean 'voc2"):
        lab.published_method("naclip", benchmark="voc12")
    done = CliRunner().invoke(app, ["evaluate", "scenes", "--method", "naclop"])
    assert "there is no method 'naclop'. Did you mean 'naclip'" in str(done.exception)
    done = CliRunner().invoke(app, ["evaluate", "scenes", "--method", "naclip", "--protocol", "mmseg"])
    assert "leave out --config and --protocol" in str(done.exception)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("names: sclip", "name: sclip", "line 6, field name: unknown field; Did you mean 'names'"),
        ("dense: naclip", "dense: naclop", "dense is 'naclop'"),
        ("window: 224, ", "widow: 224, ", "widow"),
        ("logit_scale: 40", "logit_scale: x", "protocol, decision.logit_scale"),
        ("  voc20:", "  voc2O:", "voc2O"),
    ],
)
def test_files_that_do_not_fit_are_refused_with_file_and_field(tmp_path, monkeypatch, old, new, says):
    (tmp_path / "methods").mkdir()
    for path in manifest_folder().glob("*.yaml"):
        shutil.copy(path, tmp_path)
    text = (manifest_folder() / "methods" / "naclip.yaml").read_text()
    (tmp_path / "methods" / "naclip.yaml").write_text(text.replace(old, new, 1))
    monkeypatch.setattr(methods, "manifest_folder", lambda: tmp_path)
    with pytest.raises(ConfigError, match=r"naclip\.yaml, line \d+, field ") as caught:
        methods.load_method("naclip")
    assert says in str(caught.value)


def test_without_windows_the_resized_image_is_the_frame():
    segmenter, scenes = lab.Segmenter("tiny", "none"), lab.open_dataset("scenes")
    image, labels = np.ascontiguousarray(scenes[0].image[:150]), ["cat", "car", "grass"]
    config = lab.Config(scales=(), dense="clearclip", background="none")
    protocol = Protocol(id="whole", summary="whole", absent="nan", image_short=96)
    text = segmenter.text_embeddings(labels, config)
    size = sliding.resized_size(image.shape, protocol)
    assert size[0] != size[1]
    own = config.replace(image_size=size)
    run = fuse(segmenter.encoding(image, own), text, own)
    scores = torch.from_numpy(s.scores(run).values)[None].float()
    expected = torch.nn.functional.interpolate(scores, size=image.shape[:2], mode="bilinear")[0].argmax(0).numpy()
    found = sliding.sliding_labels(segmenter, image, text, config, protocol, image.shape[:2])
    assert (found == expected).mean() > 0.9999


def test_evaluate_runs_a_method(tmp_path):
    out = tmp_path / "result.nc"
    with pytest.warns(ClipdiyWarning, match="official label names"):
        done = CliRunner().invoke(
            app, ["evaluate", "scenes", "--method", "naclip", "--limit", "2", "--saliency", "none", "--out", str(out)]
        )
    assert done.exit_code == 0, done.exception
    result = lab.results.open_result(out)
    assert lab.results.table(result)["method"].iloc[0] == "NACLIP (clipdiy_lab)"
    attrs = result.attrs
    method = quietly("naclip")
    assert attrs["protocol"] == "naclip"
    assert Protocol.model_validate_json(attrs["protocol_card"]) == method.protocol
    assert lab.Config.from_json(attrs["config"]).changed(method.config) in ((), ("patches",))
    assert "windows of 224, stride 112, of an image at short side 336" in attrs["input"]
