"""Large files from unreliable servers: resumed, retried, from mirrors, and checked as a whole at the end."""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import http.client
import json
import logging
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from tqdm.auto import tqdm

from clipdiy_lab.errors import DatasetError, OutputError
from clipdiy_lab.files import open_file

if sys.platform != "win32":
    import fcntl

USER_AGENT = "clipdiy-lab (research; resumable downloads)"
_DIGITS = {"md5": 32, "sha1": 40, "sha256": 64}
_CHUNK = 1 << 18
_LONGEST_WAIT = 120.0  # seconds; a server that asks for more is left for the next mirror
_log = logging.getLogger(__name__)


class _AgainError(Exception):
    """The transfer failed in a way that may not last; `wait` is what the server asked for, in seconds."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


class _UselessError(Exception):
    """A URL that cannot give the file."""


@dataclass(frozen=True)
class _Note:
    """What is known of a `.part`: kept beside it, because only the same file may be continued."""

    url: str = ""
    validator: str = ""  # a strong ETag, else Last-Modified, else nothing
    total: int | None = None


@dataclass(frozen=True)
class _Answer:
    """An open reply: bytes from `start` on, of a file of `total` bytes."""

    stream: IO[bytes] | http.client.HTTPResponse
    start: int
    total: int | None
    validator: str = ""


@dataclass(frozen=True)
class _Job:
    """What is to be fetched, and how patiently."""

    target: Path
    part: Path
    note: Path
    bytes: int | None
    hashes: Mapping[str, str]
    progress: bool
    retries: int
    timeout: float
    sleep: Callable[[float], None]

    def have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def read_note(self) -> _Note:
        with contextlib.suppress(OSError, ValueError, TypeError):
            return _Note(**json.loads(self.note.read_text(encoding="utf-8")))
        return _Note()  # none, or a damaged one: nothing is known

    def kept(self) -> str:
        return f"{self.have():,} bytes are kept in {self.part} and will be continued. " if self.have() else ""

    def publish(self) -> None:
        with self.part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(self.part, self.target)
        self.note.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Take away what a run left that was killed between its last byte and its last word."""
        if self.note.exists() or self.target.with_name(self.target.name + ".lock").exists():
            with contextlib.suppress(OSError), alone(self.target):
                self.note.unlink(missing_ok=True)

    def discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def download(
    urls: Sequence[str],
    target: Path,
    *,
    bytes: int | None = None,
    hashes: Mapping[str, str] | None = None,
    offline: bool = False,
    progress: bool = False,
    retries: int = 5,
    timeout: float = 30.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Fetch a file, continuing what an earlier attempt left, and check all of it at the end.

    Parameters
    ----------
    urls : sequence of str
        The same file at several places, the best first: ``http://``, ``https://`` or ``file:///``.
    target : Path
        Where the file goes. Its folder is made. A file that is there and passes the checks is not fetched again.
    bytes : int or None
        Exact size, where it is known.
    hashes : mapping of str to str or None
        Hexadecimal md5, sha1 and sha256, those that are known; all are checked.
    offline : bool
        Whether the network is forbidden, as also by ``CLIPDIY_LAB_OFFLINE=1``; ``file:///`` still works.
    progress : bool
        Whether to show a progress bar.
    retries : int
        Failures in a row, without new bytes in between, that a URL is forgiven before the next one is tried.
    timeout : float
        Seconds without any byte after which a connection counts as failed.
    sleep : callable
        Waits the given seconds between attempts.

    Returns
    -------
    Path
        `target`.

    Raises
    ------
    DatasetError
        If no URL gives the right file, `target` is there but another file, or an argument makes no sense.
    OutputError
        If the disk is full or cannot be written. What has arrived stays, and is continued the next time.

    Notes
    -----
    What has arrived lies in ``target.part`` (with a note in ``target.part.json``) and survives an interrupt, a kill
    and a full disk. It is continued only from the same URL with the same ETag or date, or, where a hash is given, also
    from a mirror that reports the same size. A file of the wrong hash is deleted, and fetched once more if an earlier
    run began it; then the next URL is tried.

    A second process that wants the same file waits on a lock of the operating system (``target.lock``), which ends
    with the process that holds it, and then takes what the first has fetched. Windows is not guarded in this way.
    """
    target = Path(target)
    part, note = (target.with_name(target.name + suffix) for suffix in (".part", ".part.json"))
    hashes = {name: digest.lower() for name, digest in (hashes or {}).items()}
    job = _Job(target, part, note, bytes, hashes, progress, retries, timeout, sleep)
    _check_request(urls, job)
    if _is_there(job):
        job.tidy()
        return target
    if offline or is_offline():
        urls = [url for url in urls if url.startswith("file:")]
        if not urls:
            raise DatasetError(f"{target} is not there, and offline mode forbids fetching it: put it there yourself.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with alone(target):
            if not _is_there(job):
                _fetch(urls, job)
    except OutputError:
        raise
    except OSError as error:
        why = f"Could not write {target} ({error.strerror or error}). {job.kept()}"
        raise OutputError(f"{why}Free the disk or choose another place, then run again.") from error
    return target


def is_offline() -> bool:
    """Whether ``CLIPDIY_LAB_OFFLINE`` forbids the network."""
    return os.environ.get("CLIPDIY_LAB_OFFLINE", "0") not in ("", "0")


def _check_request(urls: Sequence[str], job: _Job) -> None:
    wrong = [url for url in urls if not re.match(r"https?://[^/]|file:///", url)]
    if wrong or not urls:
        raise DatasetError(
            f"Cannot fetch {job.target.name} from {wrong or 'nowhere'}: expected at least one URL of the form http://, "
            "https:// or file:///. Correct the manifest."
        )
    for name, digest in job.hashes.items():
        if not re.fullmatch(f"[0-9a-f]{{{_DIGITS.get(name, 0)}}}", digest) or name not in _DIGITS:
            raise DatasetError(
                f"{digest!r} is no {name!r} of {job.target.name}: expected the hexadecimal md5 (32 digits), sha1 (40) "
                "or sha256 (64). Correct the manifest."
            )


def _is_there(job: _Job) -> bool:
    """Whether the file is there already; another file in its place is neither kept nor replaced silently."""
    if not job.target.exists():
        return False
    if not job.target.is_file():
        raise OutputError(f"{job.target} is a folder, but a file is to be written there. Give a file's path.")
    if problem := problem_of(job.target, job.bytes, job.hashes):
        raise DatasetError(f"{job.target} is already there but {problem}. Delete it or move it away, and run again.")
    return True


def problem_of(path: Path, bytes: int | None, hashes: Mapping[str, str]) -> str:
    """What is wrong with a complete file, as the end of a sentence; or nothing.

    Parameters
    ----------
    path : Path
        The file, which must be there.
    bytes, hashes
        As for `download`; all of them are checked.
    """
    size = path.stat().st_size
    if bytes is not None and size != bytes:
        return f"has {size:,} bytes, expected {bytes:,}"
    digests = {name: hashlib.new(name, usedforsecurity=False) for name in hashes}
    with path.open("rb") as file:
        while digests and (data := file.read(1 << 20)):
            for digest in digests.values():
                digest.update(data)
    for name, digest in digests.items():
        if digest.hexdigest() != hashes[name]:
            return f"has {name} {digest.hexdigest()}, expected {hashes[name]}"
    return ""


@contextlib.contextmanager
def alone(target: Path) -> Iterator[None]:
    """Keep other processes away from a file in the making for the length of the block; wait until they are done.

    The lock is one of the operating system on ``target.lock``, whose folder must exist; it ends with the process.
    Windows is not guarded in this way.
    """
    if sys.platform == "win32":
        yield
        return
    path, told = target.with_name(target.name + ".lock"), False
    while True:
        with path.open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not told:
                    _log.warning("another process is at work on %s; waiting until it is done", target.name)
                told = True
                time.sleep(0.2)
                continue
            except OSError as error:
                _log.warning("no lock on %s (%s): let no other process fetch the same file", path, error)
            # The one before may have removed the file that was just locked; then the lock means nothing.
            if os.fstat(lock.fileno()).st_nlink:
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return


def _fetch(urls: Sequence[str], job: _Job) -> None:
    """Try the URLs in order, that of the `.part` first, until one gives the right file."""
    failures = []
    for url in sorted(urls, key=lambda url: url != job.read_note().url):
        try:
            _fetch_from(url, job)
            return job.publish()
        except _UselessError as error:
            failures.append(f"{url}: {error}")
    raise DatasetError(
        f"Could not fetch {job.target.name}. {'; '.join(failures)}. {job.kept()}"
        f"Run again later, or put the file at {job.target} yourself."
    )


def _fetch_from(url: str, job: _Job) -> None:
    """Fill the `.part` from one URL, until all of it is there and right."""
    failures, furthest, old = 0, job.have(), job.have() > 0
    while True:
        try:
            _transfer(url, job)
        except _AgainError as error:
            # Bytes that were never reached before excuse the failure; so a server cannot keep us here for ever.
            failures = 1 if job.have() >= furthest + _CHUNK else failures + 1
            furthest = max(furthest, job.have())
            wait = min(2.0 ** (failures - 1), _LONGEST_WAIT) if error.wait is None else error.wait
            if failures > job.retries or wait > _LONGEST_WAIT:
                reason = f"wants {wait:.0f} s of patience" if wait > _LONGEST_WAIT else f"failed {failures} times"
                raise _UselessError(f"{error}; given up, because it {reason}") from error
            _log.info("%s: %s; again in %.0f s", url, error, wait)
            job.sleep(wait)
        else:
            problem = problem_of(job.part, job.bytes, job.hashes)
            if not problem:
                return
            job.discard()
            if not old:
                raise _UselessError(problem)
            old = False  # what an earlier run had left may be the part that is wrong
            _log.warning("%s: the continued file %s; fetching it anew", url, problem)


def _transfer(url: str, job: _Job) -> None:
    """Open one connection and store what it gives, unless an earlier attempt stopped just before the check."""
    note, have = job.read_note(), job.have()
    if 0 < have == note.total and (note.url == url or job.hashes):
        return
    validator = note.validator if note.url == url else ""
    resume = have > 0 and bool(validator or (job.hashes and note.total))
    answer = _open_file(url) if url.startswith("file:") else _open_http(url, job, have if resume else 0, validator)
    with contextlib.closing(answer.stream):
        if job.bytes is not None and answer.total not in (None, job.bytes):
            raise _UselessError(f"offers {answer.total:,} bytes, expected {job.bytes:,}")
        # A server may ignore If-Range, or the range itself, and go on with another file than the one begun.
        same = answer.start == have and note.total in (None, answer.total) and validator in ("", answer.validator)
        if answer.start and not same:
            job.discard()
            raise _AgainError("the file changed since it was begun", wait=0.0)
        _store(url, answer, job)


def _store(url: str, answer: _Answer, job: _Job) -> None:
    limit, have = answer.total if job.bytes is None else job.bytes, answer.start
    if limit is not None and (needed := limit - have) > (free := shutil.disk_usage(job.part.parent).free):
        why = f"{job.target} needs {needed:,} more bytes, but only {free:,} are free there. {job.kept()}"
        raise OutputError(f"{why}Free the disk or choose another place, then run again.")
    if have == 0:
        # In this order: a note must never describe bytes that came from elsewhere.
        job.part.write_bytes(b"")
        # Under a fixed name, which the lock makes safe: a kill leaves nothing that the next run does not take away.
        staged = job.note.with_name(job.note.name + ".new")
        staged.write_text(json.dumps(asdict(_Note(url, answer.validator, answer.total))), encoding="utf-8")
        os.replace(staged, job.note)
    bar = tqdm(desc=job.target.name, total=limit, initial=have, unit="B", unit_scale=True, disable=not job.progress)
    with job.part.open("ab") as file, bar:
        while data := _read(answer.stream):
            have += len(data)
            if limit is not None and have > limit:
                job.discard()
                raise _UselessError(f"gives more than the {limit:,} bytes expected")
            file.write(data)
            bar.update(len(data))
    if limit is not None and have < limit:
        raise _AgainError(f"the connection ended at {have:,} of {limit:,} bytes")


def _read(stream: IO[bytes] | http.client.HTTPResponse) -> bytes:
    try:
        return stream.read(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _AgainError(f"the connection broke ({type(error).__name__}: {error})") from error


def _open_file(url: str) -> _Answer:
    path = Path(urllib.request.url2pathname(urllib.parse.urlsplit(url).path))
    try:
        return _Answer(open_file(path), 0, path.stat().st_size)
    except OSError as error:
        raise _UselessError(f"cannot be read ({error.strerror})") from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https alone; never to a file of this machine, nor to ftp."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urllib.parse.urlsplit(newurl).scheme not in ("http", "https"):
            fp.close()
            raise _UselessError(f"redirects to {newurl}, expected http or https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open_http(url: str, job: _Job, have: int, validator: str) -> _Answer:
    headers = {"User-Agent": USER_AGENT}
    headers |= {"Range": f"bytes={have}-"} if have else {}
    headers |= {"If-Range": validator} if have and validator else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  schemes are checked
    try:
        reply = urllib.request.build_opener(_Redirects).open(request, timeout=job.timeout)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:
                job.discard()
                raise _AgainError("has no bytes beyond those already here; beginning anew", wait=0.0) from error
            said = f"answers {error.code} {error.reason}"
            if error.code in (408, 425, 429) or error.code >= 500:
                raise _AgainError(said, _asked_to_wait(error.headers.get("Retry-After", ""))) from error
            raise _UselessError(said) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise _AgainError(f"cannot be reached ({type(reason).__name__}: {reason})") from error
    etag, length = reply.headers.get("ETag", "W/"), reply.headers.get("Content-Length", "")
    validator = reply.headers.get("Last-Modified", "") if etag.startswith("W/") else etag
    if reply.status == 200:
        return _Answer(reply, 0, int(length) if length.isdigit() else None, validator)
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", reply.headers.get("Content-Range", "").strip())
    if reply.status == 206 and span:
        return _Answer(reply, int(span[1]), int(span[2]), validator)
    reply.close()
    raise _UselessError(f"answers {reply.status} {reply.reason}, of no use here")


def _asked_to_wait(asked: str) -> float | None:
    """Seconds that a Retry-After header asks for, given as a number or as a date."""
    if asked.isdigit():
        return float(asked)
    with contextlib.suppress(TypeError, ValueError):
        return max(0.0, email.utils.parsedate_to_datetime(asked).timestamp() - time.time())
    return None
