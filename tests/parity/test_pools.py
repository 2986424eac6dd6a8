"""Average pools on the reference's side: their gradients in float64 are as exact as torch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

paddle = pytest.importorskip("paddle")
pytest.importorskip("paddleseg")

from ppls.parity.reference.pools import exact_gradients  # noqa: E402  # imports paddle

Array = np.ndarray[Any, Any]
KNOWN: list[dict[str, Any]] = [
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1, "exclusive": False},
    {"kernel_size": [3, 5], "stride": [1, 2], "padding": [1, 2]},
    {"kernel_size": 3},
    {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    {"kernel_size": 3, "stride": 2, "padding": "same"},  # 1 where sides are odd
]
OTHER: list[dict[str, Any]] = [
    {"kernel_size": 3, "stride": 2, "padding": "SAME"},
    {"kernel_size": 3, "stride": 2, "padding": [0, 1, 0, 1]},
    {"kernel_size": 3, "divisor_override": 5},
    {"kernel_size": 3, "data_format": "NHWC"},
]


def image() -> Any:
    values = np.random.default_rng(0).standard_normal((2, 6, 9, 11))
    return paddle.to_tensor(values, stop_gradient=False)


def gradient(pool: Any, x: Any) -> tuple[Array, Array]:
    """What a pool makes of an image, and the gradient of a sum of cosines of it."""
    result = pool(x)
    (found,) = paddle.grad(paddle.cos(result).sum(), x)
    return result.numpy(), found.numpy()


def expected(pool: Any, x: Any) -> tuple[Array, Array]:
    given = torch.from_numpy(x.numpy()).requires_grad_()
    result = pool(given)
    (found,) = torch.autograd.grad(torch.cos(result).sum(), given)
    return result.detach().numpy(), found.numpy()


def in_torch(options: dict[str, Any]) -> Any:
    names = {"exclusive": "count_include_pad"}
    given = {names.get(name, name): not value if name == "exclusive" else value for name, value in options.items()}
    given = {name: 1 if value == "same" else value for name, value in given.items()}
    return lambda x: F.avg_pool2d(x, **{"count_include_pad": False, **given})


@pytest.mark.parametrize("options", KNOWN, ids=str)
def test_a_pools_gradient_is_torchs_to_the_last_digits_and_paddles_is_not(options: dict[str, Any]) -> None:
    x = image()
    right = expected(in_torch(options), x)
    own = gradient(lambda x: paddle.nn.functional.avg_pool2d(x, **options), x)
    with exact_gradients():
        exact = gradient(lambda x: paddle.nn.functional.avg_pool2d(x, **options), x)
    assert np.abs(own[1] - right[1]).max() > 1e-11
    for found, wanted in zip(exact, right, strict=True):
        assert np.abs(found - wanted).max() < 1e-13


@pytest.mark.parametrize("bins", [1, 2, 3, [5, 4]], ids=str)
def test_so_is_that_of_bins(bins: Any) -> None:
    x = image()
    right = expected(lambda x: F.adaptive_avg_pool2d(x, bins), x)
    with exact_gradients():
        exact = gradient(paddle.nn.AdaptiveAvgPool2D(bins), x)
    for found, wanted in zip(exact, right, strict=True):
        assert np.abs(found - wanted).max() < 1e-13


@pytest.mark.parametrize("options", OTHER, ids=str)
def test_a_pool_that_says_more_is_left_as_it_is(options: dict[str, Any]) -> None:
    x = image()
    own = gradient(lambda x: paddle.nn.functional.avg_pool2d(x, **options), x)
    with exact_gradients():
        found = gradient(lambda x: paddle.nn.functional.avg_pool2d(x, **options), x)
    assert all(np.array_equal(a, b) for a, b in zip(own, found, strict=True))


def test_nothing_is_computed_otherwise_in_float32_or_without_a_gradient_or_afterwards() -> None:
    functional = paddle.nn.functional
    before = functional.avg_pool2d, functional.adaptive_avg_pool2d
    x = image()
    own = functional.avg_pool2d(x, 3, 2, 1).numpy(), functional.avg_pool2d(x.astype("float32"), 3, 2, 1).numpy()
    with exact_gradients():
        with paddle.no_grad():
            without = functional.avg_pool2d(x, 3, 2, 1).numpy()
        narrow = functional.avg_pool2d(x.astype("float32"), 3, 2, 1).numpy()
    assert np.array_equal(own[0], without)
    assert np.array_equal(own[1], narrow)
    assert (functional.avg_pool2d, functional.adaptive_avg_pool2d) == before
