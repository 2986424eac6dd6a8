"""The weights of the embedded default: whatever a tensor is, it has values that show what it does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

paddle = pytest.importorskip("paddle")
pytest.importorskip("paddleseg")

from ppls.parity.reference.embedded import calibrate, draw_weights  # noqa: E402  # imports paddle


class Unusual(paddle.nn.Layer):  # type: ignore[misc, name-defined]
    """Tensors of layers that are neither convolution nor linear nor normalisation, as upstream starts them."""

    def __init__(self) -> None:
        super().__init__()
        start = paddle.nn.initializer
        self.gate = self.create_parameter([1], default_initializer=start.Constant(0.0))
        self.layer_scale = self.create_parameter([8, 1, 1], default_initializer=start.Constant(1e-6))
        self.position = self.create_parameter([1, 16, 8], default_initializer=start.Constant(0.0))
        self.token = self.create_parameter([1, 1, 8], default_initializer=start.TruncatedNormal(std=0.02))
        self.register_buffer("bases", paddle.nn.functional.normalize(paddle.randn([1, 64, 32]), axis=1))
        self.register_buffer("index", paddle.arange(8))
        self.slope = paddle.nn.PReLU(8)
        self.conv = paddle.nn.Conv2D(8, 8, 3, weight_attr=paddle.ParamAttr(initializer=start.Normal(std=1e-3)))
        self.linear = paddle.nn.Linear(8, 32)
        self.norm = paddle.nn.LayerNorm(8)
        self.batch_norm = paddle.nn.BatchNorm2D(8, weight_attr=paddle.ParamAttr(initializer=start.Constant(0.0)))
        self.temperature = self.create_parameter([1], default_initializer=start.Constant(1.0))


def drawn(seed: int = 0, **options: Any) -> dict[str, np.ndarray[Any, Any]]:
    paddle.seed(0)
    model = Unusual()
    draw_weights(model, np.random.default_rng(seed), **options)
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def test_no_tensor_but_statistics_and_indices_stays_as_it_was_and_none_is_too_small_to_show() -> None:
    one, other = drawn(), drawn(1)
    assert {name for name in one if np.array_equal(one[name], other[name])} == {
        "index",
        "batch_norm._mean",
        "batch_norm._variance",
    }
    assert one["index"].tolist() == list(range(8))
    for name in one.keys() - {"index", "batch_norm._mean", "batch_norm._variance"}:
        assert np.abs(one[name]).max() > 0.01, name
        assert np.ptp(one[name]) > 0 or one[name].size == 1, name


@pytest.mark.parametrize("name", ["gate", "layer_scale", "temperature", "norm.weight"])
def test_a_gate_or_scale_is_about_one_whatever_upstream_starts_it_at(name: str) -> None:
    assert ((drawn()[name] > 0.5) & (drawn()[name] < 1.5)).all()


def test_weights_are_scaled_by_what_goes_in_and_what_upstream_spreads_keeps_its_spread() -> None:
    found = drawn()
    assert found["conv.weight"].std() == pytest.approx((2 / 72) ** 0.5, rel=0.2)
    assert found["linear.weight"].std() == pytest.approx((2 / 8) ** 0.5, rel=0.2)
    assert found["bases"].std() == pytest.approx(64**-0.5, rel=0.1)  # as of vectors of length 1


def test_a_constant_that_the_other_side_has_built_in_stays() -> None:
    assert drawn(constants=[r"temperature"])["temperature"].tolist() == [1.0]


def test_what_a_softmax_is_made_of_is_scaled_so_that_it_is_no_choice_of_one() -> None:
    paddle.seed(0)
    query, key = paddle.nn.Conv2D(8, 16, 1), paddle.nn.Linear(8, 16)
    both = paddle.nn.LayerDict({"query": query, "key": key})
    both.forward = lambda x: (both["query"](x), both["key"](x.flatten(2).transpose([0, 2, 1])))
    pixels = 30 * paddle.randn([2, 8, 6, 6])
    calibrate(both, [], ["query|key"], pixels)
    queries, keys = both(pixels)
    exponents = keys @ queries.flatten(2)
    assert 0.3 < float(exponents.std()) < 3.0


def test_what_a_gate_is_made_of_is_scaled_so_that_it_is_no_step() -> None:
    norm = paddle.nn.BatchNorm2D(1)
    gate = paddle.nn.Sequential(norm)
    gate.eval()
    norm.weight.set_value(paddle.full([1], 8.0))
    norm.bias.set_value(paddle.full([1], 6.0))
    x = 30 + 5 * paddle.randn([2, 1, 6, 6])
    calibrate(gate, [], ["0"], x)
    assert float(gate(x).square().mean()) ** 0.5 == pytest.approx(0.25, rel=1e-4)
    assert float(norm.weight / norm.bias) == pytest.approx(8 / 6)
    assert float(norm._mean) == pytest.approx(float(x.mean()), rel=1e-4)
