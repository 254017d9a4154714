"""The registry, the check of maps, and the sources without a network."""

import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from clipdiy_lab.errors import ImageError, ModelError, SaliencyError
from clipdiy_lab.models.saliency import Saliency, build, names, validate_map
from clipdiy_lab.models.saliency.simple import ConstantSaliency, FileSaliency, NoSaliency
from clipdiy_lab.models.saliency.spectral import SpectralSaliency

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
SOFT = np.linspace(0, 1, 40 * 60, dtype=np.float32).reshape(40, 60)


# --- the registry -------------------------------------------------------------------------------------------------


def test_unknown_names_are_answered_with_near_ones():
    with pytest.raises(ModelError, match=r"no saliency 'spektral'. Did you mean 'spectral'"):
        build("spektral")
    with pytest.raises(ModelError, match=r"no saliency 'xyz'. Known: 'constant', 'file'"):
        build("xyz")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("constant", {}, "missing a required argument: 'value'"),
        ("constant", {"valu": 1}, r"got the options \['valu'\], but takes \['value'\]"),
        ("none", {"value": 1}, r"got the options \['value'\], but takes \[\]"),
        ("found-seed", {"threshold": 1}, "takes .*'tau'"),
    ],
)
def test_wrong_options_are_named(name, options, message):
    with pytest.raises(ModelError, match=message):
        build(name, **options)


def test_sources_without_a_network_ignore_the_device():
    assert build("none", device="cuda").name == "none"
    assert build("constant", value=0, device="cuda").name == "constant"


def test_asking_for_the_names_loads_no_torch():
    code = "import sys; from clipdiy_lab.models import saliency; saliency.names(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_small_source_meets_the_protocol_and_can_be_rebuilt(tmp_path):
    np.save(tmp_path / "map.npy", SOFT)
    built = [build("none"), build("constant", value=0.3), build("file", path=tmp_path / "map.npy"), build("spectral")]
    for source in built:
        assert isinstance(source, Saliency)
        assert source.name in names()
        assert len(source.fingerprint) == 64
        got = source(IMAGE)
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, validate_map(got, (40, 60)))
        again = build(source.recipe.name, **source.recipe.options)
        assert again.fingerprint == source.fingerprint
        np.testing.assert_array_equal(again(IMAGE), got)
    assert len({source.fingerprint for source in built}) == len(built)


@pytest.mark.parametrize("image", [IMAGE[:, :, 0], IMAGE.astype(np.float32), IMAGE[:0], "photo.jpg", None])
def test_what_is_no_image_is_refused_by_all(image, tmp_path):
    np.save(tmp_path / "map.npy", SOFT)
    for source in (NoSaliency(), ConstantSaliency(1), FileSaliency(tmp_path / "map.npy"), SpectralSaliency()):
        with pytest.raises(ImageError, match="H x W x 3 uint8"):
            source(image)


# --- the check of maps --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_good_maps_pass_as_float32(dtype):
    got = validate_map(SOFT.astype(dtype), (40, 60))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, SOFT, atol=1e-3)
    np.testing.assert_array_equal(validate_map(torch.from_numpy(SOFT), (40, 60)), SOFT)


def test_rounding_is_clipped_and_the_given_map_left_alone():
    given = np.array([[-5e-7, 1 + 5e-7]])
    assert validate_map(given, (1, 2)).tolist() == [[0.0, 1.0]]
    assert given.tolist() == [[-5e-7, 1 + 5e-7]]


@pytest.mark.parametrize(
    ("saliency", "message"),
    [
        (SOFT.T, r"shape \(60, 40\), expected \(40, 60\).*resize"),
        (SOFT[None], r"shape \(1, 40, 60\)"),
        (np.float32(0.5), r"shape \(\)"),
        (SOFT * 255, r"values from 0 to 255, expected \[0, 1\].*/ 255"),
        (SOFT - 0.5, r"values from -0.5 to 0.5"),
        (SOFT + 1e-4, "expected"),
        (np.where(SOFT > 0.5, np.nan, SOFT), "1200 of 2400 values that are NaN"),
        (np.where(SOFT > 0.999, np.inf, SOFT), "NaN or infinite"),
        ((SOFT * 255).astype(np.uint8), "type uint8.*255"),
        (SOFT > 0.5, "type bool.*astype"),
        (SOFT.astype(complex), "type complex"),
        (np.array([["a"]]), "type <U1"),
        (None, "type object"),
        ([[0.5], [0.5, 0.5]], "cannot be made from a list"),
        (torch.ones(40, 60, requires_grad=True), "cannot be made from a Tensor"),
    ],
)
def test_bad_maps_are_refused(saliency, message):
    with pytest.raises(SaliencyError, match=message):
        validate_map(saliency, (40, 60))


