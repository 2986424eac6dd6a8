"""A prediction in files: label map, pseudo-colour, overlay; pixel for pixel as PaddleSeg's predict.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ppls.errors import InputError

Array = np.ndarray[Any, Any]

IMAGE_WEIGHT = 0.6  # paddleseg/core/predict.py: of the image in the overlay


def overlay(pixels: Array, labels: Array, colours: Array, weight: float = IMAGE_WEIGHT) -> Array:
    """The image with the classes' colours laid over it.

    Args:
        pixels: uint8 (H, W, 3), RGB.
        labels: classes (H, W).
        colours: uint8 (num_classes, 3).
        weight: of the image, 0..1; the colours have the rest.

    Returns:
        uint8 (H, W, 3).
    """
    blended = pixels.astype(np.float32) * np.float32(weight) + colours[labels].astype(np.float32) * np.float32(
        1 - weight
    )
    return np.rint(blended).clip(0, 255).astype(np.uint8)


def write_labels(path: Path, labels: Array, colours: Array) -> None:
    """Writes `labels` (H, W) as a PNG whose values are the classes.

    Up to 256 classes it is an indexed one, which viewers show in `colours`; beyond, 16-bit greyscale.
    """
    from PIL import Image

    if len(colours) > 256:
        _save(Image.fromarray(labels.astype(np.uint16)), path)
        return
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(colours.astype(np.uint8).tobytes())
    _save(image, path)


def write_picture(path: Path, pixels: Array) -> None:
    """Writes `pixels`, uint8 (H, W, 3), RGB, in the format that the name asks for; JPEG in OpenCV's quality."""
    from PIL import Image

    _save(Image.fromarray(pixels), path, quality=95)


def _save(image: Any, path: Path, **options: Any) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, **options)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
