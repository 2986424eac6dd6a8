"""What happens inside PaddleSeg's average pools, exact in float64.

Paddle computes an average pool's gradient with one over the number of its values in float32, even for float64 tensors:
1.6e-8 off at a pool of 3x3. A layer that amplifies errors, as a BatchNorm with few values per channel does, makes much
of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import paddle

from .figures import difference

ROUNDING = 1e-12  # scaled, of a mean in float64


@contextmanager
def exact_gradients() -> Iterator[None]:
    """Average pools of float64 tensors whose gradient is taken are computed here, from the same definition.

    Each only where Paddle's own result, which is exact, is found to be the same.
    """
    functional: Any = paddle.nn.functional
    originals = functional.avg_pool2d, functional.adaptive_avg_pool2d

    def avg_pool2d(
        x: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        exclusive: bool = True,
        divisor_override: Any = None,
        data_format: str = "NCHW",
        name: Any = None,
    ) -> Any:
        result = originals[0](x, kernel_size, stride, padding, ceil_mode, exclusive, divisor_override, data_format)
        kernels = _pair(kernel_size)
        strides = kernels if stride is None else _pair(stride)
        paddings = _same(x, kernels, strides) if padding == "same" and kernels and strides else _pair(padding)
        if divisor_override or data_format != "NCHW" or not (kernels and strides and paddings and _is_wanted(x)):
            return result
        sides = zip(x.shape[2:], result.shape[2:], kernels, strides, paddings, strict=True)
        return _checked(x, result, [_windows(*side, exclusive=exclusive) for side in sides])

    def adaptive_avg_pool2d(x: Any, output_size: Any, data_format: str = "NCHW", name: Any = None) -> Any:
        result = originals[1](x, output_size, data_format)
        if data_format != "NCHW" or not _is_wanted(x):
            return result
        return _checked(x, result, [_bins(*side) for side in zip(x.shape[2:], result.shape[2:], strict=True)])

    functional.avg_pool2d, functional.adaptive_avg_pool2d = avg_pool2d, adaptive_avg_pool2d
    try:
        yield
    finally:
        functional.avg_pool2d, functional.adaptive_avg_pool2d = originals


def _is_wanted(x: Any) -> bool:
    return x.dtype == paddle.float64 and not x.stop_gradient and paddle.is_grad_enabled()


def _pair(given: Any) -> list[int] | None:
    """Of height and width; None of what says more."""
    if isinstance(given, int):
        return [given, given]
    if isinstance(given, (list, tuple)) and len(given) == 2 and all(isinstance(side, int) for side in given):
        return list(given)
    return None


def _same(x: Any, kernels: list[int], strides: list[int]) -> list[int]:
    """What `padding="same"` puts at the top and at the left."""
    sides = zip(x.shape[2:], kernels, strides, strict=True)
    return [max((-(-side // stride) - 1) * stride + kernel - side, 0) // 2 for side, kernel, stride in sides]


def _checked(x: Any, result: Any, weights: list[Any]) -> Any:
    rows, columns = (paddle.to_tensor(each) for each in weights)
    exact = rows @ x @ columns.T
    apart = difference(exact.numpy(), result.numpy()).max_abs / (float(x.abs().max()) or 1.0)
    return exact if apart <= ROUNDING else result


def _windows(before: int, after: int, kernel: int, stride: int, padding: int, *, exclusive: bool) -> Any:
    """What each mean takes of a side: float64 (after, before)."""
    return _means(
        [
            (max(start, 0), min(start + kernel, before), min(start + kernel, before + padding) - start)
            for start in range(-padding, after * stride - padding, stride)
        ],
        before,
        exclusive,
    )


def _bins(before: int, after: int) -> Any:
    """The same of bins that divide the side, and overlap where they cannot."""
    return _means([(i * before // after, -(-(i + 1) * before // after), 0) for i in range(after)], before, True)


def _means(windows: list[tuple[int, int, int]], before: int, exclusive: bool) -> Any:
    result = np.zeros((len(windows), before))
    for row, (start, end, padded) in zip(result, windows, strict=True):
        row[start:end] = 1.0 / (end - start if exclusive else padded)
    return result
