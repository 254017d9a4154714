"""List of everything that can be shown of a run: each stage and explanation map with its title, colours and maker.

Titles, sentences, units and bounds are those of the stages: `method.schema.STAGES`, and the stages that stand beside
the functions of `analysis.explain`. What this module adds is how a value is coloured, and how a map is made of a run.
Figures, pages, explorer and pictures draw what is listed here and define none of it themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from clipdiy_lab.analysis import explain
from clipdiy_lab.analysis.explain import attention, grids, occlusion, refining, saliency_maps, tokens, wording
from clipdiy_lab.errors import ClipdiyError
from clipdiy_lab.method import schema as s
from clipdiy_lab.views.scales import DIVERGING, SEQUENTIAL, ColorRange, Scale

if TYPE_CHECKING:
    from clipdiy_lab.pipeline.segmenter import Segmenter

Kind = Literal["photograph", "sequential", "diverging", "label", "grid", "mark"]
"""How values are coloured: not at all; by one of two scales; by the name of a label or grid; by yes or no."""

SCALES: Final[dict[str, Scale]] = {"sequential": SEQUENTIAL, "diverging": DIVERGING}
TEMPERATURE: Final = 0.01
"""At which uncertainty is shown: about what CLIP was trained with; at 1 every pixel is close to the highest entropy."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A stage or map that can be shown.

    Attributes
    ----------
    stage : Stage
        Its name, dimensions, title, sentence, unit and bounds.
    kind : Kind
        How its values are coloured.
    whole : bool
        Whether the colours run over the whole range between its bounds (values then compare between pictures), or only
        over the values that are shown, because these lie close together.
    low, high : float or None
        Bounds of the colours, where they are narrower than the stage's.
    """

    stage: s.Stage
    kind: Kind
    whole: bool = True
    low: float | None = None
    high: float | None = None

    @property
    def name(self) -> str:
        """Its key."""
        return self.stage.name

    @property
    def scale(self) -> Scale | None:
        """The colour scale of its numbers; None where it has none."""
        return SCALES.get(self.kind)

    def colors(self, maps: Iterable[npt.NDArray[Any]]) -> ColorRange:
        """Return the colour range that some of its maps share.

        Raises
        ------
        KeyError
            If it is no map of numbers.
        """
        low = self.stage.low if self.low is None else self.low
        high = self.stage.high if self.high is None else self.high
        bounds = [end for end in (low, high) if end is not None and self.whole and self.kind == "sequential"]
        known = [*maps, np.array(bounds)]
        infinite = float("inf")
        return ColorRange.of(
            known, SCALES[self.kind], -infinite if low is None else low, infinite if high is None else high
        )


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A function of `analysis.explain` and those of its results that can be seen.

    Attributes
    ----------
    entries : tuple of Entry
    make : callable, optional
        Takes a run and the segmenter that made it, or None; returns a dataset with the entries. None: the function
        asks for more, such as a window.
    needs_segmenter : bool
        Whether it can be made only with a segmenter.
    when : callable
        Takes a run; whether it makes sense for it.
    note : callable
        Takes what was made; what there is to say of it beside the sentences.
    """

    entries: tuple[Entry, ...]
    make: Callable[[xr.DataTree, Segmenter | None], xr.Dataset] | None = None
    needs_segmenter: bool = False
    when: Callable[[xr.DataTree], bool] = lambda run: True
    note: Callable[[xr.Dataset], str] = lambda found: ""


def _note_of_words(found: xr.Dataset) -> str:
    shares = found["changed_share"].to_series().sort_values(ascending=False)
    most = "; ".join(f"{name}: {share:.1%}" for name, share in shares.head(3).items())
    left_out = "; ".join(found.attrs["left_out"])
    return f"{len(shares)} variations were tried. The largest shares of changed pixels: {most}." + (
        f" Left out, because a prompt would be too long for the text encoder: {left_out}." if left_out else ""
    )


