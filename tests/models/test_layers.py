"""The layers that architectures share, against Paddle's and PaddleSeg's, live and in float64."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ppls.errors import Error
from ppls.models.attention import HardSigmoid, SqueezeExcite
from ppls.models.backbone import build_backbone
from ppls.models.inverted_residual import InvertedResidual, rounded_width
from ppls.models.layers import SameConv2d, SeparableConv
from ppls.models.levels import for_each_level
from ppls.models.norms import BatchNorm2d
from ppls.models.pyramid import PyramidPooling
from ppls.models.resize import resize_from_corner
from tests.conftest import run_upstream

CASES: dict[str, dict[str, Any]] = {
    "many_values": {"shape": [4, 3, 5, 7]},
    "two_values": {"shape": [2, 3, 1, 1]},
    "one_value": {"shape": [1, 3, 1, 1]},
    "slow_momentum": {"shape": [2, 3, 2, 2], "momentum": 0.99},
    "large_epsilon": {"shape": [2, 3, 2, 2], "epsilon": 1e-3},
}

CONV, RESIZE = "paddle.nn.Conv2D", "paddle.nn.functional.interpolate"
SEPARABLE = "paddleseg.models.layers.SeparableConvBNReLU"


def same(kernel: int, stride: int, dilation: int = 1) -> dict[str, Any]:
    options = {"in_channels": 2, "out_channels": 3, "kernel_size": kernel, "stride": stride, "dilation": dilation}
    return {"call": CONV, "kwargs": {**options, "padding": "same"}}


def separable(**options: Any) -> dict[str, Any]:
    return {"call": SEPARABLE, "kwargs": {"in_channels": 2, "out_channels": 3, "kernel_size": 3, **options}}


# odd and even sizes, kernels smaller than the stride, a dilation that Paddle forgets
CALLS: dict[str, dict[str, Any]] = {
    f"same k{kernel} s{stride} {height}x{width}": {**same(kernel, stride), "shape": [2, 2, height, width]}
    for kernel, stride in ((3, 2), (3, 1), (5, 2), (1, 2), (2, 1), (2, 3), (7, 4))
    for height, width in ((8, 9), (7, 6))
}
CALLS["same k3 s2 d2"] = {**same(3, 2, dilation=2), "shape": [1, 2, 9, 8]}
CALLS["separable s2"] = {**separable(stride=2, padding=1, pointwise_bias=None), "shape": [1, 2, 8, 9]}
CALLS["separable same s2"] = {**separable(stride=2, pointwise_bias=None), "shape": [1, 2, 8, 9]}
for size in ((5, 7), (16, 24), (33, 47), (1, 1), (8, 12)):
    CALLS[f"corner {size[0]}x{size[1]}"] = {
        "call": RESIZE,
        "kwargs": {"size": list(size), "mode": "bilinear", "align_corners": False, "align_mode": 1},
        "shape": [2, 3, 8, 12],
    }
BACKBONES = "paddleseg.models.backbones"
CALLS["corner aligned"] = {
    "call": RESIZE,
    "kwargs": {"size": [5, 17], "mode": "bilinear", "align_corners": True, "align_mode": 1},
    "shape": [2, 3, 8, 12],
}
CALLS["squeeze and excitation"] = {
    "call": f"{BACKBONES}.mobilenetv3.SEModule",
    "kwargs": {"channel": 16},
    "shape": [2, 16, 3, 5],
    "scale": 0.05,  # not all of the hard sigmoid's clamped part
}
CALLS["squeeze and excitation of linear layers"] = {
    "call": f"{BACKBONES}.hrnet.SELayer",
    "kwargs": {"num_channels": 32, "num_filters": 32, "reduction_ratio": 16},
    "shape": [2, 32, 3, 5],
    "scale": 0.1,
}
for kind, bins, corners in (("", [1, 2, 3, 6], False), ("aligned ", [1, 3], True), ("exact ", [1, 2, 4], False)):
    CALLS[f"{kind}pyramid"] = {
        "call": "paddleseg.models.layers.PPModule",
        "kwargs": {
            "in_channels": 8,
            "out_channels": 4,
            "bin_sizes": bins,
            "dim_reduction": True,
            "align_corners": corners,
        },
        "shape": [2, 8, 8, 16],
    }
CALLS["hard sigmoid"] = {
    "call": "paddle.nn.functional.hardsigmoid",
    "kwargs": {"slope": 0.2, "offset": 0.5},
    "shape": [2, 3, 4, 5],
    "scale": 4.0,
}


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_upstream([{"name": name, **case} for name, case in CALLS.items()], tmp_path_factory.mktemp("calls"))


# layers whose parts stand in the same order on both sides
IN_ORDER: dict[str, Callable[[dict[str, Any]], torch.nn.Module]] = {
    "squeeze and excitation": lambda options: SqueezeExcite(options["channel"], gate=HardSigmoid(0.2)),
    "squeeze and excitation of linear layers": lambda options: SqueezeExcite(32, 2, linear=True),
    "pyramid": lambda options: PyramidPooling(8, 4, options["bin_sizes"], options["align_corners"], "bilinear"),
}


def filled(layer: torch.nn.Module, weights: dict[str, torch.Tensor]) -> torch.nn.Module:
    """The layer with Paddle's weights, in their order; of linear layers transposed."""
    layer = layer.double().eval()
    pairs = zip(layer.state_dict().items(), weights.values(), strict=True)
    layer.load_state_dict({name: value.T if tensor.dim() == 2 else value for (name, tensor), value in pairs})
    return layer


