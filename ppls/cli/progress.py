"""A progress bar on stderr, where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.text import Text

from ppls.cli.output import asked_for
from ppls.terminal import console


class _Count(MofNCompleteColumn):
    """How many are done, and of how many; nothing while that is unknown."""

    def render(self, task: Task) -> Text:
        return Text() if task.total is None else super().render(task)


class _Time(ProgressColumn):
    """How long it will take; while that is unknown, how long it has taken."""

    def render(self, task: Task) -> Text:
        left = task.time_remaining
        seconds = timedelta(seconds=int((left if left is not None else task.elapsed) or 0))
        return Text(f"{seconds}{'' if left is None else ' left'}", "progress.elapsed")


class Bar:
    """Called with how many are done, of how many, and of what, where that changes."""

    def __init__(self, progress: Progress, task: TaskID, counted: str) -> None:
        self._progress, self._task, self._counted = progress, task, counted

    def __call__(self, done: int, total: int, what: str | None = None) -> None:
        self._progress.update(self._task, description=what or self._counted, completed=done, total=total)

    def say(self, line: str) -> None:
        """A line on stderr, above the bar, of what goes on, unless `-q`."""
        if not asked_for("quiet"):
            self.error(line)

    def error(self, message: str) -> None:
        """A message on stderr, above the bar; each of its lines one."""
        for each in message.split("\n"):
            self._progress.console.print(each)


@contextmanager
def progress_bar(what: str, counted: str | None = None) -> Iterator[Bar]:
    """Shows the bar while the block runs: moving to and fro until it is known how much there is to do.

    Args:
        what: goes on first. counted: goes on when there is something to count; default: the same.
    """
    stderr = console(err=True)
    columns: tuple[ProgressColumn, ...] = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _Count(),
        _Time(),
    )
    with Progress(
        *columns,
        console=stderr,
        transient=True,
        disable=not stderr.is_terminal or asked_for("quiet"),
        redirect_stdout=sys.stdout.isatty(),  # to stderr's terminal: what goes elsewhere must get there
    ) as progress:
        yield Bar(progress, progress.add_task(what, total=None), counted or what)
