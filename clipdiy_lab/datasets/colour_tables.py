"""Colours of a palette PNG against the colours that its labels should have: an editor that saves one renumbers it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from clipdiy_lab.datasets.manifest_schema import Manifest
from clipdiy_lab.datasets.palette import count_values, voc_colormap
from clipdiy_lab.datasets.sample import IGNORE
from clipdiy_lab.errors import DatasetError

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class ColourTable:
    """The mask values that each colour stands for.

    Parameters
    ----------
    owner : str
        Whose table it is, for messages.
    values : dict of colour to frozenset of int
        A colour, RGB, and the mask values that it may have; several where labels share a colour.
    """

    owner: str
    values: dict[Colour, frozenset[int]]

    def check(self, mask: UInt8[np.ndarray, "y x"], palette: UInt8[np.ndarray, "n 3"], origin: str) -> None:
        """Refuse a mask whose colours are those of the table, but whose indices are others.

        A mask with any colour that the table does not have passes, since its palette says nothing then; so does one in
        which two indices have one colour, because a palette made from an image has each colour once.

        Parameters
        ----------
        mask : numpy.ndarray
            Values as stored.
        palette : numpy.ndarray
            Colour of each value.
        origin : str
            What the mask is, for the message.

        Raises
        ------
        DatasetError
        """
        used = [int(value) for value in np.flatnonzero(count_values(mask)) if value < len(palette)]
        colours = {value: _colour(palette[value]) for value in used}
        if len(set(colours.values())) < len(used) or not set(colours.values()) <= self.values.keys():
            return
        wrong = [value for value in used if value not in self.values[colours[value]]]
        if not wrong:
            return
        value = wrong[0]
        expected = " or ".join(map(str, sorted(self.values[colours[value]])))
        raise DatasetError(
            f"In {origin} the colours are those of {self.owner}, but {len(wrong)} of {len(used)} have another index: "
            f"{colours[value]} is index {value}, and should be {expected}. Image editors and optimisers renumber a "
            "palette when they save. Restore the original mask, or save it again with the right index for each colour."
        )


def table_of_manifest(manifest: Manifest, lookup: NDArray[np.int16]) -> ColourTable | None:
    """Return the colour table of a benchmark; None if its manifest has no palette.

    Any index may also have the colour that it has in VOC's map or in a gray ramp.

    Parameters
    ----------
    manifest : Manifest
    lookup : ndarray of int16, 256
        Label of each mask value.
    """
    if manifest.palette is None:
        return None
    values: dict[Colour, frozenset[int]] = {}
    pairs = [*enumerate(manifest.palette.colours), *((IGNORE, colour) for colour in manifest.palette.ignored)]
    for label, colour in pairs:
        values[colour] = values.get(colour, frozenset()) | {int(value) for value in np.flatnonzero(lookup == label)}
    # Two palettes are customary whatever the labels mean: VOC's, which our own writer uses too, and a gray ramp.
    for value, row in enumerate(voc_colormap()):
        for colour in (_colour(row), (value, value, value)):
            if colour in values:
                values[colour] |= {value}
    return ColourTable(repr(manifest.id), values)


def table_of_palette(palette: UInt8[np.ndarray, "n 3"], owner: str) -> ColourTable:
    """Return the colour table that a mask carries, for comparison with the other masks of its folder."""
    values: dict[Colour, frozenset[int]] = {}
    for value, row in enumerate(palette):
        values[_colour(row)] = values.get(_colour(row), frozenset()) | {value}
    return ColourTable(owner, values)


def _colour(row: NDArray[np.uint8]) -> Colour:
    red, green, blue = (int(part) for part in row)
    return red, green, blue
