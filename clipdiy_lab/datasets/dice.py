"""Random numbers that are the same on every machine and with every version of every library: splitmix64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_WORD = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def _mix(word: int) -> int:
    word = ((word ^ (word >> 30)) * _FIRST) & _WORD
    word = ((word ^ (word >> 27)) * _SECOND) & _WORD
    return word ^ (word >> 31)


class Dice:
    """A stream of integers that depends on `keys` alone.

    Examples
    --------
    >>> Dice(1, 2).below(100) == Dice(1, 2).below(100)
    True
    """

    def __init__(self, *keys: int) -> None:
        self._state = 0
        for key in keys:
            self._state = _mix((self._state + key + _GOLDEN) & _WORD)

    def raw(self) -> int:
        """Return sixty-four random bits."""
        self._state = (self._state + _GOLDEN) & _WORD
        return _mix(self._state)

    def below(self, count: int) -> int:
        """Return an integer from 0 to `count` - 1."""
        return (self.raw() >> 16) % count

    def between(self, low: int, high: int) -> int:
        """Return an integer from `low` to `high`, both included."""
        return low + self.below(high - low + 1)

    def percent(self, chance: int) -> bool:
        """Return True with a probability of `chance` percent."""
        return self.below(100) < chance

    def field(self, height: int, width: int) -> NDArray[np.int32]:
        """Return a grid of independent values from 0 to 255."""
        word = np.arange(height * width, dtype=np.uint64) * np.uint64(_GOLDEN) + np.uint64(self.raw())
        word = (word ^ (word >> np.uint64(30))) * np.uint64(_FIRST)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(_SECOND)
        return (word >> np.uint64(56)).astype(np.int32).reshape(height, width)
