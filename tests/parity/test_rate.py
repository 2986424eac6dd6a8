"""The rate of the training steps: the highest at which no run is chaotic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("paddle")
pytest.importorskip("paddleseg")

from ppls.parity.reference import training  # imports paddle
from ppls.parity.reference.progress import Progress

STEPS = 4
RATES = [1e-2, 1e-3, 1e-4]
UNMOVED = -1


@dataclass
class Model:
    seed: int = UNMOVED


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A training in which each run's losses part from the unmoved run's as `apart` of seed, rate and step says."""

    def steps(model: Model, job: Any, rate: float, folder: Path, dtype: str) -> Iterator[Any]:
        for number in range(STEPS):
            loss = 1.0 if model.seed == UNMOVED else 1.0 + job["parts"](model.seed, rate, number)
            yield {"losses": [1.0, loss], "gradient_norm": 1.0}, {}

    monkeypatch.setattr(training, "build", lambda model: Model())
    monkeypatch.setattr(training, "_restore", lambda model, state: setattr(model, "seed", state["seed"]))
    monkeypatch.setattr(training, "_moved", lambda model, before, noise, seed: {"seed": seed})
    monkeypatch.setattr(training, "_steps", steps)
    return {"model": {}, "steps": [None] * STEPS, "rates": RATES, "apart": 1e-4, "noise": 1e-7, "moves": 3}


@pytest.mark.parametrize(
    ("parts", "rate"),
    [
        (lambda seed, rate, number: 0.0, 1e-2),
        (lambda seed, rate, number: 1.0 if rate == 1e-2 else 0.0, 1e-3),
        # one moved run is not enough: the last one alone parts, in the last step alone
        (lambda seed, rate, number: 1.0 if rate > 1e-4 and (seed, number) == (2, 3) else 0.0, 1e-4),
        (lambda seed, rate, number: float("nan") if rate == 1e-2 and seed == 1 else 0.0, 1e-3),
        (lambda seed, rate, number: 1.0, 1e-4),
    ],
    ids=["none parts", "all part", "the last one parts at the end", "one is not finite", "at none"],
)
def test_the_rate_is_the_highest_at_which_no_moved_run_parts_or_the_last(
    job: dict[str, Any], tmp_path: Path, parts: Any, rate: float
) -> None:
    progress = Progress(tmp_path, "training steps", STEPS * 5)
    found, run, moved = training._at_the_highest_rate(
        Model(), {"seed": UNMOVED}, {**job, "parts": parts}, tmp_path, progress
    )
    assert found == rate
    assert [len(each) for each in (run, *moved)] == [STEPS] * 4
    assert progress.total - progress.done == STEPS  # those in float64
