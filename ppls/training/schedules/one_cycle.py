"""Paddle's schedule whose rate goes up once, and down."""

from __future__ import annotations

import math
from typing import Literal

from ppls.errors import UsageError
from ppls.training.schedules.schedule import Schedule, check_count, check_number


class OneCycleLR(Schedule):
    """Up to a highest rate and down again, once.

    Args:
        max_learning_rate: the highest.
        total_steps: iterations of the run; there is no rate beyond them.
        divide_factor: what the highest is divided by for that of the start.
        end_learning_rate: that of the end.
        phase_pct: the part of the run that goes up.
        anneal_strategy: along a cosine, or a line.
        three_phase: down to the rate of the start first, as long as up, and then to the end.

    Raises:
        ppls.UsageError: an option that cannot be.
    """

    def __init__(
        self,
        max_learning_rate: float,
        total_steps: int,
        divide_factor: float = 25.0,
        end_learning_rate: float = 0.0001,
        phase_pct: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        three_phase: bool = False,
    ) -> None:
        check_count("total_steps", total_steps)
        check_number("max_learning_rate", max_learning_rate)
        check_number("end_learning_rate", end_learning_rate)
        if not 0 <= phase_pct <= (0.5 if three_phase else 1) or (three_phase and phase_pct == 0.5):
            raise UsageError(f"phase_pct is {phase_pct!r}, but it must be from 0 to 1, with three phases below 0.5")
        if anneal_strategy not in ("cos", "linear"):
            raise UsageError(f"anneal_strategy is {anneal_strategy!r}, but it must be cos or linear")
        if not divide_factor > 0:
            raise UsageError(f"divide_factor is {divide_factor!r}, but it must be above zero")
        self.total_steps, self.anneal_strategy = total_steps, anneal_strategy
        first, lowest = max_learning_rate / float(divide_factor), float(end_learning_rate)
        if three_phase:
            self.ends = [0, phase_pct * total_steps - 1, 2 * phase_pct * total_steps - 2, total_steps - 1]
            self.rates = [first, max_learning_rate, first, lowest]
        else:
            self.ends = [0, phase_pct * total_steps - 1, total_steps - 1]
            self.rates = [first, max_learning_rate, lowest]
        super().__init__(first)

    def compute(self) -> float:
        if self.last_epoch > self.total_steps:
            raise UsageError(f"iteration {self.last_epoch} is beyond the {self.total_steps} of the schedule")
        phases = len(self.ends) - 1
        phase = next((i for i in range(phases) if self.last_epoch <= self.ends[i + 1]), phases - 1)
        part = (self.last_epoch - self.ends[phase]) / (self.ends[phase + 1] - self.ends[phase])
        start, end = self.rates[phase], self.rates[phase + 1]
        if self.anneal_strategy == "linear":
            return (end - start) * part + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * part) + 1)
