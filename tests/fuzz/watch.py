"""Watches what an input makes Python do: nothing may run, be imported or be written because a file asks for it.

An audit hook cannot be removed, so there is one for the process, asleep but for the time of an input. What it sees is
noted and refused on the spot: a refusal that the code swallows is noted all the same. What libraries in C open by
themselves it does not see; what they leave behind is found afterwards.
"""

from __future__ import annotations

import dis
import os
import sys
import sysconfig
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any


class Forbidden(BaseException):
    """What a file must not be able to cause. No `Exception`, so that no handler takes it for damage."""


# Events of which no entry point needs any, whatever their arguments.
_NEVER = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.startfile", "os.kill", "os.chdir", "os.putenv",
    "subprocess.Popen", "pty.spawn", "socket.", "urllib.Request", "ftplib.", "http.client.", "smtplib.", "sqlite3.",
    "ctypes.dlopen", "webbrowser.open", "pickle.find_class", "cpython.run_", "builtins.input",
)  # fmt: skip
# Events that change the disk: which of their arguments are paths, and which the folders that those are relative to.
_CHANGES = {
    "os.remove": ((0, 1),), "os.rename": ((0, 2), (1, 3)), "os.mkdir": ((0, 2),), "os.rmdir": ((0, 1),),
    "os.symlink": ((1, 2),), "os.link": ((1, 3),), "os.chmod": ((0, 2),), "os.chown": ((0, 3),), "os.utime": ((0, 3),),
    "os.truncate": ((0, 9),), "os.setxattr": ((0, 9),), "shutil.rmtree": ((0, 1),), "shutil.move": ((0, 9), (1, 9)),
    "shutil.copyfile": ((1, 9),), "shutil.copytree": ((1, 9),), "shutil.unpack_archive": ((0, 9), (1, 9)),
    "shutil.make_archive": ((0, 9),),
}  # fmt: skip
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Modules that run text of their own making: fields of a dataclass, annotations, the template of huggingface's card.
_RUNNERS = {
    "dataclasses",
    "typing",
    "collections",
    "inspect",
    "functools",
    "enum",
    "annotationlib",
    "jinja2.environment",
}
_IMPORT_NAME = dis.opmap["IMPORT_NAME"]


class _Watch:
    def __init__(self) -> None:
        self.awake = False
        self.seen: list[str] = []
        self.writable: tuple[str, ...] = ()
        self.readable: tuple[str, ...] | None = None
        self._own = threading.local()

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.awake or getattr(self._own, "busy", False):
            return
        self._own.busy = True  # what this thread does in here is our own
        try:
            why = self._judge(event, arguments, sys._getframe(1))
        finally:
            self._own.busy = False
        if why:
            self.seen.append(why)
            raise Forbidden(why)

    def _judge(self, event: str, arguments: tuple[Any, ...], caller: FrameType) -> str:
        if event == "open":
            return self._opened(*arguments)
        if event in _CHANGES:
            paths = [_joined(arguments, *positions) for positions in _CHANGES[event]]
            return "" if all(_within(path, self.writable) for path in paths) else f"{event} {paths}"
        if event in ("exec", "compile"):
            return _ran(event, arguments, caller)
        if event in ("os.listdir", "os.scandir"):
            return self._read(arguments[0])
        return f"{event} {str(arguments)[:200]}" if event.startswith(_NEVER) else ""

    def _opened(self, path: Any, _mode: Any, flags: int) -> str:
        if flags & _WRITES:
            return "" if _within(path, self.writable) else f"opened {path!r} to write"
        return self._read(path)

    def _read(self, path: Any) -> str:
        if self.readable is not None and not _within(path, self.readable):
            return f"opened {path!r}, which is none of its files"
        return ""


def _ran(event: str, arguments: tuple[Any, ...], caller: FrameType) -> str:
    module = str(caller.f_globals.get("__name__"))
    if module in _RUNNERS or (event == "compile" and module == "ast"):  # `ast.literal_eval`, of a .npy header
        return ""
    if not module.startswith("importlib."):
        return f"{event} by {module}: {str(arguments)[:200]}"
    importer: FrameType | None = caller
    name = ""
    while importer is not None and str(importer.f_globals.get("__name__")).startswith("importlib"):
        name = importer.f_locals.get("name", name)
        importer = importer.f_back
    if importer is None or importer.f_code.co_code[importer.f_lasti] == _IMPORT_NAME:
        return ""  # a statement of the code's own
    package, wanted = (str(text).partition(".")[0] for text in (importer.f_globals.get("__name__"), name))
    # torch and numpy import parts of themselves from C, in the middle of whoever called them
    return "" if wanted in (package, "", "torch", "numpy") else f"import {name} by {package}"


def _joined(arguments: tuple[Any, ...], path: int, folder: int) -> Any:
    """A path below the descriptor of a folder, where the event has one."""
    descriptor = arguments[folder] if folder < len(arguments) else None
    if not isinstance(descriptor, int) or descriptor < 0:
        return arguments[path]
    return os.path.join(os.readlink(f"/proc/self/fd/{descriptor}"), os.fsdecode(arguments[path]))


def _within(path: Any, folders: Sequence[str]) -> bool:
    if path is None or isinstance(path, int):
        return True
    try:
        found = os.path.realpath(os.fsdecode(path))
    except (ValueError, TypeError):  # a NUL in the name: the system opens nothing
        return True
    return found == os.devnull or any(found == folder or found.startswith(folder + os.sep) for folder in folders)


_watch = _Watch()
_installed: list[_Watch] = []


def install() -> None:
    """Adds the hook to this process, once and for good."""
    if not _installed:
        _installed.append(_watch)
        sys.addaudithook(_watch)


def libraries() -> list[str]:
    """What any code may read: Python's own folders, the packages', and what the system tells about the process."""
    here = Path(__file__).resolve().parents[2]
    folders = {os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    system = (
        f"/proc/{os.getpid()}",
        "/proc/meminfo",
        "/proc/cpuinfo",
        "/sys",
        "/usr/share",
        "/dev/urandom",
        "/etc/mime.types",
    )
    return [*folders, *map(os.path.realpath, filter(None, sys.path)), str(here / "ppls"), *system]


@contextmanager
def watched(writable: Sequence[Path], readable: Sequence[str] | None = None) -> Iterator[list[str]]:
    """The list of what the block did that is forbidden.

    Args:
        writable: the only folders below which something may be written.
        readable: the only ones, beside those, below which something may be read; None: any.
    """
    _watch.seen = []
    _watch.writable = tuple(os.path.realpath(folder) for folder in writable)
    _watch.readable = None if readable is None else (*_watch.writable, *readable)
    _watch.awake = True
    try:
        yield _watch.seen
    finally:
        _watch.awake = False
