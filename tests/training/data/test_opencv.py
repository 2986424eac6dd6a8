"""The brightness of an image, as OpenCV itself reads it from the file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ppls.errors import InputError
from ppls.training.data.opencv import read_grey
from tests.training.data import cases

PIXELS = cases.image(0, 21, 34)


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("colour.png", Image.fromarray(PIXELS)),
        ("colour.jpg", Image.fromarray(PIXELS)),
        ("colour.bmp", Image.fromarray(PIXELS)),
        ("grey.png", Image.fromarray(PIXELS[..., 0])),
        ("alpha.png", Image.fromarray(np.dstack([PIXELS, PIXELS[..., :1]]))),
        ("deep.png", Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 250)),
        ("indexed.png", Image.fromarray(PIXELS).quantize(16)),
    ],
)
def test_an_image_is_as_bright_as_opencv_says(name: str, image: Image.Image, tmp_path: Path) -> None:
    image.save(tmp_path / name)
    theirs = cv2.imread(str(tmp_path / name), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(read_grey(tmp_path / name), theirs)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_put_upright(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PIXELS).save(tmp_path / "turned.jpg", exif=exif)
    theirs = cv2.imread(str(tmp_path / "turned.jpg"), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(read_grey(tmp_path / "turned.jpg"), theirs)


def test_a_damaged_image_is_said(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[60] ^= 255
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.png: cannot be read as an image"):
        read_grey(tmp_path / "a.png")
