"""Times runs beside each other, so that what else the machine does meets all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

TIMED = 2  # runs of a turn, after one that brings the caches and the threads of another back

Turn = Callable[[], list[float]]  # seconds of some runs in a row


def take_turns(
    turns: Sequence[Turn], rounds: int, progress: Callable[[int, int], None] | None = None
) -> list[list[float]]:
    """The seconds of each, over `rounds` in which each has its turn; `progress(done, rounds)` is called after each."""
    seconds: list[list[float]] = [[] for _ in turns]
    for done in range(1, rounds + 1):
        for turn, times in zip(turns, seconds, strict=True):
            times += turn()
        if progress:
            progress(done, rounds)
    return seconds


def time_turn(run: Callable[[], object], device: torch.device) -> list[float]:
    """Seconds of `TIMED` runs in a row, each until `device` is done, after one that is not timed."""
    times = []
    with torch.inference_mode():
        for i in range(1 + TIMED):
            begin = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if i:
                times.append(time.perf_counter() - begin)
    return times
