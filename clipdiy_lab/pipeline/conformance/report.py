"""The report of a conformance check: what was looked at, what was seen, and what to do."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pandas as pd

from clipdiy_lab.errors import ClipdiyWarning

T = TypeVar("T")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
    passed : bool
    seen : str
        What was found.
    advice : str
        What to do where it failed; empty where it passed.
    """

    name: str
    passed: bool
    seen: str
    advice: str


class UnmetError(Exception):
    """What a check found, where it is not what the lab relies on."""


@dataclass
class Conformance:
    """What was looked at, in order.

    Attributes
    ----------
    subject : str
        What was checked.
    checks : list of Check
        A check that needs an earlier one which failed is left out.
    """

    subject: str
    checks: list[Check] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def table(self) -> pd.DataFrame:
        """One row per check: ``check``, ``passed``, ``seen``, ``advice``."""
        rows = [(check.name, check.passed, check.seen, check.advice) for check in self.checks]
        return pd.DataFrame(rows, columns=["check", "passed", "seen", "advice"])

    def __repr__(self) -> str:
        lines = [f"{self.subject}: {sum(check.passed for check in self.checks)} of {len(self.checks)} checks passed"]
        for check in self.checks:
            lines.append(f"{'ok    ' if check.passed else 'FAILED'} {check.name}: {check.seen}")
            lines += [f"       {check.advice}"] if check.advice else []
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return str(self.table.to_html(index=False))

    def look(self, name: str, advice: str, see: Callable[[], str]) -> bool:
        """Make one check; whatever it raises is what was seen.

        Parameters
        ----------
        name, advice : str
            See `Check`.
        see : callable
            Returns what it saw, or raises.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ClipdiyWarning)
                seen, passed = see(), True
        except UnmetError as error:
            seen, passed = str(error), False
        except Exception as error:  # the object is somebody's own
            seen, passed = f"{type(error).__name__}: {error}", False
        self.checks.append(Check(name, passed, seen, "" if passed else advice))
        return passed


def require(holds: bool, seen: str) -> str:
    """Return what was seen, if it is right.

    Raises
    ------
    UnmetError
        If not.
    """
    if not holds:
        raise UnmetError(seen)
    return seen


def travelled(thing: T) -> T:
    """Return a copy as a worker of a cluster gets it."""
    try:
        import cloudpickle as pickler  # what dask falls back on, where it is installed
    except ImportError:
        pickler = pickle
    copy: T = pickle.loads(pickler.dumps(thing))  # noqa: S301 - written in this line
    return copy


def named(thing: Any) -> str:
    """Return the type and the name of what is checked."""
    name = getattr(thing, "name", None)
    return f"{type(thing).__name__} {name!r}" if isinstance(name, str) else type(thing).__name__
