"""Operators of upstream that do not run on today's Paddle, replaced one by one; the report says which.

PSANet_paddle compiles its `psamask` from C++ and CUDA when it is imported, for a Paddle whose interface has gone since.
SFNet and DecoupledSegNet divide a flow by whole numbers, PointRend concatenates numbers of two types, and GSCNN maps of
two in float64, which Paddle 3 refuses; PointRend chooses points by `topk`, whose values it does not use; and PIDNet
asks for the normalisation of several GPUs on any machine. Where maxima tie, a pooling says again where it said before
that they stand. Nothing else of upstream is touched.
"""

from __future__ import annotations

import sys
import types
from functools import wraps
from pathlib import Path
from typing import Any

from .maxima import MAXIMA

# The module that holds the operator, the operator, and what a report says of it.
PSAMASK = "paddleseg.models.ops"
REPLACED = "psamask, C++ and CUDA for an older Paddle, by a gather"
DIVIDED = "division by whole numbers, which this Paddle refuses, by one by the same numbers in floating point"

CONCATENATED = (
    "concat of single whole numbers of several types, which this Paddle refuses, by one of vectors of one type"
)
WIDENED = "concat of float32 and float64, which GSCNN asks for with its edges at any precision, by one in float64"
SAMPLED = "grid_sample of points in float32, which PointRend counts in at any precision, by one in that of the map"
ALONE = "sync_batch_norm, which Paddle has for GPUs alone, by the batch_norm of one device"
CHOSEN = "topk, which ends this Paddle on the way back from a choice alone, by a gather of what it chose"

_NEAR = 64  # roundings: scores of points that are no farther apart tie

_adapted: dict[str, None] = {}
_ties: list[tuple[int, int]] = []


def replace_operators(paddleseg: Path) -> list[str]:
    """Replaces what does not run of the package in the folder `paddleseg`, not imported yet; returns what that is."""
    if not (paddleseg / "paddleseg" / "models" / "ops" / "psamask.cc").exists():
        return []
    module: Any = types.ModuleType(PSAMASK)
    module.psa_mask_op = psa_mask
    sys.modules[PSAMASK] = module
    return [REPLACED]


def adapt_paddle() -> None:
    """Has Paddle do what upstream asks of it and it refuses by now: its own result where it does not refuse."""
    import paddle

    tensor, functional = paddle.Tensor, paddle.nn.functional
    division = _or_else(tensor.__truediv__, _divided_by_whole_numbers, DIVIDED)
    tensor.__truediv__ = tensor.__div__ = division
    of_numbers = _or_else(paddle.concat, _concat_of_single_numbers, CONCATENATED)
    paddle.concat = _or_else(of_numbers, _concat_in_the_wider_type, WIDENED)
    functional.grid_sample = _or_else(functional.grid_sample, _sampled_in_one_precision, SAMPLED)
    paddle.topk = _choosing(paddle.topk)
    functional.max_pool2d = MAXIMA.remembering(functional.max_pool2d, paddle.to_tensor)
    paddle.nn.SyncBatchNorm.forward = _of_one_device(paddle.nn.SyncBatchNorm.forward)


def adapted() -> list[str]:
    """What a report says of what Paddle refused since it was asked last."""
    said = list(_adapted)
    _adapted.clear()
    return said


def ties() -> list[tuple[int, int]]:
    """Of each choice of points since it was asked last that hangs on a tie: how many points tie, of how many."""
    said = list(_ties)
    _ties.clear()
    return said


def _or_else(original: Any, otherwise: Any, said: str) -> Any:
    @wraps(original)
    def function(*arguments: Any, **options: Any) -> Any:
        try:
            return original(*arguments, **options)
        except (TypeError, ValueError):
            changed = otherwise(*arguments, **options)
            if changed is None:
                raise
        done = original(*changed, **options)
        _adapted[said] = None
        return done

    return function


def _divided_by_whole_numbers(x: Any, by: Any) -> Any:
    import paddle

    if isinstance(by, paddle.Tensor) and x.is_floating_point() and not by.is_floating_point():
        return x, by.astype(x.dtype)
    return None


