"""What all commands share: errors as one message, `--json`, and the values of options."""

from __future__ import annotations

import functools
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import click

from ppls.errors import Error, MissingDependencyError
from ppls.shown import encodable, json_value, shown_line
from ppls.version import __version__

PATH = click.Path(path_type=Path)
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def command(function: Callable[..., int | None]) -> click.Command:
    """A command whose errors are one message and an exit status, whatever happens."""

    @functools.wraps(function)
    def run(**options: Any) -> None:
        if threading.current_thread() is threading.main_thread():  # so that nothing is left behind
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            status = function(**options)
        except Error as error:
            for line in f"error: {error}".split("\n"):
                echo(line, err=True)
            sys.exit(error.exit_status)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("ppls"):
                raise
            echo(f"error: this needs the Python module {error.name}, which is not installed", err=True)
            sys.exit(MissingDependencyError.exit_status)
        except BrokenPipeError:
            sys.exit(1)
        except OSError as error:  # the disk of stdout is full, say
            echo(f"error: {error}", err=True)
            sys.exit(1)
        except MemoryError:
            echo("error: out of memory", err=True)
            sys.exit(1)
        sys.exit(status or 0)

    return click.version_option(__version__, prog_name="ppls")(
        click.command(cls=_Command, context_settings=_CONTEXT)(run)
    )


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


def sizes_option(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> list[tuple[int, int]]:
    """The callback of an option that can be given several times, HEIGHTxWIDTH."""
    return [_size(value) for value in values]


def size_option(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """The callback of an option HEIGHTxWIDTH."""
    return None if value is None else _size(value)


def numbers_option(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """The callback of an option that is a list of numbers, with commas between them."""
    if value is None:
        return None
    try:
        return tuple(float(number) for number in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of numbers, such as 0.75,1.0,1.25.") from None


def _size(value: str) -> tuple[int, int]:
    height, separator, width = value.lower().partition("x")
    if not (separator and height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise click.BadParameter(f"{value!r} is not HEIGHTxWIDTH in pixels, such as 512x1024.")
    return int(height), int(width)
