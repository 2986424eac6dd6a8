"""Schedules against Paddle's own over a run."""

from __future__ import annotations

import ast

import numpy as np
import pytest

from ppls.errors import UsageError
from ppls.training import schedules
from ppls.training.schedules import LinearWarmup, PolynomialDecay, Schedule, build_schedule
from tests.training import cases


def build(case: str) -> Schedule:
    kind, options, warmup = cases.SCHEDULES[case]
    schedule = getattr(schedules, kind)(**options)
    return LinearWarmup(schedule, *warmup, end_lr=0.1) if warmup else schedule


def rates(schedule: Schedule, count: int) -> list[float]:
    found = []
    for _ in range(count):
        found.append(schedule.last_rate)
        schedule.step()
    return found


@pytest.mark.parametrize("case", cases.SCHEDULES)
def test_every_rate_of_a_run_is_paddles_to_the_last_bit(case: str, paddles) -> None:
    schedule = build(case)
    np.testing.assert_array_equal(rates(schedule, cases.RUN), paddles[f"schedule/{case}"])
    assert schedule.state_dict() == ast.literal_eval(str(paddles[f"schedule_state/{case}"]))


@pytest.mark.parametrize("case", cases.SCHEDULES)
@pytest.mark.parametrize("done", [5, 120])
def test_a_schedule_goes_on_from_its_state(case: str, done: int) -> None:
    whole, first, second = build(case), build(case), build(case)
    rates(whole, done)
    rates(first, done)
    second.load_state_dict(first.state_dict())
    assert rates(second, 100) == rates(whole, 100)


def test_paddleseg_s_defaults_are_filled_in() -> None:
    config = {"type": "PolynomialDecay", "learning_rate": 0.01, "end_lr": 0, "power": 0.9}
    warm = build_schedule({**config, "warmup_iters": 50, "warmup_start_lr": 1e-5}, 800)
    assert isinstance(warm, LinearWarmup)
    assert isinstance(warm.after, PolynomialDecay)
    assert (warm.after.decay_steps, warm.warmup_steps, warm.start_lr, warm.end_lr) == (750, 50, 1e-5, 0.01)
    cold = build_schedule(config, 800)
    assert isinstance(cold, PolynomialDecay)
    assert cold.decay_steps == 800


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "type None, which is none of PolynomialDecay"),
        ({"type": "Cosine"}, "'Cosine'"),
        ({"type": "StepDecay", "learning_rate": 0.1}, "lacks step_size"),
        ({"type": "StepDecay", "learning_rate": 0.1, "step_size": 5, "gama": 1}, "has gama, which StepDecay does not"),
        ({"type": "StepDecay", "learning_rate": -1, "step_size": 5}, "learning_rate is -1"),
        ({"type": "StepDecay", "learning_rate": 0.1, "step_size": 0}, "step_size is 0"),
        ({"type": "StepDecay", "learning_rate": 0.1, "step_size": 5, "gamma": 1.0}, "gamma is 1.0"),
        ({"type": "PolynomialDecay", "learning_rate": "x"}, "learning_rate is 'x'"),
        ({"type": "PolynomialDecay", "learning_rate": 0.1, "power": 0}, "power is 0"),
        ({"type": "PolynomialDecay", "learning_rate": 0.1, "warmup_iters": 5}, "not both warmup_start_lr"),
        (
            {"type": "PolynomialDecay", "learning_rate": 0.1, "warmup_iters": 5, "warmup_start_lr": 0.2},
            "must be above its start",
        ),
        ({"type": "PiecewiseDecay", "boundaries": [3], "values": [0.1]}, "1 boundaries and 1 values"),
        ({"type": "MultiStepDecay", "learning_rate": 1, "milestones": [3, 3]}, "each must be above"),
        ({"type": "OneCycleLR", "max_learning_rate": 1, "total_steps": 5, "phase_pct": 2}, "phase_pct is 2"),
    ],
)
def test_what_a_schedule_cannot_be_is_said(config, said: str) -> None:
    with pytest.raises(UsageError) as error:
        build_schedule(config, 100)
    assert said in str(error.value)


def test_a_state_without_a_warmup_is_no_state_of_one() -> None:
    with pytest.raises(UsageError, match="saved without a warmup"):
        build("poly_warm").load_state_dict(build("poly").state_dict())
    with pytest.raises(UsageError, match="lacks last_epoch and last_lr"):
        build("poly").load_state_dict({})
