"""A server on this machine that misbehaves as told, for downloads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Server:
    """Has one file, and tells what it was asked.

    Attributes:
        content: of the file.
        etag: its version, None for a server that does not tell.
        ranges: whether parts are given.
        cuts: after so many bytes of each answer, in order, the connection is cut.
        headers: sent in place of its own.
        answers: statuses in place of the file, in order.
        leads_to: an address that it redirects to.
        pause: seconds before each block.
        asked: the `Range` of each request.
    """

    def __init__(self) -> None:
        self.content = bytes(range(256)) * 40
        self.etag: str | None = '"one"'
        self.ranges = True
        self.cuts: list[int] = []
        self.headers: dict[str, str | None] = {}
        self.answers: list[int] = []
        self.leads_to: str | None = None
        self.pause = 0.0
        self.asked: list[str | None] = []
        self.before: Callable[[], None] = lambda: None
        self.address = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.headers.get("Range"))
        self.before()
        if self.leads_to is not None:
            request.send_response(302)
            request.send_header("Location", self.leads_to)
            request.end_headers()
            return
        if self.answers:
            request.send_error(self.answers.pop(0))
            return
        start, status = 0, 200
        wanted, same = request.headers.get("Range"), request.headers.get("If-Range") in (None, self.etag)
        if wanted and self.ranges and same:
            start, status = int(wanted.removeprefix("bytes=").removesuffix("-")), 206
        headers: dict[str, str | None] = {"Content-Length": str(len(self.content) - start), "ETag": self.etag}
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
        request.send_response(status)
        for name, value in {"Content-Type": "application/octet-stream", **headers, **self.headers}.items():
            if value is not None:
                request.send_header(name, value)
        request.end_headers()
        body = self.content[start:]
        body = body[: self.cuts.pop(0)] if self.cuts else body
        for at in range(0, len(body), 1000):
            time.sleep(self.pause)
            request.wfile.write(body[at : at + 1000])
        request.close_connection = True


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                server.answer(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    server.address = f"http://127.0.0.1:{http.server_port}/folder/model.pdparams"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def beside(path: Path) -> set[str]:
    """What lies in a file's folder."""
    return {entry.name for entry in path.parent.iterdir()}
