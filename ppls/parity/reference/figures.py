"""The one figure that everything is judged by, computed in blocks so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

BLOCK = 1 << 20  # elements compared at a time: 8 MiB of float64


@dataclass(frozen=True)
class Difference:
    """How far apart two arrays of one shape are.

    Attributes:
        max_abs: max|a - b| over the elements that are finite on both sides.
        scale: max|a| over the finite elements of a.
        one_sided: elements that are NaN or infinite on one side only, or infinite with another sign.
        undefined: elements that are NaN, or the same infinity, on both sides: they hide any error and prove nothing.
    """

    max_abs: float
    scale: float
    one_sided: int
    undefined: int

    @property
    def scaled(self) -> float:
        """max|a - b| / max|a|, and max|a - b| where a is all zero; NaN where either side holds what the other lacks."""
        if self.one_sided or self.undefined:
            return float("nan")
        return self.max_abs / self.scale if self.scale > 0 else self.max_abs


def root_mean_square(array: np.ndarray[Any, Any]) -> float:
    """In float64; 0 of nothing."""
    return float(np.linalg.norm(array.astype(np.float64)) / np.sqrt(max(array.size, 1)))


def projection(shape: Sequence[int]) -> np.ndarray[Any, Any]:
    """What each value of an output counts in the number whose gradient is taken: float64, no two alike."""
    weights: np.ndarray[Any, Any] = np.cos(np.arange(np.prod(shape, dtype=np.int64), dtype=np.float64)).reshape(shape)
    return weights


def labels_of(labels: np.ndarray[Any, Any], shape: Sequence[int]) -> np.ndarray[Any, Any]:
    """The labels (N, H, W) that a head of `shape` (N, C, h, w) is trained on: at its pixels; of one class, 0 and 1.

    What is no map, logits of whole images (N, C) or of points in whatever order (N, C, P), has one for each image.
    """
    sides = shape[2:] if len(shape) == 4 else (1, 1)
    rows, columns = (np.arange(side) * labels.shape[axis] // side for axis, side in enumerate(sides, 1))
    sampled: np.ndarray[Any, Any] = labels[:, rows][:, :, columns]
    return sampled % 2 if shape[1] == 1 else sampled


def without_farthest(
    reference: np.ndarray[Any, Any], candidate: np.ndarray[Any, Any], pixels: int
) -> np.ndarray[Any, Any]:
    """The candidate's logits (N, C, H, W), with the reference's at as many pixels, where they are the farthest apart.

    What is not finite stays.
    """
    apart = np.abs(candidate - reference).max(axis=1)
    apart[~np.isfinite(apart)] = 0.0
    farthest = np.zeros(apart.size, dtype=bool)
    farthest[np.argpartition(apart, -pixels, axis=None)[-pixels:]] = True
    replaced = farthest.reshape(apart.shape)[:, np.newaxis] & np.isfinite(candidate)
    found: np.ndarray[Any, Any] = np.where(replaced, reference, candidate)
    return found


def difference(reference: np.ndarray[Any, Any], candidate: np.ndarray[Any, Any]) -> Difference:
    """Compares two arrays of equal shape, element by element, in float64.

    Of integers, which are classes or masks, the difference is the share of those that are not the same: how far one
    number is from another says nothing, and where two logits tie rounding decides.
    """
    if reference.shape != candidate.shape:
        raise ValueError(f"shapes differ: {reference.shape} and {candidate.shape}")
    if reference.dtype.kind in "biu":
        return Difference(float(np.mean(reference != candidate)) if reference.size else 0.0, 1.0, 0, 0)
    a_flat, b_flat = reference.reshape(-1), candidate.reshape(-1)
    max_abs = scale = 0.0
    one_sided = undefined = 0
    for start in range(0, a_flat.size, BLOCK):
        a = a_flat[start : start + BLOCK].astype(np.float64)
        b = b_flat[start : start + BLOCK].astype(np.float64)
        finite = np.isfinite(a) & np.isfinite(b)
        if not finite.all():
            both = (np.isnan(a) & np.isnan(b)) | (np.isinf(a) & (a == b))
            undefined += int(np.count_nonzero(both))
            one_sided += int(np.count_nonzero(~finite & ~both))
            scale = max(scale, float(np.abs(a[np.isfinite(a)]).max(initial=0.0)))
            a, b = a[finite], b[finite]
        scale = max(scale, float(np.abs(a).max(initial=0.0)))
        max_abs = max(max_abs, float(np.abs(a - b).max(initial=0.0)))
    return Difference(max_abs, scale, one_sided, undefined)
