"""Every architecture's embedded default, and faults that any of them can have: the right one passes, each fault fails.

PP-LiteSeg has a suite of its own, with the layer that each fault must be traced to: tests/parity/test_faults.py.
"""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ppls
from ppls.mappings.map_file import architectures
from ppls.models.layers import ConvBNAct, DropPath
from ppls.models.norms import BatchNorm2d
from ppls.parity.candidate import dropouts
from ppls.parity.embedded import build_embedded_default
from ppls.parity.inputs import batch, noise, photograph, strong_noise
from ppls.parity.judge import judge
from ppls.parity.process import ReferenceProcess
from ppls.parity.tolerances import TOLERANCE
from tests.parity.conftest import Recorded, record
from tests.test_architectures import ELSEWHERE

INPUTS = [photograph("coffee", 64, 128), noise(64, 128), batch(64, 32), strong_noise(32, 64)]
NAMES = [name for name in architectures() if name != "PPLiteSeg"]


@pytest.fixture(scope="module", params=NAMES)
def recorded(
    request: pytest.FixtureRequest, needs_reference: None, tmp_path_factory: pytest.TempPathFactory
) -> Recorded:
    elsewhere = ELSEWHERE.get(request.param)
    if elsewhere and elsewhere not in os.environ:
        pytest.skip(f"{elsewhere} names no checkout that has {request.param}")
    folder: Path = tmp_path_factory.mktemp(request.param)
    with ReferenceProcess(folder, paddleseg=os.environ[elsewhere] if elsewhere else None) as process:
        checkpoint = build_embedded_default(process, folder, architecture=request.param, crop=(64, 128), timeout=300)
        return record(process, checkpoint, folder, INPUTS)


def test_the_right_model_passes_and_every_layer_of_its_map_is_compared(recorded: Recorded) -> None:
    report = judge(recorded.recording, recorded.candidate(), recorded.conversion)
    assert report.verdict == "pass"
    assert report.failures == ()
    assert not any("dropout" in warning for warning in report.warnings)
    assert report.weights is not None
    assert report.weights.compared == len(recorded.conversion.checkpoint)
    compared = {layer.source for layer in report.layers}
    run = {call.module for call in recorded.recording.calls}
    assert compared == {pair.source for pair in recorded.conversion.map.pair_modules(run)}
    assert len(compared) > 40


@pytest.mark.parametrize(("which", "rate"), [(0, 0.0), (-1, 0.3)])
def test_another_dropout_rate_is_a_warning(recorded: Recorded, which: int, rate: float) -> None:
    model = recorded.candidate()
    found = list(dropouts(model).values())
    if not found:
        pytest.skip(f"{type(model).__name__} has no dropout")
    setattr(found[which], "rate" if isinstance(found[which], DropPath) else "p", rate)
    report = judge(recorded.recording, model, recorded.conversion)
    assert report.verdict == "pass"
    (warning,) = (warning for warning in report.warnings if "dropout" in warning)
    assert f"is {rate:g} where" in warning or rate == 0.0


def test_a_port_without_auxiliary_head_is_not_asked_for_its_dropouts(recorded: Recorded) -> None:
    recording = recorded.recording
    if recording.dropout_rates(all_heads=True) == recording.dropout_rates(all_heads=False):
        pytest.skip(f"{recorded.conversion.architecture} has no dropout in an auxiliary head")
    model = recorded.candidate()
    model.auxiliary_head = None
    report = judge(recording, model, recorded.conversion, own=False)
    assert report.verdict == "pass"
    assert not any("dropout" in warning for warning in report.warnings)


def test_the_rounding_floor_is_at_most_a_fifth_of_the_tolerance(recorded: Recorded) -> None:
    report = judge(recorded.recording, recorded.candidate(), recorded.conversion)
    assert max(output.comparison.floor or 0.0 for output in report.outputs) <= TOLERANCE / 5


def test_resized_by_nearest_both_sides_agree_and_one_alone_does_not(recorded: Recorded, tmp_path: Path) -> None:
    elsewhere = os.environ.get(ELSEWHERE.get(str(recorded.conversion.architecture), ""))
    nearest = tmp_path / "nearest.safetensors"
    ppls.convert(recorded.checkpoint, nearest, upsample="nearest")
    options = {"sizes": [(64, 128), (65, 129)], "paddleseg": elsewhere}
    assert ppls.verify(recorded.checkpoint, nearest, upsample="nearest", **options).verdict == "pass"
    other = "bilinear" if recorded.conversion.architecture == "STDCSeg" else "nearest"  # as PaddleSeg does not
    model = ppls.load(ppls.convert(recorded.checkpoint, tmp_path / "other.safetensors", upsample=other).destination)
    assert judge(recorded.recording, model, recorded.conversion).verdict == "fail"


def _first(model: nn.Module, kind: type[nn.Module], where: Callable[[nn.Module], bool] = lambda _: True) -> nn.Module:
    return next((module for module in model.modules() if isinstance(module, kind) and where(module)), None)


def _nth(model: nn.Module, kind: type[nn.Module], share: float) -> nn.Module:
    found = [module for module in model.modules() if isinstance(module, kind)]
    return found[int(share * (len(found) - 1))]


def _bias_shifted(model: nn.Module) -> bool:
    norm = _nth(model, BatchNorm2d, 0.3) if _count(model, BatchNorm2d) > 5 else _nth(model, nn.LayerNorm, 0.3)
    norm.bias.data += 0.05
    return True


