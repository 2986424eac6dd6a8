"""What all commands share: errors as one message with an exit status, and `--json`."""

from __future__ import annotations

import functools
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import click

from ppls.errors import Error, MissingDependencyError
from ppls.shown import encodable, json_value, shown_line
from ppls.version import __version__

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def command(function: Callable[..., int | None]) -> click.Command:
    """A command whose errors are one message and an exit status, whatever happens."""

    @functools.wraps(function)
    def run(**options: Any) -> None:
        try:
            with _signals_as_exceptions():
                status = _status(function, options)
        except _Ended as ended:
            status = ended.status
        sys.exit(status)

    return click.version_option(__version__, prog_name="ppls")(
        click.command(cls=_Command, context_settings=_CONTEXT)(run)
    )


class _Ended(BaseException):
    """A signal has ended the command; no SystemExit, which a user's model may raise and is caught there."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP (its terminal is gone) end the command as an exception does: nothing is left behind.

    A signal that is ignored (under nohup, say) or handled already stays so; afterwards everything is as it was, for the
    process may be a user's own.
    """
    taken: list[int] = []

    def end(number: int, _frame: object) -> None:
        for each in taken:
            signal.signal(each, signal.SIG_IGN)  # a second one does not disturb the tidying up
        raise _Ended(128 + number)

    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                taken.append(number)
                signal.signal(number, end)
    try:
        yield
    finally:
        for each in taken:
            signal.signal(each, signal.SIG_DFL)


def _status(function: Callable[..., int | None], options: dict[str, Any]) -> int:
    """What a command ends with: its own status, or that of its error, which is said."""
    try:
        return function(**options) or 0
    except Error as error:
        for line in f"error: {error}".split("\n"):
            echo(line, err=True)
        return error.exit_status
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("ppls"):
            raise
        echo(f"error: this needs the Python module {error.name}, which is not installed", err=True)
        return MissingDependencyError.exit_status
    except KeyboardInterrupt:
        echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        return 1
    except OSError as error:  # the disk of stdout is full, say
        echo(f"error: {error}", err=True)
        return 1
    except MemoryError:
        echo("error: out of memory", err=True)
        return 1


class _Command(click.Command):
    """What the user typed stands in click's own messages too."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        with _shown_errors():
            return super().make_context(*args, **options)

    def invoke(self, context: click.Context) -> Any:
        with _shown_errors():
            return super().invoke(context)


@contextmanager
def _shown_errors() -> Iterator[None]:
    try:
        yield
    except click.ClickException as error:
        error.message = _for(sys.stderr, error.message)  # type: ignore[misc]
        raise


def echo(line: str, *, err: bool = False) -> None:
    """A line on stdout, or on stderr: what a terminal would obey and what its encoding does not have is escaped."""
    click.echo(_for(sys.stderr if err else sys.stdout, line), err=err)


def _for(stream: TextIO, line: str) -> str:
    return encodable(shown_line(line), getattr(stream, "encoding", None))


def print_json(document: dict[str, Any]) -> None:
    """The one JSON object of `--json`: in ASCII, and for every parser."""
    click.echo(json.dumps(json_value(document), indent=2, allow_nan=False))


def warn(warnings: list[str]) -> None:
    """Warnings, each on a line of stderr."""
    for warning in warnings:
        echo(f"warning: {warning}", err=True)
