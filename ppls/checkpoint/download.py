"""Downloading a file once: resumed where it was cut, of the size that was announced, its digest recorded beside it.

By the standard library: huggingface_hub's `http_get`, the one downloader among what ppls needs anyway, is not public,
and resumes without asking whether the file is still the same.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from ppls.budget import Budget
from ppls.destination import file_that_becomes
from ppls.documents import load_json
from ppls.errors import CheckpointError, Error, first_line
from ppls.locks import lock
from ppls.records import dataclass
from ppls.schema import Node, Part, build
from ppls.version import __version__

Progress = Callable[[int, int], None]

MOST_BYTES = 8 << 30  # of one file; the largest that PaddleSeg publishes has about 1.3 GB
_BLOCK = 1 << 18
_TIMEOUT = 30.0  # seconds without a byte
_WINDOW, _LEAST_IN_WINDOW = 60.0, 60_000  # seconds, and the bytes that must come in so many
_ATTEMPTS = 5  # in a row without a byte more
_PAUSE = 1.0  # seconds before the second attempt, doubled each time


@dataclass(eq=False)
class Record(Part):
    """What is known of a download: as JSON beside it."""

    address: str
    size: int
    sha256: str = ""
    version: str = ""  # what the server calls this version of the file: its ETag, or when it was changed

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """None where there is none. Raises `CheckpointError` where it is damaged."""

        def error(place: str, why: str) -> CheckpointError:
            return CheckpointError(f"{path}: the record of a download is damaged: {place} {why}; remove it")

        try:
            text = path.read_bytes()
            return build(Node.of(load_json(text, Budget(len(text), lambda why: error("", why))), error), cls)  # type: ignore[no-any-return]
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as why:
            raise error("", first_line(why)) from None

    def write(self, path: Path) -> None:
        with file_that_becomes(path, force=True) as file:
            file.write(json.dumps(vars(self), indent=2).encode() + b"\n")


class _CutError(Exception):
    """The connection ended, or was as good as dead, before the file did: worth another attempt."""


def download(address: str, path: Path, progress: Progress | None = None) -> str:
    """The SHA-256 of the file at `path`, which is downloaded from `address` unless it is there.

    What was downloaded stays as it was: the record beside it (`NAME.json`) has its size and digest, and another
    content, here or at the server, is refused. A download that is cut goes on where it was, in the next run too; two
    processes do not download the same at once.

    Raises:
        CheckpointError: it cannot be downloaded, or is not what was downloaded before.
    """
    record = path.with_name(f"{path.name}.json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _download(address, path, record, progress)
        return _checked(address, path, record)
    except OSError as error:
        why = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or error
        raise CheckpointError(f"{error.filename or path}: cannot be downloaded to: {why}") from None


def _checked(address: str, path: Path, record: Path) -> str:
    known = Record.read(record)
    digest = _sha256(path)
    if known is None:  # somebody put it there
        Record(address, path.stat().st_size, digest).write(record)
    elif known.sha256 != digest:
        raise CheckpointError(
            f"{path}: has changed since it was downloaded: its SHA-256 is {digest}, recorded is {known.sha256}; "
            "remove it, and it will be downloaded again"
        )
    return digest


def _download(address: str, path: Path, record: Path, progress: Progress | None) -> None:
    partial = path.with_name(f"{path.name}.partial")
    with _locked(partial) as file:
        state = path.with_name(f"{partial.name}.json")
        try:
            if path.exists():  # another process was faster
                return
            _fill(address, path, file, state, progress)
        finally:
            if not os.fstat(file.fileno()).st_size:
                partial.unlink()
        os.fsync(file.fileno())
        found = Record(address, os.fstat(file.fileno()).st_size, _sha256(partial))
        known = Record.read(record)
        if known is not None and known.sha256 != found.sha256:
            partial.unlink()
            raise CheckpointError(
                f"{address}: has changed since it was downloaded first: its SHA-256 is {found.sha256}, {record} has "
                f"{known.sha256}; remove that file to take what is there now"
            )
        found.write(record)
        if os.name == "nt":
            file.close()  # Windows renames no open file
        os.replace(partial, path)
        state.unlink(missing_ok=True)


def _locked(partial: Path) -> IO[bytes]:
    """A partial file, which nobody else writes to as long as it is open."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    while True:
        file = open(os.open(partial, flags, 0o666), "r+b")  # noqa: SIM115 - whoever asked closes it
        lock(file.fileno())
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.lstat(partial)):
                return file
        file.close()  # who had it before is done with it


