"""Replies of web servers, read so that no server can keep us waiting or mislead us about how much it sends."""

from __future__ import annotations

import contextlib
import http.client
import queue
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, Final

USER_AGENT: Final = "clipdiy-lab (research; resumable downloads)"
CHUNK = 1 << 18
ANSWER_SECONDS = 15.0  # that a server has to begin its answer
WINDOW_SECONDS, WINDOW_BYTES = 30.0, 30 << 10  # the floor: so many bytes in so many seconds of waiting
_HTTP_ONLY: Final = (
    *(urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler),
    *(urllib.request.HTTPRedirectHandler, urllib.request.HTTPErrorProcessor, urllib.request.HTTPDefaultErrorHandler),
    urllib.request.UnknownHandler,
)


class WebError(Exception):
    """A URL does not give the file; `answered` is whether there was a server, `wait` the seconds that it asks for."""

    def __init__(self, why: str, *, wait: float | None = None, answered: bool = True) -> None:
        super().__init__(why)
        self.wait, self.answered = wait, answered


class PermanentError(WebError):
    """Another attempt would only end in the same way."""


class TransientError(WebError):
    """Another attempt may succeed."""


class StaleError(TransientError):
    """Another attempt may succeed, if it begins anew: the server does not continue what was begun."""


@dataclass(frozen=True)
class Reply:
    """A file, or the rest of one, as a server sends it.

    Attributes
    ----------
    start : int
        Position of the first byte sent; it need not be the one that was asked for.
    total : int or None
        Bytes of the whole file; None where the server does not say.
    validator : str
        A strong ETag, else Last-Modified, else nothing: the same text stands for the same file.
    pieces : iterator of bytes
        What is sent, once. Raises `TransientError` if the connection breaks or is too slow.
    """

    start: int
    total: int | None
    validator: str
    pieces: Iterator[bytes]


@contextlib.contextmanager
def open_reply(url: str, start: int = 0, validator: str = "") -> Iterator[Reply]:
    """Ask a server for a file, from the byte `start` on if its validator is still `validator` or that is not known.

    Redirects are followed, to http and https alone.

    Raises
    ------
    TransientError, PermanentError
        If there is no reply, or none that can be used.
    """
    headers = {"User-Agent": USER_AGENT}
    headers |= {"Range": f"bytes={start}-"} if start else {}
    headers |= {"If-Range": validator} if start and validator else {}
    with contextlib.closing(_listen(url, headers)) as items:
        head: http.client.HTTPResponse = next(items)
        tag = head.headers.get("ETag", "W/")
        validator = head.headers.get("Last-Modified", "") if tag.startswith("W/") else tag
        yield Reply(*_extent(head), validator, items)


def count(text: str) -> int | None:
    """Return the number that plain digits spell; `int` would take signs, spaces, underscores and other scripts too."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def _listen(url: str, headers: dict[str, str]) -> Generator[Any, None, None]:
    """Give the head of a reply, then its body piece by piece.

    A thread does the reading, because the time-out of a socket begins again with every byte: a server that sends one
    now and then, in a header or in the body, would keep a plain read waiting for weeks.
    """
    items: queue.Queue[Any] = queue.Queue(maxsize=8)
    closed = threading.Event()
    threading.Thread(target=_read, args=(url, headers, items, closed), daemon=True).start()

    def take(seconds: float) -> Any:
        try:
            item = items.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None
        if isinstance(item, BaseException):
            raise (_meaning(item) if isinstance(item, Exception) else item) from item
        return item

    try:
        if (head := take(ANSWER_SECONDS)) is None:
            raise TransientError(f"does not answer within {ANSWER_SECONDS:.0f} s", answered=False)
        yield head
        received, waited = 0, 0.0
        while True:
            began = time.monotonic()
            piece = take(WINDOW_SECONDS - waited)
            waited += time.monotonic() - began
            if piece == b"":
                return
            if piece:
                received += len(piece)
                yield piece
            if waited >= WINDOW_SECONDS:
                if received < WINDOW_BYTES:
                    raise TransientError(f"is too slow ({received:,} bytes in {waited:.0f} s)")
                received, waited = 0, 0.0
    finally:
        closed.set()
        while not items.empty():
            items.get_nowait()  # so that the thread finds room for its last words, and ends


def _read(url: str, headers: dict[str, str], items: queue.Queue[Any], closed: threading.Event) -> None:
    """Put the head of a reply, its pieces and then nothing, or an error, into the queue."""
    try:
        opener = urllib.request.OpenerDirector()
        for handler in _HTTP_ONLY:
            opener.add_handler(handler())
        request = urllib.request.Request(url, headers=headers)  # noqa: S310  the opener knows http and https alone
        with opener.open(request, timeout=WINDOW_SECONDS) as reply:
            items.put(reply)
            while not closed.is_set() and (piece := reply.read1(CHUNK)):
                items.put(piece)
        items.put(b"")
    except BaseException as error:
        items.put(error)


def _meaning(error: Exception) -> WebError:
    """Return the error that describes a missing or incomplete reply."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        words = f"answers {error.code} {error.reason:.80}"
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return StaleError(words, wait=0.0)
        if error.code in (408, 425, 429) or error.code >= 500:
            return TransientError(words, wait=count(error.headers.get("Retry-After", "")))
        return PermanentError(words)
    cause = getattr(error, "reason", error)
    words = f"{type(cause).__name__}: {cause!s:.200}"
    if isinstance(error, ValueError | http.client.InvalidURL) or isinstance(cause, str):  # no URL, or of another scheme
        return PermanentError(f"cannot be asked ({words})")
    if isinstance(error, urllib.error.URLError):
        return TransientError(f"cannot be reached ({words})", answered=False)
    return TransientError(f"broke the connection ({words})")


def _extent(head: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Position of the first byte of a reply in the file, and bytes of the whole file."""
    if head.status == http.client.PARTIAL_CONTENT:
        content_range = head.headers.get("Content-Range", "")
        if not (span := re.fullmatch("bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})", content_range)):
            raise StaleError(f"sends a range that cannot be read ({content_range!r:.80})", wait=0.0)
        return int(span[1]), int(span[2])
    if head.status != http.client.OK:
        raise PermanentError(f"answers {head.status} {head.reason:.80}, of no use here")
    length = None if head.chunked else head.headers.get("Content-Length")
    if length is None:
        return 0, None
    if (total := count(length)) is None:  # what follows might end anywhere
        raise PermanentError(f"sends a length that cannot be read ({length!r:.80})")
    return 0, total
