"""A progress bar on stderr, where that is a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ppls.terminal import console


class Bar:
    """Called with how many are done, and of how many."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def __call__(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)

    def say(self, line: str) -> None:
        """A line on stderr, above the bar; of an error of several lines each."""
        for each in line.split("\n"):
            self._progress.console.print(each)


@contextmanager
def progress_bar(what: str) -> Iterator[Bar]:
    """Shows the bar while the block runs."""
    stderr = console(err=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        yield Bar(progress, progress.add_task(what, total=None))
