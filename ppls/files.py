"""Opening what somebody else named: a regular file, and nothing that waits, has no end, or acts when it is opened."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def open_regular(path: str | os.PathLike[str]) -> int:
    """A descriptor of a regular file, or of what a link to one leads to.

    Raises:
        OSError: missing, not a regular file, no permission, too long a name, a circle of links.
        ValueError: not a file name (a NUL is in it).
    """
    _require_regular(path, os.stat(path))  # before opening: to open a device can already have an effect
    # O_NONBLOCK: should a pipe have taken the file's place since, opening it must not wait for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    try:
        _require_regular(path, os.fstat(descriptor))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def why_no_file(path: str | os.PathLike[str]) -> str | None:
    """What keeps a path from being a regular file, in words that follow its name; None where it is one."""
    try:
        _require_regular(path, os.stat(path))
    except (FileNotFoundError, NotADirectoryError):
        return "does not exist"
    except OSError as error:
        return f"cannot be opened: {error.strerror}"
    except ValueError as error:
        return f"is not a file name: {error}"
    return None


def files_below(folder: str | os.PathLike[str]) -> list[Path]:
    """The regular files in a folder and its folders, sorted; links to folders are not followed.

    Raises:
        OSError: one of the folders cannot be read.
    """
    found, folders = [], [Path(folder)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                elif entry.is_file(follow_symlinks=False) or why_no_file(entry.path) is None:
                    found.append(Path(entry.path))
    return sorted(found)


def _require_regular(path: str | os.PathLike[str], status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    kind = kinds.get(stat.S_IFMT(status.st_mode), "a device")
    advice = "" if kind == "a folder" else "; save its content to a file first"
    raise OSError(errno.EINVAL, f"{kind}, not a file{advice}", os.fspath(path))
