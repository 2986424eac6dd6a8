"""OpenCV, in which PaddleSeg's transforms are written: the extra `train` installs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ppls.errors import InputError, MissingDependencyError, first_line, not_installed
from ppls.images import picture_of, turned

try:
    import cv2
except ModuleNotFoundError as error:
    raise not_installed(error) from error
except ImportError as error:  # opencv-python without the system's libGL
    raise MissingDependencyError(
        f"OpenCV cannot be loaded, {first_line(error)}: pip install opencv-python-headless"
    ) from None

Array = np.ndarray[Any, Any]

__all__ = ["check_size", "cv2", "read_grey", "resize"]

_MOST_PIXELS = 1 << 26  # that a transform may make: 800 MB in float32


def check_size(width: int, height: int) -> None:
    """Raises `InputError` where an image would become larger than memory may be taken for."""
    if width * height > _MOST_PIXELS:
        raise InputError(f"it would become {width}x{height}: more than {_MOST_PIXELS:,} pixels")


def resize(image: Array, size: tuple[int, int], interpolation: int = cv2.INTER_LINEAR) -> Array:
    """An image at `size` (width, height). Raises as `check_size` does."""
    check_size(*size)
    return cv2.resize(image, size, interpolation=interpolation)  # type: ignore[no-any-return]


def read_grey(path: Path) -> Array:
    """The brightness of an image (H, W) as uint8, as OpenCV reads it: of colours its own mean.

    Raises:
        ppls.InputError: as `ppls.images.read_rgb`.
    """
    from PIL import Image

    picture = picture_of(path)
    image = cv2.imdecode(np.frombuffer(picture.data, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise InputError(f"{path}: cannot be read as an image: it is damaged")
    return np.asarray(turned(Image.fromarray(image), picture.orientation))
