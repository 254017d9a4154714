"""What a front end of the board can draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from clipdiy_lab.views.board.row_images import ScoredImage
from clipdiy_lab.views.live.screen import Screen


class BoardScreen(Screen, Protocol):
    """Interface of a front end that displays a board."""

    def choice(self) -> None:
        """Show the grid, the number of images and what they cost again."""
        ...

    def rows(self) -> None:
        """Draw table and figure again."""
        ...

    def progress(self, done: int, total: int, left: float | None) -> None:
        """Say how many images are scored, of how many, and the seconds left where they are known."""
        ...

    def images(self, scored_images: Sequence[ScoredImage]) -> None:
        """Draw the images of a row; of none, take them away."""
        ...
