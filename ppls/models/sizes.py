"""Images that a model cannot take, told before it runs.

A part that halves maps evenly says its `size_multiple`, one that pools by windows of a fixed size its `least_size`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import InputError


def size_multiple(model: nn.Module) -> int:
    """Of what the sides of an image must be multiples, in pixels: 1 where the model takes every size."""
    return math.lcm(*(int(getattr(part, "size_multiple", 1)) for part in model.modules()))


def least_size(model: nn.Module) -> int:
    """The shortest side of an image that a model takes, in pixels: 1 where it takes every one."""
    return max(int(getattr(part, "least_size", 1)) for part in model.modules())


def check_least_size(part: nn.Module, image: Tensor) -> None:
    """Refuses an image that is smaller than the part says it must be.

    Raises `InputError`: the size, and that to which the image can be padded.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[no-untyped-call]
        return
    least, (height, width) = least_size(part), image.shape[-2:]
    if min(height, width) < least:
        raise InputError(
            f"an image of {height}x{width} (height x width): a model with a {type(part).__name__} of these options "
            f"takes sides of {least} and more; pad it to {max(height, least)}x{max(width, least)}"
        )


def check_size(part: nn.Module, image: Tensor) -> None:
    """Refuses an image of a size that the part says it cannot take.

    Raises `InputError`: the sizes, and those to which the image can be padded.
    """
    # there the sides may stand for any number
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[no-untyped-call]
        return
    multiple, (height, width) = size_multiple(part), image.shape[-2:]
    high, wide = (-(-side // multiple) * multiple for side in (height, width))
    if (high, wide) != (height, width):
        raise InputError(
            f"an image of {height}x{width} (height x width): a model with a {type(part).__name__} takes sides that are "
            f"multiples of {multiple}; pad it to {high}x{wide}"
        )


def padded_size(model: nn.Module, size: Sequence[int]) -> tuple[int, int]:
    """The least height and width that a model takes and that hold an image of this size, in pixels."""
    multiple, least = size_multiple(model), least_size(model)
    height, width = (-(-max(side, least) // multiple) * multiple for side in size)
    return height, width


def run_padded(model: nn.Module, image: Tensor) -> Any:
    """What a model gives for `image` (N, C, H, W), or the first of a list; of any size.

    Where the model does not take the size, or its logits are larger (DMNet's sides are eight times those of its last
    map), zeros stand below the image and at its right, and of the logits (N, num_classes, H, W) those of the image are
    returned.
    """
    (height, width), (high, wide) = image.shape[-2:], padded_size(model, image.shape[-2:])
    below, right = high - height, wide - width
    logits = _first(model(F.pad(image, (0, right, 0, below)) if below or right else image))
    if not (below or right):
        below, right = logits.shape[-2] - height, logits.shape[-1] - width
        if min(below, right) < 0 or not (below or right):
            return logits
        logits = _first(model(F.pad(image, (0, right, 0, below))))
    return logits[..., :height, :width]


def _first(output: Any) -> Any:
    return _first(output[0]) if isinstance(output, (list, tuple)) else output
