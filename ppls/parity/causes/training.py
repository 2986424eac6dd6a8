"""Why training differs."""

from __future__ import annotations

from collections.abc import Sequence

from ppls.parity.figures import TrainingFigures


def cause_in_training(figures: Sequence[TrainingFigures]) -> str | None:
    """Why training differs, by what does first."""
    failed = [found for found in figures if not found.passed]
    if failed and failed[0].dtype == "float32":
        return "in training it computes in a narrower type, under autocast perhaps: in float64 it agrees"
    if not failed or failed[0].what != "statistic":
        return None
    first_step = [found for found in failed if found.step == failed[0].step and found.what == "statistic"]
    if all(found.name.endswith("_variance") for found in first_step):
        return "the running variance takes the unbiased variance of the batch; Paddle's takes the biased one"
    return "BatchNorm's momentum: Paddle's is the weight of the old value, 0.9, torch's that of the new one, 0.1"
