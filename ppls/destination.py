"""Where a file is written: beside its name, and under it only when it is whole.

One rule for everything that ppls writes. What exists is kept unless `force`, and what is no regular file is never
replaced, by nobody: no folder, device, FIFO or socket, and no symbolic link either, since it may lead where nobody
meant to write (the message says where to; links among the folders of a path are followed). What a command reads is
never replaced by what it writes.

A file grows under a random name beside its own, `.NAME.<16 hex digits>.part`, locked by its writer. Where a run was
killed, the next one that writes NAME there finds such a file without a lock, and removes it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ppls.errors import ConversionError
from ppls.locks import abandoned, lock

Inputs = Mapping[str, Iterable[str | Path | None]]  # what a command reads, by what a message calls it

_PARTIAL = re.compile(r"(\..+)\.[0-9a-f]{16}\.part(\.\w+)*", re.DOTALL)
_LONGEST_NAME = 100  # bytes of a partial file's name that say whose it is; file systems have 255, some 143
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)  # Windows has no such flag
_KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def check_destination(path: Path, *, force: bool, inputs: Inputs | None = None) -> None:
    """As `check_destinations`, for one file."""
    check_destinations([path], force=force, inputs=inputs)


def check_destinations(
    paths: Iterable[Path], *, force: bool, inputs: Inputs | None = None, new_folders: bool = False
) -> None:
    """Finds out whether files can be written to all of `paths`; called before any work is done for them.

    Removes what killed runs left of these files.

    Args:
        force: regular files may be replaced.
        inputs: what is read, by what to call it: never replaced, nor is another name (a hard link) of the same file.
            They are looked at only where a file exists.
        new_folders: folders that do not exist will be made.

    Raises:
        ConversionError: there is something that may not be replaced, or two paths are of one file, or a folder is not
            there or not writable.
    """
    names: dict[Path, set[str]] = {}
    there: dict[Path, os.stat_result] = {}
    for path in paths:
        found = _look(path, new_folders)
        if path.name in names.setdefault(path.parent, set()):
            raise _same(path, path)
        names[path.parent].add(path.name)
        if found is not None:
            there[path] = found
    _check_distinct(names)
    if there:
        _check_inputs(there, inputs or {})
    if there and not force:
        raise _exists(next(iter(there)), len(there) - 1)
    for folder in names:
        with suppress(OSError):
            _remove_abandoned(folder, names[folder])


@contextmanager
def file_that_becomes(
    path: Path, *, force: bool, suffix: str = "", sync: bool = True, new_folders: bool = False
) -> Iterator[IO[bytes]]:
    """A file beside `path`, open to write and read, that takes its name when the block ends well, and else is removed.

    It has the mode (and owner, where possible) of the file that it replaces, else what the umask leaves. Its own name
    is its attribute `name`, for those who can only write by name.

    Args:
        suffix: of that name, where they tell formats by it.
        sync: wait for the disk, so that not even a failure of power leaves half a file under the name.
        new_folders: make the folders of `path` that do not exist.

    Raises:
        ConversionError: as `check_destinations`; or the disk is full.
    """
    replaced = _replaceable(path, force, new_folders)
    # named before it is made: a signal may end the run at any moment
    part = path.with_name(f"{_prefix(path.name)}.{secrets.token_hex(8)}.part{suffix}")
    try:
        if new_folders:
            path.parent.mkdir(parents=True, exist_ok=True)
        with _create(part, 0o666 if replaced is None else 0o600) as file:
            yield file
            file.flush()
            if not os.path.samestat(os.fstat(file.fileno()), os.lstat(part)):
                raise ConversionError(f"{path}: nothing was written: {part.name} was replaced meanwhile")
            if sync:
                _sync(file)
            replaced = _replaceable(path, force)
            if replaced is not None:
                _take_mode(file, replaced)
            if os.name == "nt":
                file.close()  # Windows renames no open file
            if force:
                os.replace(part, path)
            else:
                _name_without_replacing(part, path)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ConversionError(f"{path}: the disk is full; nothing was written") from None
        raise ConversionError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            part.unlink()


def _look(path: Path, new_folders: bool = False) -> os.stat_result | None:
    """The regular file at `path`; None where there is nothing. Raises where nothing can be written."""
    if str(path) == "-":
        raise ConversionError("-: stands for no file, and what is written is a file; give it a name")
    try:
        found = os.lstat(path)
        target = os.readlink(path) if stat.S_ISLNK(found.st_mode) else None
    except (FileNotFoundError, NotADirectoryError):
        _check_folder(path, new_folders)
        return None
    except OSError as error:
        raise ConversionError(f"{path}: cannot be written: {error.strerror or error}") from None
    except ValueError:  # a NUL
        raise ConversionError(f"{path}: cannot be written: no file has such a name") from None
    if stat.S_ISDIR(found.st_mode):
        raise ConversionError(f"{path}: is a folder; name the file to write in it")
    if target is not None:
        raise ConversionError(
            f"{path}: is a link to {target}, and only a regular file is ever replaced; name the file itself"
        )
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no regular file")
        raise ConversionError(f"{path}: is {kind}, and only a regular file is ever replaced; choose another name")
    _check_folder(path)
    return found


def _replaceable(path: Path, force: bool, new_folders: bool = False) -> os.stat_result | None:
    found = _look(path, new_folders)
    if found is not None and not force:
        raise _exists(path)
    return found


def _check_folder(path: Path, new_folders: bool = False) -> None:
    folder = path.parent
    while new_folders and not os.path.lexists(folder):
        folder = folder.parent
    if not os.path.isdir(folder):
        why = f"{folder} is no folder" if new_folders else "its folder does not exist; create it first"
        raise ConversionError(f"{path}: cannot be written: {why}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConversionError(f"{path}: the folder {folder} is not writable; choose another")


def _check_distinct(names: Mapping[Path, set[str]]) -> None:
    """No two of the files are one and the same, through a folder that goes by two names."""
    seen: dict[tuple[str, str], Path] = {}
    for folder in names:
        real = os.path.realpath(folder)
        for name in names[folder]:
            first = seen.setdefault((real, name), folder)
            if first is not folder:
                raise _same(folder / name, first / name)


def _check_inputs(there: Mapping[Path, os.stat_result], inputs: Inputs) -> None:
    """None of the files that are there is one that is read."""
    read: dict[tuple[int, int], str] = {}
    for what, paths in inputs.items():
        for path in (path for path in paths if path is not None):
            with suppress(OSError, ValueError):
                found = os.stat(path)
                read[found.st_dev, found.st_ino] = what
    for path, found in there.items():
        if (found.st_dev, found.st_ino) in read:
            raise ConversionError(f"{path}: is the {read[found.st_dev, found.st_ino]} itself; choose another name")


def _create(part: Path, mode: int) -> IO[bytes]:
    """A new file, locked."""
    while True:
        file: IO[bytes] = open(  # noqa: SIM115
            part, "x+b", opener=lambda name, flags: os.open(name, flags | _NOFOLLOW, mode)
        )
        lock(file.fileno())
        if part.exists():
            return file
        file.close()  # before it had a lock, another run took it for abandoned


def _remove_abandoned(folder: Path, names: set[str]) -> None:
    """Removes the partial files of killed runs: those of `names` that nobody has locked."""
    prefixes = {_prefix(name) for name in names}
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if (match := _PARTIAL.fullmatch(entry.name)) and match[1] in prefixes]
    for entry in found:
        with suppress(OSError):
            if entry.is_file(follow_symlinks=False):
                with abandoned(entry.path, os.O_RDWR):
                    os.unlink(entry.path)


def _prefix(name: str) -> str:
    """What the names of a file's partial files begin with; of a long name a part and a digest."""
    encoded = os.fsencode(name)
    if len(encoded) <= _LONGEST_NAME:
        return f".{name}"
    return f".{encoded[:64].decode('utf-8', 'ignore')}~{hashlib.sha256(encoded).hexdigest()[:16]}"


