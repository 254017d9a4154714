"""What the command line says beside its results: version, warnings, interruptions, options instead of arguments."""

import ast
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import run
from PIL import Image
from scenes_files import write_voc
from typer.testing import CliRunner

import clipdiy_lab as lab
from clipdiy_lab._version import __version__
from clipdiy_lab.cli import app, main, wording
from clipdiy_lab.datasets.scenes import Scenes
from clipdiy_lab.pipeline.segmenter import Segmenter

PACKAGE = Path(lab.__file__).parent
QUICK = ["--limit", "2", "--saliency", "none"]


def start(*arguments, cwd, **env):
    return subprocess.Popen(
        [sys.executable, "-m", "clipdiy_lab", *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TQDM_DISABLE": "1", **env},
    )


def call(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_the_version():
    done = call("--version")
    assert (done.exit_code, done.stdout) == (0, f"clipdiy-lab {__version__}\n")


def test_a_warning_is_one_plain_line_on_stderr_and_said_once(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    done = run("explain", "photo.png", "--labels", "cat,runway", "--saliency", "none", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert all(line.startswith("warning: ") for line in lines)
    (stranger,) = [line for line in lines if "never learned" in line]
    assert "runway" in stranger
    (caution,) = [line for line in lines if "not one of them" in line]
    assert caution.endswith("such as --model ViT-B-32/laion2b_s34b_b79k.")
    assert len(lines) == 2
    assert "Warning" not in done.stderr + done.stdout
    assert ".py" not in done.stderr


# Ctrl-C


def test_ctrl_c_says_what_is_kept_and_the_same_command_goes_on(tmp_path):
    command = ["embed", "scenes", "--store", "s", "--shard-size", "3", "--limit", "60", "--saliency", "none"]
    child = start(*command, cwd=tmp_path, TQDM_DISABLE="")
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("s/shards/*.ok")) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 130, stderr
    finished = len(list(tmp_path.glob("s/shards/*.ok")))
    last = stderr.splitlines()[-1]
    assert last.startswith("interrupted: ")
    assert f"{finished} of 20 shards" in last
    assert "same command" in last
    counted = [int(done) for done in re.findall(r"(\d+)/60 \[.*image", stderr)]
    assert any(done % 3 for done in counted)  # the bar counts images, not shards
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["segment", "scene.png", "--labels", "cat"], "nothing was written; run the same command to start again"),
        (["explain", "scene.png", "--labels", "cat"], "nothing was written; run the same command to start again"),
        (["evaluate", "scenes", *QUICK], "run the same command again to continue"),
        (
            ["sweep", "scenes", *QUICK, "--grid", "saliency_weight=[1]", "--out", "rows"],
            "run the same command again to continue",
        ),
        (["embed", "scenes", *QUICK, "--store", "s"], "run the same command again to embed the rest"),
    ],
)
def test_every_long_command_says_what_ctrl_c_leaves(command, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(Scenes("val")[1].image).save("scene.png")

    def interrupted(*_, **__):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Segmenter, "encoding", interrupted)
    done = call(*command)
    assert done.exit_code == 130
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("interrupted: ")]
    assert says in line
    assert not list(tmp_path.rglob("*.html"))


def test_a_command_with_nothing_to_keep_says_so_too(monkeypatch):
    monkeypatch.setattr("clipdiy_lab.models.loading.list_models", lambda: signal.raise_signal(signal.SIGINT))
    done = call("models")
    assert (done.exit_code, done.stderr) == (130, "interrupted: no partly written file was left behind.\n")


# Options in the place of arguments


@pytest.fixture
def voc_here(tmp_path, monkeypatch):
    """Three scenes where the manifest of VOC expects 1,449 photographs."""
    from clipdiy_lab.datasets.manifests import load_manifest

    monkeypatch.chdir(tmp_path)
    layout, root = load_manifest("voc21").layout, tmp_path / "voc"
    write_voc(Scenes("val", length=3), root)
    for image in (root / "JPEGImages").glob("*.png"):
        image.rename(image.with_suffix(Path(layout.image).suffix))
    return root


@pytest.mark.filterwarnings("ignore:The model 'tiny' never learned")
@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "voc21", "--saliency", "none"],
        ["embed", "voc21", "--saliency", "none", "--store", "s"],
        ["sweep", "voc21", "--saliency", "none", "--grid", "saliency_weight=[1]"],
    ],
)
def test_an_incomplete_dataset_advises_partial_and_partial_works(command, voc_here, capsys, monkeypatch):
    asked = [*command, "--root", str(voc_here)]
    monkeypatch.setattr(sys, "argv", ["clipdiy-lab", *asked])
    with pytest.raises(SystemExit, match="1"):
        main()
    said = capsys.readouterr().err
    assert "has 3 images here" in said
    assert said.rstrip().endswith("or pass --partial to use the images that are present.")
    done = call(*asked, "--partial")
    assert done.exit_code == 0, done.output + str(done.exception)


def test_the_same_advice_names_the_argument_in_python(voc_here):
    with pytest.raises(lab.ClipdiyError, match=r"or pass partial=True to use the images that are present\.$"):
        lab.open_dataset("voc21", root=voc_here)
    (voc_here / "JPEGImages" / "val_000002.jpg").unlink()
    assert len(lab.open_dataset("voc21", root=voc_here, partial=True)) == 2


def test_a_store_that_is_not_finished_can_be_swept_in_part(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("embed", "scenes", "--store", "s", "--shard-size", "1", *QUICK).exit_code == 0
    next(iter(Path("s/shards").glob("*1.ok"))).unlink()
    rows = ["sweep", "scenes", "--store", "s", "--grid", "saliency_weight=[1]", "--json"]
    refused = call(*rows)
    assert refused.exit_code == 1
    assert "--partial" in wording.in_shell(str(refused.exception))
    assert call(*rows, "--partial").exit_code == 0


@pytest.mark.parametrize(
    ("python", "shell"),
    [
        ("give checkpoint=PATH.", "give --checkpoint PATH."),
        ("clipdiy_lab.load(..., runtime='openvino').", "--runtime openvino."),
        ("give segmenter= with the same model", "give --model with the same model"),
        ("There is no file 'partial=True.png'.", "There is no file 'partial=True.png'."),
        ("the store's root= is 'root=x'", "the store's --root is 'root=x'"),
        ("a\nb\x1b[2J", r"a\nb\x1b[2J"),
        ("If so, pass mean=, std= and activation=.", "If so, in Python (lab.load) pass mean=, std= and activation=."),
        ("(checkpoint=PATH, tokenizer=FOLDER)", "(--checkpoint PATH, in Python tokenizer=FOLDER)"),
    ],
)
def test_words_for_the_shell(python, shell):
    assert wording.in_shell(python) == shell


def test_every_spelling_that_is_translated_stands_in_a_message():
    """One that is mended in the lab must not stay behind here."""
    texts = []
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name != "cli":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            texts += [
                "".join(part.value for part in node.values if isinstance(part, ast.Constant))
                for node in ast.walk(tree)
                if isinstance(node, ast.JoinedStr)
            ]
            texts += [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    together = "\n".join(texts)
    assert [spelling for spelling in wording._OPTIONS if not re.search(spelling, together)] == []
