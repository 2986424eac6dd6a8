"""The benchmark: what it times computes what the model computes, and what cannot run is said. No test is of a time."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import ppls
from ppls.cli.bench import bench as command
from ppls.deploy.modes import MODES, open_mode
from ppls.deploy.optimize import optimize_with
from ppls.deploy.runtimes import onnx_file_for, onnx_file_on_demand
from ppls.models.layers import ConvBNAct
from ppls.models.pyramid import PooledBranch
from ppls.models.resize import resize
from tests.inference.conftest import Command, json_of

QUICK = ("--size", "32x64", "--rounds", "1", "--mode", "eager", "--mode", "channels-last")
HAS_PADDLE = importlib.util.find_spec("paddle") is not None and importlib.util.find_spec("paddleseg") is not None


class Small(nn.Module):
    """A model with one of each layer that modes treat in a way of their own, soon compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = ConvBNAct(3, 8, 3, stride=2)
        self.context = PooledBranch(8, 8, 4)
        self.classifier = nn.Conv2d(8, 5, 1)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        x = self.encoder(image)
        x = x + resize(self.context(x), x.shape[-2:])
        return [resize(self.classifier(x), image.shape[-2:])]


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return Small().eval()


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_computes_what_the_model_computes(
    mode: str, model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what else optimize tries has tests of its own
    monkeypatch.setattr("ppls.deploy.modes.optimize_with", partial(optimize_with, compile=False, runtimes=()))
    if mode in ("onnxruntime", "openvino", "openvino-compiled"):
        pytest.importorskip(mode.partition("-")[0])
    image = torch.randn(2, 3, 66, 98, generator=torch.Generator().manual_seed(0))  # 33 x 49: no bin divides it
    with onnx_file_on_demand(model, image) as onnx:
        run = open_mode(mode, model, image, 1, onnx)
        with torch.inference_mode():
            (expected,), result = model(image), run()
    assert result.shape == expected.shape
    assert (result - expected).abs().max() < 1e-5 * expected.abs().max()


def test_all_modes_run_one_onnx_file(converted_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    written: list[Path] = []

    @contextmanager
    def noted(*given: Any) -> Iterator[Path]:
        with onnx_file_for(*given) as path:
            written.append(path)
            yield path

    monkeypatch.setattr("ppls.deploy.runtimes.onnx_file_for", noted)
    monkeypatch.setattr("ppls.deploy.modes.optimize_with", partial(optimize_with, compile=False))
    modes = ["optimized", "onnxruntime", "openvino"]
    result = ppls.benchmark(converted_run, sizes=[(32, 64)], modes=modes, rounds=1, threads=1)
    assert ({timing.mode for timing in result.timings}, result.failures, len(written)) == (set(modes), (), 1)


def unneeded() -> Path:
    raise AssertionError("no export is asked for")


@pytest.mark.parametrize("mode", ["eager", "channels-last"])
def test_a_mode_computes_in_the_precision_of_the_image(mode: str, model: nn.Module) -> None:
    image = torch.randn(1, 3, 32, 64, dtype=torch.bfloat16)
    with torch.inference_mode():
        assert open_mode(mode, model, image, 1, unneeded)().dtype == torch.bfloat16
    assert next(model.parameters()).dtype == torch.float32


def test_every_combination_is_timed_and_compared_with_the_first_mode(converted_run: Path) -> None:
    result = ppls.benchmark(
        converted_run, sizes=[(32, 64), (64, 32)], batches=[1, 2], modes=["eager", "channels-last"], rounds=2, threads=1
    )
    assert len(result.timings) == 8
    assert result.failures == ()
    assert result.threads == 1
    assert {(timing.point.size, timing.point.batch) for timing in result.timings} == {
        (size, batch) for size in [(32, 64), (64, 32)] for batch in (1, 2)
    }
    for timing in result.timings:
        assert 0 < timing.low <= timing.milliseconds <= timing.high
        assert timing.images_per_second == pytest.approx(timing.point.batch * 1000 / timing.milliseconds)
        assert timing.scaled_error < 1e-5
        assert timing.mode != "eager" or timing.ratio == 1.0


def test_the_baseline_is_the_mode_of_that_name_alone(converted_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODES, "eager-too", MODES["eager"])
    monkeypatch.setattr("ppls.deploy.benchmark.take_turns", lambda *_: [[2.0], [1.0]])
    result = ppls.benchmark(converted_run, sizes=[(32, 32)], modes=["eager", "eager-too"])
    assert {timing.mode: timing.ratio for timing in result.timings} == {"eager": 1.0, "eager-too": 0.5}


def test_threads_are_set_back(converted_run: Path) -> None:
    before = torch.get_num_threads()
    ppls.benchmark(converted_run, sizes=[(32, 32)], modes=["eager"], rounds=1, threads=before + 1)
    assert torch.get_num_threads() == before


def test_a_mode_that_cannot_run_is_listed_with_the_reason(converted_run: Path, run_command: Command) -> None:
    pytest.importorskip("onnxruntime")
    result = run_command(command, converted_run, *QUICK, "--dtype", "float16", "--mode", "onnxruntime")
    assert result.exit_code == 0, result.stderr
    assert "onnxruntime did not run at 1x3x32x64, float16: the export" in " ".join(result.stdout.split())
    assert "channels-last" in result.stdout


def test_the_json_has_the_device_the_versions_and_every_figure(converted_run: Path, run_command: Command) -> None:
    report = json_of(run_command(command, converted_run, *QUICK, "--json"))
    assert {"device", "threads", "versions", "baseline", "timings", "failures"} <= report.keys()
    assert report["versions"]["torch"] == torch.__version__
    assert {timing["mode"] for timing in report["timings"]} == {"eager", "channels-last"}


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_plot_is_a_picture(suffix: str, converted_run: Path, tmp_path: Path, run_command: Command) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"times{suffix}"
    assert run_command(command, converted_run, *QUICK, "--plot", path).exit_code == 0
    if suffix == ".png":
        from PIL import Image

        with Image.open(path) as image:
            assert min(image.size) > 200
            assert len(image.convert("RGB").getcolors(1 << 24) or ()) > 3
    else:
        assert "<svg" in path.read_text()
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.skipif(not HAS_PADDLE, reason="needs paddlepaddle and paddleseg")
def test_paddle_inference_runs_beside_it_and_agrees(converted_run: Path, run_command: Command) -> None:
    report = json_of(run_command(command, converted_run, *QUICK, "--against", "paddle", "--json"))
    paddle = [timing for timing in report["timings"] if timing["mode"].startswith("Paddle")]
    assert paddle
    assert min(timing["ratio"] for timing in paddle) == 1.0
    assert all(timing["scaled_error"] < 1e-5 for timing in report["timings"])
    assert all("oneDNN" in failure["mode"] for failure in report["failures"])  # some releases cannot


@pytest.mark.skipif(not HAS_PADDLE, reason="needs paddlepaddle and paddleseg")
@pytest.mark.parametrize("source", ["model.pdparams", "export"])
def test_a_paddle_file_can_be_given_as_well(source: str, training_run: Path) -> None:
    result = ppls.benchmark(
        training_run / source,
        config=training_run / "config.yml",
        sizes=[(32, 32)],
        modes=["eager"],
        rounds=1,
        against="paddle",
    )
    assert any(timing.mode.endswith("plain") and timing.scaled_error < 1e-5 for timing in result.timings)


def test_a_python_without_paddle_is_a_failure_and_not_the_end(converted_run: Path, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 3\n")
    python.chmod(0o755)
    result = ppls.benchmark(
        converted_run, sizes=[(32, 32)], modes=["eager"], rounds=1, against="paddle", paddle_pythons=[python]
    )
    assert [timing.mode for timing in result.timings] == ["eager"]
    assert [failure.mode for failure in result.failures] == [f"Paddle of {python}, {m}" for m in ("plain", "oneDNN")]
    assert all("ended with status 3" in failure.reason for failure in result.failures)


def test_a_size_that_does_not_fit_is_said_and_the_others_are_timed(converted_run: Path, run_command: Command) -> None:
    result = run_command(command, converted_run, *QUICK, "--size", "4000000x4000000")
    assert result.exit_code == 0, result.stderr
    assert "eager did not run at 1x3x4000000x4000000, float32: out of memory" in " ".join(result.stdout.split())
    nothing = run_command(command, converted_run, "--size", "4000000x4000000", "--mode", "eager")
    assert nothing.exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode", "fast"], "'fast' is not one of 'eager', 'channels-last'"),
        (["--dtype", "int8"], "'int8' is not one of 'float32', 'bfloat16', 'float16'"),
        (["--against", "tensorflow"], "'tensorflow' is not 'paddle'"),
        (["--device", "abacus"], "--device abacus: cannot be used; there are cpu"),
        (["--plot", "times.jpg"], "--plot times.jpg: its suffix is one of .png, .svg, .pdf"),
        (["--size", "big"], "'big' is not HEIGHTxWIDTH"),
    ],
)
def test_what_cannot_be_understood_is_refused(
    arguments: list[str], message: str, converted_run: Path, run_command: Command
) -> None:
    result = run_command(command, converted_run, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_module_has_no_file_that_paddle_could_read(model: nn.Module) -> None:
    with pytest.raises(ppls.UsageError, match="only a file can be run against Paddle"):
        ppls.benchmark(model, against="paddle")


def test_a_json_result_can_be_read_back(converted_run: Path) -> None:
    result = ppls.benchmark(converted_run, sizes=[(32, 32)], modes=["eager"], rounds=1)
    assert json.loads(json.dumps(result.to_json()))["timings"][0]["point"]["size"] == [32, 32]
