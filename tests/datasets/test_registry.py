"""Datasets by name, and the manifest that describes the embedded one."""

from pathlib import Path

import pytest
import yaml

import clipdiy_lab as lab
from clipdiy_lab import errors
from clipdiy_lab.datasets.sample import Dataset

MANIFESTS = Path(__file__).parents[2] / "data_manifests"


def test_the_manifest_of_scenes_says_what_the_code_does():
    manifest = yaml.safe_load((MANIFESTS / "scenes.yaml").read_text())
    for split, said in manifest["splits"].items():
        dataset = lab.open_dataset(manifest["id"], split=split)
        assert isinstance(dataset, Dataset)
        assert len(dataset) == said["images"]
        assert list(dataset.label_names) == manifest["label_names"]


def test_the_published_numbers_in_the_readme_are_cells_of_the_table():
    import pandas as pd

    table = pd.read_csv(MANIFESTS / "published_results.csv")
    cells = table.query("method == 'CLIP-DIY'").groupby("dataset")["miou_percent"].agg(set)
    assert cells["VOC21"] == {59.9}
    assert cells["COCO-Object"] == {31.0}
    assert table["source"].notna().all()
    readme = (MANIFESTS.parent / "README.md").read_text()
    assert "59.9 mIoU on PASCAL VOC" in readme
    assert "31.0 on COCO Object" in readme


def test_unknown_names_and_splits():
    with pytest.raises(errors.DatasetError, match="Did you mean 'scenes'"):
        lab.open_dataset("scene")
    with pytest.raises(errors.DatasetError, match="val"):
        lab.open_dataset("scenes", split="vall")
    for given, says in ((None, "name is None"), (lab.open_dataset(), "name is a Scenes")):
        with pytest.raises(errors.DatasetError, match=f"{says}; expected the name of a dataset, such as 'scenes', or"):
            lab.open_dataset(given)
    assert set(lab.list_datasets()["split"]) == {"train", "val", "val_unseen"}
