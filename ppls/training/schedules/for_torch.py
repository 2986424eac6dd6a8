"""A schedule of Paddle's for loops that step a scheduler of torch's."""

from __future__ import annotations

import torch
from torch.optim.lr_scheduler import LRScheduler

from ppls.training.schedules.schedule import Schedule


class PaddleSchedule(LRScheduler):
    """Gives every group of an optimizer the rate of a schedule, one iteration further with each `step()`.

    Args:
        optimizer: its groups multiply the rate by their `lr_mult` themselves.
        schedule: where it is, the first iteration's rate is taken from; it goes on with this.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: Schedule) -> None:
        self.schedule = schedule
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:  # type: ignore[override]
        """The rates of the groups; called by `step()`."""
        if self.last_epoch:  # 0 while it is made
            self.schedule.step()
        return [self.schedule.last_rate for _ in self.optimizer.param_groups]
