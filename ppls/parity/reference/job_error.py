"""What to raise where a job cannot be done."""

from __future__ import annotations

from collections.abc import Sequence


class JobError(Exception):
    """The reference cannot be run as the job asks; the message and each of the `problems` are lines for the user."""

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = list(problems)
