"""What Paddle's schedules have in common, and the warmup before any of them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from ppls.errors import UsageError

_KEYS = ("last_epoch", "last_lr")


class Schedule(ABC):
    """What Paddle's schedules have in common.

    Args:
        learning_rate: the rate that the schedule is made of, zero or above.

    Raises:
        ppls.UsageError: an option that cannot be.
    """

    def __init__(self, learning_rate: float) -> None:
        check_number("learning_rate", learning_rate)
        self.base_rate = self.last_rate = float(learning_rate)
        self.last_epoch = -1
        self.step()

    def step(self) -> None:
        """Goes on to the next iteration."""
        self.last_epoch += 1
        self.last_rate = self.compute()

    def jump(self, epoch: int) -> None:
        """Goes to an iteration, as Paddle's `step(epoch)` does."""
        self.last_epoch = epoch
        self.last_rate = self.compute()

    @abstractmethod
    def compute(self) -> float:
        """The rate at `last_epoch`, which may be reckoned from the one before it."""

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule is, in Paddle's words: `last_epoch` and `last_lr`."""
        return {"last_epoch": self.last_epoch, "last_lr": self.last_rate}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes to where another schedule was.

        Args:
            state: as of `state_dict()`, or the `LR_Scheduler` of a `.pdopt`.

        Raises:
            ppls.UsageError: it is of another kind of schedule, or none.
        """
        missing = [key for key in _KEYS if not isinstance(state.get(key), (int, float))]
        if missing:
            raise UsageError(f"the state of a schedule lacks {' and '.join(missing)}")
        self.last_epoch, self.last_rate = int(state["last_epoch"]), float(state["last_lr"])


class LinearWarmup(Schedule):
    """A line from `start_lr` to `end_lr`, then a schedule of its own, which begins when the line ends.

    Args:
        learning_rate: what follows: a schedule, or one rate.
        warmup_steps: iterations of the line.
        start_lr: the rate that it starts at.
        end_lr: the rate that it makes for, above the other.

    Raises:
        ppls.UsageError: an option that cannot be.
    """

    def __init__(self, learning_rate: Schedule | float, warmup_steps: int, start_lr: float, end_lr: float) -> None:
        check_count("warmup_steps", warmup_steps)
        check_number("start_lr", start_lr)
        check_number("end_lr", end_lr)
        if not end_lr > start_lr:
            raise UsageError(f"a warmup ends at {end_lr!r}, but it must be above its start, {start_lr!r}")
        self.after = learning_rate
        self.warmup_steps, self.start_lr, self.end_lr = warmup_steps, start_lr, end_lr
        super().__init__(start_lr)

    def compute(self) -> float:
        if self.last_epoch < self.warmup_steps:
            return (self.end_lr - self.start_lr) * float(self.last_epoch) / float(self.warmup_steps) + self.start_lr
        if isinstance(self.after, Schedule):
            self.after.jump(self.last_epoch - self.warmup_steps)
            return self.after.last_rate
        return self.after

    def state_dict(self) -> dict[str, Any]:
        """As of every schedule, with that of what follows as `LinearWarmup_LR`."""
        state = super().state_dict()
        if isinstance(self.after, Schedule):
            state["LinearWarmup_LR"] = self.after.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes to where another schedule was; see `Schedule.load_state_dict`."""
        super().load_state_dict(state)
        if isinstance(self.after, Schedule):
            inner = state.get("LinearWarmup_LR")
            if not isinstance(inner, Mapping):
                raise UsageError("the state of a schedule lacks LinearWarmup_LR: it was saved without a warmup")
            self.after.load_state_dict(inner)


def check_number(name: str, value: object) -> None:
    """Raises `UsageError` where an option is no number, zero or above."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise UsageError(f"{name} is {value!r}, but it must be a number, zero or above")


def check_count(name: str, value: object) -> None:
    """Raises `UsageError` where an option is no whole number above zero."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{name} is {value!r}, but it must be a whole number above zero")


def check_factor(gamma: float) -> float:
    """A gamma that is between 0 and 1. Raises `UsageError` where it is not."""
    if isinstance(gamma, bool) or not isinstance(gamma, (int, float)) or not 0 < gamma < 1:
        raise UsageError(f"gamma is {gamma!r}, but it must be between 0 and 1")
    return gamma
