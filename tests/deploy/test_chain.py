"""The whole chain: from image files to label maps, each stage timed; what it predicts is what `ppls.predict` does."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import ppls
from ppls.cli.bench import bench as command
from ppls.deploy.chain import NETWORKS, STAGES
from ppls.inference.preprocessing import Preprocessing
from tests.deploy.test_benchmark import Small
from tests.inference.conftest import Command, json_of

HAS_PADDLE = importlib.util.find_spec("paddle") is not None and importlib.util.find_spec("paddleseg") is not None


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return Small().eval()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images of two sizes."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (70, 98, 3)), ("b.jpg", (64, 130, 3))):
        Image.fromarray(rng.integers(0, 255, size, dtype=np.uint8)).save(folder / name)
    return folder


def test_every_stage_is_timed_and_the_whole_is_no_less_than_its_parts(model: nn.Module, images: Path) -> None:
    before = torch.get_num_threads()
    result = ppls.benchmark_chain(model, images, modes=["eager", "channels-last"], rounds=3, threads=before + 1)
    assert torch.get_num_threads() == before
    assert (result.images, result.threads, result.failures) == (2, before + 1, ())
    assert {timing.mode for timing in result.timings} == {"eager", "channels-last"}
    for timing in result.timings:
        assert timing.stages is not None
        assert set(timing.stages) == set(STAGES)
        assert all(milliseconds > 0 for milliseconds in timing.stages.values())
        assert timing.low <= timing.milliseconds <= timing.high
        assert timing.images_per_second == pytest.approx(1000 / timing.milliseconds)
        assert timing.agreement is not None
        assert timing.agreement > 0.999
        assert timing.mode != "eager" or timing.ratio == 1.0
    assert json.loads(json.dumps(result.to_json()))["timings"][0]["stages"].keys() == set(STAGES)


@pytest.mark.parametrize("mode", ["onnxruntime", "openvino"])
def test_an_export_does_the_chain_too_on_images_of_any_size(mode: str, model: nn.Module, images: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip(mode)
    result = ppls.benchmark_chain(model, images, modes=["eager", mode], rounds=1)
    assert result.failures == ()
    assert all(timing.agreement is not None and timing.agreement > 0.999 for timing in result.timings)


def test_labels_are_those_of_predict_at_the_size_of_the_image(
    model: nn.Module, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    monkeypatch.setattr("ppls.deploy.chain.write_labels", lambda path, labels, *_, **__: written.append(labels))
    prepare = Preprocessing.from_options(resize=(64, 64))
    ppls.benchmark_chain(model, images, modes=["eager"], rounds=1, preprocessing=prepare)
    expected = [prediction.labels for prediction in ppls.predict(model, images, preprocessing=prepare)]
    assert all(any(np.array_equal(a, b) for b in expected) for a in written)
    assert {labels.shape for labels in written} == {(70, 98), (64, 130)}


def test_a_mode_that_cannot_run_is_listed_with_the_reason(
    model: nn.Module, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no such thing\nhere")

    monkeypatch.setitem(NETWORKS, "optimized", fails)
    result = ppls.benchmark_chain(model, images, rounds=1)
    assert [(failure.mode, failure.reason) for failure in result.failures] == [("optimized", "no such thing")]
    assert [timing.mode for timing in result.timings] == ["eager"]


def test_the_command_prints_a_table_of_stages(converted_run: Path, images: Path, run_command: Command) -> None:
    arguments = (converted_run, "--chain", images / "a.png", "--mode", "eager", "--rounds", "1")
    result = run_command(command, *arguments)
    assert result.exit_code == 0, result.stderr
    assert all(stage in result.stdout for stage in (*STAGES, "all", "images/s"))
    printed = json_of(run_command(command, *arguments, "--json"))
    assert printed["images"] == 1
    assert printed["timings"][0]["mode"] == "eager"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--chain", "i", "--size", "32x32"], "--chain takes the images as they are"),
        (["--chain", "i", "--plot", "p.png"], "--chain takes the images as they are"),
        (["--chain", "i", "--mode", "exported"], "--mode exported: of the whole chain it is one of eager"),
    ],
)
def test_what_makes_no_sense_of_a_chain_is_refused(
    arguments: list[str], said: str, converted_run: Path, run_command: Command
) -> None:
    result = run_command(command, converted_run, *arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


@pytest.mark.skipif(not HAS_PADDLE, reason="needs paddlepaddle and paddleseg")
def test_paddlesegs_own_predict_runs_beside_it(converted_run: Path, images: Path, run_command: Command) -> None:
    arguments = ("--chain", images, "--mode", "eager", "--rounds", "1", "--against", "paddle", "--json")
    printed = json_of(run_command(command, converted_run, *arguments))
    assert printed["failures"] == []
    (theirs,) = [timing for timing in printed["timings"] if timing["mode"].startswith("predict.py, Paddle")]
    assert theirs["ratio"] == 1.0
    assert theirs["stages"] is None
    assert theirs["milliseconds"] > 0
