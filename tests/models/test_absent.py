"""What is not on this machine is named without being fetched."""

from clipdiy_lab.models import weights
from clipdiy_lab.models.absent import absent_saliency
from clipdiy_lab.models.saliency.found import DINO_WEIGHTS, HEAD_WEIGHTS


def test_each_source_of_saliency_lacks_what_it_would_fetch_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPDIY_LAB_CACHE", str(tmp_path))
    assert absent_saliency("found") == [DINO_WEIGHTS.name, HEAD_WEIGHTS.name]
    assert absent_saliency("found-seed") == [DINO_WEIGHTS.name]  # it has no head
    assert absent_saliency("found-tiny") == absent_saliency("none") == []
    folder = weights.cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DINO_WEIGHTS.name).write_bytes(b"")
    assert absent_saliency("found") == [HEAD_WEIGHTS.name]
    assert absent_saliency("found-seed") == []
