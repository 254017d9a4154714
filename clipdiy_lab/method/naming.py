"""How grids and knobs are named, in files and for people; nothing else in the lab spells the name of a grid.

Apart from `grid` because a configuration names grids too, and is to be had without numpy.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence

from clipdiy_lab.errors import ConfigError, spelled

DENSE = "dense"
"""Name of the grid of patch tokens of the frame, and with the side of the windows behind it, of those of windows."""

_WINDOWS = re.compile(r"s(\d{3,})")
_TOKENS = re.compile(rf"{DENSE}(\d{{3,}})")


def grid_names(scales: Sequence[int], dense: bool = False, dense_from: str = "frame") -> tuple[str, ...]:
    """Names of the grids that a configuration asks for, in the order of the plan.

    Parameters
    ----------
    scales : sequence of int
        Sides of the windows, pixels.
    dense : bool
        Whether there are grids of patch tokens.
    dense_from : {"frame", "crops"}
        Whether these are of the frame or of the windows of every side.

    Examples
    --------
    >>> grid_names((128, 64), True, "frame"), grid_names((64,), True, "crops")
    (('s128', 's064', 'dense'), ('s064', 'dense064'))
    """
    windows = tuple(map(window_grid_name, scales))
    if not dense:
        return windows
    return (*windows, *([DENSE] if dense_from == "frame" else map(token_grid_name, scales)))


def token_grid_name(window: int) -> str:
    """Name of the grid of the patch tokens of all windows of one side.

    Examples
    --------
    >>> token_grid_name(64)
    'dense064'
    """
    return f"{DENSE}{window:03d}"


def of_tokens(name: str) -> bool:
    """Whether a name is that of a grid of patch tokens, or of all of them.

    Examples
    --------
    >>> of_tokens("dense"), of_tokens("dense064"), of_tokens("s064")
    (True, True, False)
    """
    return name == DENSE or _TOKENS.fullmatch(name) is not None


def named(name: str, grids: Sequence[str]) -> tuple[str, ...]:
    """Which of some grids a name stands for; ``dense`` stands for all grids of patch tokens.

    Examples
    --------
    >>> named("dense", ("s064", "s032", "dense064", "dense032"))
    ('dense064', 'dense032')
    """
    if name == DENSE and name not in grids:
        return tuple(grid for grid in grids if _TOKENS.fullmatch(grid))
    return (name,) if name in grids else ()


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


def knob_title(name: str) -> str:
    """Title of a knob, or of a column of a sweep, for people.

    Examples
    --------
    >>> knob_title("saliency_weight")
    'saliency weight'
    """
    return name.replace("_", " ")


def grid_title(name: str) -> str:
    """Title of the grid of a name: the side of its windows, after what it is where it is not of crops.

    Examples
    --------
    >>> grid_title("s064"), grid_title("dense"), grid_title("dense064")
    ('64 px', 'dense', 'dense 64 px')
    """
    windows, tokens = _WINDOWS.fullmatch(name), _TOKENS.fullmatch(name)
    if windows is not None:
        return f"{int(windows[1])} px"
    return name if tokens is None else f"{DENSE} {int(tokens[1])} px"
