"""Integers that an operation chooses by scores: classes, places; judged by the margin of the scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ppls.parity.compare import Array, Comparison
from ppls.parity.tolerance import smallest_tolerance, verdict_on

CHOOSING = ("argmax", "arg_max", "argmin", "arg_min", "argsort", "topk", "top_k_v2", "top_k")


@dataclass(frozen=True)
class Choices:
    """Where two sides chose otherwise.

    Attributes:
        differ, of: how many choices are others, and how many there are.
        ties: those of them whose scores are equal on the reference's side.
        margin: the most that the scores of two choices are apart there.
    """

    differ: int
    of: int
    ties: int
    margin: float

    def __str__(self) -> str:
        others = f"{self.differ:,} of {self.of:,} choices are others"
        return f"{others}, {self.ties:,} of them ties, by {self.margin:.1e} at most"


def compare_choices(
    scores: Array, reference: Array, candidate: Array, axis: int | None, *, tolerance: float, floor: float | None
) -> tuple[Comparison, Choices | None]:
    """Compares places along an axis that were chosen by scores.

    Where the candidate chose another place than the reference, one of its own two scores must have erred by half of
    what the reference's are apart, at least: a tie may fall either way. The largest such half, scaled by the largest
    score, is held to the same rule as an error.

    Args:
        scores: the reference's, of any shape.
        reference, candidate: integers of that shape, but of another length along the axis, or without it.
        axis: None where the scores are taken as one list.
        floor: of the scores.
    """
    if candidate.shape != reference.shape or candidate.dtype.kind not in "iu":
        problem = (
            f"{candidate.dtype} {list(candidate.shape)}, the reference's is {reference.dtype} {list(reference.shape)}"
        )
        return Comparison(None, None, floor, "fail", problem, tolerance), None
    if axis is None:
        scores, axis = scores.reshape(-1), 0
        reference, candidate = reference.reshape(-1), candidate.reshape(-1)
    if reference.ndim < scores.ndim:
        reference, candidate = (np.expand_dims(each, axis) for each in (reference, candidate))
    if candidate.size and not 0 <= int(candidate.min()) <= int(candidate.max()) < scores.shape[axis]:
        problem = f"places from {candidate.min()} to {candidate.max()}, of {scores.shape[axis]}"
        return Comparison(None, None, floor, "fail", problem, tolerance), None
    own, other = (np.take_along_axis(scores, _places(each), axis).astype(np.float64) for each in (reference, candidate))
    differ = reference != candidate
    apart = np.where(own == other, 0.0, np.abs(own - other))[differ]  # of two that are the same infinity
    margin = float(apart.max(initial=0.0))
    finite = scores[np.isfinite(scores)]
    error = margin / 2 / (float(np.abs(finite).max(initial=0.0)) or 1.0)
    chosen = Choices(int(np.count_nonzero(differ)), int(differ.size), int(np.count_nonzero(apart == 0)), margin)
    found = Comparison(
        margin / 2,
        error,
        floor,
        verdict_on(error, tolerance, floor),
        tolerance=tolerance,
        needed=smallest_tolerance(error, floor),
    )
    return found, chosen if chosen.differ else None


def _places(array: Array) -> np.ndarray[Any, np.dtype[np.int64]]:
    return array.astype(np.int64)