def _concat_of_single_numbers(x: Any, *arguments: Any, **options: Any) -> Any:
    if any(part.ndim or int(part) != float(part) for part in x):
        return None
    return [part.astype("int64").reshape([1]) for part in x], *arguments


def _concat_in_the_wider_type(x: Any, *arguments: Any, **options: Any) -> Any:
    import paddle

    if {part.dtype for part in x} != {paddle.float32, paddle.float64}:
        return None
    return [part.astype("float64") for part in x], *arguments


def _sampled_in_one_precision(x: Any, grid: Any, *arguments: Any, **options: Any) -> Any:
    return (x, grid.astype(x.dtype), *arguments) if x.dtype != grid.dtype else None


def _of_one_device(forward: Any) -> Any:
    @wraps(forward)
    def normalised(layer: Any, x: Any) -> Any:
        try:
            return forward(layer, x)
        except RuntimeError:  # the machine has no such kernel
            import paddle

            _adapted[ALONE] = None
            return paddle.nn.functional.batch_norm(
                x,
                layer._mean,
                layer._variance,
                layer.weight,
                layer.bias,
                layer.training,
                layer._momentum,
                layer._epsilon,
                layer._data_format,
            )

    return normalised


def _choosing(topk: Any) -> Any:
    @wraps(topk)
    def chosen(x: Any, k: Any, axis: Any = None, *arguments: Any, **options: Any) -> Any:
        if x.ndim == 2 and int(k) < x.shape[1]:
            _note_ties(topk, x.detach(), int(k))
        if x.stop_gradient:
            return topk(x, k, axis, *arguments, **options)
        import paddle

        _adapted[CHOSEN] = None
        _, indices = topk(x.detach(), k, axis, *arguments, **options)
        return paddle.take_along_axis(x, indices, -1 if axis is None else axis), indices

    return chosen


def _note_ties(topk: Any, scores: Any, k: int) -> None:
    import numpy as np  # with Paddle: where that is missing, this module is read all the same

    last = topk(scores, k + 1, 1)[0].numpy()[:, -2:]
    scores = scores.numpy()
    near = _NEAR * np.finfo(scores.dtype).eps * np.abs(scores).max()
    tied = int((np.abs(scores - last.mean(axis=1, keepdims=True)) <= near).sum())
    if (last[:, 0] - last[:, 1] <= near).any():
        _ties.append((tied, scores.shape[1]))


def psa_mask(
    mask: Any, psa_type: int, batch: int, height: int, width: int, mask_h: int, mask_w: int, half_h: int, half_w: int
) -> Any:
    """Weights by offset as weights by pixel: `(N, mask_h * mask_w, H, W)` to `(N, H * W, H, W)`.

    For a pixel (y, x) and another (y', x') the weight stands in channel `(y' - y + half_h) * mask_w + x' - x + half_w`
    at (y, x); it is 0 for pixels out of the window. `psa_type` 1 (distribute) has it at `[y * W + x, y', x']`, 0
    (collect) at `[y' * W + x', y, x]`.
    """
    import paddle

    y, x = (axis.flatten() for axis in paddle.meshgrid(paddle.arange(height), paddle.arange(width)))
    row = y.unsqueeze(0) - y.unsqueeze(1) + half_h  # (H * W, H * W), from each pixel to each other
    column = x.unsqueeze(0) - x.unsqueeze(1) + half_w
    inside = (row >= 0) & (row < mask_h) & (column >= 0) & (column < mask_w)
    channel = (row.clip(0, mask_h - 1) * mask_w + column.clip(0, mask_w - 1)).unsqueeze(0)
    by_pixel = mask.flatten(2).transpose([0, 2, 1])
    weights = paddle.take_along_axis(by_pixel, channel.expand([by_pixel.shape[0], -1, -1]), axis=2)
    weights = weights * inside.unsqueeze(0).astype(weights.dtype)
    if psa_type == 0:
        weights = weights.transpose([0, 2, 1])
    return weights.reshape([-1, height * width, height, width])
