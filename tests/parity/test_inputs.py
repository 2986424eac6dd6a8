"""What both frameworks are run on."""

import os

import numpy as np
import pytest
from PIL import Image

from ppls.errors import ParityError, UsageError
from ppls.parity.inputs import PHOTOGRAPHS, calibration_crops, choose_inputs, default_inputs, read_image


def test_the_default_inputs_are_photographs_noise_an_odd_size_one_whose_thirty_second_is_a_pixel_and_a_batch():
    inputs = {given.name: given.array for given in default_inputs()}
    assert {name: array.shape for name, array in inputs.items()} == {
        "coffee 512x1024": (1, 3, 512, 1024),
        "astronaut 400x500": (1, 3, 400, 500),
        "noise 128x256": (1, 3, 128, 256),
        "chelsea 65x129": (1, 3, 65, 129),
        "rocket 32x32": (1, 3, 32, 32),
        "batch of 2, 96x64": (2, 3, 96, 64),
        "strong noise 64x96": (1, 3, 64, 96),
    }
    assert [given.name for given in default_inputs() if given.strong] == ["strong noise 64x96"]
    assert all(array.dtype == np.float32 for array in inputs.values())
    assert all(array.std() > 0.1 for array in inputs.values())


def test_the_seed_decides_the_noise():
    first, again, other = (choose_inputs([(33, 40)], seed=seed)[1].array for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_sizes_and_images_replace_the_defaults(tmp_path):
    Image.new("RGB", (20, 10), (255, 0, 0)).save(tmp_path / "red.png")
    inputs = choose_inputs([(64, 96)], [tmp_path / "red.png"])
    assert [given.array.shape for given in inputs] == [(1, 3, 10, 20), (1, 3, 64, 96), (1, 3, 64, 96)]
    assert inputs[0].array[0, :, 0, 0].tolist() == [1.0, -1.0, -1.0]


@pytest.mark.parametrize("name", ["coffee.jpg", "astronaut.jpg"])
def test_an_image_is_prepared_exactly_as_paddleseg_prepares_it(name):
    cv2 = pytest.importorskip("cv2")
    functional = pytest.importorskip("paddleseg.transforms.functional")
    expected = cv2.cvtColor(cv2.imread(str(PHOTOGRAPHS / name)), cv2.COLOR_BGR2RGB)
    mean = std = np.array([[[0.5, 0.5, 0.5]]], np.float32)
    expected = functional.normalize(expected.astype("float32"), mean, std).transpose(2, 0, 1)
    # the two JPEG decoders may differ in the last bit of a pixel; the arithmetic after them may not
    pixels = np.rint((read_image(PHOTOGRAPHS / name)[0] - expected) * 127.5)
    assert np.abs(pixels).max() <= 2
    assert np.mean(read_image(PHOTOGRAPHS / name)[0] == expected) > 0.99


def test_grey_alpha_and_palette_images_become_three_channels(tmp_path):
    for mode in ("L", "LA", "RGBA", "P", "1"):
        Image.new("RGB", (6, 4), (10, 200, 30)).convert(mode).save(tmp_path / f"{mode}.png")
        assert read_image(tmp_path / f"{mode}.png").shape == (1, 3, 4, 6)


def test_a_photo_is_turned_as_its_exif_orientation_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    Image.new("RGB", (20, 10)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (1, 3, 20, 10)


def test_sixteen_bit_images_keep_their_upper_byte_as_in_opencv(tmp_path):
    cv2 = pytest.importorskip("cv2")
    values = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    cv2.imwrite(str(tmp_path / "deep.png"), values)
    expected = cv2.imread(str(tmp_path / "deep.png"))[:, :, 0].astype(np.float32)
    assert np.allclose(read_image(tmp_path / "deep.png")[0, 0], expected / 127.5 - 1, atol=1e-6)


def test_a_file_that_is_not_an_image_is_named(tmp_path):
    (tmp_path / "notes.png").write_text("not an image")
    with pytest.raises(ParityError, match=r"notes\.png: cannot be read as an image"):
        read_image(tmp_path / "notes.png")
    with pytest.raises(ParityError, match=r"absent\.png: no such image"):
        read_image(tmp_path / "absent.png")


def test_a_truncated_image_is_named(tmp_path):
    (tmp_path / "half.jpg").write_bytes((PHOTOGRAPHS / "coffee.jpg").read_bytes()[:20000])
    with pytest.raises(ParityError, match=r"half\.jpg: cannot be read as an image"):
        read_image(tmp_path / "half.jpg")


def test_a_size_of_zero_is_wrong_usage():
    with pytest.raises(UsageError, match="0x5"):
        choose_inputs([(0, 5)])


def test_the_calibration_crops_are_distinct_and_from_every_photograph():
    crops = calibration_crops(0)
    assert crops.shape == (20, 3, 128, 256)
    assert len({crop.tobytes() for crop in crops}) == 20


def test_every_photograph_is_named_with_its_licence():
    described = (PHOTOGRAPHS / "README.md").read_text()
    for path in PHOTOGRAPHS.glob("*.jpg"):
        assert path.name in described
        assert path.stat().st_size < 100_000


def test_an_image_of_too_many_pixels_is_refused_and_the_limit_can_be_raised(tmp_path):
    Image.new("RGB", (20, 10)).save(tmp_path / "image.png")
    with pytest.raises(ParityError, match=r"image\.png: is 20x10 pixels, more than the limit of 199; --max-pixels"):
        choose_inputs(images=[tmp_path / "image.png"], max_pixels=199)
    assert choose_inputs(images=[tmp_path / "image.png"], max_pixels=200)[0].array.shape == (1, 3, 10, 20)


def test_what_is_no_file_or_of_another_kind_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ParityError, match=r"pipe\.png: cannot be read as an image: a pipe, not a file"):
        read_image(tmp_path / "pipe.png")
    Image.new("RGB", (20, 10)).save(tmp_path / "photo.png", "EPS")
    with pytest.raises(ParityError, match=r"photo\.png: .*of a kind that ppls does not open"):
        read_image(tmp_path / "photo.png")
