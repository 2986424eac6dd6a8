"""Reading images as OpenCV's `imread` does for PaddleSeg: RGB, 8 bits, upright.

Pillow decodes. What it is given was opened as a regular file, is of a closed list of formats, holds nothing but what
makes the picture, and is known not to grow beyond a limit.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ppls.errors import InputError, MissingDependencyError, UsageError, first_line
from ppls.files import open_regular
from ppls.images.content import Content, content_of

Array = np.ndarray[Any, Any]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})

# Pixels that any file may have, and for each of its bytes. A photograph has 3 to 20 in a byte, a label map any number.
# To decode one takes 16 bytes at most, to prepare it for a model some 25 more: a file of 1 MB stays below 1 GiB.
_OF_IMAGES, _OF_LABELS = (8 << 20, 8), (36_000_000, 6)
_LONGEST_SIDE = 1 << 20  # OpenCV's own limit
_MOST_PASSES = 32  # over all pixels of the largest image; a progressive JPEG has about ten scans
_FREE_BYTES, _BYTES_PER_PIXEL = 1 << 30, 16  # of a file
_BAND = 1 << 20  # pixels that are converted at once
_ORIENTATION = 0x0112  # EXIF's tag

_lock = threading.Lock()


def read_rgb(path: str | Path, max_pixels: int | None = None) -> Array:
    """The pixels of an image: uint8 (H, W, 3), whatever the file holds.

    Greyscale is repeated, an alpha channel dropped, of 16 bits the upper eight are kept, CMYK is converted, of several
    pages the first is taken, and the orientation that EXIF tells is followed, as in PaddleSeg's own reading.

    Args:
        path: JPEG, PNG, BMP, TIFF, WebP, PPM or PGM.
        max_pixels: larger ones are refused. Default: 8 million, and 8 for each byte of the file.

    Raises:
        InputError: no such file, not an image of these kinds, damaged, too large, an animation, or without a pixel.
        UsageError: `max_pixels` is less than 1.
        MissingDependencyError: Pillow is not installed.
    """
    return _rgb(_open(path, max_pixels, _OF_IMAGES, upright=True), path)


def as_rgb(image: Any) -> Array:
    """The pixels of whatever a user has: uint8 (H, W, 3).

    Args:
        image: a file, as for `read_rgb`; an image of Pillow's, which is treated alike; or the pixels themselves.

    Raises:
        InputError: as `read_rgb`, or an array of another shape or type.
    """
    if isinstance(image, (str, Path)):
        return read_rgb(image)
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise InputError(f"the image: expected uint8 (height, width, 3), RGB, got {image.dtype} {image.shape}")
        return image
    if not (hasattr(image, "getexif") and hasattr(image, "convert")):
        raise InputError(f"the image: expected a file, an image of Pillow's or an array, got {type(image).__name__}")
    try:
        return _rgb(turned(image, image.getexif().get(_ORIENTATION)), "the image")
    except InputError:
        raise
    except Exception as error:  # Pillow decodes only now, and raises whatever a damaged file leads it to
        raise _unreadable("the image", error) from None


def _rgb(image: Any, path: str | Path) -> Array:
    if not image.width or not image.height:
        raise InputError(f"{path}: has no pixels, its size is {image.width}x{image.height}")
    rows = max(1, _BAND // image.width)
    try:
        shift = 8 if image.mode.startswith("I;16") or (image.mode == "I" and image.getextrema()[1] > 255) else 0
        pixels = np.empty((image.height, image.width, 3), np.uint8)
        for top in range(0, image.height, rows):
            band = image.crop((0, top, image.width, min(top + rows, image.height)))
            if image.mode.startswith("I"):  # I;16 and, where 16 bits were read into 32, I
                pixels[top : top + rows] = (np.asarray(band) >> shift).clip(0, 255)[..., np.newaxis]
            else:
                pixels[top : top + rows] = np.asarray(band.convert("RGB"))
    except Exception as error:  # of a mode that has no way to RGB
        raise _unreadable(path, error) from None
    return pixels


def open_label(path: str | Path, max_pixels: int | None = None) -> Any:
    """A label map as Pillow's image, in the mode of the file, as PaddleSeg reads it: EXIF does not turn it.

    As `read_rgb`, but for `max_pixels`: by default 36 million, and 6 for each byte of the file.
    """
    return _open(path, max_pixels, _OF_LABELS, upright=False)


def picture_of(path: str | Path, max_pixels: int | None = None, allowed: tuple[int, int] = _OF_IMAGES) -> Content:
    """The picture of a file alone, which is not too large, for a decoder. Raises as `read_rgb` does."""
    if max_pixels is not None and max_pixels < 1:
        raise UsageError(f"--max-pixels {max_pixels}: an image has at least 1")
    data = _read(path, max_pixels)
    try:
        content = content_of(data)
        _check(path, content, allowed[0] + allowed[1] * len(data) if max_pixels is None else max_pixels)
    except InputError:
        raise
    except Exception as error:  # of data that end early
        raise _unreadable(path, error) from None
    return content


def _open(path: str | Path, max_pixels: int | None, allowed: tuple[int, int], upright: bool) -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise MissingDependencyError("Pillow is not installed; install it with: pip install pillow") from None
    content = picture_of(path, max_pixels, allowed)
    try:
        with _alone(Image) if content.format in ("TIFF", "WebP") else nullcontext():
            image = _plugin(content.format)(BytesIO(content.data))
            if image.size != (content.width, content.height):
                raise ValueError("it tells its size in two ways")
            image.load()
        return turned(image, content.orientation if upright or content.format == "TIFF" else 1)
    except InputError:
        raise
    except Exception as error:  # Pillow raises whatever a damaged file leads it to
        raise _unreadable(path, error) from None


def _read(path: str | Path, max_pixels: int | None) -> bytes:
    most = max(_FREE_BYTES, _BYTES_PER_PIXEL * (max_pixels or 0))
    try:
        with open(open_regular(path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > most:
                raise InputError(f"{path}: is {size:,} bytes, more than the limit of {most:,}; --max-pixels raises it")
            data = file.read(size)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such image") from None
    except (OSError, ValueError, MemoryError) as error:
        raise _unreadable(path, error) from None
    if not data:
        raise InputError(f"{path}: is an empty file")
    return data


def _check(path: str | Path, content: Content, most: int) -> None:
    size = f"{content.width}x{content.height}"
    pixels = content.width * content.height
    if not pixels:
        raise InputError(f"{path}: has no pixels, its size is {size}")
    if pixels > most:
        raise InputError(f"{path}: is {size} pixels, more than the limit of {most:,}; --max-pixels raises it")
    if max(content.width, content.height) > _LONGEST_SIDE:
        raise InputError(f"{path}: is {size} pixels, and no side may have more than {_LONGEST_SIDE:,}")
    if content.work > _MOST_PASSES * max(most, _OF_IMAGES[0]):  # one small tile is no matter, however low the limit
        passes = round(content.work / pixels)
        raise InputError(f"{path}: has its {size} pixels in {passes:,} passes; no picture is saved so: save it anew")


def _plugin(format: str) -> Any:
    """Pillow's class for a format: by `Image.open`, Pillow's own limit would hold, which is for all formats at once."""
    from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, PpmImagePlugin, TiffImagePlugin, WebPImagePlugin

    return {
        "BMP": BmpImagePlugin.BmpImageFile,
        "JPEG": JpegImagePlugin.JpegImageFile,
        "PNG": PngImagePlugin.PngImageFile,
        "PPM": PpmImagePlugin.PpmImageFile,
        "TIFF": TiffImagePlugin.TiffImageFile,
        "WebP": WebPImagePlugin.WebPImageFile,
    }[format]


def turned(image: Any, orientation: int | None) -> Any:
    """An image of Pillow's of an orientation of EXIF, put upright."""
    from PIL.Image import Transpose

    turn = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }.get(orientation or 1)
    return image if turn is None else image.transpose(turn)


@contextmanager
def _alone(pillow: Any) -> Iterator[None]:
    """With what is the whole process's as TIFF and WebP need it, and put back after: Pillow's own limit of pixels, its
    warnings, and stderr, where libtiff writes about damage."""
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, pillow.MAX_IMAGE_PIXELS = pillow.MAX_IMAGE_PIXELS, None
        try:
            stderr = os.dup(2)
        except OSError:  # there is none
            stderr = -1
        try:
            if stderr >= 0:
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, 2)
                os.close(null)
            yield
        finally:
            pillow.MAX_IMAGE_PIXELS = limit
            if stderr >= 0:
                os.dup2(stderr, 2)
                os.close(stderr)


def _unreadable(path: str | Path, error: Exception) -> InputError:
    why = first_line(error)
    if isinstance(error, MemoryError):
        why = "the memory does not suffice"
    elif isinstance(error, OSError) and error.strerror:
        why = error.strerror
    elif not isinstance(error, (OSError, SyntaxError, ValueError)) or error.__cause__ or why.lstrip("-").isdigit():
        why = "it is damaged"  # what Pillow says is of its own code, or a number
    return InputError(f"{path}: cannot be read as an image: {why}")
