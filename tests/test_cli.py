"""The command line as a user meets it: real processes, real files, exit codes."""

import html
import json
import os
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from commands import python, run
from PIL import Image
from typer.testing import CliRunner

import clipdiy_lab as lab
from clipdiy_lab.cli import app
from clipdiy_lab.datasets.palette import read_palette_png


@pytest.fixture
def photo(tmp_path):
    sample = lab.open_dataset("scenes")[1]
    Image.fromarray(sample.image).save(tmp_path / "photo.png")
    return sample


def test_segment_writes_everything_and_prints_json(photo, tmp_path):
    done = run("segment", "photo.png", "--labels", "car, tv/monitor,cat", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert {row["label"] for row in said["labels"]} == {"background", "car", "tv/monitor", "cat"}
    assert sum(row["share"] for row in said["labels"]) == pytest.approx(1)
    folder = tmp_path / "out" / "photo"
    tree = lab.open_run(folder / "run.nc")
    assert (read_palette_png(folder / "labels.png") == tree["labels_full"].values).all()
    assert tree["labels_full"].shape == photo.mask.shape
    names = {path.name for path in folder.iterdir()}
    assert {"index.html", "strip.png", "01_image.png", "11_overlay.png"} <= names
    page = (folder / "index.html").read_text().replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    assert page.count("<img") > 30
    assert "id='scenes'" in page
    assert "http://" not in page
    assert "https://" not in page


def test_labels_with_commas_in_quotes_and_from_a_file(photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "classes.txt").write_bytes("\ufeffbuilding, edifice\r\nsky\r\n".encode())
    (tmp_path / "quick.json").write_text(lab.Config(scales=(256,)).to_json())
    for given in (["--labels", '"building, edifice", sky'], ["--labels-file", "classes.txt"]):
        for command in (["segment", "--out", "out", "--overwrite"], ["explain", "--html", "page.html"]):
            with pytest.warns(lab.ClipdiyWarning, match="never learned 'building, edifice'"):
                done = CliRunner().invoke(app, [*command, "photo.png", *given, "--config", "quick.json", "--json"])
            assert done.exit_code == 0, done.output
            said = {row["label"] for row in json.loads(done.stdout)["labels"]}
            assert said == {"background", "building, edifice", "sky"}
    for page in (tmp_path / "out/index.html", tmp_path / "page.html"):
        assert "--labels 'background, \"building, edifice\", sky'" in html.unescape(page.read_text())


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        (["--labels", '"cat, sofa'], 1, "expected commas between labels, and a label with a comma in double quotes"),
        (["--labels", ""], 1, "there are no labels"),
        (
            ["--labels", r"building\, edifice, sky"],
            1,
            "with a backslash before a comma; expected commas between labels",
        ),
        (["--labels", "@gap.txt"], 1, "'@gap.txt', which is a file; read it with --labels-file"),
        (["--labels-file", "none.txt"], 1, "--labels-file none.txt cannot be read"),
        (["--labels-file", "photo.png"], 1, "expected UTF-8, one label per line"),
        (["--labels-file", "gap.txt"], 1, "label 1 is empty"),
        (["--labels-file", "escape.txt"], 1, "which holds U+001B ESCAPE"),
        (["--labels", "cat", "--labels-file", "gap.txt"], 2, "either --labels or --labels-file"),
        ([], 2, "either --labels or --labels-file"),
    ],
)
def test_labels_that_cannot_be_read(photo, tmp_path, monkeypatch, given, code, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gap.txt").write_text("cat\n\nsofa\n")
    (tmp_path / "escape.txt").write_text("cat\n\x1b[31msofa\n")
    for command in ("segment", "explain"):
        done = CliRunner().invoke(app, [command, "photo.png", *given])
        assert done.exit_code == code
        assert said in (str(done.exception) if code == 1 else done.output)
    assert {path.name for path in tmp_path.iterdir()} == {"photo.png", "gap.txt", "escape.txt"}


def test_names_from_outside_reach_no_terminal_as_commands(tmp_path, monkeypatch):
    """A folder whose own name, classes and files hold escapes, an image of such a name, and wrong usage."""
    monkeypatch.chdir(tmp_path)
    evil = "\x1b[31mevil\x07\u202e"
    for part in ("images", "masks"):
        (tmp_path / evil / part).mkdir(parents=True)
    pixels, mask = np.full((40, 60, 3), 90, np.uint8), np.ones((40, 60), np.uint8)
    Image.fromarray(pixels).save(tmp_path / evil / "images" / f"{evil}.png")
    Image.fromarray(mask).save(tmp_path / evil / "masks" / f"{evil}.png")
    Image.fromarray(pixels).save(tmp_path / f"{evil}.png")
    (tmp_path / evil / "classes.txt").write_text("background\ncat\x1b[2J\n")
    (tmp_path / "good" / "images").mkdir(parents=True)
    (tmp_path / "good" / "images" / f"lonely{evil}.png").touch()
    (tmp_path / "good" / "masks").mkdir()
    (tmp_path / "good" / "classes.txt").write_text("background\ncat\n")
    quick = tmp_path / "quick.json"
    quick.write_text(lab.Config(scales=(256,)).to_json())
    commands = [
        ["segment", f"{evil}.jpg", "--labels", "cat"],
        ["explain", f"{evil}.png", "--labels", "cat", "--config", "quick.json", "--html", f"{evil}.html"],
        ["explain", f"{evil}.png", "--labels", f"cat, {evil}"],
        ["evaluate", evil, "--config", "quick.json"],
        ["data", "verify", evil],
        ["data", "verify", "good"],
        ["embed", evil, "--store", evil, "--config", "quick.json"],
        ["store", "info", evil],
        ["segment", evil, evil, "--labels", "cat"],
        [evil],
        ["--" + evil],
    ]
    done = python(_MANY_COMMANDS, "-c", json.dumps(commands), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert said.count(r"\x1b[31mevil") >= len(commands)
    assert said.count("Traceback") == 0
    assert {c for c in said if unicodedata.category(c) in ("Cc", "Cf", "Cs")} <= {"\n", "\r"}


_MANY_COMMANDS = """
import json, sys
from clipdiy_lab.cli import main
for command in json.loads(sys.argv[1]):
    sys.argv = ["clipdiy-lab", *command]
    try:
        main()
    except SystemExit:
        pass
"""


def test_an_existing_folder_is_kept_unless_told_otherwise(photo, tmp_path):
    keep = tmp_path / "mine"
    keep.mkdir()
    (keep / "thesis.txt").write_text("years of work")
    done = run("segment", "photo.png", "--labels", "car", "--out", "mine", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert [path.name for path in keep.iterdir()] == ["thesis.txt"]
    failing = run("segment", "photo.png", "--labels", "car,car", "--out", "mine", "--overwrite", cwd=tmp_path)
    assert failing.returncode == 1
    assert (keep / "thesis.txt").exists()
    for command in (["segment", "photo.png", "--labels", "car", "--overwrite"], ["demo"]):
        refused = run(*command, "--out", "mine", cwd=tmp_path)
        assert refused.returncode == 1
        assert "contains 'thesis.txt', which this command did not write" in refused.stderr
    assert (keep / "thesis.txt").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "photo.png"]


def test_overwrite_replaces_a_result_and_nothing_else(photo, tmp_path):
    (tmp_path / "mine.old").mkdir()
    (tmp_path / "mine.old" / "thesis.txt").write_text("years of work")
    asked = ["segment", "photo.png", "--labels", "car", "--out", "mine"]
    assert run(*asked, cwd=tmp_path).returncode == 0
    first = (tmp_path / "mine" / "run.nc").stat().st_ino
    again = run(*asked, cwd=tmp_path)
    assert again.returncode == 1
    assert "not empty" in again.stderr
    failing = run("segment", "photo.png", "--labels", "car,car", "--out", "mine", "--overwrite", cwd=tmp_path)
    assert failing.returncode == 1
    assert (tmp_path / "mine" / "run.nc").stat().st_ino == first
    replaced = run(*asked, "--overwrite", cwd=tmp_path)
    assert replaced.returncode == 0, replaced.stderr
    assert (tmp_path / "mine" / "run.nc").stat().st_ino != first
    assert (tmp_path / "mine.old" / "thesis.txt").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "mine.old", "photo.png"]


def test_no_command_writes_over_its_own_input(photo, tmp_path):
    before = (tmp_path / "photo.png").read_bytes()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "input.png").write_bytes(before)
    for command, says in (
        (["explain", "photo.png", "--labels", "car", "--html", "photo.png"], "ends in .html"),
        (["segment", "here/input.png", "--labels", "car", "--out", "here", "--overwrite"], "would be replaced"),
        (["segment", "photo.png", "--labels", "car", "--out", ".", "--overwrite"], "is inside ., which"),
        (["demo", "--out", "."], "current folder"),
    ):
        done = run(*command, cwd=tmp_path)
        assert done.returncode == 1
        assert says in done.stderr
        assert "Traceback" not in done.stderr
    assert (tmp_path / "photo.png").read_bytes() == (tmp_path / "here" / "input.png").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.png", "--labels", "car"], "missing.png"),
        (["photo.png", "--labels", " , "], "empty"),
        (["photo.png", "--labels", "car", "--model", "tinny"], "Did you mean 'tiny'"),
        (["photo.png", "--labels", "car", "--model", "ViT-B-32/laion2b_s34b_b79"], "laion2b_s34b_b79k"),
        (["photo.png", "--labels", "car", "--saliency", "fuond"], "Did you mean 'found'"),
        (["photo.png", "--labels", "car", "--saliency", "constant=2"], "2"),
        (["photo.png", "--labels", "car", "--saliency", "file=nowhere.npy"], "nowhere.npy"),
        (["photo.png", "--labels", "car", "--config", "nowhere.json"], "nowhere.json"),
        (["photo.png", "--labels", "car", "--out", "photo.png/sub"], "photo.png"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(photo, tmp_path, arguments, says):
    done = run("segment", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert says in errors[0]
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.nc"))
    assert not list(tmp_path.rglob("*.part"))


def test_weights_that_are_not_here_are_named_and_never_replaced(photo, tmp_path):
    done = run(
        "segment", "photo.png", "--labels", "car", "--model", "ViT-B-32/laion2b_s34b_b79k",
        cwd=tmp_path, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "empty"),
    )  # fmt: skip
    assert done.returncode == 1
    assert "'ViT-B-32/laion2b_s34b_b79k' are not on this machine" in done.stderr
    assert "'tiny'" in done.stderr
    assert not (tmp_path / "out").exists()


def test_wrong_usage_is_exit_code_2(tmp_path):
    assert run("segment", "photo.png", cwd=tmp_path).returncode == 2
    assert run("segmnt", cwd=tmp_path).returncode == 2


def test_saliency_can_be_a_file(photo, tmp_path):
    np.save(tmp_path / "map.npy", (photo.mask > 0).astype(np.float32))
    done = run(
        "segment", "photo.png", "--labels", "car,tv/monitor", "--saliency", "file=map.npy", "--json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    tree = lab.open_run(tmp_path / "out" / "photo" / "run.nc")
    assert tree.attrs["saliency_source"] == "file"


def test_a_configuration_from_a_file(photo, tmp_path):
    config = lab.Config(scales=(128, 64), saliency_weight=0.5, synonyms={"car": ["car", "taxi"]}, template="imagenet80")
    (tmp_path / "config.json").write_text(config.to_json())
    done = run("segment", "photo.png", "--labels", "car", "--config", "config.json", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    tree = lab.open_run(tmp_path / "out" / "photo" / "run.nc")
    assert lab.Config.from_json(tree.attrs["config"]) == config.replace(precision="fp32")
    assert list(tree["phrase"].values) == ["background", "car", "taxi"]


def test_doctor_says_what_is_here(tmp_path):
    done = run("doctor", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    findings = json.loads(done.stdout)
    assert findings["problems"] == []
    assert {"python", "torch", "torchvision", "device", "precisions", "weights cache"} <= set(findings["facts"])
    assert "tiny" in findings["facts"]["models here"]


def test_doctor_recognises_torch_and_torchvision_of_different_builds(tmp_path):
    broken = tmp_path / "torchvision.py"
    broken.write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "clipdiy_lab", "doctor"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "not a pair" in done.stdout
    assert "--force-reinstall torch torchvision" in done.stdout


def test_lists(tmp_path):
    models = json.loads(run("models", "--json", cwd=tmp_path).stdout)
    assert models[0]["name"] == "tiny"
    assert any(row["name"] == "ViT-B-32/laion2b_s34b_b79k" for row in models)
    methods = json.loads(run("methods", "--json", cwd=tmp_path).stdout)
    assert {("naclip", "voc21"), ("clip_diy", "voc21")} <= {(row["name"], row["benchmark"]) for row in methods}
    assert "NACLIP" in run("methods", cwd=tmp_path).stdout
    assert {row["split"] for row in json.loads(run("data", "list", "--json", cwd=tmp_path).stdout)} >= {
        "val",
        "val_unseen",
    }


def test_the_demo_shows_everything_and_can_be_repeated(tmp_path):
    done = run("demo", "--out", "out/demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for row in ("256 px alone", "64 px alone", "saliency weight 0.5", "saliency weight 1"):
        assert row in done.stdout
    folder = tmp_path / "out" / "demo"
    assert {"run.nc", "index.html", "labels.png", "input.png", "strip.png"} <= {p.name for p in folder.iterdir()}
    assert lab.open_run(folder / "run.nc")["labels"].shape == (256, 256)
    assert "128 px alone" in (folder / "index.html").read_text()


def test_embed_and_store(tmp_path):
    done = run("embed", "scenes", "--store", "s", "--limit", "2", "--shard-size", "1", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["images_finished"], said["shards_finished"], said["encoder"]) == (2, 2, "tiny")
    arrays = 2 * (59 * 128 * 2 + 256 * 256 + 40)
    assert f"together {arrays:,} bytes" in done.stderr
    assert arrays < said["bytes"] < arrays + 20_000
    shard = next((tmp_path / "s" / "shards").glob("000001.*.zip"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    checked = run("store", "verify", "s", "--json", cwd=tmp_path)
    assert checked.returncode == 1
    assert [row["state"] for row in json.loads(checked.stdout)] == ["whole", "damaged"]
    refused = run("store", "export", "s", "s.nc", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.count("\n") == 1
    assert "damaged" in refused.stderr


def test_store_info_prune_and_another_saliency(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = CliRunner().invoke
    assert call(app, "embed scenes --store s --limit 1 --saliency none").exit_code == 0
    assert "images_finished          1" in call(app, "store info s").stdout
    (tmp_path / "s" / "shards" / ".clipdiy-x.part").mkdir()
    assert "s/shards/.clipdiy-x.part" in call(app, "store prune s").stdout
    assert call(app, "store export s s.zarr").stdout == "s.zarr\n"
    other = call(app, "embed scenes --store s --limit 1 --saliency constant=0.5")
    assert "saliency_source is 'none' there, 'constant' is asked" in str(other.exception)


def test_sweep_from_a_store_takes_the_settings_of_the_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = CliRunner().invoke
    assert call(app, "embed scenes --store s --limit 2 --saliency constant=0.6").exit_code == 0
    grid = ["--grid", "saliency_weight=[0, 1]", "--grid", "scales=[[64], [256, 128, 64]]"]
    done = call(app, ["sweep", "scenes", "--store", "s", *grid, "--limit", "2", "--json", "--csv", "t.csv"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert [(row["saliency_weight"], row["scales"]) for row in rows] == [
        *((0.0, "64"), (0.0, "256 128 64"), (1.0, "64"), (1.0, "256 128 64")),
    ]
    assert not any(row["error"] for row in rows)
    assert {row["precision"] for row in rows} == {"fp32"}
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 5
    weighed = call(
        app,
        ["sweep", "scenes", "--store", "s", "--grid", 'weights=[{}, {"256": 0, "s064": 2}]', "--limit", "2", "--json"],
    )
    assert [row["weights"] for row in json.loads(weighed.stdout)] == ["{}", '{"s256": 0.0, "s064": 2.0}']
    sweep = ["sweep", "scenes", "--store", "s", "--limit", "2", "--grid", "saliency_weight=[1]"]
    for more, said in (
        (["--saliency", "none"], "--saliency cannot be combined with --store"),
        (["--csv", "nowhere/t.csv"], "'nowhere' does not exist"),
        (["--model", "ViT-B-32/laion2b_s34b_b79k"], "ViT-B-32/laion2b_s34b_b79k"),
    ):
        done = call(app, [*sweep, *more])
        assert done.exit_code == 1
        assert said in str(done.exception)
    # A store is no folder of stores, and rows that all failed are no success.
    mixed = call(app, ["sweep", "scenes", "--stores", "s", "--limit", "2", "--grid", "saliency_weight=[1]"])
    assert "which is a store itself" in str(mixed.exception)
    failed = call(app, ["sweep", "scenes", "--store", "s", "--limit", "2", "--grid", "scales=[[32]]"])
    assert failed.exit_code == 1
    assert "1 of 1 rows failed: the store s was not encoded with the grids of 32 px" in failed.stderr


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ("saliency_weight", "expected KNOB=JSON LIST"),
        ("saliency_weight=0.5", "expected KNOB=JSON LIST"),
        ("saliency_weight=[0, 0.5", "expected KNOB=JSON LIST"),
        ("saliency_wieght=[0]", "saliency_weight"),
    ],
)
def test_a_grid_that_cannot_be_read(grid, said):
    done = CliRunner().invoke(app, ["sweep", "scenes", "--grid", grid])
    assert done.exit_code == 1
    assert said in str(done.exception)


@pytest.mark.parametrize(
    "command", ["segment x.png --labels cat", "evaluate scenes", "embed scenes --store s", "explain x.png --labels cat"]
)
def test_every_command_takes_a_configuration_the_same_way(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text("{")
    for given, said in (("papr", "'paper'"), ("none.json", "cannot be read"), ("bad.json", "not JSON")):
        done = CliRunner().invoke(app, [*command.split(), "--config", given])
        assert done.exit_code == 1
        assert said in str(done.exception)
    assert {path.name for path in tmp_path.iterdir()} == {"bad.json"}


@pytest.mark.parametrize(
    "command",
    ["segment x.png --labels cat", "explain x.png --labels cat", "evaluate scenes", "embed scenes --store s",
     "sweep scenes --grid align_corners=[false]"],
)  # fmt: skip
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["saliency_wieght=1"], "there is no knob 'saliency_wieght'. Did you mean 'saliency_weight'"),
        (["saliency_weight=high"], "saliency_weight is 'high'; expected a number."),
        (["scales=[64", "stride=3"], "scales is '[64'; expected window sides"),
        (["temperature"], "--set is 'temperature'; expected KNOB=VALUE"),
        (["temperature=1", "temperature=2"], "--set names 'temperature' twice"),
        (["saliency=none"], "--set names 'saliency', which is not a knob; use the option --saliency."),
    ],
)
def test_set_refuses_in_one_sentence_before_anything_is_done(command, given, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sets = [part for text in given for part in ("--set", text)]
    done = CliRunner().invoke(app, [*command.split(), *sets])
    assert done.exit_code == 1
    assert said in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_set_and_grid_of_one_knob_are_refused():
    done = CliRunner().invoke(app, ["sweep", "scenes", "--grid", "stride=[1, 2]", "--set", "stride=4"])
    assert "--set and --grid both name 'stride'" in str(done.exception)


def test_set_stands_on_top_of_a_configuration(photo, tmp_path):
    (tmp_path / "own.json").write_text(lab.Config(stride=1, scales=(128,), template="a {label}").to_json())
    sets = ("--set", "template=the {label}", "--set", "saliency_threshold=None", "--set", 'weights={"128": 2}')
    done = run("segment", "photo.png", "--labels", "cat", "--config", "own.json", *sets, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = lab.open_run(tmp_path / "out/photo/run.nc")
    expected = lab.Config(stride=1, scales=(128,), template="the {label}", weights={128: 2}, precision="fp32")
    assert lab.Config.from_json(made.attrs["config"]) == expected
