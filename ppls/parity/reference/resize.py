"""What happens inside PaddleSeg's resizes: exact in float64, and nearest in place of bilinear when asked for."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import paddle

from .figures import difference
from .job_error import JobError


class Resizes:
    """Watches every `F.interpolate` of a model.

    Paddle computes the ratio of a resize, and the weights of the pixels, in float32 even for float64 tensors. Where
    float32 does not hold the ratio, a bilinear resize in float64 is therefore computed here, from the same definition,
    once Paddle's own result is found to differ from it by no more than that rounding.

    Attributes:
        exact: whether every resize so far was computed to the last bits of its type.
        replaced: how many resizes were made nearest.
        recomputed: how many were computed in float64.
        rounding: the largest scaled difference of these from Paddle's own.
    """

    def __init__(self, *, recompute: bool = False) -> None:
        self.exact = True
        self.replaced = 0
        self.recomputed = 0
        self.rounding = 0.0
        self._recompute = recompute
        self._depth = 0
        self._input: Any = None
        self._image: list[int] = []
        self._of_scales = False

    @contextmanager
    def watched(self, model: Any, upsample: str | None) -> Iterator[Resizes]:
        """Watches the resizes of `model`; with `upsample="nearest"` they become nearest, but for those of the logits.

        These stand in the top-level `forward` itself, and their size is the image's. A model that resizes the image has
        logits of several sizes: none of its own resizes are of features then.
        """
        functional: Any = paddle.nn.functional
        common: Any = functional.common
        original, exported = common.interpolate, functional.interpolate

        def interpolate(x: Any, *arguments: Any, **options: Any) -> Any:
            options = {
                **dict(zip(("size", "scale_factor", "mode", "align_corners", "align_mode"), arguments, strict=False)),
                **options,
            }
            self._of_scales |= x is self._input
            of_logits = self._depth == 0 and (self._of_scales or _sides(options.get("size")) == self._image)
            if upsample == "nearest" and not of_logits:
                self.replaced += 1
                return original(x, size=options.get("size"), scale_factor=options.get("scale_factor"), mode="nearest")
            return self._checked(x, original(x, **options), options)

        handles = [model.register_forward_pre_hook(self._see_image)]
        for sublayer in model.sublayers():
            handles.append(sublayer.register_forward_pre_hook(self._enter))
            handles.append(sublayer.register_forward_post_hook(self._leave))
        common.interpolate = functional.interpolate = interpolate
        kept = [*_kept(model, original)]
        for names, name, value in kept:
            names[name] = partial(interpolate, *value.args, **value.keywords)
        try:
            yield self
        finally:
            common.interpolate, functional.interpolate = original, exported
            for names, name, value in kept:
                names[name] = value
            for handle in handles:
                handle.remove()

    def _checked(self, x: Any, result: Any, options: Any) -> Any:
        """Paddle's `result`, or the same resize of `x` in float64."""
        mode = str(options.get("mode", "nearest")).lower()
        aligned = bool(options.get("align_corners", False))
        sides = list(zip(x.shape[2:], result.shape[2:], strict=True))
        if mode == "nearest" or all(_is_dyadic(before - aligned, after - aligned) for before, after in sides):
            return result
        centred = aligned or not options.get("align_mode")
        by_size = options.get("size") is not None or aligned  # with corners aligned the scale is not the ratio
        if not (self._recompute and mode == "bilinear" and centred and by_size and x.dtype == paddle.float64):
            self.exact = False
            return result
        rows, columns = (paddle.to_tensor(weights(before, after, aligned)) for before, after in sides)
        exact = rows @ x @ columns.T
        apart = difference(exact.numpy(), result.numpy()).max_abs / (float(x.abs().max()) or 1.0)
        if not apart <= max(x.shape[2:]) * 2.0**-22:  # float32 resolves a coordinate to its side times 2 ** -24
            raise JobError(f"Paddle's resize of {x.shape} to {result.shape} is not the bilinear one: {apart:.1e} apart")
        self.recomputed += 1
        self.rounding = max(self.rounding, apart)
        return exact

    def _see_image(self, layer: Any, inputs: Any) -> None:
        self._input, self._of_scales = inputs[0], False
        self._image = [int(side) for side in inputs[0].shape[2:]]

    def _enter(self, layer: Any, inputs: Any) -> None:
        self._depth += 1

    def _leave(self, layer: Any, inputs: Any, outputs: Any) -> None:
        self._depth -= 1


def _kept(model: Any, function: Any) -> Iterator[tuple[dict[str, Any], str, partial[Any]]]:
    """Where upstream keeps a function with some of its arguments: among the names of its modules and of its layers."""
    layers = [model, *model.sublayers()]
    modules = [sys.modules[name] for name in {type(layer).__module__ for layer in layers}]
    for each in (*modules, *layers):
        for name, value in each.__dict__.items():
            if isinstance(value, partial) and value.func is function:
                yield each.__dict__, name, value


def weights(before: int, after: int, aligned: bool) -> Any:
    """What each pixel of a side takes from each of the side before, as Paddle defines it: float64 (after, before)."""
    pixels = np.arange(after, dtype=np.float64)
    if after == 1:  # Paddle takes the first
        places = np.zeros(1)
    elif aligned:
        places = pixels * ((before - 1) / (after - 1))
    else:
        places = np.maximum((pixels + 0.5) * (before / after) - 0.5, 0.0)
    low = np.minimum(places.astype(np.int64), before - 1)
    high = np.minimum(low + 1, before - 1)
    result = np.zeros((after, before))
    np.add.at(result, (np.arange(after), low), 1.0 - (places - low))
    np.add.at(result, (np.arange(after), high), places - low)
    return result


def _sides(size: Any) -> list[int]:
    """Height and width as numbers: upstream gives them as numbers, tensors, or one tensor."""
    if size is None:
        return []
    return [int(side) for side in size]


def _is_dyadic(before: int, after: int) -> bool:
    """Whether float32 has the ratio of two sides exactly."""
    return before == after or (before > 0 and after > 0 and math.frexp(before / after)[0] == 0.5)