# --- files --------------------------------------------------------------------------------------------------------


def test_npy_files(tmp_path):
    for dtype in (np.float16, np.float32, np.float64):
        np.save(tmp_path / "map.npy", SOFT.astype(dtype))
        np.testing.assert_allclose(FileSaliency(tmp_path / "map.npy")(IMAGE), SOFT, atol=1e-3)


def test_a_returned_map_can_be_changed_without_changing_the_source(tmp_path):
    np.save(tmp_path / "map.npy", SOFT)
    source = FileSaliency(str(tmp_path / "map.npy"))
    source(IMAGE)[:] = 0
    np.testing.assert_array_equal(source(IMAGE), SOFT)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_gray_images_of_8_bits(tmp_path, suffix):
    eight = np.arange(2400, dtype=np.uint16).astype(np.uint8).reshape(40, 60)
    path = tmp_path / f"map{suffix}"
    Image.fromarray(eight).save(path)
    np.testing.assert_allclose(FileSaliency(path)(IMAGE), eight / 255, atol=1e-7)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_gray_images_of_16_bits_keep_their_levels(tmp_path, suffix):
    sixteen = np.linspace(0, 65535, 2400).astype(np.uint16).reshape(40, 60)
    path = tmp_path / f"map{suffix}"
    Image.fromarray(sixteen).save(path)
    np.testing.assert_allclose(FileSaliency(path)(IMAGE), sixteen / 65535, atol=1e-7)


def test_big_endian_16_bits(tmp_path):
    sixteen = np.linspace(0, 65535, 2400).astype(">u2").reshape(40, 60)
    Image.frombytes("I;16B", (60, 40), sixteen.tobytes()).save(tmp_path / "map.tif")
    np.testing.assert_allclose(FileSaliency(tmp_path / "map.tif")(IMAGE), sixteen / 65535, atol=1e-7)


def test_turned_images_are_turned_upright(tmp_path):
    upright = (SOFT * 255).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(upright)).save(tmp_path / "map.png", exif=exif)
    np.testing.assert_allclose(FileSaliency(tmp_path / "map.png")(IMAGE), upright / 255, atol=1e-7)


def test_maps_of_another_size_are_refused(tmp_path):
    np.save(tmp_path / "map.npy", SOFT.T)
    source = FileSaliency(tmp_path / "map.npy")
    with pytest.raises(SaliencyError, match=r"map.npy has shape \(60, 40\), expected \(40, 60\)"):
        source(IMAGE)


def write(path, content):
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, Image.Image):
        content.save(path)
    else:
        np.save(path, content, allow_pickle=True)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("a.npy", SOFT * 2, r"a.npy: The saliency map has values from 0 to 2"),
        ("a.npy", np.full((2, 2), np.nan), "NaN"),
        ("a.npy", np.ones((2, 2), np.uint8), "type uint8"),
        ("a.npy", np.ones((2, 2, 1)), r"shape \(2, 2, 1\), expected H x W"),
        ("a.npy", np.ones((0, 2)), r"shape \(0, 2\)"),
        ("a.npy", np.array([{"code": 1}]), "cannot be read as an array"),
        ("a.npy", b"", "cannot be read as an array"),
        ("a.npy", b"\x93NUMPY\x01\x00", "cannot be read as an array"),
        ("a.png", b"", "cannot be read as an image"),
        ("a.png", b"<html>", "cannot be read as an image"),
        ("a.png", Image.new("RGB", (4, 4)), "mode 'RGB', expected gray"),
        ("a.png", Image.new("RGBA", (4, 4)), "mode 'RGBA'"),
        ("a.png", Image.new("P", (4, 4)), "mode 'P'"),
        ("a.png", Image.new("LA", (4, 4)), "mode 'LA'"),
        ("a.png", Image.new("1", (4, 4)), "mode '1'"),
        ("a.tif", Image.new("F", (4, 4)), "mode 'F'"),
        ("a.gif", Image.new("L", (4, 4)), "cannot be read as an image"),
    ],
)
def test_bad_files_are_refused(tmp_path, file, content, message):
    write(tmp_path / file, content)
    with pytest.raises(SaliencyError, match=message):
        FileSaliency(tmp_path / file)


