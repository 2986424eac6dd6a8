"""Paddle's schedules whose rate goes down."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from ppls.errors import UsageError
from ppls.training.schedules.schedule import Schedule, check_count, check_factor, check_number


class PolynomialDecay(Schedule):
    """`(rate - end_lr) * (1 - epoch / decay_steps) ** power + end_lr`.

    Args:
        learning_rate: that of the start.
        decay_steps: iterations until `end_lr`, which stays; PaddleSeg's builder gives those of the run less the warmup.
        end_lr: that of the end. Paddle's default is not zero.
        power: of the polynomial.
        cycle: begin anew, each time for longer, in place of staying at the end.

    Raises:
        ppls.UsageError: an option that cannot be.
    """

    def __init__(
        self, learning_rate: float, decay_steps: int, end_lr: float = 0.0001, power: float = 1.0, cycle: bool = False
    ) -> None:
        check_count("decay_steps", decay_steps)
        check_number("end_lr", end_lr)
        if not power > 0:
            raise UsageError(f"power is {power!r}, but it must be above zero")
        self.decay_steps, self.end_lr, self.power, self.cycle = decay_steps, end_lr, power, cycle
        super().__init__(learning_rate)

    def compute(self) -> float:
        epoch, steps = self.last_epoch, self.decay_steps
        if self.cycle:
            steps *= math.ceil(float(epoch) / float(steps)) if epoch else 1
        else:
            epoch = min(epoch, steps)
        left: float = (1 - float(epoch) / float(steps)) ** self.power
        return (self.base_rate - self.end_lr) * left + self.end_lr


class CosineAnnealingDecay(Schedule):
    """Half a cosine from the rate to `eta_min` and back, reckoned from the rate before, as Paddle does it.

    Args:
        learning_rate: that of the start.
        T_max: iterations until `eta_min`.
        eta_min: the lowest rate.

    Raises:
        ppls.UsageError: an option that cannot be.
    """

    def __init__(self, learning_rate: float, T_max: int, eta_min: float = 0) -> None:  # noqa: N803 - Paddle's name
        check_count("T_max", T_max)
        check_number("eta_min", eta_min)
        self.length, self.lowest = T_max, float(eta_min)
        super().__init__(learning_rate)

    def compute(self) -> float:
        if self.last_epoch == 0:
            return self.base_rate
        if (self.last_epoch - 1 - self.length) % (2 * self.length) == 0:
            return self.last_rate + (self.base_rate - self.lowest) * (1 - math.cos(math.pi / self.length)) / 2
        ratio = (1 + math.cos(math.pi * self.last_epoch / self.length)) / (
            1 + math.cos(math.pi * (self.last_epoch - 1) / self.length)
        )
        return ratio * (self.last_rate - self.lowest) + self.lowest

    def jump(self, epoch: int) -> None:
        """Goes to an iteration; after a warmup Paddle reckons it from the start, which rounds otherwise."""
        self.last_epoch = epoch
        wave = 1 + math.cos(math.pi * epoch / self.length)
        self.last_rate = self.lowest + (self.base_rate - self.lowest) * wave / 2


class PiecewiseDecay(Schedule):
    """One rate until each boundary, and one after the last.

    Args:
        boundaries: iterations, in order.
        values: rates, one more than boundaries.

    Raises:
        ppls.UsageError: an option that cannot be.
    """

    def __init__(self, boundaries: Sequence[int], values: Sequence[float]) -> None:
        if not boundaries or len(values) <= len(boundaries):
            raise UsageError(
                f"a schedule by pieces has {len(boundaries)} boundaries and {len(values)} values,"
                " but there must be a boundary, and a value more than boundaries"
            )
        self.boundaries, self.values = list(boundaries), list(values)
        super().__init__(0.1)  # Paddle's own, which nothing shows

    def compute(self) -> float:
        for boundary, value in zip(self.boundaries, self.values, strict=False):
            if self.last_epoch < boundary:
                return value
        return self.values[-1]


class StepDecay(Schedule):
    """`rate * gamma ** (epoch // step_size)`.

    Args:
        learning_rate: that of the start.
        step_size: iterations of one rate.
        gamma: what the rate is multiplied with after them, below 1.

    Raises:
        ppls.UsageError: an option that cannot be.
    """

    def __init__(self, learning_rate: float, step_size: int, gamma: float = 0.1) -> None:
        check_count("step_size", step_size)
        self.step_size, self.gamma = step_size, check_factor(gamma)
        super().__init__(learning_rate)

    def compute(self) -> float:
        return float(self.base_rate * self.gamma ** (self.last_epoch // self.step_size))


class MultiStepDecay(Schedule):
    """`rate * gamma ** n`, with `n` the milestones that are past.

    Args:
        learning_rate: that of the start.
        milestones: iterations, each above the one before.
        gamma: what the rate is multiplied with at each, below 1.

    Raises:
        ppls.UsageError: an option that cannot be.
    """

    def __init__(self, learning_rate: float, milestones: Sequence[int], gamma: float = 0.1) -> None:
        if any(before >= after for before, after in itertools.pairwise(milestones)):
            raise UsageError(f"milestones are {list(milestones)}, but each must be above the one before")
        self.milestones, self.gamma = list(milestones), check_factor(gamma)
        super().__init__(learning_rate)

    def compute(self) -> float:
        past = sum(self.last_epoch >= milestone for milestone in self.milestones)
        return float(self.base_rate * self.gamma**past)


class ExponentialDecay(Schedule):
    """`rate * gamma ** epoch`.

    Args:
        learning_rate: that of the start.
        gamma: what the rate is multiplied with in every iteration, below 1.

    Raises:
        ppls.UsageError: an option that cannot be.
    """

    def __init__(self, learning_rate: float, gamma: float) -> None:
        self.gamma = check_factor(gamma)
        super().__init__(learning_rate)

    def compute(self) -> float:
        return float(self.base_rate * self.gamma**self.last_epoch)