EXPLANATIONS: Final = [
    Explanation(
        make=lambda run, _: explain.flip_weight(run),
        entries=(
            Entry(stage=saliency_maps.FLIP_CHANGE, kind="diverging"),
            Entry(stage=saliency_maps.FLIP_LABEL, kind="label"),
        ),
    ),
    Explanation(
        make=lambda run, _: explain.background_threshold(run),
        entries=(
            # A threshold outside [0, 1] is one that no saliency reaches.
            Entry(stage=saliency_maps.BACKGROUND_THRESHOLD, kind="sequential", whole=False, low=0, high=1),
            Entry(stage=saliency_maps.THRESHOLD_DISTANCE, kind="diverging", low=-1, high=1),
        ),
    ),
    Explanation(
        make=lambda run, _: explain.grid_importance(run),
        entries=(
            Entry(stage=grids.GRID_SHAPLEY, kind="diverging"),
            Entry(stage=grids.GRID_CONTRIBUTION, kind="diverging"),
            Entry(stage=grids.DECIDING_GRID, kind="grid"),
            Entry(stage=grids.GRID_FLIPS, kind="mark"),
        ),
    ),
    Explanation(
        make=lambda run, _: explain.uncertainty(run, TEMPERATURE),
        entries=(
            Entry(stage=grids.ENTROPY, kind="sequential"),
            Entry(stage=grids.GRID_AGREEMENT, kind="sequential"),
        ),
        note=lambda found: f"At temperature {found.attrs['temperature']:g}.",
    ),
    Explanation(
        make=lambda run, _: explain.refine_changed(run),
        when=lambda run: s.scores(run).name == "refined",
        entries=(
            Entry(stage=refining.LABEL_UNREFINED, kind="label"),
            Entry(stage=refining.REFINE_CHANGED, kind="mark"),
        ),
        note=lambda found: f"The refinement changes {found.attrs['changed_share']:.1%} of the frame.",
    ),
    Explanation(
        make=lambda run, segmenter: explain.prompt_sensitivity(run, segmenter),  # type: ignore[arg-type]
        needs_segmenter=True,
        entries=(Entry(stage=wording.WORDING_SENSITIVITY, kind="sequential"),),
        note=_note_of_words,
    ),
    Explanation(entries=(Entry(stage=wording.LABEL_CHANGED, kind="mark"),)),
    Explanation(entries=(Entry(stage=occlusion.OCCLUSION, kind="diverging"),)),
    Explanation(entries=(Entry(stage=attention.ATTENTION, kind="sequential"),)),
    Explanation(entries=(Entry(stage=tokens.EVIDENCE, kind="diverging"),)),
]

OVERLAY: Final = Entry(
    stage=s.Stage(
        name="overlay",
        dims=(s.Y, s.X, s.CHANNEL),
        kind="u1",
        title="The result over the image",
        sentence="The background is transparent.",
    ),
    kind="photograph",
)
"""The labels over the image, which comes after all stages."""

_KINDS: Final[dict[tuple[tuple[str, ...], str], Kind]] = {
    ((s.Y, s.X, s.CHANNEL), "u1"): "photograph",
    ((s.ROW, s.COL, s.LABEL), "f4"): "sequential",
    ((s.GRID, s.LABEL, s.Y, s.X), "f4"): "sequential",
    ((s.LABEL, s.Y, s.X), "f4"): "sequential",
    ((s.Y, s.X), "f4"): "sequential",
    ((s.Y, s.X), "i2"): "label",
}
# Cosines of one image span a tenth of their range, and so do probabilities at temperature 1.
_CLOSE_TOGETHER: Final = ("similarity", "logits", "probability")


def stages() -> dict[str, Entry]:
    """Return every stage that can be shown, by name, in the order in which they are made."""
    shown = [stage for stage in s.STAGES.values() if (stage.dims, stage.kind) in _KINDS]
    return {
        stage.name: Entry(
            stage=stage, kind=_KINDS[stage.dims, stage.kind], whole=stage.name not in _CLOSE_TOGETHER
        )
        for stage in shown
    }  # fmt: skip


def explanations() -> dict[str, Entry]:
    """Return every explanation map, by name."""
    return {entry.name: entry for explanation in EXPLANATIONS for entry in explanation.entries}


def recognised(array: xr.DataArray) -> Entry | None:
    """Return the entry that an array is of, by its name and title; None for a user-defined array."""
    entry = (stages() | explanations()).get(str(array.name))
    return entry if entry is not None and array.attrs.get("long_name") == entry.stage.title else None


def explained(
    run: xr.DataTree, segmenter: Segmenter | None = None
) -> Iterator[tuple[Explanation, xr.Dataset | ClipdiyError]]:
    """Yield every explanation that a run, and a segmenter where there is one, are enough for; or why it cannot be."""
    for explanation in EXPLANATIONS:
        if explanation.make is None or (explanation.needs_segmenter and segmenter is None):
            continue
        if not explanation.when(run):
            continue
        try:
            yield explanation, explanation.make(run, segmenter)
        except ClipdiyError as error:
            yield explanation, error
