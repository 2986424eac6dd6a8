"""How far apart two arrays may be: the tolerances, and the rule that weighs an error against the rounding floor."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

Verdict = Literal["pass", "fail", "inconclusive"]

# All are scaled, max|a - b| / max|a|, unless they say otherwise.
TOLERANCE = 1e-4  # a correct port stays under a fifth of it in float32
FLOAT64_TOLERANCE = 1e-9  # 1e-13 was seen of correct ports; epsilon rounded to float32 or not makes 9e-8
FLOAT64_RESIZE_TOLERANCE = 2e-6  # where a resize by a ratio that float32 does not hold is left to Paddle

TRAINING_TOLERANCE = 1e-6  # in float64: Paddle's AvgPool2D has a gradient that is 1.6e-8 off there
TRAINING_FLOAT32_LOSS = 1e-4
TRAINING_FLOAT32_NORM = 1e-2  # of the whole gradient
VANISHING = 1e-9  # of the largest: what is smaller is zero in exact arithmetic, and both sides hold noise

NUMERICS_TOLERANCE = 1e-3  # relative: Paddle keeps epsilon and momentum in float32, and defaults lie far apart

FLOORS_ALLOWED = 4  # a candidate may err as much as the reference, and its rounding falls elsewhere
TOLERANCES_ALLOWED = 10  # ... but never by more than this many tolerances
FLOORS_OF_A_FAULT = 10  # the most ever seen of a correct port, in single layers: what is beyond is no rounding


def verdict_on(error: float, tolerance: float, floor: float | None = None) -> Verdict:
    """Whether an error is within the tolerance, or within what the reference's own rounding excuses.

    Four floors are allowed where they exceed the tolerance, but never more than ten tolerances. Beyond those ten, an
    error that the floor may still explain cannot be decided in float32: inconclusive.
    """
    floor = floor or 0.0
    if error <= max(tolerance, min(FLOORS_ALLOWED * floor, TOLERANCES_ALLOWED * tolerance)):
        return "pass"
    if not math.isfinite(floor):
        return "inconclusive"
    ill_conditioned = FLOORS_ALLOWED * floor > TOLERANCES_ALLOWED * tolerance
    return "inconclusive" if ill_conditioned and error <= FLOORS_OF_A_FAULT * floor else "fail"


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """One failure fails the whole; one undecided comparison leaves it undecided."""
    found = set(verdicts)
    if "fail" in found:
        return "fail"
    return "inconclusive" if "inconclusive" in found else "pass"


def output_tolerance(dtype: str, *, exact: bool, given: float = TOLERANCE) -> float:
    """The tolerance of an input's outputs in a precision.

    Args:
        dtype: what both sides compute in.
        exact: no resize of the input's run is left to Paddle's float32 ratios.
        given: the user's; float64 is held to its own where that is smaller.
    """
    if dtype == "float32":
        return given
    return min(given, FLOAT64_TOLERANCE if exact else FLOAT64_RESIZE_TOLERANCE)
