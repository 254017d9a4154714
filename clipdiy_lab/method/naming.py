"""How grids are named, in files and for people; nothing else in the lab spells the name of a grid.

Apart from `grid` because a configuration names grids too, and is to be had without numpy.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence

from clipdiy_lab.errors import ConfigError, spelled

_WINDOWS = re.compile(r"s(\d{3,})")


def grid_names(scales: Sequence[int]) -> tuple[str, ...]:
    """Names of the grids that a configuration asks for, in the order of the plan.

    Parameters
    ----------
    scales : sequence of int
        Sides of the windows, pixels.
    """
    return tuple(map(window_grid_name, scales))


def window_grid_name(window: int) -> str:
    """Name of the grid of windows of one side, padded with zeros so that names sort by size.

    Examples
    --------
    >>> window_grid_name(64)
    's064'
    """
    return f"s{window:03d}"


def grid_name(given: object) -> str:
    """Name of the grid that a name or a window side in pixels stands for; a text of digits is a side too.

    Examples
    --------
    >>> grid_name(64), grid_name("64"), grid_name("s064")
    ('s064', 's064', 's064')

    Raises
    ------
    ConfigError
        If it is neither.
    """
    if isinstance(given, str) and not given.isdecimal():
        return given
    try:
        side = int(given) if isinstance(given, str) else operator.index(given)  # type: ignore[arg-type]
    except TypeError:
        side = -1
    if isinstance(given, bool) or side < 0:
        raise ConfigError(f"a grid is {spelled(given)}; expected its name, such as 's064', or a window side: 64.")
    return window_grid_name(side)


def grid_title(name: str) -> str:
    """Title of the grid of a name: the side of its windows.

    Examples
    --------
    >>> grid_title("s064")
    '64 px'
    """
    windows = _WINDOWS.fullmatch(name)
    return name if windows is None else f"{int(windows[1])} px"
