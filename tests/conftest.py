"""What all tests share: machine-checked shapes, the golden files, and two encoders that need no download."""

from jaxtyping import install_import_hook

# Before anything imports the package: the shapes in the annotations of the mathematics are checked at every call.
# Config, schema and metrics are left out: refusing values of any type with an error of the lab's own is their job.
install_import_hook(
    [f"clipdiy_lab.method.{module}" for module in ("attention", "grid", "ops", "refine")], "beartype.beartype"
)

import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

import hypothesis  # noqa: E402
import numpy as np  # noqa: E402
import open_clip  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from counting import CountingEncoder  # noqa: E402
from rings import pytest_addoption, pytest_collection_modifyitems, pytest_terminal_summary  # noqa: E402, F401
from safetensors.torch import load_file  # noqa: E402
from serving import Server, running  # noqa: E402

from clipdiy_lab.models.openclip_encoder import OpenClipEncoder  # noqa: E402
from clipdiy_lab.pipeline.segmenter import Segmenter  # noqa: E402

# `--doctest-modules` would import the first as modules of one name, and run the last, which is a script.
collect_ignore_glob = ["conftest.py", "*/conftest.py", "*/dying.py"]

# A job that a shell starts in the background ignores SIGINT, and so do its children, which tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests/data/golden"
SHARED = ROOT.parent / "shared"


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() == "true"


hypothesis.settings.register_profile("lab", deadline=None, derandomize=in_ci(), print_blob=True)
hypothesis.settings.load_profile("lab")


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """Find a file of the shared folder; without it the test is skipped, except in CI, where it must be there."""

    def find(relative: str) -> Path:
        path = SHARED / relative
        if not path.exists():
            if in_ci():
                pytest.fail(f"CI must have the shared folder, but there is no shared/{relative}")
            pytest.skip(
                f"needs shared/{relative}, which lies beside the repository only in the project's own workplace"
            )
        return path

    return find


@pytest.fixture(scope="session")
def golden(shared: Callable[[str], Path]) -> Callable[[str], Path]:
    """Find an output of the official code: in the repository, else in the shared folder."""

    def find(name: str) -> Path:
        own = GOLDEN / name
        return own if own.exists() else shared(f"golden/{name}")

    return find


@pytest.fixture(scope="session")
def peer(shared: Callable[[str], Path]) -> Callable[[str], dict[str, np.ndarray]]:
    """Read a file of what the official codes of the dense methods gave."""

    def read(name: str) -> dict[str, np.ndarray]:
        with np.load(shared(f"golden_peers/{name}.npz")) as data:
            return dict(data)

    return read


@pytest.fixture(scope="session")
def golden_encoder(golden: Callable[[str], Path]) -> OpenClipEncoder:
    """The image tower of the golden files; the text tower beside it is random but always the same."""
    config = json.loads(golden("encoder_config.json").read_text())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.CLIP(**config)
    model.visual.load_state_dict(load_file(golden("encoder_visual.safetensors")))
    return OpenClipEncoder(
        model,
        open_clip.SimpleTokenizer(context_length=config["text_cfg"]["context_length"]),
        name="golden",
        mean=open_clip.OPENAI_DATASET_MEAN,
        std=open_clip.OPENAI_DATASET_STD,
    )


@pytest.fixture(scope="session")
def golden_segmenter(golden_encoder: OpenClipEncoder) -> Segmenter:
    return Segmenter(golden_encoder)


@pytest.fixture
def counting_encoder() -> CountingEncoder:
    return CountingEncoder()


@pytest.fixture
def server() -> Iterator[Server]:
    """A faulty web server on this machine."""
    with running() as server:
        yield server
