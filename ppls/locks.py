"""Locks that end with their process: so a run tells what another is writing from what a killed one left behind."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCKS = fcntl is not None
_A_DAY = 86400.0  # seconds


def lock(descriptor: int) -> None:
    """Locks an open file or folder until it is closed or the process ends; a system without locks does nothing."""
    if fcntl is not None:
        with suppress(OSError):  # a file system without locks: `abandoned` raises there
            fcntl.flock(descriptor, fcntl.LOCK_EX)


@contextmanager
def abandoned(path: str, flags: int) -> Iterator[None]:
    """Opens a file or folder with `flags` and holds its lock, to remove it; raises `OSError` where somebody has it.

    Where the system has no locks, what is older than a day is abandoned.
    """
    if fcntl is None:
        if time.time() - os.lstat(path).st_mtime < _A_DAY:
            raise BlockingIOError(path)
        yield
        return
    descriptor = os.open(path, flags | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
