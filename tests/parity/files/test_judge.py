"""Exported files beside PaddleSeg: right ones pass in each format, wrong ones fail, and what was compared is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import ppls
from ppls.parity.files.candidate import open_candidate
from ppls.parity.files.judge import judge_file
from ppls.parity.report.data import Report
from tests.parity.conftest import Recorded
from tests.parity.files.exports import write

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TorchScript is, and people have such files


def judged(embedded: Recorded, path: Path, **options) -> Report:
    return judge_file(embedded.recording, open_candidate(path), embedded.conversion, embedded=True, **options)


@pytest.fixture(scope="module")
def right(embedded: Recorded, tmp_path_factory) -> Path:
    """A right export, in TorchScript, of any size."""
    return write(embedded.candidate(), tmp_path_factory.mktemp("right") / "model.pt")


def coverage(report: Report, stage: str) -> dict:
    return next(entry for entry in report.to_json()["coverage"] if entry["stage"] == stage)


def test_a_right_torchscript_file_passes_and_is_asked_what_a_file_can_be_asked(right: Path, embedded: Recorded) -> None:
    report = judged(embedded, right, strict=True)
    assert report.verdict == "pass", report.to_json()
    assert len(report.outputs) == len(embedded.recording.inputs)
    assert all(output.comparison.floor for output in report.outputs)
    assert coverage(report, "behaviour")["compared"] == 8
    for stage in ("weights", "layers", "heads", "numerics", "training"):
        assert not coverage(report, stage)["ran"]
        assert "a file" in coverage(report, stage)["why"]
    assert report.candidate_file["format"] == "TorchScript"


@pytest.mark.parametrize("place", ["[1]", "[1][0]"])  # an auxiliary head; GSCNN's list of edges
def test_of_a_model_that_gives_more_a_file_of_the_logits_alone_is_judged_by_them(
    right: Path, embedded: Recorded, place: str
) -> None:
    recording = embedded.recording
    doubled = [replace(output, index=1, place=place) for output in recording.result.outputs]
    both = tuple(sorted([*recording.result.outputs, *doubled], key=lambda output: output.input))
    recording = replace(recording, result=replace(recording.result, outputs=both))
    report = judge_file(recording, open_candidate(right), embedded.conversion)
    assert report.verdict == "pass", report.failures
    assert len(report.outputs) == len(recording.inputs)
    outputs = report.stage("outputs")
    assert outputs is not None
    assert outputs.scope == "the file gives the first output alone of PaddleSeg's 2"


def test_a_right_onnx_file_passes_and_so_does_what_openvino_makes_of_it(embedded: Recorded, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    openvino = pytest.importorskip("openvino")
    path = write(embedded.candidate(), tmp_path / "model.onnx")
    report = judged(embedded, path)
    assert report.verdict == "pass", report.to_json()
    assert "ONNX Runtime" in report.candidate_file["runtime"]
    model = openvino.Core().read_model(str(path))
    openvino.save_model(model, tmp_path / "model.xml", compress_to_fp16=False)
    assert judged(embedded, tmp_path / "model.xml").verdict == "pass"
    openvino.save_model(model, tmp_path / "half.xml")  # what OpenVINO does unless it is told otherwise
    report = judged(embedded, tmp_path / "half.xml")
    assert report.verdict == "fail"
    assert any("holds weights in float16" in warning for warning in report.warnings)


def nearest(embedded: Recorded) -> nn.Module:
    return ppls.load(embedded.converted, resize_mode="nearest", context_resize_mode="nearest")


def other_epsilon(embedded: Recorded) -> nn.Module:
    model = embedded.candidate()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3
    return model


def swapped(embedded: Recorded) -> nn.Module:
    """Two classes exchanged."""
    model = embedded.candidate()
    weight = model.state_dict()["heads.0.classifier.weight"]
    weight[[3, 4]] = weight[[4, 3]]
    return model


@pytest.mark.parametrize("output", ["logits", "softmax", "argmax"])
@pytest.mark.parametrize("fault", [nearest, other_epsilon, swapped])
def test_the_export_of_a_wrong_model_fails(fault, output: str, embedded: Recorded, tmp_path: Path) -> None:
    report = judged(embedded, write(fault(embedded), tmp_path / "model.pt", output=output))
    assert report.verdict == "fail"
    assert report.first_divergence is not None
    assert coverage(report, "behaviour")["why"] == "the candidate differs as it is"


def test_weights_in_half_precision_are_held_to_the_same_tolerance(embedded: Recorded, tmp_path: Path) -> None:
    model = embedded.candidate().half().float()
    assert judged(embedded, write(model, tmp_path / "rounded.pt")).verdict == "fail"
    report = judged(embedded, write(model, tmp_path / "half.pt", dtype=torch.bfloat16))
    assert report.verdict == "fail"
    assert any("takes images in bfloat16" in warning for warning in report.warnings)
    assert report.candidate_file["output_dtypes"] == ["bfloat16"]
    loose = judged(embedded, tmp_path / "rounded.pt", tolerance=5e-2)
    assert loose.verdict == "pass"


def test_classes_within_the_file_are_judged_by_the_margin_of_the_logits(embedded: Recorded, tmp_path: Path) -> None:
    report = judged(embedded, write(embedded.candidate(), tmp_path / "model.pt", output="argmax"))
    assert report.verdict == "pass", report.to_json()
    assert all(output.argmax_agreement > 0.999 for output in report.outputs)
    assert len(report.pictures) == len(report.outputs)
    assert any("gives classes" in warning for warning in report.warnings)
    wrong = judged(embedded, write(embedded.candidate(), tmp_path / "rows.pt", output="argmax", dim=2))
    assert wrong.verdict == "fail"
    assert "classes of shape" in wrong.outputs[0].comparison.problem


def test_probabilities_are_compared_with_the_softmax_of_the_logits(embedded: Recorded, tmp_path: Path) -> None:
    report = judged(embedded, write(embedded.candidate(), tmp_path / "model.pt", output="softmax"))
    assert report.verdict == "pass", report.to_json()
    assert max(output.comparison.scaled for output in report.outputs) < 1e-4
    rows = judged(embedded, write(embedded.candidate(), tmp_path / "rows.pt", output="softmax", dim=2))
    assert rows.verdict == "fail"


def test_a_file_of_one_size_is_judged_on_inputs_of_that_size_alone(embedded: Recorded, tmp_path: Path) -> None:
    recording = embedded.recording
    _, _, height, width = recording.input(next(iter(recording.inputs))).shape
    told = {"size": [height, width], "batch": 1}
    path = write(embedded.candidate(), tmp_path / "model.pt", size=(height, width), told=told)
    report = judged(embedded, path, strict=True)
    assert report.verdict == "pass", report.to_json()
    like_it = [name for name in recording.inputs if recording.input(name).shape == (1, 3, height, width)]
    assert report.inputs == tuple(like_it)
    why = f"the file takes batch 1, channels any, height {height}, width {width} alone; "
    assert f"{why}{len(recording.inputs) - len(like_it)} inputs" in coverage(report, "outputs")["why"]
    path = write(embedded.candidate(), tmp_path / "large.pt", size=(64, 96), told={"size": [640, 640], "batch": 1})
    with pytest.raises(ppls.UsageError, match="no input of the run is like that; run PaddleSeg with --size 640x640"):
        judged(embedded, path)


class Counting(nn.Module):
    """Right the first ten times."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, image: Tensor) -> Tensor:
        self.calls += 1
        found: Tensor = self.model(image)
        if self.calls > 14:
            found = found * 1.5
        return found


