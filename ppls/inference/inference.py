"""Running a model on one prepared image as PaddleSeg's `core/infer.py` does: scales, flips, sliding windows, memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import Error, UsageError
from ppls.images.transforms import Size
from ppls.models.sizes import run_padded


@dataclass(frozen=True)
class Inference:
    """How a model is run on an image.

    Attributes:
        scales: of the input; the logits of all are averaged, at the size of the input.
        flip: run on the mirror image too (left and right exchanged).
        flip_vertical: run on the image upside down too.
        window: (height, width) of a sliding window; None runs the image as a whole.
        stride: (height, width) from window to window. Default: the window's size.
    """

    scales: Sequence[float] = (1.0,)
    flip: bool = False
    flip_vertical: bool = False
    window: Size | None = None
    stride: Size | None = None

    def __post_init__(self) -> None:
        if not self.scales or any(not scale > 0 for scale in self.scales):
            raise UsageError(f"--scales {list(self.scales)}: scales are numbers above 0, such as 0.75,1.0,1.25")
        if self.stride is not None and self.window is None:
            raise UsageError("--stride is the step of a sliding window; give --tile too")
        if self.window and self.stride and any(s > w for s, w in zip(self.stride, self.window, strict=True)):
            raise UsageError(f"--stride {_text(self.stride)} is larger than --tile {_text(self.window)}: gaps are left")

    def __call__(self, model: nn.Module, image: Tensor) -> Tensor:
        """`image` (N, 3, H, W), prepared, to logits (N, num_classes, H, W).

        Raises:
            Error: the memory does not suffice; the message says which size does.
        """
        height, width = size = _size(image)
        if tuple(self.scales) == (1.0,) and not self.flip and not self.flip_vertical:
            return self._logits(model, image)
        flips = list(self._flips())
        total: Tensor | None = None
        for scale in self.scales:
            scaled = F.interpolate(image, (int(height * scale + 0.5), int(width * scale + 0.5)), mode="bilinear")
            for dims in flips:
                logits = self._logits(model, scaled.flip(dims) if dims else scaled)
                logits = F.interpolate(logits.flip(dims) if dims else logits, size, mode="bilinear")
                total = logits if total is None else total.add_(logits)
        assert total is not None
        return total.div_(len(self.scales) * len(flips))

    def _flips(self) -> Iterator[list[int]]:
        for vertical, horizontal in product((False, True), repeat=2):
            if (self.flip or not horizontal) and (self.flip_vertical or not vertical):
                yield [3] * horizontal + [2] * vertical

    def _logits(self, model: nn.Module, image: Tensor) -> Tensor:
        try:
            return _logits(model, image) if self.window is None else self._slide(model, image)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            failed = _size(image) if self.window is None else self.window
        raise _too_large(model, failed, image, tiled=self.window is not None)

    def _slide(self, model: nn.Module, image: Tensor) -> Tensor:
        """Windows from left to right and down, the last ones moved inwards; where they overlap, the mean."""
        assert self.window is not None
        height, width = _size(image)
        window_height, window_width = self.window
        down, right = self.stride or self.window
        total: Tensor | None = None
        count = torch.zeros(1, 1, height, width, dtype=torch.float64, device=image.device)
        for top in _starts(height, window_height, down):
            for left in _starts(width, window_width, right):
                area = (..., slice(top, top + window_height), slice(left, left + window_width))
                logits = _logits(model, image[area].contiguous())
                if total is None:  # float64, as PaddleSeg sums them
                    total = logits.new_zeros(*logits.shape[:2], height, width, dtype=torch.float64)
                total[area] += logits
                count[area] += 1
        assert total is not None
        return total / count


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch raised `error` because memory did not suffice, on any device."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def _starts(length: int, window: int, stride: int) -> list[int]:
    count = 1 if length <= window else math.ceil((length - window) / stride) + 1
    return [max(min(i * stride + window, length) - window, 0) for i in range(count)]


def _too_large(model: nn.Module, failed: Size, image: Tensor, *, tiled: bool) -> Error:
    fits = _largest_that_fits(model, failed, image)
    what = f"--tile {_text(failed)} does" if tiled else f"an image of {_text(failed)} (height x width) does"
    hint = f"{_text(fits)} fits: give --tile {_text(fits)}" if fits else "not even a small part of it fits"
    return Error(f"out of memory: {what} not fit into the memory of {image.device}; {hint}")


def _largest_that_fits(model: nn.Module, failed: Size, image: Tensor) -> Size | None:
    """A size that was tried and fits, by halving the longer side; in multiples of 32, the stride of the encoders."""
    height, width = failed
    while max(height, width) > 64:
        height, width = (height, width // 2) if width >= height else (height // 2, width)
        height, width = (max(32, side // 32 * 32) for side in (height, width))
        try:
            model(torch.zeros(1, image.shape[1], height, width, device=image.device, dtype=image.dtype))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        else:
            return height, width
    return None


def _logits(model: nn.Module, image: Tensor) -> Tensor:
    logits = run_padded(model, image)
    assert isinstance(logits, Tensor)
    return logits


def _size(image: Tensor) -> Size:
    return image.shape[-2], image.shape[-1]


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
