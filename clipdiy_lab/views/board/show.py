"""Opening an ablation board with its widgets."""

from __future__ import annotations

from functools import partial
from typing import Any

from clipdiy_lab.datasets.sample import Dataset
from clipdiy_lab.method.config import Config
from clipdiy_lab.pipeline.segmenter import Segmenter
from clipdiy_lab.pipeline.sources import Store
from clipdiy_lab.views.board.board import Board
from clipdiy_lab.views.explorer.explorer import Explorer
from clipdiy_lab.views.explorer.show import explorer_widgets


def board_widgets(board: Board) -> Any:
    """Make the widget of a board.

    Raises
    ------
    ImportError
        Where ipywidgets or anywidget is missing.
    """
    # Widgets are an extra: a board without them shows its table.
    from clipdiy_lab.views.board.widgets import BoardPanel

    return BoardPanel(board)


def ablation_board(
    store: Segmenter | Store,
    dataset: Dataset,
    *,
    base: Config | None = None,
    limit: int | None = None,
    segmenter: Segmenter | None = None,
) -> Board:
    """Open the ablation board, an interactive view of a sweep.

    Parameters
    ----------
    store : Segmenter, or store of embeddings (`EmbeddingStore`, its folder, or what `open_store` returned)
        With a segmenter, embeddings are computed once for each set of encode knobs and kept as long as the board.
    dataset : Dataset
    base : Config, optional
        Configuration that the knobs modify. Default: that of the store, or `Config()`.
    limit : int, optional
        Use only the first images.
    segmenter : Segmenter, optional
        Segmenter whose text encoder is used with a store. Default: the encoder named in the store is loaded.

    Returns
    -------
    Board
        Displayed if it is the last line of a cell.
    """
    explorer = partial(Explorer, make_widgets=explorer_widgets)
    return Board(
        store,
        dataset,
        base=base,
        limit=limit,
        segmenter=segmenter,
        make_widgets=board_widgets,
        make_explorer=explorer,
    )