def _affine_reset(model: nn.Module) -> bool:
    norm = _nth(model, BatchNorm2d, 0.5)
    norm.weight.data.fill_(1.0)
    norm.bias.data.zero_()
    return True


def _statistics_reset(model: nn.Module) -> bool:
    norm = _nth(model, BatchNorm2d, 0.8)
    norm.running_mean.zero_()
    norm.running_var.fill_(1.0)
    return True


def _kernel_flipped(model: nn.Module) -> bool:
    conv = _first(model, nn.Conv2d, lambda m: m.kernel_size[0] >= 3)
    conv.weight.data = conv.weight.data.flip(-1)
    return True


def _epsilon_of_batch_norm(model: nn.Module) -> bool:
    for module in model.modules():
        if isinstance(module, BatchNorm2d):
            module.eps = 1e-3
    return True


def _epsilon_of_layer_norm(model: nn.Module) -> bool:
    norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
    for module in norms:
        module.eps = 1e-3
    return bool(norms)


def _epsilon_of_one(model: nn.Module) -> bool:
    _nth(model, BatchNorm2d if _count(model, BatchNorm2d) > 5 else nn.LayerNorm, 0.6).eps *= 2
    return True


def _drop_path_at_work(model: nn.Module) -> bool:
    found = [module for module in model.modules() if isinstance(module, DropPath) and module.rate]
    for module in found:
        module.register_forward_hook(lambda path, inputs, output: output * (torch.rand(()) >= path.rate))
    return bool(found)


def _one_relu6(model: nn.Module) -> bool:
    blocks = [module for module in model.modules() if isinstance(module, ConvBNAct) and module.activation is F.relu]
    blocks[int(0.6 * (len(blocks) - 1))].activation = F.relu6
    return True


def _batch_reversed(model: nn.Module) -> bool:
    model.register_forward_hook(lambda module, inputs, outputs: [logits.flip(0) for logits in outputs])
    return True


def _square_linear_not_transposed(model: nn.Module) -> bool:
    linear = _first(model, nn.Linear, lambda m: m.in_features == m.out_features)
    if linear is not None:
        linear.weight.data = linear.weight.data.T.contiguous()
    return linear is not None


def _no_dilation(model: nn.Module) -> bool:
    conv = _first(model, nn.Conv2d, lambda m: m.dilation[0] > 1)
    if conv is not None:
        conv.dilation, conv.padding = (1, 1), (1, 1)
    return conv is not None


def _no_activation(model: nn.Module) -> bool:
    next(m for m in model.modules() if isinstance(m, ConvBNAct) and m.activation is not None).activation = None
    return True


def _attribute_changed(name: str, change: Callable[[object], object]) -> Callable[[nn.Module], bool]:
    def put(model: nn.Module) -> bool:
        holders = [module for module in model.modules() if hasattr(module, name)]
        for module in holders:
            setattr(module, name, change(getattr(module, name)))
        return bool(holders)

    return put


def _branches_swapped(model: nn.Module) -> bool:
    lists = [m.branches for m in model.modules() if isinstance(getattr(m, "branches", None), nn.ModuleList)]
    for branches in lists:
        order = list(branches)
        branches[0], branches[-1] = order[-1], order[0]
    return bool(lists)


def _left_in_training(model: nn.Module) -> bool:
    model.train()
    return True


def _in_bfloat16(model: nn.Module) -> bool:
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16).float()
    return True


FAULTS: dict[str, Callable[[nn.Module], bool]] = {
    "a bias of a normalisation shifted": _bias_shifted,
    "a BatchNorm's affine reset": _affine_reset,
    "a BatchNorm's statistics reset": _statistics_reset,
    "a kernel flipped": _kernel_flipped,
    "BatchNorm epsilon 1e-3": _epsilon_of_batch_norm,
    "LayerNorm epsilon 1e-3": _epsilon_of_layer_norm,
    "one normalisation's epsilon doubled": _epsilon_of_one,
    "DropPath at work": _drop_path_at_work,
    "ReLU6 for ReLU in one layer": _one_relu6,
    "a batch in another order": _batch_reversed,
    "a square Linear not transposed": _square_linear_not_transposed,
    "a dilated convolution without dilation": _no_dilation,
    "an activation left out": _no_activation,
    "corners aligned where they are not": _attribute_changed("align_corners", lambda aligned: not aligned),
    "resized otherwise": _attribute_changed("resize_mode", lambda m: "nearest" if m == "bilinear" else "bilinear"),
    "resized otherwise in the context": _attribute_changed(
        "context_resize_mode", lambda m: "nearest" if m == "bilinear" else "bilinear"
    ),
    "branches in another order": _branches_swapped,
    "an attention that sums the other way": _attribute_changed("collects", lambda collects: not collects),
    "an attention without softmax": _attribute_changed("softmax", lambda softmax: not softmax),
    "left in training mode": _left_in_training,
    "weights rounded to bfloat16": _in_bfloat16,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_by_what_the_model_computes(recorded: Recorded, fault: str) -> None:
    model = copy.deepcopy(recorded.candidate())
    if not FAULTS[fault](model):
        pytest.skip(f"{type(model).__name__} has nothing of the kind")
    report = judge(recorded.recording, model, recorded.conversion)
    assert dataclasses.replace(report, weights=None).verdict == "fail"
    if fault not in ("left in training mode", "one normalisation's epsilon doubled"):
        assert report.first_divergence is not None


def _count(model: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(module, kind) for module in model.modules())
