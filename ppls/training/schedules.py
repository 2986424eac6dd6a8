"""Paddle's schedules of the rate, to the last bit: plain Python floats in its order of operations.

A schedule is at an iteration, `last_epoch`, and has its rate, `last_rate`; `step()` goes on by one. State dicts are
Paddle's own, so that the `LR_Scheduler` of a `.pdopt` is read as it is.
"""

from __future__ import annotations

import inspect
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

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
        _number("learning_rate", learning_rate)
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
        _count("decay_steps", decay_steps)
        _number("end_lr", end_lr)
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
        _count("T_max", T_max)
        _number("eta_min", eta_min)
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
        _count("step_size", step_size)
        self.step_size, self.gamma = step_size, _factor(gamma)
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
        self.milestones, self.gamma = list(milestones), _factor(gamma)
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
        self.gamma = _factor(gamma)
        super().__init__(learning_rate)

    def compute(self) -> float:
        return float(self.base_rate * self.gamma**self.last_epoch)


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
        _count("total_steps", total_steps)
        _number("max_learning_rate", max_learning_rate)
        _number("end_learning_rate", end_learning_rate)
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
        _count("warmup_steps", warmup_steps)
        _number("start_lr", start_lr)
        _number("end_lr", end_lr)
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


SCHEDULES: dict[str, type[Schedule]] = {
    kind.__name__: kind
    for kind in (
        PolynomialDecay,
        CosineAnnealingDecay,
        PiecewiseDecay,
        StepDecay,
        MultiStepDecay,
        ExponentialDecay,
        OneCycleLR,
    )
}


def build_schedule(config: Mapping[str, Any], iterations: int) -> Schedule:
    """The schedule of a PaddleSeg config's `lr_scheduler`, with what its builder fills in.

    Args:
        config: `type`, the options of that class, and `warmup_iters` with `warmup_start_lr` where there is a warmup.
        iterations: those of the whole run: a polynomial's `decay_steps` are those less the warmup's.

    Returns:
        the schedule at iteration 0.

    Raises:
        ppls.UsageError: an unknown type, or an option that it does not have or that cannot be.
    """
    options = dict(config)
    kind, warmup = options.pop("type", None), options.pop("warmup_iters", None)
    if not isinstance(kind, str) or kind not in SCHEDULES:
        raise UsageError(f"lr_scheduler has the type {kind!r}, which is none of {', '.join(SCHEDULES)}")
    start = options.pop("warmup_start_lr", None) if warmup is not None else None
    if warmup is not None and (start is None or "learning_rate" not in options):
        raise UsageError("lr_scheduler has warmup_iters, but not both warmup_start_lr and learning_rate")
    if kind == "PolynomialDecay":
        options.setdefault("decay_steps", max(iterations - (warmup or 0), 1))
    end = options.get("learning_rate")
    known = inspect.signature(SCHEDULES[kind]).parameters
    if unknown := [name for name in options if name not in known]:
        raise UsageError(f"lr_scheduler has {', '.join(unknown)}, which {kind} does not: it has {', '.join(known)}")
    needed = [name for name, option in known.items() if option.default is option.empty and name not in options]
    if needed:
        raise UsageError(f"lr_scheduler lacks {', '.join(needed)}, which {kind} needs")
    schedule = SCHEDULES[kind](**options)
    return schedule if warmup is None else LinearWarmup(schedule, warmup, start, end)  # type: ignore[arg-type]


def _number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise UsageError(f"{name} is {value!r}, but it must be a number, zero or above")


def _count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{name} is {value!r}, but it must be a whole number above zero")


def _factor(gamma: float) -> float:
    if isinstance(gamma, bool) or not isinstance(gamma, (int, float)) or not 0 < gamma < 1:
        raise UsageError(f"gamma is {gamma!r}, but it must be between 0 and 1")
    return gamma
