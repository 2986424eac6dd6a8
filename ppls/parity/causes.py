"""Suspected causes: what, if it were undone, would make the first diverging layer agree.

Each is an experiment, not a guess from the figure: the layer is copied, one thing about it changed, and the copy run on
the reference's input. Where the input of a layer diverges, the whole candidate is run again with its resizes changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ppls.parity.candidate import observed, run
from ppls.parity.compare import Array, compare
from ppls.parity.figures import TrainingFigures
from ppls.parity.pairing import Pair
from ppls.parity.recording import RecordedCall
from ppls.parity.tolerance import TOLERANCE

EPSILONS = (1e-5, 1e-3, 1e-4, 1e-6)  # Paddle's default first, then those that PaddleSeg's and other models set
MENDS = 10  # times smaller an experiment must make the layer's own error

Experiment = tuple[str, nn.Module]


def cause_in_layer(module: nn.Module, pair: Pair, call: RecordedCall) -> str | None:
    """Why a layer whose input agrees has another output; None where no known cause fits."""
    value, expected = pair.input(call.input.load()), pair.output(call.output.load())

    def error(layer: nn.Module) -> float:
        with torch.no_grad():
            found = compare(expected, layer(torch.from_numpy(np.array(value))).numpy(), tolerance=TOLERANCE)
        return np.inf if found.scaled is None else found.scaled

    unchanged = error(module)
    for cause, changed in _experiments(module):
        try:
            scaled = error(changed)
        except Exception:  # an experiment that does not fit the layer explains nothing
            continue
        # a layer that is right by itself passes some experiments too; they must mend something
        if scaled <= min(TOLERANCE, unchanged / MENDS):
            return cause
    return None


def cause_before_layer(
    module: nn.Module, target: str, image: Array, expected: Array, mode: Callable[[nn.Module], Any]
) -> str | None:
    """Why the input of a layer differs though all before it agrees: whether another resize would mend it.

    Args:
        module: the whole candidate.
        target: the layer's name in it.
        image: the input of the run.
        expected: the input that the layer should have had.
        mode: a context in which to run the candidate.
    """
    layers = {target: dict(module.named_modules())[target]}
    for cause, options in (
        ("its resize has align_corners=True, the reference's has False", {"mode": "bilinear", "align_corners": False}),
        ("its resize is nearest, the reference's is bilinear", {"mode": "bilinear", "align_corners": False}),
        ("its resize has align_corners=False, the reference's has True", {"mode": "bilinear", "align_corners": True}),
        ("its resize is bilinear, the reference's is nearest", {"mode": "nearest", "align_corners": None}),
    ):
        seen: list[Array] = []
        try:
            with (
                _resizing(options) as used,
                observed(layers, lambda *call, seen=seen: seen.append(call[2])),
                mode(module),
            ):
                run(module, image)
        except Exception:
            continue
        matches_use = any(_describes(cause, before) for before in used)
        if seen and matches_use and compare(expected, seen[0], tolerance=TOLERANCE).verdict == "pass":
            return cause
    return None


def cause_in_training(figures: Sequence[TrainingFigures]) -> str | None:
    """Why training differs, by what does first."""
    failed = [found for found in figures if not found.passed]
    if failed and failed[0].dtype == "float32":
        return "in training it computes in a narrower type, under autocast perhaps: in float64 it agrees"
    if not failed or failed[0].what != "statistic":
        return None
    first_step = [found for found in failed if found.step == failed[0].step and found.what == "statistic"]
    if all(found.name.endswith("_variance") for found in first_step):
        return "the running variance takes the unbiased variance of the batch; Paddle's takes the biased one"
    return "BatchNorm's momentum: Paddle's is the weight of the old value, 0.9, torch's that of the new one, 0.1"


def _experiments(module: nn.Module) -> Iterator[Experiment]:
    changed: Any = copy.deepcopy(module)
    if hasattr(changed, "running_mean") and changed.running_mean is not None:
        yield from _batch_norm_experiments(changed)
    if hasattr(changed, "count_include_pad"):
        counted = changed.count_include_pad
        changed.count_include_pad = not counted
        how = "counts its padding in the mean" if counted else "leaves its padding out of the mean"
        yield f"it {how} (count_include_pad={counted}); the reference does the opposite", changed
    weight = getattr(changed, "weight", None)
    if weight is not None and weight.ndim >= 2:
        yield from _weight_experiments(changed)


def _batch_norm_experiments(bn: Any) -> Iterator[Experiment]:
    own = bn.eps
    for epsilon in EPSILONS:
        if epsilon != own:
            bn.eps = epsilon
            yield f"its epsilon is {own:g}, the reference's {epsilon:g}", bn
    bn.eps = own
    mean, variance = bn.running_mean.clone(), bn.running_var.clone()
    bn.running_mean, bn.running_var = variance, mean
    yield "its running mean and variance are exchanged", bn
    bn.running_mean, bn.running_var = mean, variance**2
    yield "its running variance holds the standard deviation", bn
    bn.running_var = variance
    if bn.weight is not None:
        weight, bias = bn.weight.detach().clone(), bn.bias.detach().clone()
        bn.weight, bn.bias = nn.Parameter(bias), nn.Parameter(weight)
        yield "its weight and bias are exchanged", bn


def _weight_experiments(layer: Any) -> Iterator[Experiment]:
    weight = layer.weight.detach().clone()
    if weight.shape[0] == weight.shape[1]:
        layer.weight = nn.Parameter(weight.transpose(0, 1).contiguous())
        yield "its weight is transposed (input and output channels exchanged)", layer
    if weight.ndim == 4 and weight.shape[2] == weight.shape[3] > 1:
        layer.weight = nn.Parameter(weight.transpose(2, 3).contiguous())
        yield "its kernels are transposed", layer
        layer.weight = nn.Parameter(weight.flip(2, 3))
        yield "its kernels are turned by half a turn (convolution for correlation)", layer


@contextmanager
def _resizing(options: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """Makes every `F.interpolate` use other options; gives what each was called with."""
    right = F.interpolate
    used: list[dict[str, Any]] = []

    def interpolate(*arguments: Any, **given: Any) -> Any:
        used.append(given)
        return right(*arguments, **{**given, **options})

    setattr(F, "interpolate", interpolate)  # noqa: B010
    try:
        yield used
    finally:
        setattr(F, "interpolate", right)  # noqa: B010


def _describes(cause: str, used: dict[str, Any]) -> bool:
    """Whether the cause speaks of a resize as the candidate really has one."""
    if "align_corners=True, the" in cause:
        return bool(used.get("align_corners"))
    if cause.startswith("its resize is nearest"):
        return str(used.get("mode", "nearest")).startswith("nearest")
    return used.get("mode") == "bilinear" and not used.get("align_corners")
