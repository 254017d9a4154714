"""One downloader for datasets and weights: resumed, retried, from mirrors, bounded, and checked as a whole."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from clipdiy_lab.errors import DownloadError, OutputError
from clipdiy_lab.files import exclusive, problem_of
from clipdiy_lab.text import printable
from clipdiy_lab.web import CHUNK, PermanentError, Reply, StaleError, TransientError, WebError, count, open_reply

MAX_BYTES = 4 << 30  # of a file whose size nobody states; the variable CLIPDIY_LAB_MAX_DOWNLOAD raises it
RETRIES = 5  # failures in a row, without new bytes in between, that a server is forgiven
LONGEST_WAIT = 120.0  # seconds; a server that asks for more is left for the next mirror
_log = logging.getLogger(__name__)
_pause = time.sleep


@dataclass(frozen=True)
class _Job:
    """A file to be fetched, and what has arrived of it: `.part`, with a note beside it of what may continue it."""

    target: Path
    size: int | None
    limit: int
    hashes: Mapping[str, str]

    @property
    def part(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def note(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part.json")

    def have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def resumable(self) -> bool:
        """Whether it can be told that what continues the `.part` belongs to the same file."""
        _, validator, total = self.read_note()
        return bool(self.have() and (validator or (self.hashes and total)))

    def kept(self) -> str:
        return f"{self.have():,} bytes are kept in {self.part} and will be continued. " if self.resumable() else ""

    def begin(self, *note: object) -> None:
        self.part.write_bytes(b"")  # before the note, which must never describe bytes that came from elsewhere
        self.note.write_text(json.dumps(note), encoding="utf-8")

    def read_note(self) -> tuple[str, str, int | None]:
        """URL, validator and total size of the file that was begun."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            url, validator, total = json.loads(self.note.read_text(encoding="utf-8"))
            return url, validator, total
        return "", "", None  # no note, or a damaged one: nothing is known

    def publish(self) -> None:
        with self.part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(self.part, self.target)
        self.note.unlink(missing_ok=True)

    def discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def download(
    urls: Sequence[str],
    target: Path,
    *,
    size: int | None = None,
    limit: int | None = None,
    hashes: Mapping[str, str] | None = None,
    offline: bool = False,
    progress: bool = False,
) -> Path:
    """Fetch a file, continuing what an earlier attempt left, and check all of it at the end.

    Parameters
    ----------
    urls : sequence of str
        The same file at several places, the best first: ``http://`` or ``https://``.
    target : Path
        Where the file goes. Its folder is made. A file that is there and passes the checks is not fetched again.
    size : int or None
        Exact number of bytes, where it is known.
    limit : int or None
        Bytes that a file of unknown size may have at most; None stands for `MAX_BYTES`. The environment variable
        ``CLIPDIY_LAB_MAX_DOWNLOAD``, a number of bytes, raises either.
    hashes : mapping of str to str or None
        Hexadecimal md5, sha1 and sha256, those that are known; all are checked.
    offline : bool
        Whether the network is forbidden, as also by ``CLIPDIY_LAB_OFFLINE=1``.
    progress : bool
        Whether to show a progress bar on stderr. Waits and retries are said there, else logged as warnings.

    Returns
    -------
    Path
        `target`.

    Raises
    ------
    DownloadError
        If no URL gives the right file, or `target` is there but another file.
    OutputError
        If the disk is full or cannot be written. What has arrived stays, and is continued the next time.

    Notes
    -----
    What has arrived lies in ``target.part`` (with a note in ``target.part.json``) and survives an interrupt, a kill
    and a full disk. It is continued only from the same URL with the same ETag or date, or, where a hash is given, also
    from a mirror that reports the same size. A file of the wrong hash is deleted, and fetched once more if an earlier
    run began it; then the next URL is tried.

    A second process that wants the same file waits for the first, and then takes what it fetched.
    """
    target = Path(target)
    hashes = {name: digest.lower() for name, digest in (hashes or {}).items()}
    job = _Job(target, size, max(limit or MAX_BYTES, _raised_limit()), hashes)
    try:
        if _is_there(job):
            if any(path.exists() for path in (job.note, target.with_name(f"{target.name}.lock"))):
                with contextlib.suppress(OSError), exclusive(target):  # left by a run that was killed at the very end
                    job.note.unlink(missing_ok=True)
            return target
        if offline or is_offline():
            raise DownloadError(
                f"{target} does not exist, and offline mode forbids downloading it: put it there yourself."
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        bar = tqdm(desc=printable(target.name), total=size, unit="B", unit_scale=True, disable=not progress)
        with exclusive(target), bar:
            if not _is_there(job):
                _fetch(urls, job, bar)
    except OutputError:
        raise
    except OSError as error:
        raise _full(job, f"Could not write {target} ({error.strerror or error})") from error
    return target


def is_offline() -> bool:
    """Whether ``CLIPDIY_LAB_OFFLINE`` forbids the network."""
    return os.environ.get("CLIPDIY_LAB_OFFLINE", "0") not in ("", "0")


def _raised_limit() -> int:
    chosen = os.environ.get("CLIPDIY_LAB_MAX_DOWNLOAD", "") or "0"
    if (limit := count(chosen)) is None:
        raise DownloadError(f"CLIPDIY_LAB_MAX_DOWNLOAD is {chosen!r}; expected a number of bytes, such as 20000000000.")
    return limit


def _is_there(job: _Job) -> bool:
    """Whether the file exists already; another file in its place is neither kept nor replaced silently."""
    if not job.target.exists():
        return False
    if not job.target.is_file():
        raise OutputError(f"{job.target} is not a regular file, so it cannot be replaced. Give another path.")
    if problem := problem_of(job.target, job.size, job.hashes):
        raise DownloadError(f"{job.target} is already there but {problem}. Delete it or move it away, and run again.")
    return True


def _fetch(urls: Sequence[str], job: _Job, bar: Any) -> None:
    """Try the URLs in order until one gives the right file."""
    failures: dict[str, WebError] = {}
    for url in urls:
        try:
            _fetch_from(url, job, bar)
            return job.publish()
        except WebError as error:
            failures[url] = error
    if not job.resumable():
        job.discard()
    reasons = "; ".join(f"{url} {error}" for url, error in failures.items())
    network = "" if any(error.answered for error in failures.values()) else "Is this machine on the network? "
    raise DownloadError(
        f"Could not fetch {job.target.name}: {reasons}. {network}{job.kept()}"
        f"Run again later, or put the file at {job.target} yourself."
    )


def _fetch_from(url: str, job: _Job, bar: Any) -> None:
    """Fill the `.part` from one URL, until all of it is there and right; raise the failure that is one too many."""
    failures, furthest, resumed, answered = 0, job.have(), job.have() > 0, False
    while True:
        try:
            _transfer(url, job, bar)
        except TransientError as error:
            if isinstance(error, StaleError):
                job.discard()
            # Bytes that were never reached before excuse the failure; so a server cannot keep us here for ever.
            failures = 1 if job.have() >= furthest + CHUNK else failures + 1
            furthest, answered = max(furthest, job.have()), answered or error.answered
            wait = min(2.0 ** (failures - 1), LONGEST_WAIT) if error.wait is None else error.wait
            # A server that never answered gets one more try, which tells a hiccup from a machine without a network.
            if failures > (RETRIES if answered else 1) or wait > LONGEST_WAIT:
                raise
            if wait:
                _say(f"{url} {error}; trying again in {wait:.0f} s", bar)
                _pause(wait)
        else:
            problem = problem_of(job.part, job.size, job.hashes)
            if not problem:
                return
            job.discard()
            if not resumed:
                raise PermanentError(problem)
            resumed = False  # what an earlier run had left may be the part that is wrong
            _say(f"{url}: the continued file {problem}; fetching it anew", bar)


def _transfer(url: str, job: _Job, bar: Any) -> None:
    """Open one connection and store what it gives, unless an earlier attempt stopped just before the check."""
    have, (begun, validator, noted) = job.have(), job.read_note()
    validator = validator if begun == url else ""
    if 0 < have == noted and (begun == url or job.hashes):
        return
    with open_reply(url, have if validator or (job.hashes and noted) else 0, validator) as reply:
        start, total = reply.start, reply.total
        if start and (start != have or noted not in (None, total) or validator not in ("", reply.validator)):
            raise StaleError("has changed the file since the download began", wait=0.0)
        if total is not None and (total > job.limit if job.size is None else total != job.size):
            raise PermanentError(f"offers {total:,} bytes, expected {_expected(job)}")
        end = total if job.size is None else job.size
        if end is not None and (needed := end - start) > (free := shutil.disk_usage(job.target.parent).free):
            raise _full(job, f"{job.target} needs {needed:,} more bytes, but only {free:,} are free there")
        if start == 0:
            job.begin(url, reply.validator, total)
        bar.total, bar.n = end, start
        _store(reply, end, job, bar)


def _store(reply: Reply, end: int | None, job: _Job, bar: Any) -> None:
    """Add the bytes of a reply to the `.part`, which is to have `end` of them."""
    have = reply.start
    with job.part.open("ab") as file:
        for piece in reply.pieces:
            have += len(piece)
            if have > (job.limit if end is None else end):
                job.discard()
                raise PermanentError(f"gives more bytes than expected: {_expected(job) if end is None else f'{end:,}'}")
            file.write(piece)
            file.flush()  # so that a kill loses nothing
            bar.update(len(piece))
    if end is not None and have < end:
        raise TransientError(f"ended the connection at {have:,} of {end:,} bytes")
    if job.have() != have:  # which no lock prevents where the system knows none
        raise StaleError("was downloaded by two processes at once, which corrupted it")


def _say(words: str, bar: Any) -> None:
    """Print a message at once, on a line of its own beside the progress bar."""
    if bar.disable:
        _log.warning("%s", printable(words))
    else:
        bar.write(printable(words), file=sys.stderr)


def _expected(job: _Job) -> str:
    if job.size is not None:
        return f"{job.size:,}"
    return f"at most {job.limit:,} (if it is meant to be larger, set CLIPDIY_LAB_MAX_DOWNLOAD to more bytes)"


def _full(job: _Job, why: str) -> OutputError:
    return OutputError(f"{why}. {job.kept()}Free disk space or choose another folder, then run again.")
