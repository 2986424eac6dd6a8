"""Images that a model cannot take, told before it runs: a part that halves maps evenly says its `size_multiple`."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import InputError


def size_multiple(model: nn.Module) -> int:
    """Of what the sides of an image must be multiples, in pixels: 1 where the model takes every size."""
    return math.lcm(*(int(getattr(part, "size_multiple", 1)) for part in model.modules()))


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


def run_padded(model: nn.Module, image: Tensor) -> Any:
    """What a model gives for `image` (N, C, H, W), or the first of a list; of any size.

    Where the model does not take the size, or its logits are larger (DMNet's sides are eight times those of its last
    map), zeros stand below the image and at its right, and of the logits (N, num_classes, H, W) those of the image are
    returned.
    """
    multiple, (height, width) = size_multiple(model), image.shape[-2:]
    below, right = -height % multiple, -width % multiple
    logits = _first(model(F.pad(image, (0, right, 0, below)) if below or right else image))
    if not (below or right):
        below, right = logits.shape[-2] - height, logits.shape[-1] - width
        if min(below, right) < 0 or not (below or right):
            return logits
        logits = _first(model(F.pad(image, (0, right, 0, below))))
    return logits[..., :height, :width]


def _first(output: Any) -> Any:
    return _first(output[0]) if isinstance(output, (list, tuple)) else output
