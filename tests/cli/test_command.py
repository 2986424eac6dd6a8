"""How a command ends: its status, its one message, and the process's signals as they were before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ppls.cli.command import command
from ppls.errors import Error, UsageError

ROOT = Path(__file__).resolve().parents[2]
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
WAITING = """
import sys, time
from ppls.cli.command import command
from ppls.temporary import temporary_folder
def wait():
    with temporary_folder() as folder:
        print(folder, flush=True)
        time.sleep(60)
command(wait)()
"""


def waiting(folder: Path, *prefix: str) -> subprocess.Popen[str]:
    """A command that has a temporary folder and waits in it."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", WAITING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
    )
    assert process.stdout is not None
    assert Path(process.stdout.readline().rstrip("\n")).is_dir()
    return process


@pytest.fixture(autouse=True)
def signals_as_they_were() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("how", "status", "said"),
    [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, ""), (signal.SIGHUP, 129, "")],
)
def test_a_command_that_is_told_to_end_leaves_nothing_behind(
    tmp_path: Path, how: signal.Signals, status: int, said: str
) -> None:
    process = waiting(tmp_path)
    process.send_signal(how)
    _, messages = process.communicate(timeout=30)
    assert (process.returncode, messages) == (status, said)
    assert os.listdir(tmp_path) == []


def test_under_nohup_a_command_outlives_its_terminal(tmp_path: Path) -> None:
    process = waiting(tmp_path, "nohup")
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 143


def test_the_signals_of_a_users_process_are_put_back() -> None:
    during: dict[signal.Signals, Any] = {}

    @command
    def look() -> None:
        during.update({number: signal.getsignal(number) for number in SIGNALS})

    for how in (lambda: CliRunner().invoke(look), lambda: look.main([], standalone_mode=False)):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with suppress(SystemExit):
            how()
        assert callable(during[signal.SIGTERM])
        assert callable(during[signal.SIGHUP])
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


@pytest.mark.parametrize(
    "fails", [Error("no"), UsageError("no"), KeyboardInterrupt(), RuntimeError("a fault"), OSError()]
)
def test_the_signals_are_put_back_however_it_ends(fails: BaseException) -> None:
    @command
    def fail() -> None:
        raise fails

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    CliRunner().invoke(fail)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_handler_of_the_users_own_and_an_ignored_signal_stay() -> None:
    during = []

    def own(*_: object) -> None:
        pass

    @command
    def look() -> None:
        during.append((signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)))

    signal.signal(signal.SIGTERM, own)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    CliRunner().invoke(look)
    assert [*during, (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP))] == [(own, signal.SIG_IGN)] * 2


def test_a_second_signal_does_not_disturb_the_tidying_up() -> None:
    tidied = []

    @command
    def end() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGHUP)
            tidied.append(True)

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    assert CliRunner().invoke(end).exit_code == 143
    assert tidied == [True]
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_a_command_runs_in_a_thread_too() -> None:
    ran = []

    @command
    def run() -> None:
        ran.append(True)

    thread = threading.Thread(target=lambda: CliRunner().invoke(run))
    thread.start()
    thread.join()
    assert ran == [True]


@pytest.mark.parametrize(
    ("fails", "status", "said"),
    [
        (Error("what is wrong"), 1, "error: what is wrong\n"),
        (UsageError("what is wrong"), 2, "error: what is wrong\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (MemoryError(), 1, "error: out of memory\n"),
        (BrokenPipeError(), 1, ""),
        (OSError(28, "No space left on device"), 1, "error: [Errno 28] No space left on device\n"),
        (ModuleNotFoundError("no", name="jinja2"), 2, "error: this needs the Python module jinja2"),
    ],
)
def test_an_error_is_one_message_and_a_status(fails: BaseException, status: int, said: str) -> None:
    @command
    def fail() -> None:
        raise fails

    result = CliRunner().invoke(fail)
    assert result.exit_code == status
    assert result.stderr.startswith(said)
    assert result.stdout == ""


def test_a_warning_of_a_library_is_one_inert_line() -> None:
    @command
    def warns() -> None:
        warnings.warn("left out: \x1b[2J\nverified: pass", stacklevel=1)

    result = CliRunner().invoke(warns)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "warning: left out: \\x1b[2J\\nverified: pass\n"
