"""PaddleSeg's transforms of the image's values alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from ppls.images.normalisation import HALF, normalise
from ppls.images.transforms import Normalize as _Normalize
from ppls.schema import between
from ppls.training.data.draws import Draws
from ppls.training.data.opencv import cv2
from ppls.training.data.pair import Pair, Transform

if TYPE_CHECKING:
    from PIL.Image import Image

Range = Annotated[float, between(0, 1e3)]


@dataclass
class Normalize(Transform):
    """Of pixels in 0..1; one number for all channels, or one for each."""

    mean: tuple[float, ...] = HALF
    std: tuple[float, ...] = HALF

    def __post_init__(self) -> None:
        _Normalize(self.mean, self.std)  # what it may be

    def __call__(self, pair: Pair, draws: Draws) -> None:
        pair.image = normalise(pair.image, self.mean, self.std)


@dataclass
class RandomNoise(Transform):
    prob: float = 0.5
    max_sigma: Range = 10.0

    def __call__(self, pair: Pair, draws: Draws) -> None:
        if draws.python.random() < self.prob:
            sigma = draws.python.random() * self.max_sigma
            image = np.array(pair.image, dtype=np.float32)
            image += draws.numpy.normal(0, sigma, image.shape)
            pair.image = image.clip(0, 255)


@dataclass
class RandomBlur(Transform):
    """One image of `int(1 / prob)`, in 8 bits; `blur_type`: gaussian (whatever it is called), median, blur, random."""

    prob: float = 0.1
    blur_type: str = "gaussian"

    def __call__(self, pair: Pair, draws: Draws) -> None:
        if self.prob > 0 and draws.numpy.randint(0, 1 if self.prob >= 1 else int(1.0 / self.prob)) == 0:
            side = draws.numpy.randint(3, 10) // 2 * 2 + 1  # odd
            kind = self.blur_type
            if kind == "random":
                drawn = draws.python.random()
                kind = "gaussian" if drawn < 0.3 else "median" if drawn < 0.6 else "blur"
            image = np.array(pair.image, dtype=np.uint8)
            if kind == "median":
                image = cv2.medianBlur(image, side)
            elif kind == "blur":
                image = cv2.blur(image, (side, side))
            else:
                image = cv2.GaussianBlur(image, (side, side), 0)
            pair.image = image
        pair.image = np.array(pair.image, dtype=np.float32)


@dataclass
class RandomDistort(Transform):
    """Brightness, contrast, saturation, sharpness and hue in an order that is drawn, by Pillow in 8 bits."""

    brightness_range: Range = 0.5
    brightness_prob: float = 0.5
    contrast_range: Range = 0.5
    contrast_prob: float = 0.5
    saturation_range: Range = 0.5
    saturation_prob: float = 0.5
    hue_range: Range = 18
    hue_prob: float = 0.5
    sharpness_range: Range = 0.5
    sharpness_prob: float = 0

    def __call__(self, pair: Pair, draws: Draws) -> None:
        from PIL import Image

        kinds = ["brightness", "contrast", "saturation", "sharpness"]
        if pair.image.ndim > 2:
            kinds.append("hue")
        draws.python.shuffle(kinds)
        image = Image.fromarray(pair.image.astype(np.uint8))
        for kind in kinds:
            if draws.numpy.uniform(0, 1) < getattr(self, f"{kind}_prob"):
                middle, reach = 0 if kind == "hue" else 1, getattr(self, f"{kind}_range")
                image = _distorted(image, kind, draws.numpy.uniform(middle - reach, middle + reach))
        pair.image = np.asarray(image).astype(np.float32)


def _distorted(image: Image, kind: str, amount: float) -> Any:
    from PIL import Image, ImageEnhance

    if kind == "hue":
        values = np.array(image.convert("HSV"))
        values[:, :, 0] = values[:, :, 0] + amount
        return Image.frombytes("HSV", image.size, values.tobytes()).convert("RGB")
    of = {
        "brightness": ImageEnhance.Brightness,
        "contrast": ImageEnhance.Contrast,
        "saturation": ImageEnhance.Color,
        "sharpness": ImageEnhance.Sharpness,
    }
    return of[kind](image).enhance(amount)
