"""Temporary folders: gone when they are left; where a run was killed, when the next one needs such a folder."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ppls.locks import LOCKS, abandoned, lock

_NAME = re.compile(r"ppls-\w{8}\.run")
_YOUNG = 60.0  # seconds: it may be locked in a moment


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for this run alone, in the system's place for temporary files."""
    _remove_abandoned()
    with tempfile.TemporaryDirectory(prefix="ppls-", suffix=".run", ignore_cleanup_errors=True) as folder:
        descriptor = os.open(folder, os.O_RDONLY) if LOCKS else None  # Windows opens no folder
        try:
            if descriptor is not None:
                lock(descriptor)
            yield Path(folder)
        finally:
            if descriptor is not None:
                os.close(descriptor)


def _remove_abandoned() -> None:
    found: list[os.DirEntry[str]] = []
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        found += (entry for entry in entries if _NAME.fullmatch(entry.name))
    for entry in found:
        with suppress(OSError):
            status = entry.stat(follow_symlinks=False)
            own = not hasattr(os, "getuid") or status.st_uid == os.getuid()
            if own and entry.is_dir(follow_symlinks=False) and time.time() - status.st_mtime > _YOUNG:
                with abandoned(entry.path, os.O_RDONLY):
                    shutil.rmtree(entry.path)