def _fill(address: str, path: Path, file: IO[bytes], state: Path, progress: Progress | None) -> None:
    """Attempts until the file is whole; each goes on where the last one ended."""
    left, pause = _ATTEMPTS, _PAUSE
    while True:
        before = os.fstat(file.fileno()).st_size
        try:
            return _attempt(address, file, state, progress)
        except (_CutError, http.client.HTTPException) as cut:
            why: object = first_line(cut)
            grown = os.fstat(file.fileno()).st_size > before
        except urllib.error.HTTPError as error:
            why, grown = f"the server answers {error.code} ({error.reason})", False
            if error.code < 500 and error.code != 429:
                left = 1
        except urllib.error.URLError as error:  # no such host, no network, refused
            known = error.reason.strerror if isinstance(error.reason, OSError) else None
            why, grown, left = str(known or error.reason), False, 1
        left = _ATTEMPTS if grown else left - 1
        if left <= 0:
            size = os.fstat(file.fileno()).st_size
            kept = f" ({size:,} bytes are kept, the next attempt goes on there)" if size else ""
            raise CheckpointError(
                f"{path.parent.name}/{path.name}: cannot be downloaded: {why}{kept}; "
                f"without a network, fetch {address} by hand and give that file"
            )
        pause = _PAUSE if grown else pause
        time.sleep(pause)
        pause *= 2


def _attempt(address: str, file: IO[bytes], state: Path, progress: Progress | None) -> None:
    have = file.seek(0, os.SEEK_END)
    begun = None
    with suppress(Error):  # a damaged state is none
        begun = Record.read(state)
    resumed = bool(have and begun is not None and begun.address == address and begun.version and have < begun.size)
    headers = {"User-Agent": f"ppls/{__version__}", "Accept-Encoding": "identity"}
    if resumed and begun is not None:
        headers |= {"Range": f"bytes={have}-", "If-Range": begun.version}
    try:
        response = _opener().open(urllib.request.Request(address, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if resumed and error.code == 416:
            file.truncate(0)
            raise _CutError("the server cannot go on where the download was cut") from None
        raise
    except urllib.error.URLError:
        raise
    except OSError as error:
        raise _CutError(first_line(error)) from None
    with response:
        size = _announced(address, response, have if resumed and response.status == 206 else 0)
        if response.status != 206 or not resumed or begun is None or size != begun.size:
            if response.status == 206:  # a part of another file
                file.truncate(0)
                raise _CutError("the file changed while it was downloaded")
            file.truncate(0)
            have = 0
            etag = response.headers.get("ETag") or ""
            version = etag if etag.startswith('"') else response.headers.get("Last-Modified") or ""
            Record(address, size, version=version).write(state)
        file.seek(have)
        _copy(response, file, have, size, progress)


def _announced(address: str, response: Any, start: int) -> int:
    """The size of the whole file, as the server says."""
    headers = response.headers
    if headers.get("Content-Encoding", "identity") != "identity":
        raise CheckpointError(f"{address}: comes encoded, though it was asked for as it is")
    if headers.get_content_type() == "text/html":
        raise CheckpointError(f"{address}: is answered with a web page: a proxy or a login stands before it")
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})", headers.get("Content-Range", ""))
        if match is None or int(match[1]) != start or int(match[2]) + 1 != int(match[3]):
            raise CheckpointError(f"{address}: the server gives another part of the file than it was asked for")
        size = int(match[3])
    else:
        length = headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,15}", length):
            raise CheckpointError(f"{address}: the server does not say how large it is, so that it may have no end")
        size = int(length)
    if not 0 < size <= MOST_BYTES:
        raise CheckpointError(f"{address}: has {size:,} bytes; no weight file has none, or more than {MOST_BYTES:,}")
    return size


def _copy(response: Any, file: IO[bytes], have: int, size: int, progress: Progress | None) -> None:
    since, then = time.monotonic(), have
    while have < size:
        try:
            block = response.read1(min(_BLOCK, size - have))
        except OSError as error:
            raise _CutError(first_line(error)) from None
        if not block:
            file.flush()
            raise _CutError(f"the connection was cut after {have:,} of {size:,} bytes")
        file.write(block)
        file.flush()
        have += len(block)
        if progress is not None:
            progress(have, size)
        if time.monotonic() - since > _WINDOW:
            if have - then < _LEAST_IN_WINDOW:
                raise _CutError(f"only {have - then:,} bytes came in {_WINDOW:.0f} seconds")
            since, then = time.monotonic(), have


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirection to http or https, from https to https alone."""

    def redirect_request(self, request: Any, fp: Any, code: int, message: str, headers: Any, address: str) -> Any:
        if not address.startswith("https://") and (request.type == "https" or not address.startswith("http://")):
            raise CheckpointError(f"{request.full_url}: leads to {address}, which is not followed")
        return super().redirect_request(request, fp, code, message, headers, address)


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_Redirects)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
