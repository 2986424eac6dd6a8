"""Pixels as a model takes them: to the last bit as PaddleSeg's transforms have them."""

import numpy as np
import pytest

from ppls.images.normalisation import batch_of, normalise, pixels_of


def every_pixel() -> np.ndarray:
    return np.arange(256 * 3, dtype=np.uint16).reshape(16, 16, 3).astype(np.uint8)


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.5,)), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
def test_the_values_are_those_of_paddleseg_to_the_last_bit(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    functional = pytest.importorskip("paddleseg.transforms.functional")
    shaped = (np.array(values)[np.newaxis, np.newaxis] for values in (mean, std))  # as its Normalize gives them
    expected = functional.normalize(every_pixel(), *shaped)
    assert np.array_equal(normalise(every_pixel(), mean, std), expected)


def test_the_pixels_come_back() -> None:
    assert np.array_equal(pixels_of(normalise(every_pixel())), every_pixel())
    assert pixels_of(np.float32([[[-3.0, 0.0, 3.0]]])).tolist() == [[[0, 128, 255]]]


def test_a_batch_has_the_channels_first() -> None:
    image = np.arange(2 * 4 * 3, dtype=np.float32).reshape(2, 4, 3)
    batch = batch_of(image)
    assert batch.shape == (1, 3, 2, 4)
    assert batch.flags.c_contiguous
    assert batch[0, 2, 1, 3] == image[1, 3, 2]
