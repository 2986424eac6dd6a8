"""What is excused as arranged otherwise, and what is not."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from ppls.parity.judge import judge

from .faults.arrangement import ARRANGEMENT_FAULTS


@pytest.fixture(scope="module")
def recording(embedded):
    """The inputs of the layers, of the heads, and of the gradient."""
    whole = embedded.recording
    names = {whole.layers_input, whole.job.gradient, *(output.input for output in whole.head_outputs)}
    inputs = tuple(given for given in whole.job.inputs if given.name in names)
    outputs = tuple(output for output in whole.result.outputs if output.input in names)
    return replace(whole, job=replace(whole.job, inputs=inputs), result=replace(whole.result, outputs=outputs))


@pytest.mark.parametrize("put", ARRANGEMENT_FAULTS.values(), ids=ARRANGEMENT_FAULTS.keys())
@pytest.mark.parametrize("weights", [True, False])
def test_a_layer_that_no_output_would_show_to_be_wrong_is_not_excused(embedded, recording, put, weights):
    report = judge(recording, put(embedded.candidate()), embedded.conversion, own=False, weights=weights)
    assert report.stage("layers").verdict == "fail"
    assert all(output.verdict == "pass" for output in report.outputs)
    assert bool(report.different_tensors) == weights


def test_channels_that_are_permuted_with_the_weights_that_read_them_are_excused(embedded, recording):
    model = copy.deepcopy(embedded.candidate())
    head = model.heads[0]
    order = torch.arange(head.conv.conv.out_channels).flip(0)
    head.conv.conv.weight.data = head.conv.conv.weight.data[order]
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(head.conv.bn, name).data = getattr(head.conv.bn, name).data[order]
    head.classifier.weight.data = head.classifier.weight.data[:, order].contiguous()
    report = judge(recording, model, embedded.conversion, own=False)
    assert report.verdict == "pass"
    assert "arranged otherwise" in report.stage("layers").why
    assert "arranged otherwise" in report.stage("weights").why
