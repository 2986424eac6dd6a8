"""A progress bar on stderr, where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from ppls.cli.output import asked_for
from ppls.terminal import console


class _Count(MofNCompleteColumn):
    """How many are done, and of how many; nothing while that is unknown."""

    def render(self, task: Task) -> Text:
        return Text() if task.total is None else super().render(task)


class Bar:
    """Called with how many are done, of how many, and of what, where that changes."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def __call__(self, done: int, total: int, what: str | None = None) -> None:
        self._progress.update(self._task, completed=done, total=total, description=what)

    def doing(self, what: str) -> None:
        """Calls what is shown from now on otherwise."""
        self._progress.update(self._task, description=what, completed=0, total=None)

    def say(self, line: str) -> None:
        """A line on stderr, above the bar, of what goes on, unless `-q`."""
        if not asked_for("quiet"):
            self.error(line)

    def error(self, message: str) -> None:
        """A message on stderr, above the bar; each of its lines one."""
        for each in message.split("\n"):
            self._progress.console.print(each)


@contextmanager
def progress_bar(what: str) -> Iterator[Bar]:
    """Shows the bar while the block runs: moving to and fro until it is known how much there is to do."""
    stderr = console(err=True)
    columns: tuple[ProgressColumn, ...] = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _Count(),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns,
        console=stderr,
        transient=True,
        disable=not stderr.is_terminal or asked_for("quiet"),
        redirect_stdout=sys.stdout.isatty(),  # to stderr's terminal: what goes elsewhere must get there
    ) as progress:
        yield Bar(progress, progress.add_task(what, total=None))
