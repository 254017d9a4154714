"""Explanations of disk errors and broken links, each with what to do about it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from clipdiy_lab.errors import DatasetError

_FAULTY: Final = "The disk, or the server behind it, is at fault: check it, and copy the file anew from where it came"
_AWAY: Final = "The network disk does not answer: mount it again"
_RIGHTS: Final = "Ask its owner for the right to read it"
_FILES: Final = "Too many files are open: close some, or raise the limit (ulimit -n)"
_ADVICE: Final = {
    **dict.fromkeys((errno.EIO, errno.ENXIO, errno.ENODEV, errno.EBADMSG), _FAULTY),
    **dict.fromkeys((errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH), _AWAY),
    **dict.fromkeys((errno.EACCES, errno.EPERM), _RIGHTS),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), _FILES),
    errno.ENOMEM: "There is too little memory: close something else",
    errno.ENAMETOOLONG: "Give a shorter path",
}


def explain(error: OSError, path: str | os.PathLike[str] | None = None) -> str:
    """Say why an operating system refuses to read, and what to do.

    Parameters
    ----------
    error : OSError
        As it was raised; its number decides.
    path : path, optional
        What was to be read. A link on the way to it that leads nowhere is named.

    Returns
    -------
    str
        For the end of a message that names the file: "... cannot be read: " + this.

    Examples
    --------
    >>> explain(PermissionError(errno.EACCES, "Permission denied"))
    'Permission denied (EACCES). Ask its owner for the right to read it.'
    """
    broken = None if path is None else broken_link(Path(path))
    if broken is not None:
        return broken
    code = errno.errorcode.get(error.errno or 0)
    reason = error.strerror or str(error) or type(error).__name__
    return f"{reason}{f' ({code})' if code else ''}. {_ADVICE.get(error.errno or 0, 'Check the path and the disk')}."


def broken_link(path: Path) -> str | None:
    """Describe the broken link on the way to a path; None if there is none."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: a null character
        for link in (path, *path.parents):
            if link.is_symlink() and not link.exists():
                subject = "it" if link == path else repr(str(link))
                fate = "leads in a circle" if _circular(link) else "does not exist"
                return (
                    f"{subject} is a link to {os.readlink(link)!r}, which {fate}. Put the target back, or make the "
                    "link anew."
                )
    return None


def _circular(link: Path) -> bool:
    try:
        link.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def is_folder(path: Path) -> bool:
    """Whether a folder exists.

    Raises
    ------
    DatasetError
        If that cannot be found out.
    """
    return _asked(path, path.is_dir)


def is_file(path: Path) -> bool:
    """Whether a file exists.

    Raises
    ------
    DatasetError
        If that cannot be found out.
    """
    return _asked(path, path.is_file)


def _asked(path: Path, question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError as error:
        raise DatasetError(f"{str(path)!r} cannot be examined: {explain(error, path)}") from error
