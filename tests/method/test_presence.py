"""Which labels compete: those with the largest lead in a window, the background always."""

import numpy as np
import pytest
import torch

from clipdiy_lab import Config
from clipdiy_lab.errors import ConfigError
from clipdiy_lab.method.frame_stages import Inputs, make_stages
from clipdiy_lab.method.labelling import label_map
from clipdiy_lab.method.presence import evidence, kept

CONFIG = Config(scales=(16, 8), image_size=(16, 24))


def similarities(seed=0, labels=5, config=CONFIG):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"s016": (1, 2), "s008": (3, 5)}
    return {name: torch.rand(*shapes[name], labels, generator=generator) for name in config.grids}


@pytest.mark.parametrize("background", [None, 0, 3])
def test_evidence_is_the_largest_lead_over_the_best_other_label(background):
    grids = similarities()
    found = evidence(grids, CONFIG, background)
    for label in range(5):
        if label == background:
            assert found[label] == 2
            continue
        rivals = [other for other in range(5) if other not in (label, background)]
        leads = [values[..., label] - values[..., rivals].max(-1).values for values in grids.values()]
        assert found[label] == pytest.approx(max(float(lead.max()) for lead in leads), abs=1e-6)


def test_a_grid_of_weight_0_gives_no_evidence():
    grids = similarities()
    only = evidence({"s016": grids["s016"]}, CONFIG.only(16), 0)
    torch.testing.assert_close(evidence(grids, CONFIG.replace(weights={8: 0}), 0), only)


def test_the_best_are_kept_and_of_equals_the_first():
    leads = torch.tensor([2.0, 0.1, 0.3, 0.1, -0.2])
    keep = [kept(leads, CONFIG.replace(keep_labels=k), 0).tolist() for k in (1, 2, None)]
    assert keep == [[True, False, True, False, False], [True, True, True, False, False], [True] * 5]
    assert kept(leads[1:], CONFIG.replace(keep_labels=1), None).tolist() == [False, True, False, False]
    with pytest.raises(
        ConfigError, match="keep_labels is 5, but there are only 4 labels beside the background; use at m"
    ):
        kept(leads, CONFIG.replace(keep_labels=5), 0)
    with pytest.raises(ConfigError, match="keep_labels is 6, but there are only 5 labels; use at most 5"):
        kept(leads, CONFIG.replace(keep_labels=6), None)


@pytest.mark.parametrize("policy", ["saliency", "prompt", "threshold", "none"])
@pytest.mark.parametrize("refine", ["none", "pamr"])
def test_the_rest_takes_no_part(policy, refine):
    """Keeping labels is the same as never having had the others, on the short way and on the long one."""
    config = CONFIG.replace(background=policy, keep_labels=2, refine=refine, refine_dilations=(1, 3), logit_scale=5.0)
    background = None if policy == "none" else 1
    generator = torch.Generator().manual_seed(9)
    saliency = torch.rand(16, 24, generator=generator)
    image = torch.randint(0, 256, (16, 24, 3), dtype=torch.uint8, generator=generator)
    changed = 0
    for seed in range(5):
        grids = similarities(seed)
        inputs = Inputs(similarities=grids, saliency=saliency, background=background, config=config, image=image)
        stages = make_stages(inputs)
        chosen = stages["kept"].nonzero().flatten()
        assert len(chosen) == 2 + (background is not None)
        fewer = Inputs(
            similarities={name: values[..., chosen] for name, values in grids.items()},
            saliency=saliency,
            background=None if background is None else chosen.tolist().index(background),
            config=config.replace(keep_labels=None),
            image=image,
        )
        alone = make_stages(fewer)
        torch.testing.assert_close(stages["labels"], chosen[alone["labels"]])
        torch.testing.assert_close(label_map(inputs), stages["labels"])
        torch.testing.assert_close(stages["probability"][chosen], alone["probability"])
        assert stages["probability"][~stages["kept"]].eq(0).all()
        torch.testing.assert_close(stages["margin"], alone["margin"])
        everything = Inputs(**{**vars(inputs), "config": config.replace(keep_labels=None)})
        changed += int((make_stages(everything)["labels"] != stages["labels"]).sum())
    assert changed > 0


def test_one_label_alone_has_no_rival():
    grids = {name: values[..., :2] for name, values in similarities().items()}
    found = evidence(grids, CONFIG, 0)
    best = max(float(values[..., 1].max()) for values in grids.values())
    np.testing.assert_allclose(found, [2, best])
    inputs = Inputs(similarities=grids, saliency=None, background=None, config=CONFIG.replace(keep_labels=1))
    assert make_stages(inputs)["margin"].eq(0).all()
