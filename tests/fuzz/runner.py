"""Runs one input in this process, watched and measured, and says what became of it."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ppls.errors import Error
from tests.fuzz.case import Case
from tests.fuzz.limits import BYTES, SECONDS, TooSlow, measured
from tests.fuzz.watch import Forbidden, install, libraries, watched
from tests.nasty import obeyed

_LONGEST_LINE = 10_000  # characters of a message: more is no message


@dataclass(frozen=True)
class Place:
    """What an entry point is given: the input, and a folder for what it writes."""

    given: Path
    out: Path


@dataclass(frozen=True)
class Target:
    """One entry point.

    Attributes:
        share: of all inputs, relative to the other targets.
        corpus: the inputs to change, made or found.
        run: does what a user would, and returns the texts that would be shown beside what is printed.
        reads_elsewhere: whether a file of this kind may name others anywhere, as a list of images does.
    """

    name: str
    share: int
    corpus: Callable[[], Sequence[Case]]
    run: Callable[[Place, Case], Iterable[str]]
    reads_elsewhere: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of an input: `value`, or the class of the refusal and its message; and what is wrong with that."""

    label: str
    message: str = ""
    failure: str = ""
    seconds: float = 0.0
    bytes: int = 0


class Runner:
    """A folder, best in memory, where inputs are laid out and run one after the other."""

    def __init__(self, folder: Path, *, seconds: float = SECONDS, most_bytes: int = BYTES) -> None:
        self._folder = folder
        self._seconds, self._bytes = seconds, most_bytes
        self._done = 0
        self._libraries = libraries()
        self._warm: set[str] = set()
        install()

    def warm(self, target: Target) -> None:
        """Runs a few inputs of the corpus, so that no other pays for imports and caches."""
        if target.name not in self._warm:
            self._warm.add(target.name)
            for case in target.corpus()[:3]:
                self.run(target, case)

    def run(self, target: Target, case: Case) -> Outcome:
        """Runs one input; only what is wrong with the harness itself is raised."""
        self._done += 1
        here = self._folder / str(self._done)  # maps are cached by path
        folders = {name: here / name for name in ("in", "out", "tmp", "cwd")}
        for folder in folders.values():
            folder.mkdir(parents=True)
        given = case.lay_out(folders["in"])
        before = _tree(here)
        kept = os.getcwd(), tempfile.tempdir
        os.chdir(folders["cwd"])
        tempfile.tempdir = str(folders["tmp"])
        try:
            outcome = self._watched(target, case, Place(given, folders["out"]), folders)
            problem = outcome.failure or _left_behind(before, _tree(here), outcome.label)
            return replace(outcome, failure=problem)
        finally:
            os.chdir(kept[0])
            tempfile.tempdir = kept[1]
            shutil.rmtree(here)

    def _watched(self, target: Target, case: Case, place: Place, folders: dict[str, Path]) -> Outcome:
        printed = io.StringIO()
        readable = None if target.reads_elsewhere else [*self._libraries, str(folders["in"].parent)]
        writable = [folders["out"], folders["tmp"]]
        label, message, failure, texts = "value", "", "", list[str]()
        with (
            warnings.catch_warnings(record=True) as warned,
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
            _said_past_python(folders["out"].parent / "stderr") as said,
            measured(self._seconds, self._bytes) as cost,
            watched(writable, readable) as seen,
        ):
            warnings.simplefilter("always")
            warnings.simplefilter("ignore", ResourceWarning)
            try:
                texts = list(target.run(place, case))
            except Error as error:
                label, message = type(error).__name__, str(error)
                failure = _no_message(message.replace(str(place.given), "FILE"))
            except TooSlow:
                failure = f"took more than {self._seconds:g} s of CPU"
            except Forbidden:
                pass  # is in `seen`
            except MemoryError:
                failure = f"took more than {self._bytes:,} bytes: {_where()}"
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                failure = traceback.format_exc()[-3000:]
            _wait_for_threads()
        texts += [message, printed.getvalue(), *said]
        checks = [
            "; ".join(seen),
            failure,
            f"took {cost.seconds:.1f} s of CPU" if cost.seconds > self._seconds else "",
            f"took {cost.bytes:,} bytes" if cost.bytes > self._bytes else "",
            "".join(f"warned: {warning.message} ({warning.filename}:{warning.lineno})"[:500] for warning in warned[:1]),
            *map(_raw, texts),
        ]
        return Outcome(label, message, next(filter(None, checks), ""), cost.seconds, cost.bytes)


@contextlib.contextmanager
def _said_past_python(path: Path) -> Iterator[list[str]]:
    """What libraries write to the process's own stderr, and handlers of logs that took it long ago."""
    said: list[str] = []
    kept = os.dup(2)
    with open(path, "w+b") as file:
        os.dup2(file.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            said.append(file.read().decode("utf-8", "surrogateescape"))
    path.unlink()


def _wait_for_threads() -> None:
    """What an input started must end before the next: a traceback that a thread prints is found in what was printed."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(10)


def _where() -> str:
    return traceback.format_exc()[-1500:]


def _no_message(text: str) -> str:
    """What keeps an error from being one readable message."""
    if not text.strip():
        return "an error without a message"
    if "Traceback (most recent" in text or " object at 0x" in text:
        return f"no message for a person: {text[:500]!r}"
    if any(word in text for word in ("MemoryError", "allocate", "out of memory", "maximum recursion")):
        return f"refused for want of memory, not by a limit: {text[:500]!r}"
    longest = max(map(len, text.splitlines()))
    return f"a line of {longest:,} characters in a message: {text[:200]!r}" if longest > _LONGEST_LINE else ""


def _raw(text: str) -> str:
    """What in a text a terminal would obey, or cannot show; and what never should have got there."""
    if "FILLEDIN" in text:  # see `mutations.hostile`
        return "a template in the input was filled in"
    if "Traceback (most recent" in text:
        return f"printed: {text[-1500:]}"
    for character in [] if text.isascii() and text.isprintable() else obeyed(text):
        at = text.index(character)
        return f"shows U+{ord(character):04X} as it is, in {text[max(0, at - 60) : at + 20]!r}"
    return ""


def _tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every entry below a folder: size and time of the last change; a folder's own are left out."""
    found: dict[str, tuple[int, int]] = {}
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                    found[os.path.relpath(entry.path, folder)] = (0, 0)
                else:
                    found[os.path.relpath(entry.path, folder)] = (status.st_size, status.st_mtime_ns)
    return found


def _left_behind(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]], label: str) -> str:
    """What should not have been written: anything but the destination, and that only where there is a value."""
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    wrong = [
        name
        for name in changed
        if not name.startswith("out/") or label != "value" or name.endswith((".part", ".partial"))
    ]
    return f"left behind or changed: {', '.join(map(ascii, wrong[:5]))}" if wrong else ""
