"""PNG, WebP, BMP and PPM: what of them makes the picture, and what they may cost."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppls.errors import InputError
from ppls.images import read_rgb
from ppls.images.content import content_of
from tests.images import made
from tests.images.cost import cost_of


def test_of_a_png_the_chunks_of_the_picture_are_kept() -> None:
    more = [made.chunk(name, b"x\0\0" + zlib.compress(bytes(1 << 20))) for name in (b"zTXt", b"iCCP", b"tRNS", b"acTL")]
    assert content_of(made.png(5, 4, *more)).data == made.png(5, 4)


def test_a_png_whose_checksum_is_wrong_is_refused_as_opencv_refuses_it(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    content = bytearray(made.saved(made.gradient(), "PNG"))
    content[content.index(b"IDAT") - 4 + 8 + 40] ^= 1
    (tmp_path / "image.png").write_bytes(content)
    assert cv2.imread(str(tmp_path / "image.png")) is None
    with pytest.raises(InputError, match="the checksum of its IDAT is wrong"):
        read_rgb(tmp_path / "image.png")


def test_text_profiles_and_tags_that_inflate_cost_nothing(tmp_path: Path) -> None:
    zeros = zlib.compress(bytes(1 << 20))
    bombs = {
        "text": b"".join(made.chunk(b"zTXt", b"%d\0\0" % i + zeros) for i in range(900)),
        "profile": made.chunk(b"iCCP", b"x\0\0" + zeros) * 900,
        "small": made.chunk(b"tEXt", b"a\0b") * 60_000,
        "exif": made.chunk(b"eXIf", made.directory_of(40_000, 480_000)),
    }
    for name, chunks in bombs.items():
        (tmp_path / f"{name}.png").write_bytes(made.png(5, 4, chunks))
        cost = cost_of(tmp_path / f"{name}.png")
        assert cost.said == "(4, 5, 3)"
        assert cost.seconds < 5
        assert cost.memory < 150


@pytest.mark.parametrize("lossless", [True, False])
def test_a_webp_of_every_kind_tells_its_size(lossless: bool) -> None:
    for mode in ("RGB", "RGBA"):
        for extra in ({}, {"exif": b"Exif\0\0"}):
            content = content_of(made.saved(made.gradient(mode), "WEBP", lossless=lossless, **extra))
            assert (content.format, content.width, content.height) == ("WebP", 23, 17)


@pytest.mark.parametrize("height", [17, -17])
def test_a_bmp_may_stand_on_its_head(height: int, tmp_path: Path) -> None:
    content = made.saved(made.gradient(), "BMP").replace(struct.pack("<ii", 23, 17), struct.pack("<ii", 23, height))
    (tmp_path / "image.bmp").write_bytes(content)
    pixels = np.asarray(made.gradient())
    assert np.array_equal(read_rgb(tmp_path / "image.bmp"), pixels if height > 0 else pixels[::-1])


def test_a_comment_in_a_ppm_ends_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "image.ppm").write_bytes(b"P3 # 9 9\n# x\r2 1#\n 255\n1 2 3#4\n 4#\r 5 6 # and so on")
    assert read_rgb(tmp_path / "image.ppm").tolist() == [[[1, 2, 3], [4, 5, 6]]]
    (tmp_path / "image.pgm").write_bytes(b"P5\n# x\n2 1\n#\n255\n#1")
    assert read_rgb(tmp_path / "image.pgm")[..., 0].tolist() == [[ord("#"), ord("1")]]


def test_half_a_million_comments_in_a_ppm_take_no_time(tmp_path: Path) -> None:
    for content in (b"P3 500 500 255\n" + b"#\n" * 490_000, b"P6 " + b"#\n" * 490_000, b"P6" + b" " * 980_000 + b"x"):
        (tmp_path / "image.ppm").write_bytes(content)
        cost = cost_of(tmp_path / "image.ppm")
        assert "image.ppm: cannot be read as an image" in cost.said
        assert cost.seconds < 5


def run_length_bmp(width: int, height: int, content: bytes) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(content), 0, 0, 2, 0)
    palette = bytes([9, 9, 9, 0, 1, 2, 3, 0])
    return b"BM" + struct.pack("<IHHI", 62 + len(content), 0, 0, 62) + header + palette + content


def black(format: str, **options: object) -> bytes:
    return made.saved(Image.new("RGB", (8000, 2000)), format, **options)


LARGEST: dict[str, Callable[[], bytes]] = {  # of a file of 1 MB, which may have 16 million pixels
    "png": lambda: made.png(4000, 4000, depth=16, colour=6),
    "bmp": lambda: run_length_bmp(4000, 4000, b"\1\1\0\0" * 4000),
    "wide.bmp": lambda: run_length_bmp(1 << 20, 15, b"\0\2\xff\xff" * 9),
    "webp": lambda: black("WEBP", lossless=True, method=0),
    "jpeg": lambda: black("JPEG", progressive=True, subsampling=0, quality=10),
    "tiff": lambda: black("TIFF", compression="tiff_adobe_deflate"),
}


@pytest.mark.parametrize("name", LARGEST)
def test_a_small_file_stays_within_ten_seconds_and_a_gibibyte(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(LARGEST[name]().ljust(1_000_000, b"\0"))
    cost = cost_of(tmp_path / name)
    assert cost.said.endswith(", 3)")
    assert cost.seconds < 10
    assert cost.memory < 700  # torch takes 200 more