def ours(name: str, case: dict[str, Any], weights: dict[str, torch.Tensor]) -> torch.nn.Module | Any:
    options = case["kwargs"]
    if name.startswith("corner"):
        return lambda x: resize_from_corner(x, options["size"], options["align_corners"])
    if name == "hard sigmoid":
        return HardSigmoid(options["slope"], options["offset"])
    if name.startswith("separable"):
        layer: torch.nn.Module = SeparableConv(2, 3, 3, stride=2, same="padding" not in options).double().eval()
        inner = {"_batch_norm._mean": "bn.running_mean", "_batch_norm._variance": "bn.running_var"}
        names = {"depthwise_conv": "depthwise", "piontwise_conv": "pointwise"}
        renamed = {}
        for key, value in weights.items():
            part, rest = key.split(".", 1)
            rest = inner.get(rest, rest.replace("_conv.", "conv.").replace("_batch_norm.", "bn."))
            renamed[f"{names[part]}.{rest}"] = value
        layer.load_state_dict(renamed)
        return layer
    kind = name.removeprefix("aligned ").removeprefix("exact ")
    if kind in IN_ORDER:
        return filled(IN_ORDER[kind](options), weights)
    layer = SameConv2d(2, 3, options["kernel_size"], options["stride"]).double()
    layer.load_state_dict(weights)
    return layer


