"""What of a JPEG is given to the decoder."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from ppls.errors import InputError
from ppls.images import jpeg, read_rgb
from tests.images import made
from tests.images.cost import cost_of

PLAIN = made.saved(made.gradient(), "JPEG")
PROGRESSIVE = made.saved(made.gradient(), "JPEG", progressive=True)


def with_scans(content: bytes, count: int) -> bytes:
    """A progressive JPEG with `count` more refinements of its first component, of no content."""
    component = content[content.index(b"\xff\xda") + 5]
    refinement = made.segment(0xDA, struct.pack("BBBBBB", 1, component, 0, 1, 63, 0x10))
    return content.removesuffix(b"\xff\xd9") + refinement * count + b"\xff\xd9"


def test_what_makes_no_picture_is_left_out() -> None:
    extra = [(0xE1, b"Exif\0\0XX"), (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"), (0xE2, b"MPF\0" + bytes(50)),
             (0xE2, b"ICC_PROFILE\0\1\1" + bytes(200)), (0xED, b"Photoshop 3.0\0"), (0xFE, b"a comment")]  # fmt: skip
    carried = PLAIN[:2] + b"".join(made.segment(code, content) for code, content in extra) + PLAIN[2:] + PROGRESSIVE
    found = jpeg.read(carried)
    assert found.data == PLAIN
    assert found.exif == b"XX"
    assert (found.width, found.height, found.scans) == (23, 17, 1)


def test_the_scans_of_a_progressive_picture_are_counted() -> None:
    assert jpeg.read(PROGRESSIVE).scans == PROGRESSIVE.count(b"\xff\xda") == 10
    assert jpeg.read(with_scans(PROGRESSIVE, 5)).scans == 15


def test_restarts_fill_bytes_and_junk_between_the_parts_are_no_parts() -> None:
    restarts = made.saved(made.gradient(width=200), "JPEG", restart_marker_rows=1)
    assert jpeg.read(restarts).data == restarts
    assert b"\xff\xd0" in restarts
    assert jpeg.read(PLAIN[:2] + b"\xff\xff\xff" + PLAIN[2:]).data == PLAIN
    assert jpeg.read(PLAIN[:2] + b"junk\xff\x00" + PLAIN[2:]).data == PLAIN


@pytest.mark.parametrize("code", [0xC3, 0xC5, 0xC9, 0xCA, 0xCC, 0xF0, 0x02])
def test_lossless_hierarchical_and_arithmetic_coding_are_refused(code: int) -> None:
    with pytest.raises(ValueError, match=f"part 0x{code:02X} is none of a baseline or progressive JPEG"):
        jpeg.read(PLAIN[:2] + made.segment(code, bytes(15)) + PLAIN[2:])


def test_a_picture_in_thousands_of_scans_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    content = made.saved(made.gradient(width=2000, height=2000), "JPEG", progressive=True)
    (tmp_path / "scans.jpg").write_bytes(with_scans(content, 90_000))
    cost = cost_of(tmp_path / "scans.jpg")
    assert "scans.jpg: has its 2000x2000 pixels in 90,010 passes" in cost.said
    assert cost.seconds < 5
    (tmp_path / "few.jpg").write_bytes(with_scans(PROGRESSIVE, 30))
    assert read_rgb(tmp_path / "few.jpg").shape == (17, 23, 3)


def test_a_directory_of_tags_that_share_their_content_costs_nothing(tmp_path: Path) -> None:
    tags = made.directory_of(5000, 65_000)[:65_000].ljust(65_000)
    for code, before in ((0xE1, b"Exif\0\0"), (0xE2, b"MPF\0")):
        (tmp_path / "tags.jpg").write_bytes(PLAIN[:2] + made.segment(code, before + tags) + PLAIN[2:])
        cost = cost_of(tmp_path / "tags.jpg")
        assert cost.said == "(17, 23, 3)"
        assert cost.memory < 150


def test_a_million_bytes_of_what_is_passed_over_take_no_time(tmp_path: Path) -> None:
    for filler in (b"\xff" * 10**6 + b"\0", b"\0" * 10**6, b"\xff\xd0" * 500_000, made.segment(0xE0, b"") * 250_000):
        (tmp_path / "filled.jpg").write_bytes(PLAIN[:2] + b"\xff\xdb\0\2" + filler + PLAIN[2:])
        cost = cost_of(tmp_path / "filled.jpg")
        assert cost.said == "(17, 23, 3)"
        assert cost.seconds < 5


def test_a_picture_without_an_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cut.jpg").write_bytes(PLAIN[:-40])
    with pytest.raises(InputError, match=r"cut\.jpg: cannot be read as an image"):
        read_rgb(tmp_path / "cut.jpg")


def test_what_adobe_says_about_colours_is_kept(tmp_path: Path) -> None:
    content = made.saved(made.gradient("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in jpeg.read(content).data
    (tmp_path / "print.jpg").write_bytes(content)
    away = np.abs(read_rgb(tmp_path / "print.jpg").astype(int) - np.asarray(made.gradient("CMYK").convert("RGB")))
    assert away.mean() < 4
