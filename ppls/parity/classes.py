"""Compares what is made of logits, classes or probabilities, with the logits of the reference."""

from __future__ import annotations

from typing import Any

import numpy as np

from ppls.parity.compare import Comparison, classes_of, compare
from ppls.parity.tolerance import smallest_tolerance, verdict_on

Array = np.ndarray[Any, Any]


def compare_classes(
    reference: Array,
    candidate: Array,
    *,
    tolerance: float,
    floor: float | None = None,
    absolute: bool = False,
    distributed: bool = False,
) -> Comparison:
    """Compares a map of classes with logits, by how wrong the candidate's own logits must have been.

    A class is chosen where its logit is the largest. So where the candidate chose one that the reference's logits have
    below the best by a margin, one of the candidate's own two logits must have erred by half of it at least: a tie may
    fall either way, a wrong class may not. The largest half margin of all pixels, scaled as errors are, is held to the
    same rule as an error, tolerance and floor included.

    Args:
        reference: logits (N, num_classes, H, W).
        candidate: integers (N, H, W) or (N, 1, H, W).
        tolerance, floor, absolute: as for `ppls.parity.compare.compare`.
        distributed: of no meaning here.

    Returns:
        `scaled` is that bound by the largest logit; `max_abs` the bound itself.
    """
    labels = classes_of(reference, candidate)
    if labels is None or candidate.dtype.kind not in "iu":
        problem = f"classes of shape {list(candidate.shape)}, the reference's logits are {list(reference.shape)}"
        return Comparison(None, None, floor, "fail", problem, tolerance)
    count = reference.shape[1]
    if labels.size and (labels.min() < 0 or labels.max() >= count):
        problem = f"classes from {labels.min()} to {labels.max()}, the reference has {count}"
        return Comparison(None, None, floor, "fail", problem, tolerance)
    if not labels.size or not np.isfinite(reference).all():
        problem = "the reference's logits are empty, NaN or infinite: nothing can be said of the classes"
        return Comparison(None, None, floor, "inconclusive", problem, tolerance)
    chosen = np.take_along_axis(reference, labels[:, None].astype(np.int64), axis=1)[:, 0]
    bound = float((reference.max(axis=1).astype(np.float64) - chosen).max()) / 2
    scale = float(np.abs(reference).max()) or 1.0
    factor = max(scale, 1.0) if absolute else 1.0
    error, rounding = bound / scale * factor, None if floor is None else floor * factor
    return Comparison(
        bound,
        bound / scale,
        floor,
        verdict_on(error, tolerance, rounding),
        tolerance=tolerance,
        needed=smallest_tolerance(error, rounding),
    )


def compare_probabilities(
    reference: Array,
    candidate: Array,
    *,
    tolerance: float,
    floor: float | None = None,
    absolute: bool = False,
    distributed: bool = False,
) -> Comparison:
    """Compares probabilities (N, num_classes, H, W) with the softmax of logits of that shape.

    The floor is that of the logits, carried over: no probability moves by more than half of what the logits move by.
    """
    if reference.ndim != 4:
        return compare(reference, candidate, tolerance=tolerance, floor=floor)
    expected = softmax(reference)
    if floor is not None and np.isfinite(floor):
        floor = min(0.5 * floor * float(np.abs(reference).max()) / (float(expected.max()) or 1.0), 1.0)
    return compare(expected, candidate, tolerance=tolerance, floor=floor, distributed=distributed)


def softmax(logits: Array) -> Array:
    """Over the classes, in float64, rounded to the logits' own type."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    found: Array = (shifted / shifted.sum(axis=1, keepdims=True)).astype(logits.dtype)
    return found
