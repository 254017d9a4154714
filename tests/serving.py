"""A server on this machine that behaves as badly as real ones; a plan says how, path by path."""

import contextlib
import functools
import http.server
import random
import socket
import threading
import time

GOOD = random.Random(1).randbytes(20_000)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers a path with the next step of its plan; GOOD, politely, where there is none."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append((self.path, dict(self.headers)))
        plan = self.server.plan.get(self.path, [])
        step = plan.pop(0) if len(plan) > 1 else plan[0] if plan else serve
        self.close_connection = True
        step(self)

    def log_message(self, *args):
        pass


def serve(
    to, data=GOOD, etag='"one"', date="", ranges=True, polite=True,
    cut=None, claim=None, span=None, stall=None, pace=0.0,
):  # fmt: skip
    """Serve `data`; `cut` and `stall` stop after so many bytes, `claim` lies about the length, `span` about the range.

    `pace` is a pause, in seconds, after every 16 KiB. Without `ranges` every request gets all; without `polite`
    If-Range is ignored.
    """
    asked, start = to.headers.get("Range"), 0
    if ranges and asked and (not polite or to.headers.get("If-Range", etag) in (etag, date)):
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
    if start >= len(data):
        fail(to, 416)
        return
    body = data[start:]
    to.send_response(206 if start else 200)
    if start:
        to.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}" if span is None else span)
    for name, value in {"ETag": etag, "Last-Modified": date}.items():
        if value:
            to.send_header(name, value)
    to.send_header("Content-Length", str(len(body) if claim is None else claim))
    to.end_headers()
    stop = cut if stall is None else stall
    for piece in range(0, len(body[:stop]), 1 << 14):
        to.wfile.write(body[:stop][piece : piece + (1 << 14)])
        time.sleep(pace)
    to.wfile.flush()
    if stall is not None:
        to.server.go.wait(20)
    if stop is not None:
        to.connection.shutdown(socket.SHUT_RDWR)


def chunked(to, data=GOOD, cut=False):
    to.send_response(200)
    to.send_header("Transfer-Encoding", "chunked")
    to.end_headers()
    for start in range(0, len(data), 7000):
        piece = data[start : start + 7000]
        to.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if cut:
            return
    to.wfile.write(b"0\r\n\r\n")


def drip(to, where):
    """Send one byte every 20 ms, from some part of the answer on and for ever."""
    head = {
        "status": "HTTP/1.1 200 ",
        "header": "HTTP/1.1 200 OK\r\nX: ",
        "chunk size": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "body": f"HTTP/1.1 200 OK\r\nContent-Length: {len(GOOD)}\r\n\r\n",
    }
    to.wfile.write(head[where].encode())
    with contextlib.suppress(OSError):
        while not to.server.go.wait(0.02):
            to.wfile.write(b"0")


def fail(to, status=503, **headers):
    to.send_response(status)
    for name, value in {"Content-Length": "0", **headers}.items():
        to.send_header(name.replace("_", "-"), value)
    to.end_headers()


def step(how, **options):
    return functools.partial(how, **options)


class Server(http.server.ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.plan, self.go = [], {}, threading.Event()

    def handle_error(self, request, client_address):
        pass  # a client that was killed or went away

    def url(self, path="/good", *steps):
        if steps:
            self.plan[path] = list(steps)
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def paths(self):
        return [path for path, _ in self.asked]

    def ranges(self):
        return [headers.get("Range") for _, headers in self.asked]


@contextlib.contextmanager
def running():
    """Lend a server that answers, in a thread of its own."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.go.set()
        server.shutdown()
        server.server_close()
        thread.join()
