"""Files of the Hugging Face hub: taken from its cache on this machine where they are there, and fetched where not."""

from __future__ import annotations

import logging
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError

from clipdiy_lab.errors import ModelError

_REACH_TIMEOUT = 10.0  # seconds


def cached(repository: str, names: Sequence[str]) -> Path | None:
    """Path of the first of some files that the cache holds, or None where it holds none of them.

    Parameters
    ----------
    repository : str
        ``owner/repository``, or the bare name of one without an owner.
    names : sequence of str
        In the order of preference.
    """
    for name in names:
        try:
            path = try_to_load_from_cache(repository, name)
        except HFValidationError:
            return None
        if isinstance(path, str):
            return Path(path)
    return None


def answers() -> bool:
    """Whether the hub can be reached; without a network the hub's own client would retry for a minute."""
    if constants.HF_HUB_OFFLINE:
        return False
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")  # noqa: S310 - https, set by huggingface_hub
    try:
        urllib.request.urlopen(request, timeout=_REACH_TIMEOUT).close()  # noqa: S310
    except urllib.error.HTTPError:
        return True  # it answered
    except OSError:
        return False
    return True


def require_network(absent: Sequence[str]) -> None:
    """Refuse, before anything is fetched, what is not on this machine where the hub cannot be reached.

    Parameters
    ----------
    absent : sequence of str
        What is not here, in words.

    Raises
    ------
    ModelError
        Naming all of it.
    """
    if absent and not answers():
        raise ModelError(
            f"{' and '.join(absent)} are not on this machine and {constants.ENDPOINT} does not answer; fetch them on a "
            "machine with a network (checkpoint=PATH, tokenizer=FOLDER), or use the embedded model 'tiny'."
        )


def obtain(repository: str, names: Sequence[str], what: str) -> Path:
    """Path of the first of some files that the repository has: from the cache, else fetched into it.

    Parameters
    ----------
    repository : str
    names : sequence of str
        In the order of preference.
    what : str
        What the files are for, for the error.

    Raises
    ------
    ModelError
        If none is here and none can be fetched.
    """
    path = cached(repository, names)
    if path is not None:
        return path
    for name in names:
        try:
            with quiet():
                return Path(huggingface_hub.hf_hub_download(repository, name))
        except (OSError, ValueError, RuntimeError, EntryNotFoundError) as error:
            # What is not on this machine either is a child of the error for what the repository does not have.
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                continue
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise ModelError(
                f"{what} could not be fetched from {repository!r} of {constants.ENDPOINT} ({reason}); try again, fetch "
                "on another machine (checkpoint=PATH, tokenizer=FOLDER), or use the embedded model 'tiny'."
            ) from error
    raise ModelError(f"{repository!r} of {constants.ENDPOINT} has no {' or '.join(names)}: {what} are not there.")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep libraries from logging."""
    # open_clip and huggingface_hub log to the root logger what we say in our own errors.
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
