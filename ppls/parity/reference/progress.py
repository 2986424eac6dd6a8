"""How far a job is, in a file of the folder into which the process that waits for it looks."""

from __future__ import annotations

from pathlib import Path

from .documents import to_json


class Progress:
    """Counts what is done of a job.

    Args:
        folder: the job's.
        what: is counted, in the plural.
        total: how many there are, as far as is known.
    """

    def __init__(self, folder: Path, what: str, total: int) -> None:
        self.done, self.total = 0, total
        self._file = folder / "progress.json"
        self._what = what

    def step(self) -> None:
        """One more is done."""
        self.done += 1
        self.total = max(self.total, self.done)
        partial = self._file.with_suffix(".partial")
        partial.write_text(to_json({"what": self._what, "done": self.done, "total": self.total}), encoding="utf-8")
        partial.replace(self._file)
