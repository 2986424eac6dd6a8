"""Paddle's schedules of the rate, to the last bit: plain Python floats in its order of operations.

A schedule is at an iteration, `last_epoch`, and has its rate, `last_rate`; `step()` goes on by one. State dicts are
Paddle's own, so that the `LR_Scheduler` of a `.pdopt` is read as it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ppls.errors import UsageError
from ppls.training.schedules.decays import (
    CosineAnnealingDecay,
    ExponentialDecay,
    MultiStepDecay,
    PiecewiseDecay,
    PolynomialDecay,
    StepDecay,
)
from ppls.training.schedules.one_cycle import OneCycleLR
from ppls.training.schedules.schedule import LinearWarmup, Schedule

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
