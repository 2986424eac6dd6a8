"""What an input may cost, measured: CPU seconds and memory of this process, from where it stood before."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

SECONDS = 10.0
BYTES = 1 << 30


class TooSlow(BaseException):
    """More CPU than any input may take. No `Exception`, so that no handler takes it for damage."""


@dataclass
class Cost:
    """Of one input: CPU seconds of all threads, and how much the resident memory grew at its peak, in bytes."""

    seconds: float = 0.0
    bytes: int = 0


@contextmanager
def measured(seconds: float = SECONDS, most_bytes: int = BYTES) -> Iterator[Cost]:
    """Bounds and measures what the block costs.

    Beyond `seconds` of CPU `TooSlow` is raised where Python gets to it; address space beyond `most_bytes` more than now
    is refused, which Python code sees as a `MemoryError`.
    """
    cost = Cost()
    _reset_peak()
    before = _status()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    signal.signal(signal.SIGPROF, _too_slow)
    resource.setrlimit(resource.RLIMIT_AS, (before["VmSize"] + most_bytes, hard))
    started = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield cost
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        cost.seconds = time.process_time() - started
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        cost.bytes = max(0, _status()["VmHWM"] - before["VmRSS"])


def _too_slow(*_: Any) -> None:
    raise TooSlow


def _reset_peak() -> None:
    """Makes the peak of resident memory start anew, where the system lets us."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass


def _status() -> dict[str, int]:
    """Sizes of this process in bytes."""
    with open("/proc/self/status") as file:
        lines = (line.split() for line in file)
        return {words[0][:-1]: int(words[1]) << 10 for words in lines if words[0].startswith("Vm")}
