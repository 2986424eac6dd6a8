"""How an error is distributed: its quantiles, what remains of the signal, and where in the image it lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

QUANTILES = (0.5, 0.9, 0.99, 0.999)
_BLOCK = 1 << 20  # elements at a time: 8 MiB of float64
CELLS = 64  # of a heatmap's longer side


@dataclass(frozen=True)
class Distribution:
    """What the largest error alone does not tell of two finite arrays of one shape.

    Attributes:
        quantiles: of |a - b|, by share of the elements: half of them err by at most `quantiles[0.5]`.
        cosine: of the angle between both as vectors; None where one is all zero.
        psnr: 20 log10(range of a / root mean square of a - b), in dB; None where both are equal or a is constant.
    """

    quantiles: dict[float, float]
    cosine: float | None
    psnr: float | None


@dataclass(frozen=True)
class Heatmap:
    """Where in an image the error lies: the largest |a - b| of all channels and images in each cell, (h, w).

    `row`, `column` are those of the pixel that errs most.
    """

    cells: Array
    row: int
    column: int


def distribution(reference: Array, candidate: Array) -> Distribution:
    """Describes the error of a finite array; memory beyond |a - b| in its own type stays bounded."""
    a_flat, b_flat = reference.reshape(-1), candidate.reshape(-1)
    errors = np.empty(a_flat.size, np.float32 if reference.dtype.itemsize <= 4 else np.float64)
    products = np.zeros(4)  # a·a, b·b, a·b, (a - b)·(a - b)
    for start in range(0, a_flat.size, _BLOCK):
        a = a_flat[start : start + _BLOCK].astype(np.float64)
        b = b_flat[start : start + _BLOCK].astype(np.float64)
        apart = a - b
        errors[start : start + _BLOCK] = np.abs(apart)
        products += [np.dot(a, a), np.dot(b, b), np.dot(a, b), np.dot(apart, apart)]
    aa, bb, ab, squares = (float(product) for product in products)
    extent = float(a_flat.max()) - float(a_flat.min())
    return Distribution(
        _quantiles(errors),
        ab / float(np.sqrt(aa) * np.sqrt(bb)) if aa > 0 and bb > 0 else None,
        20 * float(np.log10(extent / np.sqrt(squares / errors.size))) if squares > 0 and extent > 0 else None,
    )


def heatmap(reference: Array, candidate: Array) -> Heatmap | None:
    """Where the error of maps (N, C, H, W) lies; None of other arrays."""
    if reference.ndim != 4 or reference.shape != candidate.shape or not reference.size:
        return None
    errors = np.zeros(reference.shape[2:])
    for a, b in zip(reference, candidate, strict=True):
        for channel_a, channel_b in zip(a, b, strict=True):
            np.fmax(errors, np.abs(np.subtract(channel_a, channel_b, dtype=np.float64)), out=errors)
    row, column = np.unravel_index(int(errors.argmax()), errors.shape)
    step = -(-max(errors.shape) // CELLS)
    rows, columns = (np.arange(0, side, step) for side in errors.shape)
    cells = np.maximum.reduceat(np.maximum.reduceat(errors, rows, axis=0), columns, axis=1)
    return Heatmap(cells, int(row), int(column))


def _quantiles(errors: Array) -> dict[float, float]:
    """The smallest error that so many elements do not exceed; `errors` is reordered."""
    places = {share: min(int(np.ceil(share * errors.size)), errors.size) - 1 for share in QUANTILES}
    errors.partition(sorted(set(places.values())))
    return {share: float(errors[place]) for share, place in places.items()}
