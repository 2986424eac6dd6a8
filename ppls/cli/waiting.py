"""A sign of life for what is usually done at once: shown only where it takes long."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ppls.cli.output import asked_for

PATIENCE = 2.0  # seconds


@contextmanager
def shown_if_long(what: str) -> Iterator[None]:
    """Shows that something is going on, and for how long, if the block takes longer than a person waits for."""
    if asked_for("quiet") or sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    ended, shown, busy = threading.Event(), ExitStack(), threading.Lock()

    def show() -> None:
        from ppls.cli.progress import progress_bar  # takes longer to import than most conversions

        with busy:
            if not ended.is_set():
                shown.enter_context(progress_bar(what))

    timer = threading.Timer(PATIENCE, show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        ended.set()
        with busy:
            shown.close()
