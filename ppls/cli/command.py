"""What all commands share: `--json`, `-q` and `-v`, and errors as one message with an exit status."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial, wraps
from typing import Any, overload

import click

from ppls.cli.help import Explained, Option
from ppls.cli.output import asked_for, echo, error_document, escaped, note, print_error, print_json, warn
from ppls.errors import CheckpointError, ConversionError, Error, not_installed
from ppls.shown import shown_line
from ppls.version import __version__

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


Function = Callable[..., int | None]


@overload
def command(function: Function, /) -> click.Command: ...


@overload
def command(
    *, summary: str, example: str, statuses: dict[int, str] | None = None
) -> Callable[[Function], click.Command]: ...


def command(function: Function | None = None, /, **about: Any) -> Any:
    """A command whose errors are one message and an exit status, whatever happens; as a decorator too.

    Args:
        summary: what the list of verbs says of it.
        example: that `--help` shows.
        statuses: what its exit statuses mean, where that is more than they mean everywhere.
    """
    return partial(_command, **about) if function is None else _command(function)


def _command(
    function: Function, *, summary: str = "", example: str = "", statuses: dict[int, str] | None = None
) -> click.Command:
    @wraps(function)
    def run(**options: Any) -> None:
        try:
            with _signals_as_exceptions(), warnings.catch_warnings():
                warnings.showwarning = _show_warning  # type: ignore[assignment]
                status = _status(function, options)
        except _Ended as ended:
            status = ended.status
        sys.exit(status)

    made = click.command(
        cls=_Command, context_settings=_CONTEXT, short_help=summary, example=example, statuses=statuses
    )(run)
    made.params += [
        _flag("--json", help="Print one JSON object, of errors too."),
        _flag("--quiet", "-q", help="Say nothing but errors, warnings and what was asked for."),
        _flag("--verbose", "-v", help="Say more; of an error, where it was raised."),
    ]
    return with_version(made)


def _show_warning(message: Warning | str, *_: object) -> None:
    """A warning of Python's as those of the commands are shown."""
    warn([str(message)])


def with_version(made: click.Command) -> click.Command:
    """The command with an option `--version`."""
    return click.version_option(__version__, prog_name="ppls")(made)


def _flag(*names: str, help: str) -> Option:
    def keep(_context: click.Context, option: click.Parameter, value: bool) -> None:
        if value:
            note(str(option.name))

    return Option(names, is_flag=True, is_eager=True, expose_value=False, callback=keep, help=help)


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
        return _failed(error, f"error: {error}", error.exit_status)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("ppls"):
            raise
        missing = not_installed(error)
        return _failed(missing, f"error: {missing}", missing.exit_status)
    except KeyboardInterrupt as error:
        return _failed(error, "interrupted", 130)
    except BrokenPipeError:
        return 1
    except OSError as error:  # the disk of stdout is full, say
        return _failed(error, shown_line(f"error: {error}"), 1)
    except MemoryError as error:
        return _failed(error, "error: out of memory", 1)


def _failed(error: BaseException, message: str, status: int) -> int:
    if asked_for("verbose"):
        import traceback

        for line in "".join(traceback.format_exception(error)).splitlines():
            echo(line, err=True)
    with suppress(OSError):  # nobody reads it
        print_error(_kind(error), message)
    return status


class Ending(click.Command):
    """A command that ends as `command` has it also where what was typed is no usage of it."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **extra)
        _open_streams()
        try:
            status = super().main(args, prog_name, complete_var, False, **extra)
        except click.ClickException as error:
            hint = self.hint(error)
            message = error.message + hint if hint else error.format_message()
            with suppress(OSError):
                click.UsageError(escaped(message, sys.stderr), getattr(error, "ctx", None)).show()
                if "--json" in (sys.argv[1:] if args is None else args):
                    print_json(error_document("UsageError", message))
            status = error.exit_code
        except OSError as error:  # the disk is full that --help goes to
            with suppress(OSError):
                echo(f"error: {error}", err=True)
            status = 1
        except click.Abort:
            with suppress(OSError):
                echo("interrupted", err=True)
            status = 130
        sys.exit(status)

    def hint(self, error: click.ClickException) -> str:
        """What to add to the message of wrong usage."""
        return ""


class _Command(Ending, Explained):
    pass


def _open_streams() -> None:
    """Has stdout and stderr lead somewhere where the caller closed them: else the next file to be opened is taken for
    them, and what is printed stands in it."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _kind(error: BaseException) -> str:
    """The class of an error; of one that is finer than what the page of `--json` lists, the class that is listed."""
    kinds = (ConversionError, CheckpointError)
    return next((kind.__name__ for kind in kinds if isinstance(error, kind)), type(error).__name__)
