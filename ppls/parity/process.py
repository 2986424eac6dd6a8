"""Starts the reference in a process of its own, waits for it, and leaves nothing of it behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ppls.budget import Budget
from ppls.documents import load_json
from ppls.errors import MissingDependencyError, ParityError
from ppls.parity.answers import Failed, Failure
from ppls.parity.jobs import AnswerT, Job
from ppls.parity.progress import Progress, not_shown
from ppls.schema import Node, build
from ppls.shown import shown

SCRIPT = Path(__file__).with_name("reference")
# the versions that ppls is tested with; numpy 1, since paddleseg pins an OpenCV that was built against it
INSTALL = 'install them with: pip install paddlepaddle==3.3.1 paddleseg==2.8.0 "numpy<2" setuptools'
PACKAGES = ("paddlepaddle", "paddleseg")
INSTALL_PADDLE = "install it with: pip install paddlepaddle==3.3.1"
POLL = 0.02  # seconds between two looks for a result
LOG_TAIL = 15  # lines of the reference's own output that an error shows
LOG_BYTES = 1 << 16  # of the end of that output, which may be without any end
LONGEST_LINE = 500
MOST_LINES = 1000  # of what it says of a job that it cannot do
LONGEST_ANSWER = 64 << 20  # bytes; that of the largest model takes 2 MB


class ReferenceProcess:
    """The reference, importing Paddle from construction on. Use as a context manager: leaving it ends the process.

    Args:
        folder: an existing folder that holds the arrays that jobs name, and receives those of the results.
        python: the interpreter that has Paddle; by default the one that runs ppls.
        paddleseg: a folder that has the package `paddleseg`, in place of the installed one.
        packages: what the jobs need there.
        environment: variables to set for it. Without any, it sees no GPU: the reference is the CPU, on every machine.
        progress: called with how far it is while `result` waits.
    """

    def __init__(
        self,
        folder: Path,
        *,
        python: str | Path | None = None,
        paddleseg: str | Path | None = None,
        packages: Sequence[str] = PACKAGES,
        environment: Mapping[str, str] | None = None,
        progress: Progress = not_shown,
    ) -> None:
        self._folder = folder
        self._python = str(python or sys.executable)
        self._log = folder / "log.txt"
        self._progress = progress
        self._told: bytes = b""
        self._jobs = 0
        own = "" if paddleseg is None else str(Path(paddleseg).absolute())
        self._packages = packages
        self._arguments = [str(folder), own, " ".join(packages)]
        self._environment = {"CUDA_VISIBLE_DEVICES": ""} if environment is None else dict(environment)
        self._process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        try:
            with open(self._log, "wb") as log:
                return subprocess.Popen(
                    [self._python, str(SCRIPT), *self._arguments],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **self._environment},
                    start_new_session=True,  # so that whatever it starts can be ended with it
                )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise MissingDependencyError(
                f"{self._python}: cannot be run as the reference's Python ({why}); "
                "--reference-python names an interpreter that has paddlepaddle and paddleseg"
            ) from None

    def start(self, job: Job[Any]) -> None:
        """Gives the process its next job. Raises `ParityError` where it cannot be written."""
        self._jobs += 1
        path = self._folder / f"job{self._jobs}.json"
        try:
            path.write_text(json.dumps(job.to_json()), encoding="utf-8")
        except OSError as error:
            raise ParityError(f"{path}: cannot be written: {error.strerror}") from None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):  # it died, or was ended: `result` says how
            self._process.stdin.write(f"{self._jobs}\n".encode())
            self._process.stdin.flush()

    def result(self, job: Job[AnswerT], timeout: float | None = None) -> AnswerT:
        """Waits for the job that was started last, at most `timeout` seconds, and returns what became of it.

        Raises:
            MissingDependencyError: Paddle or paddleseg is missing or too old there.
            ParityError: the process died, took too long, could not do what the job asks, or answered something else.
        """
        path = self._folder / f"result{self._jobs}.json"
        deadline = None if timeout is None else time.monotonic() + timeout
        while not path.exists():
            status = self._process.poll()
            if status is not None and not path.exists():
                raise self._error(f"the reference process {_ending(status)}")
            self._tell()
            if deadline is not None and time.monotonic() > deadline:
                self.end()
                raise ParityError(
                    f"the reference was still running after {timeout:g} s and was ended; --timeout gives it longer"
                )
            time.sleep(POLL)
        answer = _read(path)
        if isinstance(answer.value, dict) and "error" in answer.value and answer.value["error"].value is not None:
            raise self._failure(build(answer, Failed).error)
        return build(answer, job.answer)  # type: ignore[no-any-return]

    def run(self, job: Job[AnswerT], timeout: float | None = None) -> AnswerT:
        """Has a job done and returns its result, as `start` and `result` do."""
        self.start(job)
        return self.result(job, timeout)

    def renew(self) -> None:
        """Starts another process where this one has died, or was ended."""
        if self._process.poll() is not None:
            self.end()
            self._process = self._started()

    def end(self) -> None:
        """Ends the process and all that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:  # Windows has no groups to end: what the reference started ends by itself
                self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def __enter__(self) -> ReferenceProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()

    def _tell(self) -> None:
        """Tells how far the reference is, where it has said so and it is news."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # a bar is not worth an error
            with open(self._folder / "progress.json", "rb") as file:
                text = file.read(LONGEST_LINE)
            if text != self._told:
                self._told = text
                said = json.loads(text)
                self._progress(int(said["done"]), int(said["total"]), f"PaddleSeg's {shown(said['what'], 40)}")

    def _failure(self, failure: Failure) -> MissingDependencyError | ParityError:
        if failure.kind == "import":
            return MissingDependencyError(
                _explain_import(shown(failure.message, LONGEST_LINE), self._python, self._packages)
            )
        if failure.kind == "job":
            return ParityError(failure.message, _bounded([f"- {problem}" for problem in failure.problems]))
        message, *more = failure.message.strip().splitlines() or [""]
        return self._error(f"the reference failed: {message}", _bounded(more))

    def _error(self, message: str, lines: Sequence[str] = ()) -> ParityError:
        """With what the reference said last."""
        with contextlib.suppress(OSError), open(self._log, "rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_BYTES))
            words = log.read(LOG_BYTES).decode(errors="replace").strip().splitlines()
            last = [f"| {shown(line, LONGEST_LINE)}" for line in words if line.strip()][-LOG_TAIL:]
            return ParityError(message, [*lines, *(["its last words:"] if last else []), *last])
        return ParityError(message, lines)


def not_understood(place: str, why: str) -> ParityError:
    """The error where an answer of the reference is not as it should be."""
    return ParityError(
        f"the reference process gave an answer that ppls does not understand: {place + ': ' if place else ''}{why}; "
        "was ppls changed while it ran, or does --reference-python name something else than Python?"
    )


def _read(path: Path) -> Node:
    try:
        with open(path, "rb") as file:
            text = file.read(LONGEST_ANSWER + 1)
        if len(text) > LONGEST_ANSWER:
            raise not_understood(path.name, f"more than {LONGEST_ANSWER:,} bytes")
        budget = Budget(len(text), lambda why: not_understood(path.name, why))
        return Node.of(load_json(text, budget), not_understood)
    except (OSError, ValueError) as error:
        raise not_understood(path.name, str(error)) from None


def _bounded(lines: Sequence[str]) -> list[str]:
    found = [shown(line, LONGEST_LINE) for line in lines if line.strip()]
    return found[:MOST_LINES] + ([f"and {len(found) - MOST_LINES:,} more"] if len(found) > MOST_LINES else [])


def _ending(status: int) -> str:
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        reason = " (out of memory?)" if name == "SIGKILL" else ""
        return f"was ended by {name}{reason}"
    return f"ended with status {status} and left no result"


def _explain_import(message: str, python: str, packages: Sequence[str]) -> str:
    where = "" if python == sys.executable else f" in {python}"
    if "libGL" in message or "libgthread" in message:
        return f"opencv, which paddleseg imports, needs the system's libGL{where}: apt-get install libgl1 libglib2.0-0"
    if "paddleseg" not in packages:
        return (
            f"verifying runs the export in Paddle, and paddlepaddle cannot be used{where} ({message}); {INSTALL_PADDLE}"
        )
    return (
        f"verifying runs PaddleSeg itself, and paddlepaddle and paddleseg cannot be used{where} ({message}); {INSTALL}"
    )
