"""From pixels to a model's input: PaddleSeg's Normalize, and the order of the axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

HALF = (0.5,)  # PaddleSeg's default mean and std, of every channel


def normalise(pixels: Array, mean: Sequence[float] = HALF, std: Sequence[float] = HALF) -> Array:
    """Pixels (H, W, 3) in 0..255 as float32, less `mean` and by `std` of pixels in 0..1: one for all channels, or each.

    In the order of paddleseg/transforms/functional.py, so that the last bit is the same too: in place, so that float32
    is computed with float64's mean and then rounded.
    """
    values = pixels.astype(np.float32) / np.float32(255.0)
    values -= np.array(mean, np.float64)
    values /= np.array(std, np.float64)
    return values


def pixels_of(values: Array) -> Array:
    """What `normalise` with its defaults was given, as uint8; what lies beyond the pixels' range is cut off."""
    scaled: Array = np.clip((values * HALF[0] + HALF[0]) * 255, 0, 255).round()
    return scaled.astype(np.uint8)


def batch_of(values: Array) -> Array:
    """One image (H, W, C) as a batch (1, C, H, W)."""
    return np.ascontiguousarray(values.transpose(2, 0, 1))[np.newaxis]
