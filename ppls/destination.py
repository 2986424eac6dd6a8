"""Where a file is written: beside its name, and under it only when it is whole."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ppls.errors import ConversionError, Error


def check_destination(path: Path, *, force: bool, sources: Sequence[Path] = ()) -> None:
    """Raises `ConversionError` if a file could not be put at `path`, or would replace one of `sources`.

    Called before any work is done.
    """
    folder = path.parent
    if not folder.is_dir():
        raise ConversionError(f"{path}: the folder {folder} does not exist; create it first")
    if path.is_dir():
        raise ConversionError(f"{path}: is a folder; name the file to write in it")
    if path.exists() and any(path.samefile(source) for source in sources):
        raise ConversionError(f"{path}: is the source itself; choose another name")
    if path.exists() and not force:
        raise _exists(path)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConversionError(f"{path}: the folder {folder} is not writable; choose another")


@contextmanager
def file_that_becomes(path: Path, *, force: bool) -> Iterator[Path]:
    """A file beside `path` that takes its name when the block ends well, and is removed when it does not."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        yield part
        if force:
            os.replace(part, path)
        else:
            _rename_without_replacing(part, path)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ConversionError(f"{path}: the disk is full; nothing was written") from None
        raise ConversionError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)


def _rename_without_replacing(part: Path, path: Path) -> None:
    try:
        os.link(part, path)  # unlike a rename, fails where a second run was faster
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(path) from None
        os.rename(part, path)


def _exists(path: Path) -> Error:
    return ConversionError(f"{path}: exists already; give --force (force=True) to replace it")
