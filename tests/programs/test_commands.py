"""What a day's commands do with a model that is made from its program: evaluate, export, bench, optimize."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import ppls
from ppls.cli.bench import bench
from ppls.cli.evaluate import evaluate
from ppls.cli.export import export
from ppls.programs.module import load_program
from tests.conftest import Exports
from tests.material import SMALL_RUN

EXPORT = SMALL_RUN / "export"


def answer(command: Any, *arguments: object) -> Any:
    result = CliRunner().invoke(command, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_it_is_evaluated_as_the_model_of_a_map_is() -> None:
    given = [EXPORT, "--root", SMALL_RUN / "data", "--data", SMALL_RUN / "data" / "val.txt"]
    own, found = answer(evaluate, *given), answer(evaluate, *given, "--program")
    assert found["miou"] == pytest.approx(own["miou"], abs=1e-4)
    assert found["acc"] == pytest.approx(own["acc"], abs=1e-4)


@pytest.mark.parametrize(
    "name", ["m.onnx", *(pytest.param(name, marks=pytest.mark.slow) for name in ("m.xml", "m.pt2"))]
)
def test_what_takes_one_size_is_exported_for_that(tmp_path: Path, name: str) -> None:
    for package in {"m.onnx": ["onnx", "onnxruntime"], "m.xml": ["openvino"], "m.pt2": []}[name]:
        pytest.importorskip(package)
    found = answer(export, EXPORT, tmp_path / name, "--program")
    assert tuple(found["size"]) == ppls.load(EXPORT, program=True).only_size != (512, 1024)
    assert (tmp_path / name).exists()
    assert max(check["scaled"] for check in found["checks"]) <= 1e-5


@pytest.mark.slow
def test_what_takes_any_size_is_exported_for_any(exports: Exports, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    found = answer(export, exports["pdmodel"], tmp_path / "m.onnx", "--program")
    assert found["size"] is None
    assert len({tuple(check["shape"]) for check in found["checks"]}) == 4


@pytest.mark.slow
def test_it_is_timed_in_the_size_that_it_takes_beside_the_export_in_paddle() -> None:
    pytest.importorskip("paddle")
    given = ["--program", "--against", "paddle", "--mode", "eager", "--rounds", "1", "--threads", "1"]
    found = answer(bench, EXPORT, *given)
    timings = {timing["mode"]: timing for timing in found["timings"]}
    assert {tuple(timing["point"]["size"]) for timing in timings.values()} == {load_program(EXPORT).only_size}
    assert "eager" in timings
    assert any(mode.startswith("Paddle") and mode.endswith("plain") for mode in timings)
    assert max(timing["scaled_error"] for timing in timings.values()) <= 1e-5


def test_a_converted_folder_is_not_run_by_paddle(tmp_path: Path) -> None:
    ppls.convert_program(EXPORT, tmp_path / "out")
    result = CliRunner().invoke(bench, [str(tmp_path / "out"), "--against", "paddle", "--mode", "eager"])
    assert result.exit_code == 2
    assert "Paddle runs the export that it was converted from, not this" in result.stderr


@pytest.mark.slow
def test_it_is_optimized(exports: Exports) -> None:
    model, image = ppls.load(exports["pdmodel"], program=True).logits(), torch.randn(1, 3, 64, 96)
    fast = ppls.optimize(model, image)
    with torch.no_grad():
        expected, found = model(image)[0], fast(image)[0]
    assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


def test_a_size_that_it_does_not_take_is_one_message(tmp_path: Path) -> None:
    for command, given in ((export, [tmp_path / "m.pt2"]), (bench, [])):
        result = CliRunner().invoke(command, [str(EXPORT), *map(str, given), "--program", "--size", "96x96"])
        assert result.exit_code == 1
        assert "where -1 is any; this one is of [1, 3, 96, 96]" in result.stderr.replace("\n", " ")
    assert not list(tmp_path.iterdir())
