"""Palette PNGs whose colours are right and whose indices are not: refused, whatever saved them; decoration is not."""

import numpy as np
import pytest
from PIL import Image
from reading import copy_voc, indices

import clipdiy_lab as lab
from clipdiy_lab.datasets.manifests import load_manifest, manifest_names
from clipdiy_lab.datasets.palette import voc_colormap, write_palette_png
from clipdiy_lab.datasets.readers import MaskDataset, lookup_of
from clipdiy_lab.errors import DatasetError

PALETTES = [name for name in manifest_names() if load_manifest(name).palette is not None]


def dataset_of(name, tmp_path, mask, colours):
    """One mask file of a benchmark, in given colours."""
    from clipdiy_lab.datasets.readers import Entry

    manifest = load_manifest(name)
    path = tmp_path / "mask.png"
    write_palette_png(path, mask, colours)
    entries = [Entry("one", tmp_path / "image.png", path)]
    return path, MaskDataset(name, manifest.label_names, entries, lookup_of(manifest), manifest=manifest)


def coloured(name):
    """A mask of four labels of a benchmark as stored, and the benchmark's colours at these values."""
    manifest = load_manifest(name)
    lookup, colours = lookup_of(manifest), voc_colormap()
    values = [int(np.flatnonzero(lookup == label)[0]) for label in (0, 5, 7, len(manifest.label_names) - 1)]
    for value in values:
        colours[value] = manifest.palette.colours[lookup[value]]
    return np.repeat(np.array(values, np.uint8), 5).reshape(4, 5), colours, lookup


@pytest.mark.parametrize("name", PALETTES)
@pytest.mark.parametrize("save", ["quantize", "adaptive", "reversed"])
def test_a_mask_that_was_saved_anew_is_refused(name, save, tmp_path):
    mask, colours, lookup = coloured(name)
    path, dataset = dataset_of(name, tmp_path, mask, colours)
    assert np.array_equal(dataset.mask(0), lookup[mask])
    with Image.open(path) as image:
        rgb = image.convert("RGB")
    if save == "quantize":
        rgb.quantize(16).save(path)
    elif save == "adaptive":
        rgb.convert("P", palette=Image.Palette.ADAPTIVE, colors=4).save(path)
    else:
        used = np.unique(mask)
        write_palette_png(path, np.searchsorted(-used[::-1].astype(int), -mask.astype(int)), colours[used[::-1]])
    with pytest.raises(DatasetError, match=rf"In the mask .*mask\.png the colours are those of '{name}', but \d of 4"):
        dataset.mask(0)


@pytest.mark.parametrize("name", PALETTES)
@pytest.mark.parametrize("palette", ["voc", "gray", "random", "one colour"])
def test_colours_that_are_decoration_do_not_matter(name, palette, tmp_path):
    mask, _, lookup = coloured(name)
    colours = {
        "voc": voc_colormap(),
        "gray": np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1),
        "random": np.random.default_rng(4).integers(0, 256, (256, 3), dtype=np.uint8),
        "one colour": np.zeros((256, 3), np.uint8),
    }[palette]
    _, dataset = dataset_of(name, tmp_path, mask, colours)
    assert np.array_equal(dataset.mask(0), lookup[mask])


def test_every_pair_of_labels_in_vocs_colours_is_read_as_coco_stuff(tmp_path):
    manifest = load_manifest("coco_stuff171")  # whose colours VOC's map repeats at other indices
    table = MaskDataset("x", manifest.label_names, [None], lookup_of(manifest), manifest=manifest)._colours
    values = np.flatnonzero(lookup_of(manifest) >= 0)
    for value in values:
        for other in values[values > value][::7]:
            table.check(np.array([[value, other]], np.uint8), voc_colormap(), "this mask")


@pytest.mark.parametrize("name", ["voc21", "voc20"])
def test_real_voc_masks(name, shared, tmp_path):
    root = copy_voc(shared("samples/voc2012"), tmp_path / "voc")
    dataset = lab.open_dataset(name, root=root, partial=True)
    path = root / "SegmentationClass/2007_000033.png"
    assert len(np.unique(indices(path))) > 2
    before = [dataset.mask(index) for index in range(3)]
    assert all(mask.size for mask in before)
    with Image.open(path) as image:
        image.convert("RGB").quantize(256).save(path)
    with pytest.raises(DatasetError, match="Image editors and optimisers renumber a palette"):
        dataset.mask("2007_000033")
    assert np.array_equal(dataset.mask(0), before[0])
