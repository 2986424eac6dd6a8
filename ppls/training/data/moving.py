"""PaddleSeg's transforms that flip, rotate and stretch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from ppls.images.transforms import PixelValue, Side
from ppls.schema import between
from ppls.training.data.cropping import LabelValue, colour_of
from ppls.training.data.draws import Draws
from ppls.training.data.opencv import check_size, cv2, resize
from ppls.training.data.pair import Array, Pair, Transform

Degrees = Annotated[float, between(-360, 360)]
Factor = Annotated[float, between(0, 1e3)]


def _warp(pair: Pair, matrix: Array, size: tuple[int, int], value: float, label_value: int) -> None:
    """By an affine matrix, to `size` (width, height)."""
    check_size(*size)
    pair.change(
        lambda image: cv2.warpAffine(
            image,
            matrix,
            dsize=size,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=colour_of(image, value),
        ),
        lambda label: cv2.warpAffine(
            label,
            matrix,
            dsize=size,
            flags=cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=label_value,
        ),
    )


@dataclass
class RandomHorizontalFlip(Transform):
    prob: float = 0.5

    def __call__(self, pair: Pair, draws: Draws) -> None:
        if draws.python.random() < self.prob:
            pair.change(lambda image: image[:, ::-1], lambda label: label[:, ::-1])


@dataclass
class RandomVerticalFlip(Transform):
    prob: float = 0.1

    def __call__(self, pair: Pair, draws: Draws) -> None:
        if draws.python.random() < self.prob:
            pair.change(lambda image: image[::-1], lambda label: label[::-1])


@dataclass
class RandomRotation(Transform):
    """Around the middle, onto a canvas that holds all of it."""

    max_rotation: Degrees = 15
    im_padding_value: PixelValue = 127.5
    label_padding_value: LabelValue = 255

    def __call__(self, pair: Pair, draws: Draws) -> None:
        if self.max_rotation <= 0:
            return
        height, width = pair.size
        angle = draws.numpy.uniform(-self.max_rotation, self.max_rotation)
        x, y = width // 2, height // 2
        matrix = cv2.getRotationMatrix2D((x, y), angle, 1.0)
        cosine, sine = np.abs(matrix[0, 0]), np.abs(matrix[0, 1])
        size = int((height * sine) + (width * cosine)), int((height * cosine) + (width * sine))
        matrix[0, 2] += (size[0] / 2) - x
        matrix[1, 2] += (size[1] / 2) - y
        _warp(pair, matrix, size, self.im_padding_value, self.label_padding_value)


@dataclass
class RandomScaleAspect(Transform):
    """A part of the image, of no less than `min_scale` of its area, stretched to the whole size; as it was where ten
    draws find none."""

    min_scale: Factor = 0.5
    aspect_ratio: Factor = 0.33

    def __call__(self, pair: Pair, draws: Draws) -> None:
        (height, width), place = pair.size, self._place(pair, draws)
        if place is not None:
            pair.change(
                lambda image: resize(image[place], (width, height)),
                lambda label: resize(label[place], (width, height), cv2.INTER_NEAREST),
            )

    def _place(self, pair: Pair, draws: Draws) -> tuple[slice, slice] | None:
        if self.min_scale == 0 or self.aspect_ratio == 0:
            return None
        height, width = pair.size
        for _ in range(10):
            area = height * width * draws.numpy.uniform(self.min_scale, 1.0)
            aspect = draws.numpy.uniform(self.aspect_ratio, 1.0 / self.aspect_ratio)
            across, down = int(np.sqrt(area * 1.0 * aspect)), int(np.sqrt(area * 1.0 / aspect))
            if draws.numpy.randint(10) < 5:
                across, down = down, across
            if down < height and across < width:
                top, left = draws.numpy.randint(0, height - down), draws.numpy.randint(0, width - across)
                return slice(top, top + down), slice(left, left + across)
        return None


@dataclass
class RandomAffine(Transform):
    """Rotated, scaled and moved, in 8 bits, to `size` (width, height)."""

    size: tuple[Side, Side] = (224, 224)
    translation_offset: float = 0
    max_rotation: Degrees = 15
    min_scale_factor: Factor = 0.75
    max_scale_factor: Factor = 1.25
    im_padding_value: PixelValue = 128
    label_padding_value: LabelValue = 255

    def __call__(self, pair: Pair, draws: Draws) -> None:
        (width, height), draw = self.size, draws.python.random
        right, bottom = pair.size[1] - 1, pair.size[0] - 1
        across, down = ((draw() - 0.5) * 2 * self.translation_offset for _ in range(2))
        moved = np.array([[1.0, 0, (width - right) / 2.0], [0, 1.0, (height - bottom) / 2.0], [0, 0, 1.0]])
        angle = draw() * 2 * self.max_rotation - self.max_rotation
        factor = draw() * (self.max_scale_factor - self.min_scale_factor) + self.min_scale_factor
        scale = float(factor * np.mean([float(width) / right, float(height) / bottom]))
        cosine, sine = scale * math.cos(angle / 180.0 * math.pi), scale * math.sin(angle / 180.0 * math.pi)
        x, y = width / 2.0 + across, height / 2.0 + down
        turned = np.array(
            [
                [cosine, sine, (1 - cosine) * x - sine * y],
                [-sine, cosine, sine * x + (1 - cosine) * y],
                [0, 0, 1.0],
            ]
        )
        pair.change(*[lambda values: values.astype(np.uint8)] * 2)
        _warp(pair, turned.dot(moved)[0:2, :], (width, height), self.im_padding_value, self.label_padding_value)
