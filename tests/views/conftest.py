"""A real run, a real sweep and two real evaluations of `tiny` on `scenes`, made once for all views."""

import pytest
from remembering import remembered

import clipdiy_lab as lab

SCENES = 3


@pytest.fixture(scope="package", autouse=True)
def networks():
    """What is shown is what the networks gave, so they need not give it twice."""
    with remembered():
        yield


@pytest.fixture(scope="session")
def tiny():
    return lab.load("tiny")


@pytest.fixture(scope="session")
def scenes():
    return lab.open_dataset("scenes", split="val")


@pytest.fixture(scope="session")
def scene_run(tiny, scenes):
    """Scene 1 under all twenty names, without saliency's help, so that more than two labels win."""
    return tiny.segment(scenes[1].image, scenes.label_names, lab.Config.paper().replace(saliency_weight=0.4))


@pytest.fixture(scope="session")
def sweep_table(tiny, scenes):
    grid = {"scales": [(256,), (256, 128, 64)], "saliency_weight": [0.0, 0.5, 1.0]}
    return lab.sweep(tiny, scenes, grid, limit=SCENES)


@pytest.fixture(scope="session")
def results(tiny, scenes):
    paper = lab.Config.paper()
    return [lab.evaluate(tiny, scenes, one, limit=SCENES) for one in (paper.replace(saliency_weight=0), paper)]
