"""Images of every kind, held against what OpenCV, PaddleSeg's reader, makes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppls.errors import InputError
from ppls.images import read_rgb

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)
SMOOTH = np.asarray(Image.fromarray(RGB).resize((64, 48)))


def _palette(path: Path) -> None:
    Image.fromarray(RGB).quantize(16).save(path)


def _oriented(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(SMOOTH).save(path, exif=exif, quality=95)


KINDS: dict[str, Callable[[Path], None]] = {
    "colour.png": lambda path: Image.fromarray(RGB).save(path),
    "photograph.jpg": lambda path: Image.fromarray(SMOOTH).save(path, quality=90),
    "greyscale.png": lambda path: Image.fromarray(RGB[..., 0]).save(path),
    "greyscale.jpg": lambda path: Image.fromarray(SMOOTH[..., 0]).save(path),
    "alpha.png": lambda path: Image.fromarray(np.dstack([RGB, RGB[..., :1]])).save(path),
    "grey_alpha.png": lambda path: Image.fromarray(RGB[..., :2], "LA").save(path),
    "sixteen_bits.png": lambda path: Image.fromarray(RGB[..., 0].astype(np.uint16) * 257).save(path),
    "palette.png": _palette,
    "one_bit.png": lambda path: Image.fromarray(RGB[..., 0] > 127).save(path),
    "oriented.jpg": _oriented,
    "bitmap.bmp": lambda path: Image.fromarray(RGB).save(path),
}


@pytest.mark.parametrize("name", KINDS)
def test_an_image_is_read_as_opencv_reads_it(name: str, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    KINDS[name](tmp_path / name)
    theirs = cv2.imread(str(tmp_path / name))[..., ::-1]
    assert np.array_equal(read_rgb(tmp_path / name), theirs)


def test_sixteen_bits_of_three_channels_keep_the_upper_eight(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "deep.png"
    cv2.imwrite(str(path), RNG.integers(0, 65536, (8, 8, 3)).astype(np.uint16))
    assert np.array_equal(read_rgb(path), cv2.imread(str(path))[..., ::-1])


def test_cmyk_is_near_what_opencv_makes_of_it(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "print.jpg"
    Image.fromarray(SMOOTH).convert("CMYK").save(path, quality=95)
    ours, theirs = read_rgb(path).astype(int), cv2.imread(str(path))[..., ::-1].astype(int)
    assert np.abs(ours - theirs).max() <= 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such image"),
        (b"", "is an empty file"),
        (b"this is no image", "cannot be read as an image: it is none"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "image"),
    ],
)
def test_what_is_no_image_is_said_in_one_line(content: bytes | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=said) as raised:
        read_rgb(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


def test_an_image_that_ends_early_is_refused(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be read as an image"):
        read_rgb(tmp_path / "half.png")


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read as an image"):
        read_rgb(tmp_path)
