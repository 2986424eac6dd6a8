"""PaddleSeg's transforms that pad and crop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from ppls.errors import InputError
from ppls.images.transforms import PixelValue, Side
from ppls.schema import at_least, between
from ppls.training.data.draws import Draws
from ppls.training.data.opencv import check_size, cv2, resize
from ppls.training.data.pair import Array, Pair, Transform

LabelValue = Annotated[int, between(-(1 << 31), (1 << 31) - 1)]


def colour_of(image: Array, value: float) -> tuple[float, ...]:
    """A value for each channel, as OpenCV wants it."""
    return (value,) * (1 if image.ndim == 2 else image.shape[2])


def _pad(pair: Pair, below: int, right: int, value: float, label_value: int) -> None:
    check_size(pair.size[1] + right, pair.size[0] + below)
    edges = (0, below, 0, right, cv2.BORDER_CONSTANT)
    pair.change(
        lambda image: cv2.copyMakeBorder(image, *edges, value=colour_of(image, value)),
        lambda label: cv2.copyMakeBorder(label, *edges, value=label_value),
    )


def _pad_to(pair: Pair, width: int, height: int, value: float, label_value: int) -> None:
    below, right = height - pair.size[0], width - pair.size[1]
    if below < 0 or right < 0:
        raise InputError(
            f"the image, {pair.size[1]}x{pair.size[0]}, is larger than the {width}x{height} that Padding makes"
        )
    _pad(pair, below, right, value, label_value)


@dataclass
class _Filled(Transform):
    im_padding_value: PixelValue = 127.5
    label_padding_value: LabelValue = 255


@dataclass(kw_only=True)
class Padding(_Filled):
    """To `target_size` (width, height), below and to the right."""

    target_size: tuple[Side, Side]

    def __call__(self, pair: Pair, draws: Draws) -> None:
        _pad_to(pair, *self.target_size, self.im_padding_value, self.label_padding_value)


@dataclass
class PaddingByAspectRatio(_Filled):
    """To width / height of `aspect_ratio`."""

    aspect_ratio: Annotated[float, between(1e-3, 1e3)] = 1.0

    def __call__(self, pair: Pair, draws: Draws) -> None:
        height, width = pair.size
        if width / height == self.aspect_ratio:
            return
        if width / height > self.aspect_ratio:
            height = int(width / self.aspect_ratio)
        else:
            width = int(height * self.aspect_ratio)
        _pad_to(pair, width, height, self.im_padding_value, self.label_padding_value)


@dataclass
class RandomPaddingCrop(_Filled):
    """To `crop_size` (width, height), padded below and to the right where the image is smaller.

    With a `category_max_ratio` below 1, places are drawn until no class has a larger part of the crop; the last one is
    taken. (PaddleSeg 2.8.0 puts the label where the image should be, and no model takes that.)
    """

    crop_size: tuple[Side, Side] = (512, 512)
    category_max_ratio: Annotated[float, at_least(1e-9)] = 1.0
    ignore_index: LabelValue = 255
    loop_times: Annotated[int, between(1, 10_000)] = 10

    def __call__(self, pair: Pair, draws: Draws) -> None:
        width, height = self.crop_size
        if pair.size == (height, width):
            return
        below, right = max(height - pair.size[0], 0), max(width - pair.size[1], 0)
        if below or right:
            _pad(pair, below, right, self.im_padding_value, self.label_padding_value)
        place = self._place(pair, draws)
        if self.category_max_ratio < 1 and pair.label is not None:
            for _ in range(self.loop_times):
                if self._is_mixed(pair.label[place]):
                    break
                place = self._place(pair, draws)
        pair.change(lambda image: image[place], lambda label: label[place])

    def _place(self, pair: Pair, draws: Draws) -> tuple[slice, slice]:
        (height, width), (right, below) = pair.size, self.crop_size
        top = draws.numpy.randint(0, max(height - below, 0) + 1)
        left = draws.numpy.randint(0, max(width - right, 0) + 1)
        return slice(top, top + below), slice(left, left + right)

    def _is_mixed(self, label: Array) -> bool:
        values, counts = np.unique(label, return_counts=True)
        counts = counts[values != self.ignore_index]
        return len(counts) > 1 and bool(np.max(counts) / np.sum(counts) < self.category_max_ratio)


@dataclass
class RandomCenterCrop(Transform):
    """To no less than `retain_ratio` of width and height."""

    retain_ratio: tuple[Annotated[float, between(0, 1)], Annotated[float, between(0, 1)]] = (0.5, 0.5)

    def __call__(self, pair: Pair, draws: Draws) -> None:
        if self.retain_ratio == (1, 1):
            return
        height, width = pair.size
        less_width, less_height = (
            _below(side * (1 - kept), draws) for side, kept in zip((width, height), self.retain_ratio, strict=True)
        )
        left, top = _below(less_width, draws), _below(less_height, draws)
        place = slice(top, height + top - less_height), slice(left, width + left - less_width)
        pair.change(lambda image: image[place], lambda label: label[place])


def _below(most: float, draws: Draws) -> int:
    """A number below `most`, whose fraction numpy cuts off; 0 where there is none."""
    return draws.numpy.randint(int(most)) if most >= 1 else 0


@dataclass
class ScalePadding(_Filled):
    """Padded to a square on both sides, then to `target_size` (width, height), in 8 bits and by cubic interpolation:
    the label too, which puts values between two classes where they meet."""

    target_size: tuple[Side, Side] = (512, 512)

    def __call__(self, pair: Pair, draws: Draws) -> None:
        pair.change(
            lambda image: self._scaled(image, self.im_padding_value),
            lambda label: self._scaled(label, self.label_padding_value),
        )

    def _scaled(self, image: Array, value: float) -> Array:
        height, width = image.shape[:2]
        side = max(height, width)
        check_size(side, side)
        square = np.zeros((side, side, *image.shape[2:])) + value
        top, left = int((side - height) / 2), int((side - width) / 2)
        square[top : top + height, left : left + width] = image
        return resize(square.astype(np.uint8), self.target_size, cv2.INTER_CUBIC)
