"""How far long work is, told to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int, str], None]  # how many are done, of how many, and of what, in the plural


def not_shown(done: int, total: int, what: str) -> None:
    """Where nobody asks."""
