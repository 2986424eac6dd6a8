"""`--help`: options in named groups, then the exit statuses and an example."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

GENERAL = "General"
STATUSES = {
    0: "Done.",
    1: "A file is missing, or cannot be used or written.",
    2: "Wrong usage, or a part that is needed is not installed.",
    130: "Interrupted.",
}


class Option(click.Option):
    """An option with the group that it stands in, and the names that it had, which go on working."""

    def __init__(self, *args: Any, group: str = GENERAL, formerly: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.group = group
        self._today = self.opts
        self.opts = [*self.opts, *formerly]

    def get_help_record(self, context: click.Context) -> tuple[str, str] | None:
        with self._by_todays_names():
            return super().get_help_record(context)

    def get_error_hint(self, context: click.Context | None) -> str:
        with self._by_todays_names():
            return super().get_error_hint(context)  # type: ignore[arg-type]

    @contextmanager
    def _by_todays_names(self) -> Iterator[None]:
        all_names, self.opts = self.opts, self._today
        try:
            yield
        finally:
            self.opts = all_names


option = functools.partial(click.option, cls=Option)


class Explained(click.Command):
    """A command that explains itself."""

    def __init__(self, *args: Any, statuses: dict[int, str] | None = None, example: str = "", **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._statuses = {**STATUSES, **(statuses or {})}
        self.example = example

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(context):
            record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
            if record is not None:
                groups.setdefault(getattr(parameter, "group", GENERAL), []).append(record)
        general = groups.pop(GENERAL, [])
        for heading, records in {**groups, GENERAL: general}.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records, col_max=26)

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit status"):
            formatter.write_dl([(str(status), meaning) for status, meaning in self._statuses.items()])
        if self.example:
            with formatter.section("Example"):
                for line in self.example.splitlines():
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