@contextmanager
def written_meanwhile(file: IO[bytes]) -> Iterator[None]:
    """Has the disk take what was written to a file while the block reads it back; then nobody has to wait for that."""
    errors: list[OSError] = []

    def sync() -> None:
        try:
            _sync(file)
        except OSError as error:  # said but once: the next call would not raise it
            errors.append(error)

    file.flush()
    thread = threading.Thread(target=sync)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    for error in errors:
        raise error


def _sync(file: IO[bytes]) -> None:
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):  # a file system that cannot
            raise


def _take_mode(file: IO[bytes], replaced: os.stat_result) -> None:
    if not hasattr(os, "fchmod"):  # Windows
        return
    mode = stat.S_IMODE(replaced.st_mode) & 0o777
    for owner, group in ((-1, replaced.st_gid), (replaced.st_uid, -1)):
        with suppress(OSError):  # only root gives a file to another
            os.fchown(file.fileno(), owner, group)
    if os.fstat(file.fileno()).st_gid != replaced.st_gid:
        mode &= 0o707  # what one group could read is not shown to another
    os.fchmod(file.fileno(), mode)


def _name_without_replacing(part: Path, path: Path) -> None:
    try:
        os.link(part, path)  # unlike a rename, fails where a second run was faster
    except FileExistsError:
        raise
    except (OSError, AttributeError, NotImplementedError):  # a system or a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(path) from None
        os.rename(part, path)


def _exists(path: Path, others: int = 0) -> ConversionError:
    more = f" (so do {others:,} others)" if others else ""
    return ConversionError(f"{path}: exists already{more}; give --force (force=True) to replace it")


def _same(path: Path, other: Path) -> ConversionError:
    where = "twice" if path == other else f"as {path} and as {other}"
    return ConversionError(f"{path}: would be written {where}; choose other names")
