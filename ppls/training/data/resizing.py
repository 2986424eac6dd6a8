"""PaddleSeg's transforms that resize, the label by its nearest pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np

from ppls.images.transforms import Side
from ppls.schema import at_least, not_empty
from ppls.training.data.draws import Draws
from ppls.training.data.opencv import cv2, resize
from ppls.training.data.pair import Pair, Transform

_INTERPOLATIONS = {  # in PaddleSeg's order, of which `RANDOM` draws one
    "NEAREST": cv2.INTER_NEAREST,
    "LINEAR": cv2.INTER_LINEAR,
    "CUBIC": cv2.INTER_CUBIC,
    "AREA": cv2.INTER_AREA,
    "LANCZOS4": cv2.INTER_LANCZOS4,
}

Factor = Annotated[float, at_least(1e-3)]


def _resize(pair: Pair, width: int, height: int, interpolation: int = cv2.INTER_LINEAR) -> None:
    pair.change(
        lambda image: resize(image, (width, height), interpolation),
        lambda label: resize(label, (width, height), cv2.INTER_NEAREST),
    )


def _scale(pair: Pair, side: int, target: float) -> None:
    """So that `side` has `target` pixels: `resize_long` and `resize_short`."""
    scale = float(target) / float(side)
    height, width = pair.size
    _resize(pair, round(width * scale), round(height * scale))


@dataclass
class Resize(Transform):
    """To `target_size` (width, height), or as large as fits within."""

    target_size: tuple[Side, Side] = (512, 512)
    keep_ratio: bool = False
    size_divisor: Side | None = None
    interp: Literal["NEAREST", "LINEAR", "CUBIC", "AREA", "LANCZOS4", "RANDOM"] = "LINEAR"

    def __call__(self, pair: Pair, draws: Draws) -> None:
        name = draws.python.choice(list(_INTERPOLATIONS)) if self.interp == "RANDOM" else self.interp
        width, height = self.target_size
        if self.keep_ratio:
            h, w = pair.size
            scale = min(max(self.target_size) / max(w, h), min(self.target_size) / min(w, h))
            width, height = round(w * scale), round(h * scale)
        if self.size_divisor:
            width, height = (math.ceil(side / self.size_divisor) * self.size_divisor for side in (width, height))
        _resize(pair, width, height, _INTERPOLATIONS[name])


@dataclass
class ResizeByLong(Transform):
    long_size: Side

    def __call__(self, pair: Pair, draws: Draws) -> None:
        _scale(pair, max(pair.size), self.long_size)


@dataclass
class ResizeByShort(Transform):
    """Of a list for `short_size` one is drawn for all images; what one long image reduces stays so for the next."""

    short_size: Side | Annotated[list[Side], not_empty]
    max_size: Annotated[float, at_least(1)] = 1e10
    _short: int = field(default=0, init=False)

    def begin(self, draws: Draws) -> None:
        given = self.short_size
        self._short = draws.python.choice(given) if isinstance(given, list) else given

    def __call__(self, pair: Pair, draws: Draws) -> None:
        short, long = min(pair.size), max(pair.size)
        if self._short / short * long > self.max_size:
            self._short = int((self.max_size / long) * short)
        _scale(pair, short, self._short)


@dataclass
class LimitLong(Transform):
    max_long: Side | None = None
    min_long: Side | None = None

    def __post_init__(self) -> None:
        if self.max_long is not None and self.min_long is not None and self.min_long > self.max_long:
            raise ValueError(f"min_long, {self.min_long}, is more than max_long, {self.max_long}")

    def __call__(self, pair: Pair, draws: Draws) -> None:
        long = max(pair.size)
        if self.max_long is not None and long > self.max_long:
            _scale(pair, long, self.max_long)
        elif self.min_long is not None and long < self.min_long:
            _scale(pair, long, self.min_long)


@dataclass
class ResizeRangeScaling(Transform):
    """The long side to a size that is drawn."""

    min_value: Side = 400
    max_value: Side = 600

    def __post_init__(self) -> None:
        if self.min_value > self.max_value:
            raise ValueError(f"min_value, {self.min_value}, is more than max_value, {self.max_value}")

    def __call__(self, pair: Pair, draws: Draws) -> None:
        target = self.max_value
        if self.min_value != self.max_value:
            target = int(draws.numpy.uniform(self.min_value, self.max_value) + 0.5)
        _scale(pair, max(pair.size), target)


@dataclass
class ResizeStepScaling(Transform):
    """By a factor that is drawn, from a range or from its steps."""

    min_scale_factor: Factor = 0.75
    max_scale_factor: Factor = 1.25
    scale_step_size: Annotated[float, at_least(0)] = 0.25

    def __post_init__(self) -> None:
        if self.min_scale_factor > self.max_scale_factor:
            raise ValueError(
                f"min_scale_factor, {self.min_scale_factor}, is more than max_scale_factor, {self.max_scale_factor}"
            )

    def __call__(self, pair: Pair, draws: Draws) -> None:
        factor = self._factor(draws)
        height, width = pair.size
        _resize(pair, round(factor * width), round(factor * height))

    def _factor(self, draws: Draws) -> float:
        least, most, step = self.min_scale_factor, self.max_scale_factor, self.scale_step_size
        if least == most:
            return least
        if step == 0:
            return draws.numpy.uniform(least, most)
        factors = np.linspace(least, most, int((most - least) / step + 1)).tolist()
        draws.numpy.shuffle(factors)
        return float(factors[0])
