"""From an image to a model's input and back, as PaddleSeg's transforms do it (`paddleseg/transforms/`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ppls.converter.given import load_run
from ppls.errors import InputError, UsageError

Array = np.ndarray[Any, Any]
Size = tuple[int, int]  # height, width

# OpenCV's interpolations that torch computes with the same weights
_MODES = {"NEAREST": "nearest", "LINEAR": "bilinear", "CUBIC": "bicubic"}


@dataclass
class Prepared:
    """An image on its way through the steps.

    Attributes:
        pixels: float32 (H, W, 3), RGB.
        undo: what changed its size, the first step first: a resize or a padding, and the size (H, W) before it.
    """

    pixels: Array
    undo: list[tuple[str, Size]] = field(default_factory=list)

    @property
    def size(self) -> Size:
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def tensor(self) -> Tensor:
        """The model's input (1, 3, H, W)."""
        return torch.from_numpy(np.ascontiguousarray(self.pixels.transpose(2, 0, 1)))[None]


Step = Callable[[Prepared], None]


class Preprocessing:
    """PaddleSeg's `Compose` in evaluation: RGB in float32, then the steps in their order.

    Args:
        steps: in the words of PaddleSeg's config: `[{"type": "Resize", "target_size": [1024, 512]}, {"type":
            "Normalize"}]`. Default: `Normalize` with mean and std 0.5.
        origin: where the steps were read, for messages.

    Raises:
        UsageError: a step or one of its options is not known, or is random.
    """

    def __init__(self, steps: Sequence[Mapping[str, Any]] = ({"type": "Normalize"},), origin: str = "steps") -> None:
        self.steps = [_build(step, origin) for step in steps]

    @classmethod
    def from_run(cls, path: str | Path) -> Preprocessing:
        """The preprocessing of `val_dataset` in PaddleSeg's config of a run, or of an export's `deploy.yaml`.

        Raises:
            ConversionError: the file is missing, or no config.
            UsageError: it lists no transforms for evaluation, or unknown ones.
        """
        run = load_run(Path(path))
        for section in ("val_dataset", "Deploy", "test_dataset"):
            content = run.get(section)
            if isinstance(content, dict) and isinstance(content.get("transforms"), list):
                return cls(content["transforms"], str(path))
        raise UsageError(f"{path}: has no val_dataset with transforms; give --mean, --std and --resize instead")

    @classmethod
    def from_options(
        cls, mean: Sequence[float] | None = None, std: Sequence[float] | None = None, resize: Size | None = None
    ) -> Preprocessing:
        """A resize to `resize` (height, width), then `Normalize`; mean and std of pixels in 0..1, default 0.5."""
        steps: list[dict[str, Any]] = []
        if resize is not None:
            steps.append({"type": "Resize", "target_size": [resize[1], resize[0]]})
        normalize = {"mean": mean, "std": std}
        steps.append({"type": "Normalize", **{key: list(v) for key, v in normalize.items() if v is not None}})
        return cls(steps, "--mean, --std, --resize")

    def __call__(self, pixels: Array) -> Prepared:
        """`pixels`: RGB (H, W, 3) in 0..255. Raises `InputError` where an image is too large to be padded."""
        prepared = Prepared(pixels.astype(np.float32))
        for step in self.steps:
            step(prepared)
        return prepared


def restore(values: Tensor, undo: Sequence[tuple[str, Size]]) -> Tensor:
    """`values` (N, C, H, W), a model's output, at the size of the image before preprocessing."""
    for kind, (height, width) in reversed(undo):
        if kind == "padding":
            values = values[:, :, :height, :width]
        elif values.shape[-2:] != (height, width):
            values = F.interpolate(values, (height, width), mode="bilinear")
    return values


