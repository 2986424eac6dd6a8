"""Reading images as OpenCV's `imread` does for PaddleSeg: RGB, 8 bits, upright."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ppls.errors import InputError, MissingDependencyError

Array = np.ndarray[Any, Any]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})


def read_rgb(path: str | Path) -> Array:
    """The pixels of an image: uint8 (H, W, 3), whatever the file holds.

    Greyscale is repeated, an alpha channel dropped, of 16 bits the upper eight are kept, CMYK is converted, and the
    orientation that EXIF tells is followed, as in PaddleSeg's own reading.

    Raises:
        InputError: no such file, not an image, damaged, or without a pixel.
        MissingDependencyError: Pillow is not installed.
    """
    from PIL import ImageOps

    image = open_image(path)
    try:
        if image.mode.startswith("I"):
            pixels = np.asarray(image)  # I;16 and, where 16 bits were read into 32, I
            values = pixels >> 8 if int(pixels.max(initial=0)) > 255 or image.mode != "I" else pixels
            image = _image_of(values.clip(0, 255).astype(np.uint8))
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as an image: {error}") from None


def open_image(path: str | Path) -> Any:
    """The whole image as Pillow's, in the mode of the file. Raises as `read_rgb` does."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise MissingDependencyError("Pillow is not installed; install it with: pip install pillow") from None
    path = Path(path)
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path}: is an empty file")
        with Image.open(path) as image:
            image.load()
    except FileNotFoundError:
        raise InputError(f"{path}: no such image") from None
    except UnidentifiedImageError:
        raise InputError(f"{path}: cannot be read as an image: it is none, or of an unknown kind") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read as an image: {error}") from None
    if 0 in image.size:
        raise InputError(f"{path}: has no pixels, its size is {image.width}x{image.height}")
    return image


def _image_of(pixels: Array) -> Any:
    from PIL import Image

    return Image.fromarray(pixels)
