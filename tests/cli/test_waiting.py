"""The sign of life: only where something takes long, and only on a terminal."""

from __future__ import annotations

import sys
import time

import pytest

from ppls.cli import waiting
from ppls.cli.waiting import shown_if_long

from .test_terminal import Screen


def terminal(monkeypatch: pytest.MonkeyPatch, patience: float = 0.01) -> Screen:
    """A terminal in the place of stderr."""
    monkeypatch.setattr(waiting, "PATIENCE", patience)
    screen = Screen("utf-8", terminal=True)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    return screen


def test_what_takes_long_is_shown_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    with shown_if_long("converting"):
        until = time.monotonic() + 10
        while "converting" not in screen.shown() and time.monotonic() < until:
            time.sleep(0.01)
    assert "converting" in screen.shown()
    assert screen.shown().endswith(("\x1b[?25h", "\x1b[2K"))  # the cursor is there again, the line gone


def test_what_is_done_at_once_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch, 60)
    with shown_if_long("converting"):
        pass
    assert screen.shown() == ""


def test_an_interruption_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    with pytest.raises(KeyboardInterrupt), shown_if_long("converting"):
        raise KeyboardInterrupt
    time.sleep(0.05)
    assert screen.shown() == ""