def test_what_changes_with_the_number_of_calls_is_found(right: Path, embedded: Recorded, tmp_path: Path) -> None:
    scripted = torch.jit.script(Counting(torch.jit.load(str(right))))
    torch.jit.save(scripted, str(tmp_path / "model.pt"))
    report = judged(embedded, tmp_path / "model.pt")
    assert report.verdict == "fail"
    assert any("answers otherwise in call" in failure for failure in report.failures)


def test_a_file_that_raises_is_a_failure_and_says_what(embedded: Recorded, tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(nn.Conv2d(4, 2, 1), torch.zeros(1, 4, 8, 8)), str(tmp_path / "model.pt"))
    report = judged(embedded, tmp_path / "model.pt")
    assert report.verdict == "fail"
    assert all("the candidate raised RuntimeError" in failure for failure in report.failures)


def test_the_report_holds_the_digest_of_the_file_and_its_types(right: Path, embedded: Recorded) -> None:
    import hashlib

    found = judged(embedded, right).to_json()["candidate_file"]
    assert found["sha256"] == hashlib.sha256(right.read_bytes()).hexdigest()
    assert found["weight_dtypes"] == ["float32"]
    assert found["takes"] == "batch any, channels any, height any, width any"


def test_a_run_in_float64_cannot_judge_a_file(right: Path, embedded: Recorded) -> None:
    from dataclasses import replace

    wide = replace(embedded.recording, job=replace(embedded.recording.job, dtype="float64"))
    with pytest.raises(ppls.UsageError, match="cannot be judged in float64"):
        judge_file(wide, open_candidate(right), embedded.conversion)
