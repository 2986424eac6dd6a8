"""Double precision: figures that no wrong port reaches by luck."""

import numpy as np
import pytest
import torch
from torch import nn

import ppls
import ppls.models.pp_liteseg as pp_liteseg
from ppls.parity.candidate import to_float64
from ppls.parity.inputs import noise, photograph
from ppls.parity.judge import judge

from .conftest import record


@pytest.fixture(scope="module")
def double(embedded_checkpoint, tmp_path_factory):
    from ppls.parity.process import ReferenceProcess

    folder = tmp_path_factory.mktemp("double")
    inputs = [photograph("coffee", 128, 256), noise(64, 64), photograph("chelsea", 65, 129)]
    with ReferenceProcess(folder) as process:
        return record(process, embedded_checkpoint, folder, inputs, dtype="float64")


@pytest.fixture(scope="module")
def report(double):
    return judge(double.recording, double.candidate(), double.conversion)


def test_the_right_model_agrees_to_the_last_digits_of_float64(report):
    assert report.verdict == "pass"
    assert report.dtype == "float64"
    assert report.tolerance == 1e-9
    assert max(output.comparison.scaled for output in report.outputs) < 1e-12
    assert max(layer.comparison.scaled for layer in report.layers) < 1e-12


def test_resizes_that_paddle_rounds_to_float32_are_computed_in_float64_and_the_report_says_so(double, report):
    resizes = double.recording.result.resizes
    assert resizes.recomputed > 0  # at 65x129
    assert 1e-8 < resizes.rounding < 1e-5
    assert any("computed in float64; Paddle's own differ by at most" in warning for warning in report.warnings)


def test_a_resize_in_float32_is_found_at_the_odd_size_alone(double, monkeypatch):
    right = pp_liteseg.resize

    def in_float32(x, size, mode="bilinear"):
        dyadic = all(np.log2(after / before).is_integer() for before, after in zip(x.shape[2:], size, strict=True))
        return right(x, size, mode) if dyadic else right(x.float(), size, mode).double()

    monkeypatch.setattr(pp_liteseg, "resize", in_float32)
    report = judge(double.recording, double.candidate(), double.conversion)
    failed = {output.input for output in report.outputs if output.comparison.verdict == "fail"}
    assert failed == {"chelsea 65x129"}


def test_there_is_no_floor_in_float64(report):
    assert {output["floor"] for output in report.to_json()["outputs"]} == {None}


def test_an_error_of_a_millionth_is_found(double):
    model = double.candidate()
    with torch.no_grad():
        model.decoder[1].conv_out.bn.bias[3] += 1e-6
    report = judge(double.recording, model, double.conversion)
    assert report.verdict == "fail"
    assert report.first_divergence.source == "ppseg_head.arm_list.1.conv_out._batch_norm"


def test_an_epsilon_that_differs_in_its_fourth_digit_is_found(double):
    model = double.candidate()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 1.0001e-5
    assert judge(double.recording, model, double.conversion).verdict == "fail"


def test_the_candidate_itself_stays_in_float32(double):
    model = double.candidate()
    judge(double.recording, model, double.conversion)
    assert next(model.parameters()).dtype is torch.float32
    assert model.backbone.blocks[0].bn.eps == 1e-5


def test_epsilon_and_momentum_are_rounded_as_paddle_keeps_them():
    bn = to_float64(torch.nn.BatchNorm2d(3))
    assert bn.eps == float(np.float32(1e-5)) != 1e-5
    assert bn.momentum == 1.0 - float(np.float32(0.9)) != 0.1


def test_tensors_that_upstream_keeps_in_float32_are_named(report):
    assert any("3 tensors as float32 even in float64 (ppseg_head.arm_list.0._scale" in line for line in report.warnings)


def test_the_option_runs_both_sides_in_float64(embedded_checkpoint):
    report = ppls.verify(embedded_checkpoint, float64=True, sizes=[(32, 64)], only=True)
    assert (report.verdict, report.dtype) == ("pass", "float64")
    assert max(output.comparison.scaled for output in report.outputs) < 1e-12


def test_a_candidate_that_cannot_be_copied_is_judged_and_is_as_before(double):
    model = double.candidate()
    nn.utils.weight_norm(model.heads[0].conv.conv, dim=None)  # the old form, whose weight torch refuses to copy
    with torch.no_grad():
        model(torch.zeros(1, 3, 32, 32))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = judge(double.recording, model, double.conversion, own=False)
    assert report.failures == ()
    assert all(output.comparison.scaled < 1e-6 for output in report.outputs)  # the norm is taken in float32
    assert all(tensor.dtype == before[name].dtype for name, tensor in model.state_dict().items())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
