"""Pages of the reference: every public name, under the room that it comes from, from its docstring."""

import importlib
import inspect
import operator
from types import ModuleType

from pages import SOURCE, write

import clipdiy_lab as lab

ROOMS = {
    "pipeline": ("running", "Segmenting, runs and stores", "From an image, or a dataset, to runs and stores."),
    "method": ("method", "Configuration and plan", "The knobs of the method, and where its windows lie."),
    "models": ("models", "Encoders and saliency sources", "What the method looks through."),
    "datasets": ("data", "Data", "What the method looks at."),
    "analysis": ("studying", "Scores and comparisons", "From runs to figures, and how far these can be trusted."),
    "views": ("looking", "Pages and widgets", "For people to look at."),
    "errors": (
        "errors",
        "Errors and warnings",
        "Every error of the lab says what came, what was expected and what to do.",
    ),
}
"""Room of the package to page, title and sentence."""

RETURNED = {
    "Explorer": "clipdiy_lab.views.explorer.explorer.Explorer",
    "Board": "clipdiy_lab.views.board.board.Board",
    "run.diy": "clipdiy_lab.views.accessor.DiyAccessor",
    "result.diy": "clipdiy_lab.views.accessor.DiyDatasetAccessor",
    "EmbeddingStore": "clipdiy_lab.pipeline.embeddings.read.EmbeddingStore",
    "Protocol": "clipdiy_lab.analysis.protocols.Protocol",
    "Decision": "clipdiy_lab.analysis.protocols.Decision",
    "PublishedMethod": "clipdiy_lab.analysis.methods.PublishedMethod",
    "Stage": "clipdiy_lab.method.schema.Stage",
}
"""Classes that nobody builds by hand and that public functions return."""


def public_modules() -> dict[str, ModuleType]:
    """Return the modules that stand at the front door, by name."""
    found = {name: getattr(lab, name) for name in lab.__all__}
    return {name: value for name, value in found.items() if inspect.ismodule(value)}


def public_names() -> dict[str, list[str]]:
    """Return the other public names, by the room that they come from.

    Raises
    ------
    KeyError
        If a name comes from a room that has no page.
    """
    modules = public_modules()
    rooms: dict[str, list[str]] = {room: [] for room in ROOMS}
    for name in lab.__all__:
        if name not in modules:
            rooms[getattr(lab, name).__module__.split(".")[1]].append(name)
    return rooms


def error_names() -> list[str]:
    """Return the names of all classes of errors and warnings."""
    from clipdiy_lab import errors

    classes = [
        one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, BaseException | Warning)
    ]
    return [one.__name__ for one in classes if one.__module__ == errors.__name__]


def _heading(title: str) -> str:
    return f"{title}\n{'=' * len(title)}\n\n"


def _entries(module: str, names: list[str]) -> str:
    """Names of a module, which may lie in one of its attributes (`figures.overlay` of `clipdiy_lab`)."""
    listed = "".join(f"   {name}\n" for name in names)
    text = f".. currentmodule:: {module}\n\n.. autosummary::\n   :nosignatures:\n\n{listed}\n"
    for name in names:
        value = operator.attrgetter(name)(importlib.import_module(module))
        if inspect.isclass(value):
            text += f".. autoclass:: {module}::{name}\n   :members:\n\n"
        else:
            text += f".. {'autofunction' if callable(value) else 'autodata'}:: {module}::{name}\n\n"
    return text


def _page_of_room(room: str, names: list[str]) -> str:
    _, title, sentence = ROOMS[room]
    text = _heading(title) + f"{sentence}\n\n"
    if room == "errors":
        further = [name for name in error_names() if name not in names]
        return text + _entries("clipdiy_lab", names) + _entries("clipdiy_lab.errors", further)
    return text + _entries("clipdiy_lab", names)


def _page_of_module(name: str, module: ModuleType) -> str:
    title = f"lab.{name}"
    paragraphs = inspect.getdoc(module) or ""
    text = _heading(title) + paragraphs.split("\nExamples\n")[0].rstrip() + "\n\n"
    # What stands at the front door itself is told there.
    own = sorted(set(module.__all__) - set(lab.__all__))
    return text + _entries("clipdiy_lab", [f"{name}.{one}" for one in own])


def _page_of_returned() -> str:
    text = _heading("What comes back") + "Classes whose objects public functions return.\n\n"
    for name, path in RETURNED.items():
        text += f"{name}\n{'-' * len(name)}\n\n.. autoclass:: {path}\n   :members:\n\n"
    return text


def make_pages() -> None:
    """Write the pages and the list of them, `reference/api/index`."""
    folder = SOURCE / "reference" / "api"
    listed = []
    for room, names in public_names().items():
        slug = ROOMS[room][0]
        listed.append(slug)
        write(folder / f"{slug}.rst", _page_of_room(room, names))
    for name, module in public_modules().items():
        listed.append(name)
        write(folder / f"{name}.rst", _page_of_module(name, module))
    write(folder / "returned.rst", _page_of_returned())
    toctree = "".join(f"   {name}\n" for name in [*listed, "returned"])
    sentence = (
        "Everything below is reached as ``import clipdiy_lab as lab`` and a name; nobody needs a module below the "
        "front door.\n\n"
    )
    write(folder / "index.rst", _heading("Python") + sentence + ".. toctree::\n   :maxdepth: 2\n\n" + toctree)