def _build(step: Mapping[str, Any], origin: str) -> Step:
    options = dict(step) if isinstance(step, Mapping) else {}
    name = options.pop("type", None)
    if name not in _STEPS:
        raise UsageError(f"{origin}: {name!r} is no transform for evaluation; ppls knows {', '.join(_STEPS)}")
    try:
        return _STEPS[name](**options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{origin}: {name}: {error}") from None


def _resized(image: Prepared, size: Size, mode: str = "bilinear") -> None:
    image.undo.append(("resize", image.size))
    _interpolate(image, size, mode)


def _interpolate(image: Prepared, size: Size, mode: str = "bilinear") -> None:
    if size == image.size:
        return
    resized = F.interpolate(image.tensor, (max(1, size[0]), max(1, size[1])), mode=mode)
    image.pixels = resized[0].permute(1, 2, 0).numpy()


def _scaled_to(image: Prepared, side: int, target: float) -> Size:
    """The size at which `side` has `target` pixels, rounded as PaddleSeg's `resize_long` and `resize_short` do."""
    scale = float(target) / float(side)
    height, width = image.size
    return round(height * scale), round(width * scale)


def _pair(value: Any, option: str) -> tuple[int, int]:
    if not isinstance(value, Sequence) or len(value) != 2 or not all(isinstance(v, int) and v > 0 for v in value):
        raise ValueError(f"{option} is [width, height] in pixels, got {value!r}")
    return value[0], value[1]


def _resize(
    target_size: Any = (512, 512), keep_ratio: bool = False, size_divisor: int | None = None, interp: str = "LINEAR"
) -> Step:
    target = _pair(target_size, "target_size")
    if interp not in _MODES:
        raise ValueError(f"interp {interp!r} is not supported; ppls has {', '.join(_MODES)}")

    def step(image: Prepared) -> None:
        width, height = target
        if keep_ratio:
            h, w = image.size
            scale = min(max(target) / max(w, h), min(target) / min(w, h))
            width, height = round(w * scale), round(h * scale)
        if size_divisor:
            width, height = (math.ceil(side / size_divisor) * size_divisor for side in (width, height))
        _resized(image, (height, width), _MODES[interp])

    return step


def _resize_by_long(long_size: int) -> Step:
    return lambda image: _resized(image, _scaled_to(image, max(image.size), long_size))


def _resize_by_short(short_size: int, max_size: float = 1e10) -> Step:
    if not isinstance(short_size, int):
        raise ValueError(f"short_size is a number of pixels, got {short_size!r}; a random choice is for training")

    def step(image: Prepared) -> None:
        # PaddleSeg keeps a size that one long image reduced for all that follow; here each image stands alone
        short, long = min(image.size), max(image.size)
        target = short_size if short_size / short * long <= max_size else int(max_size / long * short)
        _resized(image, _scaled_to(image, short, target))

    return step


def _limit_long(max_long: int | None = None, min_long: int | None = None) -> Step:
    def step(image: Prepared) -> None:
        long = max(image.size)
        target = min(long, max_long or long)
        if target == long:
            target = max(long, min_long or long)
        _resized(image, image.size if target == long else _scaled_to(image, long, target))

    return step


def _normalize(mean: Sequence[float] = (0.5,), std: Sequence[float] = (0.5,)) -> Step:
    for name, values in (("mean", mean), ("std", std)):
        if not isinstance(values, Sequence) or len(values) not in (1, 3):
            raise ValueError(f"{name} is a list of 1 or 3 numbers, got {values!r}")
    offset, divisor = np.array(mean, np.float64), np.array(std, np.float64)
    if not divisor.all():
        raise ValueError(f"std must not be 0, got {list(std)}")

    def step(image: Prepared) -> None:
        # in place, so that float32 is computed with float64's mean and then rounded, as PaddleSeg does
        image.pixels = image.pixels / np.float32(255.0)
        image.pixels -= offset
        image.pixels /= divisor

    return step


def _pad(image: Prepared, height: int, width: int, value: float) -> None:
    image.undo.append(("padding", image.size))
    below, right = height - image.size[0], width - image.size[1]
    if below < 0 or right < 0:
        raise InputError(
            f"the image, {image.size[1]}x{image.size[0]}, is larger than the {width}x{height} that Padding makes"
        )
    image.pixels = np.pad(image.pixels, ((0, below), (0, right), (0, 0)), constant_values=value)


def _padding(target_size: Any, im_padding_value: float = 127.5, label_padding_value: int = 255) -> Step:
    width, height = _pair(target_size, "target_size")
    return lambda image: _pad(image, height, width, im_padding_value)


def _padding_by_aspect_ratio(
    aspect_ratio: float = 1, im_padding_value: float = 127.5, label_padding_value: int = 255
) -> Step:
    def step(image: Prepared) -> None:
        height, width = image.size
        if width / height > aspect_ratio:
            height = int(width / aspect_ratio)
        elif width / height < aspect_ratio:
            width = int(height * aspect_ratio)
        else:
            return
        _pad(image, height, width, im_padding_value)

    return step


_STEPS: dict[str, Callable[..., Step]] = {
    "Normalize": _normalize,
    "Resize": _resize,
    "ResizeByLong": _resize_by_long,
    "ResizeByShort": _resize_by_short,
    "LimitLong": _limit_long,
    "Padding": _padding,
    "PaddingByAspectRatio": _padding_by_aspect_ratio,
}
