"""Exports: each run in two runtimes at sizes that no bin divides; a runtime that disagrees stops it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ppls
from ppls.cli.export import export as command
from ppls.deploy import runtimes
from ppls.deploy.export import FORMATS
from ppls.deploy.folding import fold_batch_norms
from ppls.inference.loading import model_class
from ppls.mappings.map_file import architectures
from ppls.models.bin_pool import BinPool
from ppls.models.provenance import Described
from ppls.models.resize import enlarge
from ppls.parity.files.candidate import open_candidate
from tests.architectures import map_of, small_config
from tests.inference.conftest import Command, json_of

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

# What https://github.com/onnx/onnx-tensorrt/blob/main/docs/operators.md lists as supported, of what could occur here
TENSORRT = {
    *("Add", "And", "ArgMax", "AveragePool", "Cast", "Ceil", "Concat", "Conv", "Div", "Expand", "Floor", "Gather"),
    *("GreaterOrEqual", "Identity", "LeakyRelu", "Less", "MatMul", "Mul", "Range", "ReduceMax", "ReduceMean", "Relu"),
    *("Reshape", "Resize", "Shape", "Sigmoid", "Slice", "Softmax", "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where"),
}


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, (2, 5)])
def test_pooling_by_matrices_is_adaptive_pooling(size: Any) -> None:
    for shape in ((2, 3, 13, 7), (1, 2, 1, 1), (1, 4, 32, 64), (1, 2, 3, 50)):
        x = torch.randn(shape, dtype=torch.float64)
        expected = nn.functional.adaptive_avg_pool2d(x, size)
        assert (BinPool(size)(x) - expected).abs().max() < 1e-6 * expected.abs().max()


@pytest.mark.parametrize("open_runtime", [runtimes.open_onnxruntime, runtimes.open_openvino])
def test_seven_bins_of_thirteen_rows_are_the_same_where_a_runtime_multiplies_by_a_seventh(
    open_runtime: Any, tmp_path: Path
) -> None:
    path = tmp_path / "pool.onnx"
    free = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    torch.onnx.export(
        BinPool(7), (torch.randn(2, 4, 20, 24),), str(path), dynamo=True, dynamic_shapes=(free,), verbose=False
    )
    image = torch.randn(2, 4, 13, 21)
    expected = nn.functional.adaptive_avg_pool2d(image, 7)
    assert np.abs(open_runtime(path)(image.numpy()) - expected.numpy()).max() < 1e-6


def test_every_batch_norm_is_folded_without_a_change_beyond_rounding(converted_run: Path) -> None:
    model, folded = ppls.load(converted_run), ppls.load(converted_run)
    assert fold_batch_norms(folded) == sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        (a,), (b,) = model(image), folded(image)
    assert 0 < (a - b).abs().max() / a.abs().max() < 5e-6


@pytest.fixture(scope="module")
def any_size(converted_run: Path, tmp_path_factory: pytest.TempPathFactory) -> ppls.Export:
    return ppls.export(converted_run, tmp_path_factory.mktemp("export") / "model.onnx")


def test_an_onnx_file_of_any_size_agrees_in_both_runtimes(any_size: ppls.Export) -> None:
    assert {check.runtime for check in any_size.checks} == {"ONNX Runtime", "OpenVINO"}
    assert {check.shape for check in any_size.checks} >= {(2, 3, 97, 161), (1, 3, 224, 352)}
    assert max(check.scaled for check in any_size.checks) < 1e-5


def test_it_holds_nothing_that_tensorrts_parser_lacks(any_size: ppls.Export) -> None:
    import onnx

    model = onnx.load(any_size.destination)
    assert {node.op_type for node in model.graph.node} <= TENSORRT
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert not any(dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[2:])


def test_it_says_where_it_came_from(any_size: ppls.Export) -> None:
    import onnx

    told = {entry.key: json.loads(entry.value) for entry in onnx.load(any_size.destination).metadata_props}
    assert told["architecture"] == "PPLiteSeg"
    assert told["output"] == "logits"
    assert len(told["source_sha256"]) == 64


USE = {
    "architecture": "PPLiteSeg",
    "source_sha256": "0" * 64,
    "config": '{"num_classes": 2}',
    "preprocessing": '[{"type": "Normalize", "mean": [0.5], "std": [0.5]}]',
    "classes": '["road", "<b>\\u00fc\\"]]>"]',
}


class Told(Described):
    """A model that came from somewhere, whose classes have names that a format could trip over."""

    def __init__(self, num_classes: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, num_classes, 1)
        self.provenance = dict(USE)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [self.conv(image)]


@pytest.mark.parametrize("suffix", FORMATS.values())
def test_every_format_tells_how_it_is_used_and_where_it_came_from(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    exported = ppls.export(Told(), path, size=(64, 96), batch=2)
    told = dict(open_candidate(path).opened.metadata)
    assert told == json.loads(json.dumps(exported.metadata))
    assert told["classes"] == ["road", '<b>\u00fc"]]>']
    assert told["preprocessing"] == [{"type": "Normalize", "mean": [0.5], "std": [0.5]}]
    assert told["config"] == {"num_classes": 2}
    assert (told["output"], told["size"], told["batch"]) == ("logits", [64, 96], 2)
    assert told["exported_by"] == f"ppls {ppls.__version__}"
    assert open_candidate(path).shape.takes((2, 3, 64, 96))
    assert not open_candidate(path).shape.takes((1, 3, 64, 96))
    names = {path.name, "model.bin"} if suffix == ".xml" else {path.name}
    assert set(os.listdir(tmp_path)) == names


def test_a_model_of_four_channels_is_exported_as_one(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(4, 2, 1), Listed())
    exported = ppls.export(model, tmp_path / "model.pt", size=(64, 64))
    assert exported.checks[0].shape == (1, 4, 64, 64)
    assert "(N, 4, H, W)" in exported.metadata["input"]


class Listed(nn.Module):
    def forward(self, logits: torch.Tensor) -> list[torch.Tensor]:
        return [logits]


def test_an_ir_replaces_neither_of_its_two_files_unless_forced(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"mine")
    with pytest.raises(ppls.ConversionError, match=r"model\.bin: exists already"):
        ppls.export(Told(), tmp_path / "model.xml", size=(64, 64))
    assert os.listdir(tmp_path) == ["model.bin"]
    ppls.export(Told(), tmp_path / "model.xml", size=(64, 64), force=True)
    assert (tmp_path / "model.bin").read_bytes() != b"mine"
    assert set(os.listdir(tmp_path)) == {"model.bin", "model.xml"}


def test_the_argmax_is_inside_where_that_is_asked_for(tmp_path: Path) -> None:
    for suffix in (".pt", ".xml"):
        ppls.export(Told(), tmp_path / f"m{suffix}", output="argmax")
        candidate = open_candidate(tmp_path / f"m{suffix}")
        (labels,) = candidate(torch.randn(2, 3, 65, 97))
        assert (labels.dtype, labels.shape) == (torch.int32, (2, 65, 97))
        assert candidate.opened.metadata["output"] == "argmax"


def test_labels_of_a_fixed_size_are_those_of_paddlesegs_export(
    converted_run: Path, training_run: Path, tmp_path: Path, run_command: Command
) -> None:
    path = tmp_path / "labels.onnx"
    printed = json_of(run_command(command, converted_run, path, "--size", "64x128", "--argmax", "--json"))
    assert printed["size"] == [64, 128]
    with np.load(training_run / "golden/logits_val000-001.npz") as arrays:
        golden = {name: arrays[name] for name in arrays}
    for open_runtime in (runtimes.open_onnxruntime, runtimes.open_openvino):
        labels = open_runtime(path)(golden["input"][:1])
        assert labels.dtype == np.int32
        assert np.array_equal(labels, golden["logits"][:1].argmax(1))


@pytest.mark.parametrize("suffix", [pytest.param("pt2", marks=pytest.mark.slow), "pt"])
def test_pytorchs_own_formats_agree_at_any_size(suffix: str, converted_run: Path, tmp_path: Path) -> None:
    result = ppls.export(converted_run, tmp_path / f"m.{suffix}", output="softmax", full_resolution=False)
    assert {check.runtime for check in result.checks} == {"PyTorch", "OpenVINO"}
    image = np.zeros((1, 3, 160, 96), np.float32)
    assert runtimes.open_torch(tmp_path / f"m.{suffix}")(image).shape == (1, 5, 20, 12)


class Pooled(nn.Module):
    """Pools to a row or two, of an image of 96 rows to one, as DDRNet does."""

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        pooled = F.avg_pool2d(image[:, :, ::64, ::64], 5, stride=2, padding=2)
        return [image + F.interpolate(pooled, image.shape[-2:], mode="bilinear")]


def test_what_is_pooled_to_one_row_at_one_size_is_exported_for_any(tmp_path: Path) -> None:
    result = ppls.export(Pooled(), tmp_path / "m.pt2")
    assert {check.shape[-2:] for check in result.checks} >= {(224, 352), (64, 64)}
    assert max(check.scaled for check in result.checks) < 1e-6


def test_a_model_that_upsamples_by_nearest_neighbours_is_exported_too(training_run: Path, tmp_path: Path) -> None:
    model = ppls.load(training_run / "model.pdparams", resize_mode="nearest", context_resize_mode="nearest")
    result = ppls.export(model, tmp_path / "m.onnx", size=(96, 160))
    assert max(check.scaled for check in result.checks) < 1e-5


def test_a_file_that_openvino_alone_cannot_read_is_kept_and_that_is_said(
    converted_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_command: Command
) -> None:
    def refuse(path: Path) -> None:
        raise RuntimeError("no conversion rule for a loop\nand more")

    monkeypatch.setattr(runtimes, "_OPENVINO", replace(runtimes._OPENVINO, open=refuse))
    path = tmp_path / "m.pt"
    result = run_command(command, converted_run, path, "--size", "64x96")
    assert result.exit_code == 0, result.stderr
    assert "which cannot read it: no conversion rule for a loop" in " ".join(result.stdout.split())
    assert path.exists()


def test_a_fixed_size_can_be_of_several_images(converted_run: Path, tmp_path: Path) -> None:
    result = ppls.export(converted_run, tmp_path / "m.onnx", size=(64, 96), batch=3)
    assert {check.shape for check in result.checks} == {(3, 3, 64, 96)}
    assert runtimes.open_onnxruntime(tmp_path / "m.onnx")(np.zeros((3, 3, 64, 96), np.float32)).shape[0] == 3


def test_an_onnx_graph_of_very_many_nodes_is_rewritten_by_the_runtimes_alone(
    converted_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppls.deploy.formats.MOST_REWRITTEN", 0)
    monkeypatch.setattr("torch.onnx.ONNXProgram.optimize", None)
    result = ppls.export(converted_run, tmp_path / "m.onnx")
    assert {check.runtime for check in result.checks} == {"ONNX Runtime", "OpenVINO"}
    assert max(check.scaled for check in result.checks) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("architecture", architectures())
def test_every_architecture_can_be_optimized(architecture: str) -> None:
    """Their exports stand beside PaddleSeg in `tests/parity/files/test_every_architecture.py`."""
    torch.manual_seed(0)
    model = model_class(architecture)(**small_config(map_of(architecture))).eval()
    optimized = ppls.optimize(model, torch.randn(1, 3, 96, 160))
    assert set(optimized.milliseconds) >= {"channels last", "channels last, compiled"}


class Wrong(nn.Module):
    """Computes something else when it is exported."""

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [image * (2 if torch.jit.is_tracing() else 1)]


def test_an_export_that_differs_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(ppls.Error, match=r"PyTorch .* differs from PyTorch at 1x3x64x64: logits by 1.0e\+00"):
        ppls.export(Wrong(), tmp_path / "m.pt", size=(64, 64))
    assert list(tmp_path.iterdir()) == []


class Stubborn(nn.Module):
    """Cannot be exported."""

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        raise RuntimeError("this one\nnever")


def test_what_cannot_be_exported_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(ppls.Error, match=r"cannot be exported as torchscript for 64x64: this one$"):
        ppls.export(Stubborn(), tmp_path / "m.pt", size=(64, 64))


class Pointwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [self.conv(image)]


def test_an_export_that_exists_is_replaced_if_forced_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    path.touch(mode=0o600)
    exported = ppls.export(Pointwise(), path, size=(64, 64), force=True)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == exported.sha256
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["m.pt"]


def test_weights_that_one_onnx_file_cannot_hold_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.onnx._internal.exporter._onnx_program._LARGE_MODEL_THRESHOLD", 0)
    with pytest.raises(ppls.Error, match="too large for one ONNX file; export it with --format torch-export"):
        ppls.export(Pointwise(), tmp_path / "m.onnx", size=(64, 64))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["m.tflite"], 2, "its suffix tells no format; known are .onnx (onnx)"),
        (["m.onnx", "--format", "caffe"], 2, "'caffe' is not one of 'onnx', 'openvino', 'torch-export'"),
        (["m.onnx", "--values", "labels"], 2, "'labels' is not one of 'logits', 'softmax', 'argmax'"),
        (["m.onnx", "--batch", "2"], 2, "--batch is for a fixed --size"),
        (["there.pt"], 1, "exists already; give --force"),
        (["no/m.pt"], 1, "does not exist; create it first"),
    ],
)
def test_wrong_usage_is_one_message(
    arguments: list[str], status: int, said: str, converted_run: Path, tmp_path: Path, run_command: Command
) -> None:
    (tmp_path / "there.pt").touch()
    result = run_command(command, converted_run, tmp_path / arguments[0], *arguments[1:])
    assert result.exit_code == status
    assert said in result.stderr


def test_a_runtime_that_is_not_installed_is_said_with_the_command(
    converted_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "onnxruntime")
    with pytest.raises(ppls.MissingDependencyError, match=r"onnxruntime is not installed.*: pip install onnxruntime$"):
        ppls.export(converted_run, tmp_path / "m.onnx")
    without(monkeypatch, "onnx", "onnxruntime")
    with pytest.raises(ppls.MissingDependencyError, match=r"onnx, onnxruntime are .*: pip install onnx onnxruntime$"):
        ppls.export(converted_run, tmp_path / "m.onnx")


@pytest.mark.parametrize("suffix", [".pt", ".pt2", ".onnx"])
def test_a_format_needs_nothing_of_the_others(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = {".onnx": ()}.get(suffix, ("onnx", "onnxscript", "onnxruntime"))
    without(monkeypatch, "openvino", *others)
    result = ppls.export(Pointwise(), tmp_path / f"m{suffix}", size=(64, 64))
    assert [check.runtime for check in result.checks] == ["ONNX Runtime" if suffix == ".onnx" else "PyTorch"]


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """As if they were not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(runtimes.importlib.util, "find_spec", lambda name: None if name in packages else find(name))


