"""Evaluation: val.py's figures to the last printed digit, in one process and in several."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import ppls
from ppls.cli.evaluate import evaluate as command
from ppls.inference.evaluation import run_settings
from ppls.inference.inference import Inference
from tests.inference.conftest import Command, json_of
from tests.material import SHARED, SMALL_RUN

ROOT = Path(__file__).resolve().parents[2]


def golden_figures(path: Path) -> dict[str, list[str]]:
    """The numbers that val.py printed, as it printed them."""
    text = path.read_text()
    figures = {key: [value] for key, value in re.findall(r"(mIoU|Acc|Kappa|Dice): (\S+)", text)}
    for key, values in re.findall(r"Class (\w+): \n\[([^\]]*)\]", text):
        figures[key] = values.split()
    assert len(figures) == 7
    return figures


def assert_printed_alike(ours: dict[str, object], golden: dict[str, list[str]]) -> None:
    names = {"mIoU": "miou", "Acc": "acc", "Kappa": "kappa", "Dice": "dice"}
    for key, printed in golden.items():
        values = np.atleast_1d(ours[names.get(key, f"class_{key.lower()}")])
        assert [f"{value:.4f}" for value in values] == [f"{float(text):.4f}" for text in printed], key


@pytest.mark.parametrize(
    ("golden", "options"),
    [
        ("val.txt", []),
        ("val_scales_0.75_1.0_1.25_flip.txt", ["--scales", "0.75,1.0,1.25", "--flip"]),
    ],
)
@pytest.mark.parametrize("run", [SMALL_RUN, SHARED / "paddleseg_run"], ids=["small", "real"])
def test_the_figures_are_val_pys_to_the_last_digit(
    run: Path, golden: str, options: list[str], run_command: Command
) -> None:
    if not run.is_dir():
        pytest.skip("the real training run is not there")
    data = run / "data"
    result = run_command(
        command, run / "model.pdparams", "--data", data / "val.txt", "--root", data, *options, "--json"
    )
    figures = json_of(result)
    assert figures["images"] == len((data / "val.txt").read_text().splitlines())
    assert_printed_alike(figures, golden_figures(run / "golden" / golden))


def test_the_runs_own_config_is_enough(
    training_run: Path, converted_run: Path, run_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(training_run)  # its names are relative to where PaddleSeg was run
    figures = json_of(run_command(command, converted_run, "--config", "config.yml", "--json"))
    assert_printed_alike(figures, golden_figures(training_run / "golden/val.txt"))


def test_a_table_shows_four_digits(
    training_run: Path, converted_run: Path, tmp_path: Path, run_command: Command
) -> None:
    data = training_run / "data"
    (tmp_path / "one.txt").write_text((data / "val.txt").read_text().splitlines()[0])
    result = run_command(command, converted_run, "--data", tmp_path / "one.txt", "--root", data)
    assert result.exit_code == 0
    assert re.search(r"1 images: mIoU 0\.\d{4}, accuracy 0\.\d{4}, kappa 0\.\d{4}, dice 0\.\d{4}", result.stdout)


@pytest.mark.parametrize("count", [1, 5])
def test_two_processes_count_each_image_once(
    count: int, training_run: Path, converted_run: Path, tmp_path: Path
) -> None:
    data = training_run / "data"
    lines = (data / "val.txt").read_text().splitlines()[:count]
    (tmp_path / "some.txt").write_text("\n".join(lines))
    alone = ppls.evaluate(converted_run, ppls.read_samples(data, tmp_path / "some.txt"))
    script = tmp_path / "evaluate.py"
    script.write_text("from ppls.cli.evaluate import evaluate\nevaluate()\n")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, script, converted_run, "--data", tmp_path / "some.txt", "--root", data, "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    together = json.loads(done.stdout)
    assert together["images"] == count
    for name, value in alone.to_json().items():
        assert together[name] == pytest.approx(value, rel=1e-4)  # threads change the rounding


class Gradient(nn.Module):
    """Two classes, by a weight for each column and row: shows where a crop, a flip or a scale came from."""

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [torch.cat([image[:, :1], image[:, 1:2] * 1.1], dim=1)]


@pytest.mark.parametrize(
    "inference",
    [
        {"window": (5, 7), "stride": (3, 4)},
        {"window": (64, 64)},
        {"window": (8, 9)},
        {"scales": (0.5, 1.25), "flip": True, "flip_vertical": True},
        {"scales": (0.75, 2.0), "window": (6, 6), "stride": (4, 5)},
    ],
    ids=str,
)
def test_windows_scales_and_flips_are_paddlesegs(inference: dict[str, object]) -> None:
    paddle = pytest.importorskip("paddle")
    upstream = pytest.importorskip("paddleseg.core.infer")
    image = np.random.default_rng(0).random((1, 3, 13, 17), np.float32)

    class Theirs(paddle.nn.Layer):  # type: ignore[name-defined,misc]
        def forward(self, x: object) -> list[object]:
            return [paddle.concat([x[:, :1], x[:, 1:2] * 1.1], axis=1)]  # type: ignore[index]

    run = Inference(**inference)  # type: ignore[arg-type]
    window = {}
    if run.window:
        window = {"is_slide": True, "crop_size": run.window[::-1], "stride": (run.stride or run.window)[::-1]}
    _, theirs = upstream.aug_inference(
        Theirs(), paddle.to_tensor(image), [], list(run.scales), run.flip, run.flip_vertical, **window
    )
    ours = run(Gradient(), torch.from_numpy(image))
    assert np.abs(ours.numpy() - theirs.numpy()).max() < 1e-6


def test_what_the_config_says_about_evaluation_is_followed(tmp_path: Path) -> None:
    (tmp_path / "run.yml").write_text(
        "val_dataset: {type: Cityscapes, dataset_root: data/cityscapes, transforms: [{type: Normalize}]}\n"
        "test_config: {aug_eval: true, scales: 0.5, is_slide: true, crop_size: [1024, 512], stride: [768, 256]}\n"
    )
    assert run_settings(tmp_path / "run.yml") == {
        "layout": "cityscapes",
        "root": "data/cityscapes",
        "scales": (0.5,),
        "flip": False,
        "flip_vertical": False,
        "window": (512, 1024),
        "stride": (256, 768),
    }


def sample_of(tmp_path: Path, label: np.ndarray) -> list[ppls.Sample]:
    Image.new("RGB", (6, 4)).save(tmp_path / "image.png")
    Image.fromarray(label).save(tmp_path / "label.png")
    (tmp_path / "list.txt").write_text("image.png label.png\n")
    return ppls.read_samples(tmp_path, tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (np.full((4, 6), 7, np.uint8), r"list.txt, line 1: .*label.png: the label holds 7, the model has 2 classes"),
        (np.zeros((6, 4), np.uint8), r"list.txt, line 1: .*label.png: the label is 6x4 \(.*\), the image 4x6"),
        (np.zeros((4, 6, 3), np.uint8), r"list.txt, line 1: .*label.png: is a RGB image"),
    ],
)
def test_a_label_that_does_not_fit_is_named_with_its_line(label: np.ndarray, said: str, tmp_path: Path) -> None:
    with pytest.raises(ppls.InputError, match=said):
        ppls.evaluate(Gradient(), sample_of(tmp_path, label))


def test_another_label_can_be_ignored(tmp_path: Path) -> None:
    label = np.zeros((4, 6), np.uint8)
    label[0] = 7
    assert ppls.evaluate(Gradient(), sample_of(tmp_path, label), ignore_label=7).acc == 1.0


def test_without_a_root_the_command_says_so(tmp_path: Path, run_command: Command) -> None:
    result = run_command(command, tmp_path / "model.safetensors")
    assert result.exit_code == 2
    assert "--root DIR is needed" in result.stderr


def test_an_image_or_label_of_too_many_pixels_is_named_with_its_line(
    training_run: Path, converted_run: Path, run_command: Command, tmp_path: Path
) -> None:
    samples = sample_of(tmp_path, np.zeros((4, 6), np.uint8))
    assert ppls.evaluate(Gradient(), samples, max_pixels=24).acc == 1.0
    with pytest.raises(
        ppls.InputError, match=r"list.txt, line 1: .*image.png: is 6x4 pixels, more than the limit of 23"
    ):
        ppls.evaluate(Gradient(), samples, max_pixels=23)
    Image.new("L", (600, 400)).save(tmp_path / "label.png")
    with pytest.raises(ppls.InputError, match=r"list.txt, line 1: .*label.png: is 600x400 pixels, more than"):
        ppls.evaluate(Gradient(), samples, max_pixels=24)
    data = training_run / "data"
    result = run_command(command, converted_run, "--data", data / "val.txt", "--root", data, "--max-pixels", 7)
    assert result.exit_code == 1
    assert "more than the limit of 7; --max-pixels raises it" in result.stderr
