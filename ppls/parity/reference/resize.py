"""What happens inside PaddleSeg's resizes: which ratios they use, and nearest in place of bilinear when asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import paddle


class Resizes:
    """Watches every `F.interpolate` of a model.

    Attributes:
        dyadic: whether every ratio so far was a power of two. Paddle computes the ratio in float32 even for float64
            tensors, so only then can two frameworks agree to the last bits of float64.
        replaced: how many resizes were made nearest.
    """

    def __init__(self) -> None:
        self.dyadic = True
        self.replaced = 0
        self._depth = 0
        self._image: list[int] = []

    @contextmanager
    def watched(self, model: Any, upsample: str | None) -> Iterator[Resizes]:
        """Watches the resizes of `model`; with `upsample="nearest"` they become nearest, but for those of the logits.

        These stand in the top-level `forward` itself, and their size is the image's.
        """
        common: Any = paddle.nn.functional.common
        original = common.interpolate

        def interpolate(x: Any, *arguments: Any, **options: Any) -> Any:
            size = options.get("size", arguments[0] if arguments else None)
            of_logits = self._depth == 0 and _sides(size) == self._image
            if upsample == "nearest" and not of_logits:
                self.replaced += 1
                scale_factor = options.get("scale_factor", arguments[1] if len(arguments) > 1 else None)
                result = original(x, size=size, scale_factor=scale_factor, mode="nearest")
            else:
                result = original(x, *arguments, **options)
            aligned = bool(options.get("align_corners", False))
            for before, after in [(x.shape[axis], result.shape[axis]) for axis in range(2, len(x.shape))]:
                self.dyadic = self.dyadic and _is_dyadic(before - aligned, after - aligned)
            return result

        handles = [model.register_forward_pre_hook(self._see_image)]
        for sublayer in model.sublayers():
            handles.append(sublayer.register_forward_pre_hook(self._enter))
            handles.append(sublayer.register_forward_post_hook(self._leave))
        functional: Any = paddle.nn.functional
        common.interpolate = functional.interpolate = interpolate
        try:
            yield self
        finally:
            common.interpolate = functional.interpolate = original
            for handle in handles:
                handle.remove()

    def _see_image(self, layer: Any, inputs: Any) -> None:
        self._image = [int(side) for side in inputs[0].shape[2:]]

    def _enter(self, layer: Any, inputs: Any) -> None:
        self._depth += 1

    def _leave(self, layer: Any, inputs: Any, outputs: Any) -> None:
        self._depth -= 1


def _sides(size: Any) -> list[int]:
    """Height and width as numbers: upstream gives them as numbers, tensors, or one tensor."""
    if size is None:
        return []
    return [int(side) for side in size]


def _is_dyadic(before: int, after: int) -> bool:
    """Whether float32 has the ratio of two sides exactly."""
    return before == after or (before > 0 and after > 0 and math.frexp(before / after)[0] == 0.5)
