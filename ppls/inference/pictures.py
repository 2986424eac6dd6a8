"""A prediction in files: label map, pseudo-colour, overlay; pixel for pixel as PaddleSeg's predict.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ppls.destination import file_that_becomes

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


def write_labels(path: Path, labels: Array, colours: Array, *, force: bool = False) -> None:
    """Writes `labels` (H, W) as a PNG whose values are the classes. `force` replaces a file that exists.

    Up to 256 classes it is an indexed one, which viewers show in `colours`; beyond, 16-bit greyscale.
    """
    from PIL import Image

    if len(colours) > 256:
        _save(Image.fromarray(labels.astype(np.uint16)), path, force)
        return
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(colours.astype(np.uint8).tobytes())
    _save(image, path, force)


def write_picture(path: Path, pixels: Array, *, force: bool = False) -> None:
    """Writes `pixels`, uint8 (H, W, 3), RGB, as the name asks for: PNG, or JPEG in OpenCV's quality.

    `force` replaces a file that exists.
    """
    from PIL import Image

    _save(Image.fromarray(pixels), path, force, quality=95)


def _save(image: Any, path: Path, force: bool, **options: Any) -> None:
    format = "JPEG" if path.suffix.lower() in (".jpg", ".jpeg") else "PNG"
    with file_that_becomes(path, force=force, sync=False, new_folders=True) as file:  # there may be thousands
        image.save(file, format, **options)