@pytest.mark.parametrize("name", CALLS)
def test_a_shared_layer_computes_what_paddles_does(calls: Path, name: str) -> None:
    record = {key: torch.from_numpy(value) for key, value in np.load(calls / f"{name}.npz").items()}
    weights = {key.removeprefix("weights."): value for key, value in record.items() if key.startswith("weights.")}
    image = record["input"].requires_grad_()
    output = ours(name, CALLS[name], weights)(image)
    output.backward(record["seed"])
    # Paddle takes the ratio of a resize, and a slope, in float32
    tolerance = 1e-5 if name.startswith(("corner", "pyramid", "aligned")) else 1e-9
    torch.testing.assert_close(output, record["output"], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(image.grad, record["gradient"], rtol=tolerance, atol=10 * tolerance)


@pytest.mark.parametrize(
    ("name", "strides"),
    [
        ("stdc1", [2, 4, 8, 16, 32]),
        ("resnet18_vd", [4, 8, 8, 8]),
        ({"type": "ResNet18_vd", "output_stride": 32}, [4, 8, 16, 32]),
        ("mixvisiontransformer_b0", [4, 8, 16, 32]),
    ],
)
def test_a_backbone_says_the_channels_and_strides_of_its_maps(name: Any, strides: list[int]) -> None:
    backbone = build_backbone(name).eval()
    assert backbone.feat_strides == strides
    with torch.inference_mode():
        features = backbone(torch.zeros(1, 3, 64, 96))
    assert [list(x.shape[1:]) for x in features] == [
        [channels, 64 // stride, 96 // stride] for channels, stride in zip(backbone.feat_channels, strides, strict=True)
    ]


def test_a_module_that_is_no_backbone_is_refused() -> None:
    with pytest.raises(Error, match="feat_channels"):
        build_backbone(torch.nn.Identity())


def test_one_value_serves_every_level_and_another_number_of_values_is_refused() -> None:
    assert for_each_level("widths", [8], 3) == [8, 8, 8]
    assert for_each_level("widths", (8, 16, 32), 3) == [8, 16, 32]
    with pytest.raises(Error, match="widths has 2 values for 3 decoder levels"):
        for_each_level("widths", (8, 16), 3)


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    jobs = [{"name": name, "layer": True, "momentum": 0.9, "epsilon": 1e-5, **case} for name, case in CASES.items()]
    return run_upstream(jobs, tmp_path_factory.mktemp("batch_norm"))


def paddles_float(value: float) -> float:
    """Paddle keeps epsilon and momentum in float32, in a float64 model too."""
    return float(np.float32(value))


@pytest.mark.parametrize("name", CASES)
def test_batch_norm_trains_as_paddles(upstream: Path, name: str) -> None:
    record = {key: torch.from_numpy(value) for key, value in np.load(upstream / f"{name}.npz").items()}
    case = CASES[name]
    layer = BatchNorm2d(
        3,
        eps=paddles_float(case.get("epsilon", 1e-5)),
        momentum=1 - paddles_float(case.get("momentum", 0.9)),
        dtype=torch.float64,
    )
    layer.load_state_dict(
        {
            "weight": record["weight"],
            "bias": record["bias"],
            "running_mean": record["_mean"],
            "running_var": record["_variance"],
        }
    )
    image = record["input"].requires_grad_()
    output = layer.train()(image)
    output.backward(record["seed"])
    close = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(output, record["output"], **close)
    torch.testing.assert_close(image.grad, record["input_gradient"], **close)
    torch.testing.assert_close(layer.weight.grad, record["weight_gradient"], **close)
    torch.testing.assert_close(layer.bias.grad, record["bias_gradient"], **close)
    torch.testing.assert_close(layer.running_mean, record["mean_after"], **close)
    torch.testing.assert_close(layer.running_var, record["variance_after"], **close)
    with torch.no_grad():
        torch.testing.assert_close(layer.eval()(image), record["eval"], **close)


def test_batch_norm_has_no_num_batches_tracked_and_loads_strictly() -> None:
    layer = BatchNorm2d(2)
    assert set(layer.state_dict()) == {"weight", "bias", "running_mean", "running_var"}
    plain = {name: tensor.clone() for name, tensor in layer.state_dict().items()}  # without torch's version metadata
    layer.load_state_dict(plain, strict=True)
    del plain["running_var"]
    with pytest.raises(RuntimeError, match="running_var"):
        layer.load_state_dict(plain, strict=True)


@pytest.mark.parametrize("scale", [0.35, 0.5, 0.75, 1.0, 1.25])
def test_a_scaled_width_is_rounded_as_paddlesegs_mobilenets_round_it(scale: float) -> None:
    theirs = pytest.importorskip("paddleseg.models.backbones.mobilenetv3")._make_divisible
    assert [rounded_width(scale * width) for width in range(1, 1000)] == [theirs(scale * w) for w in range(1, 1000)]


def test_an_inverted_residual_is_added_to_its_input_where_both_have_one_size() -> None:
    x = torch.randn(1, 8, 6, 6, dtype=torch.float64)
    for stride, out, added in ((1, 8, True), (2, 8, False), (1, 12, False)):
        layer = InvertedResidual(8, 24, out, 5, stride=stride, attention=SqueezeExcite(24)).double().eval()
        narrowed = layer.project(layer.attention(layer.depthwise(layer.expand(x))))
        assert torch.equal(layer(x), x + narrowed if added else narrowed)
