"""How long passes over the images take: measured as they run, and expected of others like them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final

from clipdiy_lab.analysis.scoring.shared import search_key
from clipdiy_lab.method.config import Config
from clipdiy_lab.method.grid import Plan
from clipdiy_lab.views.board.grid import Portion

_WORK: Final = ("choice", "switch", "count", "numbers", "size", "sides")
"""Forms of knobs that may decide how much is computed; others are numbers and texts, which take the same time."""
_REFINING: Final = "refined"


@dataclass(frozen=True)
class Measured:
    """What a pass took.

    Attributes
    ----------
    images, rows : int
    seconds : float
    """

    images: int
    rows: int
    seconds: float


@dataclass
class Pace:
    """Seconds that encodings and passes took.

    Attributes
    ----------
    crop : float or None
        Seconds to encode a crop; None before anything was encoded.
    fixed : float
        Seconds of a pass that do not depend on the number of its images.
    passes : dict
        The last pass of each kind.
    """

    crop: float | None = None
    fixed: float = 0.0
    passes: dict[tuple[Hashable, ...], Measured] = field(default_factory=dict)

    def encoded(self, config: Config, images: int, seconds: float) -> None:
        """Take what an encoding took."""
        self.crop = seconds / (images * _crops(config))

    def scored(self, portion: Portion, images: int, seconds: float) -> None:
        """Take what a pass took."""
        self.passes[_kind(portion)] = Measured(images, len(portion.trials), seconds)

    def encoding(self, config: Config, images: int) -> float | None:
        """Return the seconds that an encoding will take; None where nothing was encoded yet."""
        return None if self.crop is None else self.crop * images * _crops(config)

    def scoring(self, portion: Portion, images: int) -> float | None:
        """Return the seconds that a pass will take; None where nothing like it was measured."""
        known = self.passes.get(_kind(portion)) or self._like(portion)
        if known is None:
            return None
        fixed = min(self.fixed, known.seconds)
        # Half of a pass serves all its rows: masks and embeddings are read once.
        share = (1 + len(portion.trials) / known.rows) / 2
        return fixed + share * (known.seconds - fixed) * images / known.images

    def _like(self, portion: Portion) -> Measured | None:
        """Return the pass with the nearest number of rows among those that refine in the same way."""
        alike = [one for kind, one in self.passes.items() if kind[0] == _refining(portion)]
        return min(alike, key=lambda one: abs(one.rows - len(portion.trials)), default=None)


def _kind(portion: Portion) -> tuple[Hashable, ...]:
    """Return what decides how long a portion takes for an image, how it refines first."""
    names = [name for name, meta in Config.knobs().items() if meta["form"] in _WORK]
    searches = len({repr(search_key(trial)) for trial in portion.trials})
    return (_refining(portion), len(portion.trials), searches, _values(portion, names))


def _refining(portion: Portion) -> Hashable:
    names = [name for name, meta in Config.knobs().items() if meta["acts_on"] == _REFINING and meta["form"] in _WORK]
    return _values(portion, names)


def _values(portion: Portion, names: Sequence[str]) -> Hashable:
    """Return the values of some knobs in the rows of a portion, each once."""
    configs = [trial.config for trial in portion.trials if trial.config is not None]
    return frozenset(tuple(repr(getattr(config, name)) for name in names) for config in configs)


def _crops(config: Config) -> int:
    """Return how many crops of an image are encoded; a frame that is encoded whole counts as one."""
    return max(1, Plan.of(config).windows)


def spoken(seconds: float) -> str:
    """Say a duration.

    Examples
    --------
    >>> spoken(3.2), spoken(200)
    ('4 s', '3 min 20 s')
    """
    whole = int(-(-seconds // 1))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def counted(number: int, what: str) -> str:
    """Say how many there are of something.

    Examples
    --------
    >>> counted(1, "row"), counted(3, "row")
    ('1 row', '3 rows')
    """
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
