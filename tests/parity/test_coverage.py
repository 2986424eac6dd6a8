"""What a verdict rests on: what each stage compared of what there is, what was assumed, what --strict makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch import nn

from ppls.parity.judge import judge


class InAList(nn.Module):
    """A right model whose auxiliary heads' classifiers no state dict shows."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = [model]

    def forward(self, x):
        return self.model[0](x)


@pytest.fixture(scope="module")
def report(embedded):
    return judge(embedded.recording, embedded.candidate(), embedded.conversion, strict=True, embedded=True)


def test_of_the_right_model_everything_is_compared(embedded, report):
    coverage = {entry["stage"]: entry for entry in report.to_json()["coverage"]}
    for stage in ("weights", "outputs", "layers", "heads", "numerics"):
        assert coverage[stage]["ran"], stage
        assert coverage[stage]["compared"] == coverage[stage]["expected"] > 0, stage
        assert coverage[stage]["why"] is None, stage
    assert coverage["weights"]["expected"] == len(embedded.conversion.checkpoint)
    assert coverage["layers"]["on"] == [embedded.recording.layers_input]
    assert report.unproven == ()
    assert report.verdict == "pass"


def test_training_that_was_not_asked_for_is_told_and_lacks_nothing(report):
    stage = report.stage("training")
    assert (stage.ran, stage.gap) == (False, None)
    assert "not asked for" in stage.why


def test_what_was_assumed_leaves_a_strict_verdict_open(embedded):
    report = judge(embedded.recording, embedded.candidate(), embedded.conversion, strict=True)
    assert report.assumed == embedded.conversion.assumed_options
    assert "assumed on both sides: cm_bin_sizes = [1, 2, 4]" in report.unproven
    assert report.verdict == "inconclusive"
    assert replace(report, strict=False).verdict == "pass"
    assert report.to_json()["assumed"]["resize_mode"] == "bilinear"


def test_a_stage_that_did_not_run_leaves_a_strict_verdict_open(embedded):
    result = replace(embedded.recording.result, layers=None)
    recording = replace(embedded.recording, result=result)
    report = judge(recording, embedded.candidate(), embedded.conversion, strict=True, embedded=True)
    assert any(line.startswith("layers: nothing compared: left out by --no-layers") for line in report.unproven)
    assert report.verdict == "inconclusive"


def test_tensors_that_the_state_dict_does_not_have_are_counted(embedded):
    candidate = InAList(embedded.candidate()).eval()
    report = judge(embedded.recording, candidate, embedded.conversion, own=False, strict=True, embedded=True)
    weights = report.stage("weights")
    assert (weights.compared, weights.expected) == (0, 247)  # and three constants
    assert (report.verdict, report.failures) == ("inconclusive", ())
    assert any("weights are not compared" in warning for warning in report.warnings)


def test_with_a_map_of_its_own_a_candidate_must_have_every_tensor(embedded):
    candidate = embedded.candidate()
    candidate.heads[2].conv = nn.Sequential(InAList(candidate.heads[2].conv)).eval()
    loose = judge(embedded.recording, candidate, embedded.conversion, own=False)
    assert loose.verdict == "pass"
    assert (loose.stage("weights").compared, loose.stage("weights").expected) == (245, 250)
    mapped = judge(embedded.recording, candidate, embedded.conversion, own=False, mapped=True)
    assert mapped.verdict == "fail"
    assert "has nothing for 5 tensors of the checkpoint, seg_heads.2.conv._conv.weight first" in mapped.failures[0]
