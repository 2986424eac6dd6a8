"""`ppls verify --candidate`: exit statuses, what is printed, and what PaddleSeg is run on."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ppls.cli.verify import verify as command
from tests.parity.conftest import Recorded
from tests.parity.files.exports import write


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["c.pdparams", "--candidate", "none.onnx"], 1, "none.onnx: no such file"),
        (["c.pdparams", "--candidate", "damaged.onnx"], 1, "damaged.onnx: is no ONNX model, or is damaged"),
        (["c.pdparams", "--candidate", "damaged.pt"], 1, "damaged.pt: PyTorch"),
        (["c.pdparams", "--candidate", "model.tflite"], 2, "its suffix tells no format"),
        (["--candidate", "damaged.pt"], 2, "give the CHECKPOINT that the file was exported from"),
        (["c.pdparams", "--candidate", "damaged.pt", "--model", "a:b"], 2, "--candidate and --model"),
        (["c.pdparams", "--candidate", "damaged.pt", "--float64"], 2, "--float64: an exported file computes"),
        (["c.pdparams", "--candidate", "damaged.pt", "--train-steps", "2"], 2, "--train-steps: an exported file"),
        (["c.pdparams", "--candidate", "damaged.pt", "--dump", "d"], 2, "--dump runs PaddleSeg alone"),
    ],
)
def test_what_cannot_be_judged_is_said_before_anything_runs(
    arguments: list[str], status: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("damaged.onnx", "damaged.pt"):
        (tmp_path / name).write_bytes(b"no model at all")
    result = run(*arguments)
    assert result.exit_code == status, result.output
    assert said in " ".join(result.stderr.split())


def test_a_missing_runtime_is_exit_status_2_with_the_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    (tmp_path / "model.onnx").touch()
    result = run("c.pdparams", "--candidate", tmp_path / "model.onnx", "--json")
    assert result.exit_code == 2
    assert "pip install onnxruntime" in json.loads(result.stdout)["error"]["message"]


def test_paddleseg_is_run_on_the_one_size_of_a_file_and_the_report_says_so(embedded: Recorded, tmp_path: Path) -> None:
    told = {"size": [48, 80], "batch": 2}
    path = write(embedded.candidate(), tmp_path / "model.pt", output="argmax", size=(48, 80), batch=2, told=told)
    page = tmp_path / "report.html"
    result = run(embedded.checkpoint, "--candidate", path, "--no-layers", "--report", page, "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert len(report["inputs"]) == 7
    assert all("48x80" in name for name in report["inputs"])
    outputs = next(entry for entry in report["coverage"] if entry["stage"] == "outputs")
    assert outputs["why"] == "the file takes batch 2, channels any, height 48, width 80 alone"
    assert report["candidate_file"]["output_dtypes"] == ["int32"]
    assert "it takes batch 2" in page.read_text()
    other = run(embedded.checkpoint, "--candidate", path, "--size", "64x64", "--no-layers")
    assert other.exit_code == 2
    assert "coffee 64x64 is 1x3x64x64" in " ".join(other.stderr.split())