def test_truncated_missing_and_huge_files_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.fromarray((SOFT * 255).astype(np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(SaliencyError, match="cannot be read as an image"):
        FileSaliency(path)
    with pytest.raises(SaliencyError, match="There is no saliency file"):
        FileSaliency(tmp_path / "b.png")
    with pytest.raises(SaliencyError, match="There is no saliency file"):
        FileSaliency(tmp_path)
    for limit in (1500, 100):  # Pillow warns above its limit, and refuses above twice that
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        Image.fromarray((SOFT * 255).astype(np.uint8)).save(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as in a user's session, where a warning stops nothing
            with pytest.raises(SaliencyError, match="cannot be read as an image"):
                FileSaliency(path)


# --- constant, none, spectral ------------------------------------------------------------------------------------


def test_constant_and_none():
    np.testing.assert_array_equal(ConstantSaliency(0.25)(IMAGE), np.full((40, 60), 0.25))
    np.testing.assert_array_equal(ConstantSaliency(np.float32(1))(IMAGE), np.ones((40, 60)))
    np.testing.assert_array_equal(NoSaliency()(IMAGE), np.ones((40, 60)))


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf"), "0.5", None, True])
def test_constants_out_of_range_are_refused(value):
    with pytest.raises(SaliencyError, match=r"expected a number in \[0, 1\]"):
        ConstantSaliency(value)


def test_spectral_stretches_to_the_whole_range_and_is_deterministic():
    source = SpectralSaliency()
    got = source(IMAGE)
    assert (got.min(), got.max()) == (0.0, 1.0)
    np.testing.assert_array_equal(got, source(IMAGE))
    np.testing.assert_array_equal(got, SpectralSaliency()(IMAGE.copy()))


def test_spectral_finds_the_odd_spot():
    rng = np.random.default_rng(1)
    image = np.full((128, 128, 3), 120, np.uint8) + rng.integers(0, 4, (128, 128, 1), dtype=np.uint8)
    image[80:100, 20:40] = (250, 20, 20)
    got = SpectralSaliency()(image)
    assert got[76:104, 16:44].mean() > 3 * got.mean()


def test_spectral_of_one_colour_is_nothing_anywhere():
    for shade in (0, 7, 255):
        assert not SpectralSaliency()(np.full((30, 20, 3), shade, np.uint8)).any()
    assert SpectralSaliency()(IMAGE[:1, :1]).shape == (1, 1)


def test_spectral_without_opencv_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ModelError, match=r"not installed: pip install \"clipdiy-lab\[spectral\]\""):
        build("spectral")
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(__version__="4.0"))
    with pytest.raises(ModelError, match=r"contributed modules, which the installed OpenCV 4.0 lacks"):
        build("spectral")


def test_spectral_failure_is_an_error():
    source = SpectralSaliency()
    failing = SimpleNamespace(computeSaliency=lambda gray: (False, np.zeros(gray.shape, np.float32)))
    source._cv2 = SimpleNamespace(
        cvtColor=lambda image, code: image[:, :, 0],
        COLOR_RGB2GRAY=0,
        saliency=SimpleNamespace(StaticSaliencySpectralResidual_create=lambda: failing),
    )
    with pytest.raises(SaliencyError, match=r"could not compute.*\(40, 60, 3\)"):
        source(IMAGE)
    flat = SimpleNamespace(computeSaliency=lambda gray: (True, np.ones(gray.shape, np.float32)))
    source._cv2.saliency = SimpleNamespace(StaticSaliencySpectralResidual_create=lambda: flat)
    assert not source(IMAGE).any()
