"""Images of every format, damaged at random: each is an image, or one error."""

from __future__ import annotations

import random
import resource
import time
import zlib
from pathlib import Path

import pytest

from ppls.errors import InputError
from ppls.images import open_label, read_rgb
from tests.images import made

WHOLE = [
    *(made.saved(made.gradient(mode), "PNG") for mode in ("RGB", "RGBA", "P", "L", "1", "I;16")),
    *(made.saved(made.gradient(mode), "JPEG", progressive=p) for mode in ("RGB", "L", "CMYK") for p in (False, True)),
    *(made.saved(made.gradient(mode), "BMP") for mode in ("RGB", "P", "1")),
    *(made.saved(made.gradient(), "TIFF", compression=c) for c in ("jpeg", "tiff_lzw", "tiff_adobe_deflate", "raw")),
    made.saved(made.gradient(), "TIFF", big_tiff=True),
    made.saved(made.gradient("1"), "TIFF", compression="group4"),
    made.tiff(
        made.grey_tiff(32, 16, tiles=[8, 264], tile_sizes=[256] * 2, tile_width=[16], tile_height=[16]), bytes(512)
    ),
    *(made.saved(made.gradient("RGBA"), "WEBP", lossless=lossless) for lossless in (False, True)),
    *(made.saved(made.gradient(mode), "PPM") for mode in ("RGB", "L", "1")),
    b"P3 2 1 255\n1 2 3 4 5 6",
]
EDGES = (0, 1, 2, 127, 128, 255, 256, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def damaged(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = rng.randrange(min(len(data), rng.choice((40, 200, len(data)))))
        kind = rng.randrange(5)
        if kind == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            size = rng.choice((2, 4))
            edge = rng.choice(EDGES) & ((1 << 8 * size) - 1)
            data[place : place + size] = edge.to_bytes(size, rng.choice(("little", "big")))
        elif kind == 2:
            del data[place : place + rng.choice((1, 4, 60))]
        elif kind == 3:
            data[place:place] = data[place : place + rng.randrange(1, 60)]
        else:
            data[place : place + 8] = rng.choice(WHOLE)[place : place + 8]
        data = data or bytearray(1)
    return _checksums_mended(bytes(data)) if rng.random() < 0.8 else bytes(data)


def _checksums_mended(data: bytes) -> bytes:
    """Of a PNG, so that the damage gets further."""
    if not data.startswith(made.PNG):
        return data
    mended, place = made.PNG, len(made.PNG)
    while place + 12 <= len(data) and (end := place + 12 + int.from_bytes(data[place : place + 4], "big")) <= len(data):
        mended += data[place : end - 4] + zlib.crc32(data[place + 4 : end - 4]).to_bytes(4, "big")
        place = end
    return mended + data[place:]


@pytest.mark.filterwarnings("error")
def test_a_damaged_image_is_an_image_or_one_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rng, images, errors = random.Random(9), 0, set()
    path = tmp_path / "image"
    for number in range(400):
        path.write_bytes(damaged(rng.choice(WHOLE), rng))
        began, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            images += (read_rgb, open_label)[number % 2](path) is not None
        except InputError as error:
            errors.add(str(error))
        assert time.process_time() - began < 5, number
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 600_000, number
    assert 50 < images < 350  # both happen
    assert all(error.startswith(f"{path}: ") and "\n" not in error for error in errors)
    assert capfd.readouterr().err == ""
