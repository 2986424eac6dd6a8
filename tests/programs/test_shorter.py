"""What a program need not run: numbers that it holds, and additions that are biases; all else stays."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ppls.programs.module import ProgramModule, load_program
from tests.material import SMALL_RUN
from tests.programs.writer import Writer

PIXELS = {"strides": [1, 1], "paddings": [1, 1], "dilations": [1, 1], "groups": 1}
CHANNELS = 24  # as many as the image is wide


@torch.no_grad()
def one_by_one(module: ProgramModule, image: Tensor) -> Tensor:
    """What the program gives as it is."""
    values: dict[int, Any] = {module.program.inputs[0].value: image}
    values |= {weight.value: getattr(weight.owner, weight.name) for weight in module.weights()}
    for call in module.calls():
        call.into(values, module.like)
    return module.outputs(values, module.like)[0]


def convolved(bias: tuple[int, ...], wanted: list[int] | None, axis: int, *, twice: bool = False) -> ProgramModule:
    """A convolution, and what is added to it: a weight, in this shape if one is wanted, from an axis on."""
    made = Writer()
    x = made.add("conv2d", "Output", PIXELS, Input=0, Filter=made.weight("w", CHANNELS, 3, 3, 3))
    y = made.weight("b", *bias)
    if wanted is not None:
        y = made.add("reshape2", attributes={"shape": wanted}, X=y)
    z = made.add("elementwise_add", attributes={"axis": axis}, X=x, Y=y)
    return made.module(made.add("elementwise_mul", X=z, Y=x) if twice else made.add("relu", X=z)).eval()


@pytest.mark.parametrize(
    ("bias", "wanted", "axis", "twice", "left"),
    [
        ((CHANNELS,), None, 1, False, ["conv2d", "relu"]),
        ((CHANNELS,), [1, CHANNELS, 1, 1], -1, False, ["conv2d", "relu"]),
        ((CHANNELS,), [1, -1, 1, 1], -1, False, ["conv2d", "relu"]),
        ((CHANNELS,), None, -1, False, ["conv2d", "elementwise_add", "relu"]),  # along the width
        ((CHANNELS,), [1, 1, 1, CHANNELS], -1, False, ["conv2d", "reshape2", "elementwise_add", "relu"]),
        ((1,), None, 1, False, ["conv2d", "elementwise_add", "relu"]),
        ((CHANNELS, 1, 1), None, -1, False, ["conv2d", "elementwise_add", "relu"]),
        ((CHANNELS,), None, 1, True, ["conv2d", "elementwise_add", "elementwise_mul"]),
    ],
)
def test_what_is_added_to_a_convolution_is_its_bias_where_it_stands_for_its_channels(
    bias: tuple[int, ...], wanted: list[int] | None, axis: int, twice: bool, left: list[str]
) -> None:
    torch.manual_seed(0)
    module = convolved(bias, wanted, axis, twice=twice)
    kinds = {step.place: step.kind for step in module.program.steps}
    assert [kinds[call.place] for call in module._left] == left
    image = torch.randn(2, 3, 16, CHANNELS)
    torch.testing.assert_close(module(image)[0], one_by_one(module, image), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("attributes", "axis", "left"),
    [
        ({}, -1, ["matmul_v2", "relu"]),
        ({}, 3, ["matmul_v2", "relu"]),
        ({}, 2, ["matmul_v2", "relu"]),  # to the axis before the last, which is as long
        ({"trans_x": True}, -1, ["matmul_v2", "elementwise_add", "relu"]),
        ({"trans_y": True}, -1, ["matmul_v2", "elementwise_add", "relu"]),
    ],
)
def test_what_is_added_to_a_product_with_a_matrix_is_its_bias(
    attributes: dict[str, Any], axis: int, left: list[str]
) -> None:
    torch.manual_seed(0)
    made = Writer()
    x = made.add("matmul_v2", attributes=attributes, X=0, Y=made.weight("w", CHANNELS, CHANNELS))
    x = made.add("elementwise_add", attributes={"axis": axis}, X=x, Y=made.weight("b", CHANNELS))
    module = made.module(made.add("relu", X=x), CHANNELS).eval()
    kinds = {step.place: step.kind for step in module.program.steps}
    assert [kinds[call.place] for call in module._left] == left
    image = torch.randn(2, 3, CHANNELS, CHANNELS)
    torch.testing.assert_close(module(image)[0], one_by_one(module, image), rtol=0, atol=1e-5)


def test_numbers_that_a_program_holds_are_made_once() -> None:
    module = load_program(SMALL_RUN / "export").logits().eval()
    kinds = {step.place: step.kind for step in module.program.steps}
    assert "full_int_array" in [kinds[call.place] for call in module.calls()]
    assert "full_int_array" not in [kinds[call.place] for call in module._left]
    image = torch.randn(1, 3, 64, 128)
    with torch.no_grad():
        torch.testing.assert_close(module(image)[0], one_by_one(module, image), rtol=0, atol=1e-5)


def test_a_bias_is_trained_as_before() -> None:
    torch.manual_seed(0)
    module = convolved((CHANNELS,), None, 1)
    module(torch.randn(1, 3, 16, CHANNELS))[0].sum().backward()
    gradient = dict(module.named_parameters())["b"].grad
    assert gradient is not None
    assert gradient.abs().sum() > 0
