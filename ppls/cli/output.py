"""How a command prints: lines that nothing obeys, the one object of `--json`, and what `-q` and `-v` ask for."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TextIO, TypeVar

import click

from ppls.shown import encodable, json_value, shown_line

SCHEMA = 1  # of what `--json` prints, see docs/json.md


class _Document(Protocol):
    def to_json(self) -> dict[str, Any]: ...


Result = TypeVar("Result", bound=_Document)


def asked_for(what: str) -> bool:
    """Whether the running command was given `--json`, `--quiet` or `--verbose`, by its name."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(f"ppls.{what}"))


def note(what: str) -> None:
    """Keeps for `asked_for` that something was asked for, or is done."""
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta[f"ppls.{what}"] = True


def echo(line: str, *, err: bool = False) -> None:
    """A line on stdout, or on stderr: what a terminal would obey and what its encoding does not have is escaped."""
    click.echo(escaped(line, sys.stderr if err else sys.stdout), err=err)


def escaped(line: str, stream: TextIO | None) -> str:
    """A line as the stream can show it."""
    return encodable(shown_line(line), getattr(stream, "encoding", None))


def say(line: str) -> None:
    """A line on stderr of what goes on, unless `-q`."""
    if not asked_for("quiet"):
        echo(line, err=True)


def warn(warnings: Iterable[str]) -> None:
    """Warnings, each on a line of stderr."""
    for warning in warnings:
        echo(f"warning: {warning}", err=True)


def show(result: Result, for_a_person: Callable[[Result], None], *, summary: bool = False) -> None:
    """Prints a result: as JSON where that is asked for; else for a person, where a `summary` of what lies in files by
    now is left out under `-q`."""
    if asked_for("json"):
        print_json(result.to_json())
    elif not (summary and asked_for("quiet")):
        for_a_person(result)


def print_json(document: dict[str, Any]) -> None:
    """The one JSON object of `--json`: in ASCII, and for every parser."""
    note("printed")
    click.echo(json.dumps(json_value({"schema": SCHEMA, **document}), indent=2, allow_nan=False))


def print_error(kind: str, message: str) -> None:
    """Says on stderr what is wrong, and in the object of `--json`, unless that is printed already.

    Args:
        kind: the class of the error.
        message: its lines are lines on stderr too.
    """
    for line in message.split("\n"):
        echo(line, err=True)
    first = os.environ.get("RANK", "0") == "0"  # of the processes of torchrun
    if asked_for("json") and not asked_for("printed") and first:
        print_json(error_document(kind, message))


def error_document(kind: str, message: str) -> dict[str, Any]:
    """What `--json` prints of an error."""
    return {"error": {"kind": kind, "message": message.removeprefix("error: ")}}
