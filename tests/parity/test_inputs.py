"""What both frameworks are run on."""

import os

import numpy as np
import pytest
from PIL import Image

from ppls.errors import ParityError, UsageError
from ppls.parity.inputs import (
    PHOTOGRAPHS,
    calibration_crops,
    choose_inputs,
    default_inputs,
    for_gradient,
    names_left_out,
    noise,
    read_image,
)


def test_the_default_inputs_vary_whatever_an_output_may_depend_on():
    given = default_inputs()
    arrays = [each.array for each in given]
    assert all(array.dtype == np.float32 and array.shape[1] == 3 for array in arrays)
    assert len({each.name for each in given}) == len(given)
    sides = {array.shape[2:] for array in arrays}
    assert {len(array) for array in arrays} == {1, 2, 3}
    assert any(height > 1024 for height, _ in sides)
    assert any(width > 1024 for _, width in sides)
    assert any(height > width for height, width in sides)
    assert any(height % 2 and width % 2 for height, width in sides)
    assert any(prime(height) and prime(width) for height, width in sides)
    tokens = [(height // 32, width // 32) for height, width in sides if height % 32 == width % 32 == 0]
    square, other = (2, 2), (1, 4)  # as many tokens, and a square number of them
    assert tokens.count(square) == tokens.count(other) == 1
    assert (1, 1) in tokens


def prime(side: int) -> bool:
    return all(side % divisor for divisor in range(2, side))


def test_the_values_of_one_shape_are_dark_bright_of_one_colour_usual_and_strong():
    same = {each.name: each for each in default_inputs() if each.array.shape == (1, 3, 96, 64)}
    ranges = {name: (each.array.min(), each.array.max()) for name, each in same.items()}
    assert ranges["dark 96x64"][1] <= -0.8 <= 0.8 <= ranges["bright 96x64"][0]
    assert np.ptp(same["one colour 96x64"].array, axis=(2, 3)).max() == 0
    assert len(set(same["one colour 96x64"].array[0, :, 0, 0].tolist())) == 3
    assert [name for name, each in same.items() if each.strong] == ["strong noise 96x64"]
    assert np.abs(same["strong noise 96x64"].array).max() > 16


def test_the_images_of_the_batch_of_three_are_there_one_by_one_and_not_in_order():
    arrays = {each.name: each.array for each in default_inputs()}
    singles = [arrays[name] for name in ("bright 96x64", "coffee 96x64", "dark 96x64")]
    assert np.array_equal(arrays["batch of 3, 96x64"], np.concatenate(singles))
    brightness = arrays["batch of 3, 96x64"].mean(axis=(1, 2, 3))
    assert list(brightness) == sorted(brightness, reverse=True)


def test_the_default_inputs_cost_little_beside_the_large_one():
    first, *others = (each.array for each in default_inputs())
    assert first.shape == (1, 3, 512, 1024)
    assert sum(array[:, 0].size for array in others) < first[:, 0].size / 2


def test_the_gradient_is_taken_on_a_small_image_of_an_odd_size():
    assert for_gradient(default_inputs()) == "coffee 97x61"
    assert for_gradient([noise(32, 64), noise(64, 64)]) == "noise 32x64"
    assert for_gradient([noise(512, 512)]) is None


def test_the_seed_decides_the_noise():
    first, again, other = (choose_inputs([(33, 40)], seed=seed, only=True)[1].array for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_sizes_and_images_add_to_the_defaults_or_are_all_there_is(tmp_path):
    Image.new("RGB", (20, 10), (255, 0, 0)).save(tmp_path / "red.png")
    inputs = choose_inputs([(64, 96)], [tmp_path / "red.png"], only=True)
    both = choose_inputs([(64, 96)], [tmp_path / "red.png"])
    assert [given.name for given in both] == [given.name for given in (*default_inputs(), *inputs)]
    assert names_left_out(inputs) == [given.name for given in default_inputs()]
    assert names_left_out(both) == []
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


def test_a_size_that_is_a_default_already_is_run_once_and_not_left_out():
    chosen = [given.name for given in choose_inputs([(512, 1024)])]
    assert len(chosen) == len(set(chosen)) == len(default_inputs()) + 1  # its noise
    assert "coffee 512x1024" not in names_left_out(choose_inputs([(512, 1024)], only=True))


def test_only_the_default_inputs_cannot_be_left_out():
    with pytest.raises(UsageError, match="--only leaves out the default inputs: say with --size or --image"):
        choose_inputs(only=True)


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
    assert choose_inputs(images=[tmp_path / "image.png"], max_pixels=200, only=True)[0].array.shape == (1, 3, 10, 20)


def test_what_is_no_file_or_of_another_kind_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ParityError, match=r"pipe\.png: cannot be read as an image: a pipe, not a file"):
        read_image(tmp_path / "pipe.png")
    Image.new("RGB", (20, 10)).save(tmp_path / "photo.png", "EPS")
    with pytest.raises(ParityError, match=r"photo\.png: .*of a kind that ppls does not open"):
        read_image(tmp_path / "photo.png")
