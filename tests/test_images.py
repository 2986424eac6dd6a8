"""Images of every kind, held against what OpenCV, PaddleSeg's reader, makes of them."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ppls.errors import InputError, UsageError
from ppls.images import open_label, read_rgb
from tests.images import made
from tests.material import SAMPLES

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


def test_a_grey_image_of_16_bits_keeps_the_upper_eight_in_every_format(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    for name in ("deep.pgm", "deep.png", "deep.tif"):
        cv2.imwrite(str(tmp_path / name), RNG.integers(0, 65536, (8, 8)).astype(np.uint16))
        assert np.array_equal(read_rgb(tmp_path / name), cv2.imread(str(tmp_path / name))[..., ::-1])


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


BOMBS: dict[str, bytes] = {
    "PNG": made.png(30000, 30000, depth=1, rows=1),
    "JPEG": made.saved(made.gradient(), "JPEG").replace(struct.pack(">HH", 17, 23), struct.pack(">HH", 30000, 30000)),
    "BMP": made.saved(made.gradient(), "BMP").replace(struct.pack("<II", 23, 17), struct.pack("<II", 30000, 30000)),
    "TIFF": made.tiff(made.grey_tiff(30000, 30000, strips=[8], strip_sizes=[4]), bytes(4)),
    "WebP": b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + 2 * struct.pack("<I", 29999)[:3] + bytes(8),
    "PPM": b"P6 30000 30000 255\n" + bytes(9),
}


@pytest.mark.parametrize("name", BOMBS)
def test_an_image_of_too_many_pixels_is_refused_with_its_size_before_pillow_sees_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppls.images._plugin", lambda format: pytest.fail(f"{format} was opened"))
    (tmp_path / "bomb").write_bytes(BOMBS[name])
    limit = (8 << 20) + 8 * len(BOMBS[name])
    with pytest.raises(InputError, match=f"is 30000x30000 pixels, more than the limit of {limit:,}; --max-pixels"):
        read_rgb(tmp_path / "bomb")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "TIFF", "WebP", "PPM"])
def test_the_limit_can_be_lowered_and_raised_beyond_pillows_own(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "image").write_bytes(made.saved(made.gradient(width=100, height=50), format))
    with pytest.raises(InputError, match="is 100x50 pixels, more than the limit of 4,999;"):
        read_rgb(tmp_path / "image", max_pixels=4999)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert read_rgb(tmp_path / "image", max_pixels=5000).shape == (50, 100, 3)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_a_limit_of_nothing_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--max-pixels 0"):
        read_rgb(tmp_path / "image.png", max_pixels=0)


def test_a_label_map_may_have_more_pixels_than_what_goes_through_a_model(tmp_path: Path) -> None:
    (tmp_path / "label.png").write_bytes(made.png(5000, 2000, depth=1))
    assert open_label(tmp_path / "label.png").size == (5000, 2000)
    with pytest.raises(InputError, match="is 5000x2000 pixels"):
        read_rgb(tmp_path / "label.png")


def test_no_side_is_longer_than_opencv_allows(tmp_path: Path) -> None:
    (tmp_path / "line.ppm").write_bytes(b"P5 1048577 1 255\n" + bytes(1048577))
    with pytest.raises(InputError, match="is 1048577x1 pixels, and no side may have more than 1,048,576"):
        read_rgb(tmp_path / "line.ppm")


def test_a_file_larger_than_any_image_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse.png").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InputError, match="is 1,099,511,627,776 bytes, more than the limit of 1,073,741,824"):
        read_rgb(tmp_path / "sparse.png")


OTHERS: dict[str, bytes] = {
    "EPS": made.saved(made.gradient(), "EPS"),
    "PDF": made.saved(made.gradient(), "PDF"),
    "DDS": made.saved(made.gradient(), "DDS"),
    "GIF": made.saved(made.gradient(), "GIF"),
    "ICO": made.saved(made.gradient(), "ICO"),
    "TGA": made.saved(made.gradient(), "TGA"),
    "PCX": made.saved(made.gradient(), "PCX"),
    "SGI": made.saved(made.gradient(), "SGI"),
    "PSD": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 17, 23, 8, 3) + bytes(12),
    "FITS": b"SIMPLE  =                    T".ljust(2880),
    "WMF": b"\xd7\xcd\xc6\x9a\0\0" + bytes(40),
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "PFM": b"Pf\n1 1\n-1.0\n" + bytes(4),
    "Pillow's own PPM": b"PyRGBA 1 1 255\n" + bytes(4),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_kinds_are_not_opened_whatever_their_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subprocess.check_call", lambda *_, **__: pytest.fail("a program was run"))
    (tmp_path / "photo.png").write_bytes(OTHERS[name])
    said = "of a kind that ppls does not open; known are JPEG, PNG, BMP, TIFF, WebP, PPM and PGM"
    for read in (read_rgb, open_label):
        with pytest.raises(InputError, match=said):
            read(tmp_path / "photo.png")


def test_a_dds_among_label_maps_is_refused() -> None:
    with pytest.raises(InputError, match="of a kind that ppls does not open"):
        open_label(SAMPLES / "hostile2/label-NotImplementedError-images.py-50.png")


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    for name, said in (
        (tmp_path / "pipe.png", "a pipe, not a file"),
        ("/dev/zero", "a device, not a file"),
        (tmp_path, "a folder, not a file"),
        (tmp_path / "loop.png", "symbolic links"),
        (tmp_path / ("x" * 300), "File name too long"),
        ("a\0b.png", "null byte"),
    ):
        with pytest.raises(InputError, match=f"cannot be read as an image: .*{said}"):
            read_rgb(name)


@pytest.mark.parametrize(("format", "options"), [("PNG", {}), ("TIFF", {}), ("MPO", {"quality": 95})])
def test_of_several_pictures_the_first_is_read_as_opencv_does(
    format: str, options: dict[str, Any], tmp_path: Path
) -> None:
    more = [Image.new("RGB", (23, 17)), Image.new("RGB", (23, 17), "red")]
    content = made.saved(made.gradient(), format, save_all=True, append_images=more, **options)
    (tmp_path / "several").write_bytes(content)
    found = read_rgb(tmp_path / "several").astype(int)
    assert np.abs(found - np.asarray(made.gradient())).mean() < 4


def test_an_animated_webp_is_refused_as_opencv_refuses_it(tmp_path: Path) -> None:
    content = made.saved(made.gradient(), "WEBP", save_all=True, append_images=[Image.new("RGB", (23, 17))])
    (tmp_path / "animation.webp").write_bytes(content)
    with pytest.raises(InputError, match="it is an animation of 2 frames; save the one that is meant"):
        read_rgb(tmp_path / "animation.webp")


TURNED = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: p[::-1].transpose(1, 0, 2),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: p[:, ::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize("format", ["PNG", "WebP", "TIFF"])
def test_every_orientation_is_put_upright_and_others_are_none(format: str, tmp_path: Path) -> None:
    upright = np.asarray(made.gradient())
    for orientation in (*TURNED, 0, 9, 65535):
        if format == "TIFF":
            options: dict[str, Any] = {"tiffinfo": {274: orientation}}
        else:
            exif = Image.Exif()
            exif[274] = orientation
            options = {"exif": exif, "lossless": True}
        (tmp_path / "turned").write_bytes(made.saved(made.gradient(), format, **options))
        expected = TURNED.get(orientation, TURNED[1])(upright)
        assert np.array_equal(read_rgb(tmp_path / "turned"), expected), orientation


def test_a_label_map_is_turned_by_tiffs_orientation_alone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    (tmp_path / "label.png").write_bytes(made.saved(made.gradient("L"), "PNG", exif=exif))
    assert open_label(tmp_path / "label.png").size == (23, 17)
    (tmp_path / "label.tif").write_bytes(made.saved(made.gradient("L"), "TIFF", tiffinfo={274: 6}))
    assert open_label(tmp_path / "label.tif").size == (17, 23)


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"II*\0",
        b"XX*\0\x08\0\0\0\1\0",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff",
        made.directory_of(2, 0),
        b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 274, 3, 2**32 - 1, 2**32 - 1) + bytes(4),
        b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHI4s", 274, 2, 4, b"6\0\0\0") + bytes(4),
    ],
    ids=range(8),
)
def test_broken_exif_leaves_the_image_as_it_is(exif: bytes, tmp_path: Path) -> None:
    plain = made.saved(made.gradient(), "JPEG")
    (tmp_path / "plain.jpg").write_bytes(plain)
    (tmp_path / "exif.jpg").write_bytes(plain[:2] + made.segment(0xE1, b"Exif\0\0" + exif) + plain[2:])
    assert np.array_equal(read_rgb(tmp_path / "exif.jpg"), read_rgb(tmp_path / "plain.jpg"))
    (tmp_path / "exif.png").write_bytes(made.png(5, 4, made.chunk(b"eXIf", exif)))
    assert not read_rgb(tmp_path / "exif.png").any()


def test_one_pixel_is_an_image_and_none_is_not(tmp_path: Path) -> None:
    for format in ("PNG", "JPEG", "BMP", "TIFF", "WebP", "PPM"):
        (tmp_path / "one").write_bytes(made.saved(Image.new("RGB", (1, 1), "white"), format))
        assert read_rgb(tmp_path / "one").shape == (1, 1, 3)
    (tmp_path / "none").write_bytes(made.png(0, 7))
    with pytest.raises(InputError, match="has no pixels, its size is 0x7"):
        read_rgb(tmp_path / "none")


def test_damage_leaves_nothing_on_stderr(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    whole = bytearray(made.saved(made.gradient(), "TIFF", compression="tiff_adobe_deflate"))
    whole[12:20] = bytes(8)
    (tmp_path / "damaged.tif").write_bytes(whole)
    with pytest.raises(InputError, match=r"damaged\.tif: cannot be read as an image"):
        read_rgb(tmp_path / "damaged.tif")
    os.write(2, b"stderr is back")
    assert capfd.readouterr().err == "stderr is back"
    assert not recwarn.list
