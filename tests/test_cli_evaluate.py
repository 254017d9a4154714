"""`clipdiy-lab evaluate` as a user meets it: scores on stdout, progress on stderr, exit codes."""

import json

import pytest
from commands import run
from typer.testing import CliRunner

import clipdiy_lab as lab
from clipdiy_lab.cli import app
from clipdiy_lab.errors import ClipdiyError

SHORT = ["--limit", "2", "--saliency", "none", "--config", "mine.json"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.json").write_text(lab.Config(scales=(128,)).to_json())
    return tmp_path


def test_a_real_process_prints_a_table_and_leaves_a_result(here):
    done = run("evaluate", "scenes", *SHORT, "--out", "results", cwd=here, TQDM_DISABLE="")
    assert done.returncode == 0, done.stderr
    assert "2/2" in done.stderr  # the progress bar
    assert "2/2" not in done.stdout
    expected = lab.evaluate(
        lab.Segmenter("tiny", "none"), lab.open_dataset("scenes"), lab.Config(scales=(128,)), limit=2
    )
    assert f"mIoU {100 * expected.attrs['miou']:.2f} %" in done.stdout
    assert "protocol mmseg" in done.stdout
    assert "aeroplane" in done.stdout
    (file,) = (here / "results").glob("*.nc")
    assert lab.results.open_result(file).attrs["miou"] == expected.attrs["miou"]


def test_json_and_a_file_read_again(here):
    command = ["evaluate", "scenes", *SHORT, "--protocol", "official", "--out", "one.nc", "--json"]
    first = CliRunner().invoke(app, command)
    stamp = (here / "one.nc").stat().st_mtime_ns
    second = CliRunner().invoke(app, command)
    assert first.exit_code == second.exit_code == 0
    assert first.stdout == second.stdout
    assert (here / "one.nc").stat().st_mtime_ns == stamp
    said = json.loads(first.stdout)
    assert said["protocol"] == "official"
    assert said["images"] == 2
    assert len(said["labels"]) == 20


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["scene"], "Did you mean 'scenes'"),
        (["scenes", "--protocol", "oficial"], "Did you mean 'official'"),
        (["scenes", "--split", "vall"], "Did you mean 'val'"),
        (["scenes", "--limit", "0"], "limit is 0"),
        (["scenes", "--config", "papr"], "Did you mean 'paper'"),
        (["scenes", "--method", "clip-dyi"], "Did you mean 'clip_diy'"),
        (["scenes", "--method", "clip-diy", "--limit", "0"], "limit is 0"),
        (["scenes", "--config", "none.json"], "cannot be read"),
        (["./nowhere"], "nowhere"),
        (["scenes", "--out", "a.csv"], "ends in '.csv'"),
    ],
)
def test_bad_input(here, arguments, says):
    done = CliRunner().invoke(app, ["evaluate", *arguments])
    assert isinstance(done.exception, ClipdiyError)  # `main` makes it one sentence and exit code 1
    assert says in str(done.exception)
    assert not list(here.glob("out/results/*"))


def test_patch_tokens_are_a_knob_like_any_other(here):
    command = ["evaluate", "scenes", "--limit", "1", "--saliency", "none", "--config", "mine.json", "--json"]
    tokens = ["--set", "dense=naclip", "--set", "dense_from=crops", "--set", 'weights={"dense": 0.5}']
    done = CliRunner().invoke(app, [*command, *tokens])
    assert done.exit_code == 0
    config = lab.Config(scales=(128,), dense="naclip", dense_from="crops", weights={"dense": 0.5})
    scenes = lab.open_dataset("scenes")
    expected = lab.evaluate(lab.load("tiny", saliency="none"), scenes, config, limit=1).attrs["miou"]
    assert json.loads(done.stdout)["miou"] == pytest.approx(expected, abs=1e-12)
    done = CliRunner().invoke(app, [*command, "--set", "dense=naclop"])
    assert "dense is 'naclop'; expected one of none, maskclip" in str(done.exception)
