"""The shape of the images that a file declares to take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppls.errors import ParityError
from ppls.parity.input_shape import ANY, InputShape, Sides


def shape_of(path: Path, declared: Sequence[object] | None, metadata: Mapping[str, Any]) -> InputShape:
    """From what a format has: integers for fixed lengths, `Sides`, anything else for any; None where it has nothing.

    What a format does not tell stands in the metadata: the batch and size that `ppls.export` fixed.
    Raises `ParityError` where it is no batch of images.
    """
    if declared is None:
        declared = [metadata.get("batch"), None, *_pair(metadata.get("size"))]
    if len(declared) != 4:
        raise ParityError(f"{path}: takes {len(declared)} dimensions; images (N, C, H, W) are expected")
    return InputShape(*map(_sides, declared))


def _sides(length: object) -> Sides:
    if isinstance(length, Sides):
        return length
    return Sides(length, length) if isinstance(length, int) and length > 0 else ANY


def _pair(size: object) -> Sequence[object]:
    return size if isinstance(size, list) and len(size) == 2 else (None, None)
