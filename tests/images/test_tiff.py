"""What of a TIFF is given to the decoder, and what is refused before."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppls.errors import InputError
from ppls.images import read_rgb, tiff
from tests.images import made
from tests.images.cost import cost_of


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        read_rgb(path)
    return str(raised.value).split(": ", 1)[1]


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    ("mode", "compression"),
    [("RGB", "jpeg"), ("RGB", "tiff_lzw"), ("RGBA", "tiff_adobe_deflate"), ("P", "packbits"), ("1", "group4"),
     ("L", None), ("RGB", "zstd")],
)  # fmt: skip
def test_every_compression_is_read_as_pillow_reads_it(
    mode: str, compression: str | None, big: bool, tmp_path: Path
) -> None:
    options = {"compression": compression} if compression else {}
    (tmp_path / "image.tif").write_bytes(made.saved(made.gradient(mode), "TIFF", big_tiff=big, **options))
    with Image.open(tmp_path / "image.tif") as image:
        assert np.array_equal(read_rgb(tmp_path / "image.tif"), np.asarray(image.convert("RGB")))


def test_tags_that_make_no_picture_and_the_pages_that_follow_are_left_out() -> None:
    pixels = bytes(range(6))
    tags = [*made.grey_tiff(3, 2, strips=[8], strip_sizes=[6]), (700, "u1", [65] * 5000), (34665, "u4", [8])]
    found = tiff.read(made.tiff(tags, pixels, following=8))  # the next directory lies within the pixels
    assert (found.width, found.height) == (3, 2)
    with Image.open(BytesIO(found.data)) as image:
        assert image.n_frames == 1
        assert not {700, 34665} & set(image.tag_v2)
        assert np.asarray(image).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_circle_of_directories_is_no_matter(tmp_path: Path) -> None:
    content = made.tiff(made.grey_tiff(3, 2, strips=[8], strip_sizes=[6]), bytes(6))
    (start,) = struct.unpack_from("<I", content, 4)
    (tmp_path / "circle.tif").write_bytes(
        made.tiff(made.grey_tiff(3, 2, strips=[8], strip_sizes=[6]), bytes(6), following=start)
    )
    assert read_rgb(tmp_path / "circle.tif").shape == (2, 3, 3)


def test_a_directory_of_tags_that_share_their_content_costs_nothing(tmp_path: Path) -> None:
    tags = [*made.grey_tiff(3, 2, strips=[8], strip_sizes=[6])]
    shared = struct.pack("<HII", 1, 500_000, 8)
    content = bytearray(made.tiff([*tags, *((1000 + i, "u4", [0]) for i in range(40_000))], bytes(500_000)))
    (start,) = struct.unpack_from("<I", content, 4)
    for i in range(len(tags), len(tags) + 40_000):
        content[start + 4 + 12 * i : start + 14 + 12 * i] = shared
    (tmp_path / "tags.tif").write_bytes(content)
    cost = cost_of(tmp_path / "tags.tif")
    assert cost.said == "(2, 3, 3)"
    assert cost.memory < 150


SHARED_STRIPS = [8] * 20_000


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        (made.grey_tiff(3, 2), "it has 0 strips or tiles"),
        (made.grey_tiff(3, 10**5 + 1, strips=[8] * (10**5 + 1), rows=[1]), "it has 100,001 strips or tiles"),
        (made.grey_tiff(3, 2, 34925, strips=[8], strip_sizes=[6]), "its compression, 34925, is none that ppls reads"),
        (made.grey_tiff(3, 2, strips=[8], tiles=[8]), "it has strips and tiles"),
        (made.grey_tiff(9, 20_000, 5, strips=SHARED_STRIPS, rows=[1]), "do not tell their sizes"),
        (made.grey_tiff(9, 20_000, 5, strips=SHARED_STRIPS, strip_sizes=[90], rows=[1]), "do not tell their sizes"),
        (made.grey_tiff(9, 20_000, 5, strips=SHARED_STRIPS, strip_sizes=[90_000] * 20_000, rows=[1]), "larger than"),
        (
            made.grey_tiff(9, 9, 8, tiles=[8], tile_sizes=[90], tile_width=[16384], tile_height=[16384]),
            "its tiles are larger than the image",
        ),
        (
            made.grey_tiff(
                9000, 9000, 8, tiles=[8] * 9000, tile_sizes=[9] * 9000, tile_width=[9000], tile_height=[900]
            ),
            "is 9000x9000 pixels",
        ),
        (made.grey_tiff(0, 2, strips=[8], strip_sizes=[6]), "has no pixels, its size is 0x2"),
    ],
)
def test_what_would_take_far_more_than_the_picture_is_refused(tags: made.Tags, said: str, tmp_path: Path) -> None:
    assert said in refused(tmp_path / "image.tif", made.tiff(tags, bytes(400)))


def test_tiles_that_the_picture_does_not_need_count_as_passes(tmp_path: Path) -> None:
    tile = zlib.compress(bytes(2048 * 2048))
    tags = made.grey_tiff(
        90_000, 1, 8, tiles=[8] * 90, tile_sizes=[len(tile)] * 90, tile_width=[2048], tile_height=[2048]
    )
    assert "has its 90000x1 pixels in 4,194 passes" in refused(tmp_path / "tiles.tif", made.tiff(tags, tile * 46))


def test_a_tile_larger_than_a_small_picture_is_no_matter(tmp_path: Path) -> None:
    tags = made.grey_tiff(5, 4, tiles=[8], tile_sizes=[512 * 512], tile_width=[512], tile_height=[512])
    (tmp_path / "small.tif").write_bytes(made.tiff(tags, bytes(512 * 512)))
    assert read_rgb(tmp_path / "small.tif", max_pixels=20).shape == (4, 5, 3)


def test_the_scans_of_a_jpeg_within_count_too(tmp_path: Path) -> None:
    inner = made.saved(made.gradient("L", 2000, 2000), "JPEG", progressive=True)
    component = inner[inner.index(b"\xff\xda") + 5]
    scan = made.segment(0xDA, struct.pack("BBBBBB", 1, component, 0, 1, 63, 0x10))
    inner = inner[:-2] + scan * 90 + inner[-2:]
    tags = made.grey_tiff(2000, 2000, 7, strips=[8], strip_sizes=[len(inner)])
    assert "has its 2000x2000 pixels in 96 passes" in refused(tmp_path / "scans.tif", made.tiff(tags, inner))


@pytest.mark.parametrize("length", [2, 7, 8, 9, 11, 100])
def test_one_that_ends_early_is_refused(length: int, tmp_path: Path) -> None:
    content = made.tiff(made.grey_tiff(3, 2, strips=[8], strip_sizes=[6]), bytes(6))
    assert "cannot be read as an image" in refused(tmp_path / "cut.tif", content[:length])