def test_a_path_that_is_not_utf_8_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    for path in (tmp_path / os.fsdecode(b"x\xff.onnx"), tmp_path / os.fsdecode(b"\xe9") / "x.pt2"):
        with pytest.raises(ppls.UsageError, match=r"\\udc(ff|e9).* is not UTF-8"):
            ppls.export(nn.Conv2d(3, 3, 1), path)


class Doubled(nn.Module):
    """Two halvings, one of them at once, added: of sides that are no multiples of 4 they are not alike."""

    size_multiple = 4

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        half, quarter = (nn.functional.avg_pool2d(image, by) for by in (2, 4))
        return [enlarge(half + enlarge(quarter, 2), 2)]


def test_a_model_of_sides_that_are_multiples_is_exported_for_any(tmp_path: Path) -> None:
    exported = ppls.export(Doubled(), tmp_path / "model.pt2")
    assert (2, 3, 100, 164) in [check.shape for check in exported.checks]


class OfLowImages(nn.Module):
    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [image * (2 if image.shape[2] < 100 else 3)]


def test_a_file_that_does_not_take_every_size_is_refused_with_what_works(tmp_path: Path) -> None:
    said = r"refuses the export for any size; fix one \(--size\), or take another format: "
    with pytest.raises(ppls.Error, match=said):
        ppls.export(OfLowImages(), tmp_path / "model.pt2")
    assert not os.listdir(tmp_path)
    ppls.export(OfLowImages(), tmp_path / "model.pt2", size=(128, 64))
