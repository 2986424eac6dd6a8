"""Starts the reference in a process of its own, waits for it, and leaves nothing of it behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ppls.errors import MissingDependencyError, ParityError

SCRIPT = Path(__file__).with_name("reference")
# the versions that ppls is tested with; numpy 1, since paddleseg pins an OpenCV that was built against it
INSTALL = 'install them with: pip install paddlepaddle==3.3.1 paddleseg==2.8.0 "numpy<2" setuptools'
POLL = 0.02  # seconds between two looks for a result
LOG_TAIL = 15  # lines of the reference's own output that an error shows


class ReferenceProcess:
    """The reference, importing Paddle from construction on. Use as a context manager: leaving it ends the process.

    Args:
        folder: an existing folder that holds the arrays that jobs name, and receives those of the results.
        python: the interpreter that has Paddle; by default the one that runs ppls.
        paddleseg: a folder that has the package `paddleseg`, in place of the installed one.
        environment: variables to set for it. Without any, it sees no GPU: the reference is the CPU, on every machine.
    """

    def __init__(
        self,
        folder: Path,
        *,
        python: str | Path | None = None,
        paddleseg: str | Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = folder
        self._python = str(python or sys.executable)
        self._log = folder / "log.txt"
        self._jobs = 0
        arguments = [str(folder)] if paddleseg is None else [str(folder), str(Path(paddleseg).absolute())]
        try:
            with open(self._log, "wb") as log:
                self._process = subprocess.Popen(
                    [self._python, str(SCRIPT), *arguments],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **({"CUDA_VISIBLE_DEVICES": ""} if environment is None else environment)},
                    start_new_session=True,  # so that whatever it starts can be ended with it
                )
        except OSError as error:
            raise MissingDependencyError(
                f"{self._python}: cannot be run as the reference's Python ({error.strerror}); "
                "--reference-python names an interpreter that has paddlepaddle and paddleseg"
            ) from None

    def start(self, job: Mapping[str, Any]) -> None:
        """Gives the process its next job; see `ppls/parity/reference/tasks.py`."""
        self._jobs += 1
        (self._folder / f"job{self._jobs}.json").write_text(json.dumps(job))
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died: `result` says how
            self._process.stdin.write(f"{self._jobs}\n".encode())
            self._process.stdin.flush()

    def result(self, timeout: float | None = None) -> dict[str, Any]:
        """Waits for the job, at most `timeout` seconds, and returns what became of it.

        Raises:
            MissingDependencyError: Paddle or paddleseg is missing or too old there.
            ParityError: the process died, took too long, or could not do what the job asks.
        """
        path = self._folder / f"result{self._jobs}.json"
        deadline = None if timeout is None else time.monotonic() + timeout
        while not path.exists():
            status = self._process.poll()
            if status is not None and not path.exists():
                raise self._error(f"the reference process {_ending(status)}")
            if deadline is not None and time.monotonic() > deadline:
                self.end()
                raise ParityError(
                    f"the reference was still running after {timeout:g} s and was ended; --timeout gives it longer"
                )
            time.sleep(POLL)
        result: dict[str, Any] = json.loads(path.read_text())
        error = result["error"]
        if error is None:
            return result
        if error["kind"] == "import":
            raise MissingDependencyError(_explain_import(error["message"], self._python))
        if error["kind"] == "job":
            message, *lines = error["message"].split("\n")
            raise ParityError(message, lines)
        raise self._error(f"the reference failed: {error['message']}")

    def run(self, job: Mapping[str, Any], timeout: float | None = None) -> dict[str, Any]:
        """Has a job done and returns its result, as `start` and `result` do."""
        self.start(job)
        return self.result(timeout)

    def end(self) -> None:
        """Ends the process and all that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
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

    def _error(self, what: str) -> ParityError:
        """With what the reference said last."""
        message, *more = what.split("\n")
        last = self._log.read_text(errors="replace").strip().splitlines()[-LOG_TAIL:]
        words = ["its last words:", *(f"| {line}" for line in last)] if last else []
        return ParityError(message, [line for line in [*more, *words] if line.strip()])


def _ending(status: int) -> str:
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        reason = " (out of memory?)" if name == "SIGKILL" else ""
        return f"was ended by {name}{reason}"
    return f"ended with status {status} and left no result"


def _explain_import(message: str, python: str) -> str:
    where = "" if python == sys.executable else f" in {python}"
    if "libGL" in message or "libgthread" in message:
        return f"opencv, which paddleseg imports, needs the system's libGL{where}: apt-get install libgl1 libglib2.0-0"
    return (
        f"verifying runs PaddleSeg itself, and paddlepaddle and paddleseg cannot be used{where} ({message}); {INSTALL}"
    )
