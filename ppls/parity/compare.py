"""Judges one array against the reference's: the figures, what is allowed, and whether it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ppls.parity.distribution import Distribution, distribution
from ppls.parity.reference.figures import difference
from ppls.parity.tolerance import Verdict, smallest_tolerance, verdict_on

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Comparison:
    """One array of the candidate beside the reference's.

    Attributes:
        max_abs: the largest absolute difference; None where the arrays cannot be compared.
        scaled: max|a - b| / max|a|, `a` the reference's; absolute where `a` is all zero.
        floor: the reference's own rounding, scaled: float32 against float64; None in float64.
        verdict: whether the difference is within what is allowed.
        problem: what is wrong beyond figures: another shape or dtype, NaN on one side.
        tolerance: what was applied.
        needed: the smallest tolerance that would pass; None where none would.
        distribution: how the error is distributed, where that was asked for.
    """

    max_abs: float | None
    scaled: float | None
    floor: float | None
    verdict: Verdict
    problem: str | None = None
    tolerance: float | None = None
    needed: float | None = None
    distribution: Distribution | None = None

    @property
    def floors(self) -> float | None:
        """The scaled error as a multiple of the floor."""
        return self.scaled / self.floor if self.scaled is not None and self.floor else None


def compare(
    reference: Array,
    candidate: Array,
    *,
    tolerance: float,
    floor: float | None = None,
    absolute: bool = False,
    distributed: bool = False,
) -> Comparison:
    """Compares one array.

    Args:
        reference: the reference's array.
        candidate: the candidate's, of the same shape and dtype; anything else is a failure.
        tolerance: the largest scaled error allowed.
        floor: the reference's own scaled rounding error.
        absolute: where the reference exceeds 1, hold the absolute difference to the tolerance too, as for outputs.
        distributed: describe how the error is distributed too.
    """
    problem = _mismatch(reference, candidate)
    if problem:
        return Comparison(None, None, floor, "fail", problem, tolerance)
    found = difference(reference, candidate)
    if found.one_sided:
        problem = f"{found.one_sided} of {reference.size} elements are NaN or infinite on one side only"
        return Comparison(None, None, floor, "fail", problem, tolerance)
    if found.undefined or not reference.size:
        what = f"{found.undefined} of {reference.size} elements are NaN or infinite on both sides"
        problem = f"{what if reference.size else 'it has no elements'}: nothing can be said of them"
        return Comparison(None, None, floor, "inconclusive", problem, tolerance)
    factor = max(found.scale, 1.0) if absolute else 1.0
    error, rounding = found.scaled * factor, None if floor is None else floor * factor
    return Comparison(
        found.max_abs,
        found.scaled,
        floor,
        verdict_on(error, tolerance, rounding),
        tolerance=tolerance,
        needed=smallest_tolerance(error, rounding),
        distribution=distribution(reference, candidate) if distributed else None,
    )


class Compare(Protocol):
    """What compares an output: `compare`, or another that is called as it is."""

    def __call__(
        self,
        reference: Array,
        candidate: Array,
        *,
        tolerance: float,
        floor: float | None = None,
        absolute: bool = False,
        distributed: bool = False,
    ) -> Comparison: ...


def argmax_agreement(reference: Array, candidate: Array) -> float | None:
    """The share of pixels whose class (the channel of the largest logit) is the same; None where there are no classes.

    Args:
        reference: logits (N, num_classes, H, W).
        candidate: logits of the same shape, or the classes themselves.
    """
    classes = classes_of(reference, candidate)
    return None if classes is None else float(np.mean(reference.argmax(axis=1) == classes))


def classes_of(reference: Array, candidate: Array) -> Array | None:
    """The class of each pixel (N, H, W) of logits of the reference's shape, or of classes (N, [1,] H, W) as they are.

    None where there are no classes.
    """
    if reference.ndim != 4 or reference.shape[1] < 2:
        return None
    if candidate.shape == reference.shape:
        found: Array = candidate.argmax(axis=1)
        return found
    if candidate.dtype.kind not in "iu":
        return None
    labels = candidate[:, 0] if candidate.ndim == 4 and candidate.shape[1] == 1 else candidate
    return labels if labels.shape == (*reference.shape[:1], *reference.shape[2:]) else None


def _mismatch(reference: Array, candidate: Array) -> str | None:
    if candidate.shape != reference.shape:
        return f"shape {list(candidate.shape)}, the reference's is {list(reference.shape)}"
    if candidate.dtype != reference.dtype:
        return f"dtype {candidate.dtype}, the reference's is {reference.dtype}"
    return None
