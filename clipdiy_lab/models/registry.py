"""Registries: what is built by name, the lab's own and what installed packages bring."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.metadata import EntryPoint
from typing import Any, Generic, TypeVar

from clipdiy_lab.errors import ClipdiyError, ClipdiyWarning, ModelError, nearest
from clipdiy_lab.models.capabilities import HasRecipe
from clipdiy_lab.models.recipes import Recipe

T = TypeVar("T")
_OF_THE_MACHINE = ("device", "precision")
"""Arguments that a recipe leaves out: whoever builds again chooses them. Builders that do not take them do without."""


@dataclass(frozen=True)
class Registry(Generic[T]):
    """Builders by name.

    Attributes
    ----------
    kind : str
        What is built, in a word, for messages.
    group : str
        Entry points under which other packages register builders: ``NAME = "MODULE:CALLABLE"``.
    builders : mapping of str to callable
        The lab's own.
    check : callable
        Returns what it is given if it meets the protocol; raises a `ClipdiyError` if not.
    reserved : callable
        Whether a name that is not in `builders` is the lab's all the same.

    Notes
    -----
    Names come from the metadata of packages; a package is imported when one of its names is built. The lab's own names
    go before those of packages, so a faulty package cannot take them away.
    """

    kind: str
    group: str
    builders: Mapping[str, Callable[..., T]]
    check: Callable[[object], T]
    reserved: Callable[[str], bool]

    def names(self) -> tuple[str, ...]:
        """Names that can be built: the lab's own in their order, then those of packages.

        Warns
        -----
        ClipdiyWarning
            As `plugins` does.
        """
        return (*self.builders, *self.plugins())

    def plugins(self) -> dict[str, list[EntryPoint]]:
        """Entry points of installed packages by name; a name has several where packages disagree.

        Warns
        -----
        ClipdiyWarning
            If a package registers a name of the lab's, or its entry points cannot be read.
        """
        found: dict[str, list[EntryPoint]] = {}
        for point in sorted(_entry_points(self.group), key=lambda point: (point.name, point.value)):
            if point.name in self.builders or self.reserved(point.name):
                warnings.warn(
                    f"The {self.kind} {point.name!r} is the lab's own; what {package(point)} registers under that name "
                    "is left out. Its author has to choose another one.",
                    ClipdiyWarning,
                    stacklevel=3,
                )
            else:
                found.setdefault(point.name, []).append(point)
        return found

    def build(self, name: str, **options: Any) -> T:
        """Build by name.

        Returns
        -------
        object
            With its recipe in the attribute ``recipe``, unless it brings one.

        Raises
        ------
        ModelError
            If the name is unknown, an option is unknown or missing, or the builder of a package cannot be imported,
            fails, or makes something that does not meet the protocol.
        """
        if name in self.builders:
            whose = f"The {self.kind} {name!r}"
            return _signed(whose, call(whose, self.builders[name], options), name, options)
        points = self.plugins().get(name, [])
        if not points:
            raise ModelError(f"There is no {self.kind} {name!r}. {nearest(str(name), self.names())}")
        if len(points) > 1:
            several = " and by ".join(map(package, points))
            raise ModelError(f"The {self.kind} {name!r} is registered by {several}; remove one of them.")
        return self._from_package(name, points[0], options)

    def _from_package(self, name: str, point: EntryPoint, options: Mapping[str, Any]) -> T:
        whose = f"The {self.kind} {name!r} of {package(point)}"
        try:
            builder = point.load()
        except Exception as error:  # importing a package runs whatever it holds
            raise ModelError(
                f"{whose} cannot be imported ({type(error).__name__}: {error}); repair or remove the package."
            ) from error
        if not callable(builder):
            raise ModelError(f"{whose} is no callable; its entry point {point.value!r} has to name one that builds it.")
        built = call(whose, builder, options, foreign=True)
        try:
            checked = self.check(built)
        except ClipdiyError as error:
            raise ModelError(f"{whose} cannot be used: {error}") from error
        return _signed(whose, checked, name, options)


def package(point: EntryPoint) -> str:
    """Name the package of an entry point, with its version."""
    try:
        assert point.dist is not None  # it was found in one
        return f"the package {point.dist.name} {point.dist.version}"
    except Exception:  # metadata without a name
        return f"the package of {point.value!r}"


def call(whose: str, builder: Callable[..., T], options: Mapping[str, Any], *, foreign: bool = False) -> T:
    """Call a builder with the options, those of the machine only where it takes them.

    Parameters
    ----------
    whose : str
        What is built, as the start of a sentence.
    builder : callable
    options : mapping of str to value
    foreign : bool
        Whether the builder is of a package; whatever it raises is then one error.

    Raises
    ------
    ModelError
        If it takes other options, or a foreign one fails.
    """
    try:
        signature = inspect.signature(builder)
    except ValueError as error:  # some callables of other languages
        raise ModelError(f"{whose} does not say which options it takes ({error}); wrap it in a function.") from error
    known = signature.parameters
    asked = {key: value for key, value in options.items() if key in known or key not in _OF_THE_MACHINE}
    try:
        signature.bind(**asked)
    except TypeError as error:
        given = [key for key in asked if key not in _OF_THE_MACHINE]
        takes = [key for key in known if key not in _OF_THE_MACHINE]
        raise ModelError(f"{whose} got the options {given}, but takes {takes}: {error}.") from error
    try:
        return builder(**asked)
    except Exception as error:
        if not foreign:
            raise
        raise ModelError(f"{whose} cannot be built ({type(error).__name__}: {error}).") from error


def _signed(whose: str, built: T, name: str, options: Mapping[str, Any]) -> T:
    """Return what was built with its recipe, unless it brings one."""
    if isinstance(built, HasRecipe):
        return built
    unsigned: Any = built
    try:
        unsigned.recipe = Recipe.of(name, {key: options[key] for key in options if key not in _OF_THE_MACHINE})
    except (AttributeError, TypeError) as error:
        raise ModelError(
            f"{whose} takes no attribute `recipe` ({error}); let it be set, or give the object one."
        ) from error
    return built


def _entry_points(group: str) -> Iterable[EntryPoint]:
    try:
        return metadata.entry_points(group=group)
    except Exception:  # one package with a damaged file hides all others: look at each by itself
        return [point for one in metadata.distributions() for point in _readable(one, group)]


def _readable(distribution: metadata.Distribution, group: str) -> Iterable[EntryPoint]:
    try:
        return distribution.entry_points.select(group=group)
    except Exception as error:
        warnings.warn(
            f"The entry points of the package {distribution.metadata['Name']} cannot be read "
            f"({type(error).__name__}: {error}); repair or remove it.",
            ClipdiyWarning,
            stacklevel=5,
        )
        return []
