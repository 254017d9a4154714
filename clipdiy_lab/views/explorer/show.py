"""Opening an explorer with its widgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clipdiy_lab.pipeline.segmenter import Segmenter
from clipdiy_lab.pipeline.sources import Store
from clipdiy_lab.views.explorer.explorer import Explorer


def explorer_widgets(explorer: Explorer) -> Any:
    """Make the widgets of an explorer.

    Raises
    ------
    ImportError
        Where ipywidgets or anywidget is missing.
    """
    # Widgets are an extra: an explorer without them shows a picture.
    from clipdiy_lab.views.explorer.widgets import ExplorerWidgets

    return ExplorerWidgets(explorer)


def explore(
    image: Any = None, labels: Sequence[str] | None = None, segmenter: Segmenter | Store | None = None
) -> Explorer:
    """Open the explorer.

    Parameters
    ----------
    image : path of an image or folder, PIL image or array, optional
        Default: a scene of the embedded world.
    labels : sequence of str, optional
        Default: five names that the embedded model knows.
    segmenter : Segmenter or store of embeddings, optional
        Default: the embedded one, ``lab.load("tiny")``. A store (`EmbeddingStore`, its folder, or what `open_store`
        returned) spares the networks for the images that it holds.

    Returns
    -------
    Explorer
        Shows itself as the last line of a cell.
    """
    return Explorer(image, labels, segmenter, make_widgets=explorer_widgets)
