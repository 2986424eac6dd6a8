"""The recipes that docs/training.md names, on made data: two iterations of each, on its own crops, PSANet's on less."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import ppls
from tests.training.test_train import curve

pytest.importorskip("accelerate")
pytest.importorskip("cv2")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "training.md"
CAMVID = {"type": "Dataset", "num_classes": 11}


def lite(backbone: str, widths: tuple[list[int], list[int]]) -> dict[str, Any]:
    arms, heads = widths
    model = {"type": "PPLiteSeg", "backbone": {"type": backbone}, "arm_out_chs": arms, "seg_head_inter_chs": heads}
    return {"model": model, "optimizer": {"type": "SGD", "momentum": 0.9, "weight_decay": 5e-4}}


def ohem(least: int) -> dict[str, Any]:
    return {"types": [{"type": "OhemCrossEntropyLoss", "min_kept": least}], "coef": [1, 1, 1]}


def poly(rate: float, warmup: int | None = None) -> dict[str, Any]:
    found = {"type": "PolynomialDecay", "learning_rate": rate, "end_lr": 0, "power": 0.9}
    return found | ({} if warmup is None else {"warmup_iters": warmup, "warmup_start_lr": 1e-5})


def steps(crop: list[int], scales: tuple[float, float, float], *distort: str) -> list[dict[str, Any]]:
    least, most, step = scales
    return [
        {"type": "ResizeStepScaling", "min_scale_factor": least, "max_scale_factor": most, "scale_step_size": step},
        {"type": "RandomPaddingCrop", "crop_size": crop},
        {"type": "RandomHorizontalFlip"},
        {"type": "RandomDistort", **{f"{name}_range": 0.5 for name in distort}},
        {"type": "Normalize"},
    ]


T, B = ([32, 64, 128], [32, 64, 64]), ([64, 96, 128], [64, 64, 64])
ALL = ("brightness", "contrast", "saturation")
CITYSCAPES = {
    "iters": 160000,
    "lr_scheduler": poly(0.005, 1000),
    "loss": ohem(130000),
    "transforms": steps([1024, 512], (0.125, 1.5, 0.125), *ALL),
    "data": {"type": "Cityscapes"},
    "size": (2048, 1024),
}
# by the name on the page; the size of the data set's images
RECIPES: dict[str, dict[str, Any]] = {
    "PP-LiteSeg-T, Cityscapes": {**lite("STDC1", T), **CITYSCAPES},
    "PP-LiteSeg-B, Cityscapes": {**lite("STDC2", B), **CITYSCAPES},
    "PP-LiteSeg-T, CamVid": {
        **lite("STDC1", T),
        "iters": 10000,
        "lr_scheduler": poly(0.01, 200),
        "loss": ohem(250000),
        "transforms": steps([960, 720], (0.5, 2.5, 0.25), *ALL),
        "data": CAMVID,
        "size": (960, 720),
    },
    "PP-LiteSeg-T, SBD": {
        **lite("STDC1", T),
        "iters": 30000,
        "lr_scheduler": poly(1e-4),
        "loss": {"types": [{"type": "CrossEntropyLoss"}], "coef": [1, 1, 1]},
        "transforms": steps([320, 320], (0.5, 2.0, 0.25), "brightness", "contrast"),
        "data": {"type": "Dataset", "num_classes": 21},
        "size": (500, 375),
    },
    "PSANet-R50, Cityscapes": {
        "model": {"type": "PSANet", "backbone": {"type": "ResNet50_vd", "output_stride": 8}, "num_classes": 19},
        "optimizer": {"type": "SGD", "momentum": 0.9, "weight_decay": 4e-5},
        "iters": 80000,
        "lr_scheduler": poly(0.01),
        "loss": {"types": [{"type": "CrossEntropyLoss"}], "coef": [1, 0.4]},
        "transforms": steps([256, 128], (0.5, 2.0, 0.25), *ALL),  # a sixteenth of its own, for the memory
        "data": {"type": "Cityscapes"},
        "size": (2048, 1024),
    },
}


def made(folder: Path, size: tuple[int, int], classes: int, *, cityscapes: bool) -> dict[str, str]:
    """Two images of that width and height, and where a section of a config has them."""
    random = np.random.RandomState(0)
    width, height = size
    lines = []
    for number in range(2):
        small = random.randint(0, classes, (math.ceil(height / 64), math.ceil(width / 64)))
        label = np.kron(small, np.ones((64, 64), int))[:height, :width].astype(np.uint8)
        names = f"{number}.png", f"{number}_label.png"
        if cityscapes:
            names = f"leftImg8bit/train/a/{number}_leftImg8bit.png", f"gtFine/train/a/{number}_gtFine_labelTrainIds.png"
        for name, image in zip(names, (label[..., None] * np.array([9, 5, 11], np.uint8), label), strict=True):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / name)
        lines.append(" ".join(names) + "\n")
    (folder / "train.txt").write_text("".join(lines))
    return {"dataset_root": str(folder)} | ({} if cityscapes else {"train_path": str(folder / "train.txt")})


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs(name: str, tmp_path: Path) -> None:
    recipe = dict(RECIPES[name])
    data, size, transforms = recipe.pop("data"), recipe.pop("size"), recipe.pop("transforms")
    places = made(tmp_path, size, data.get("num_classes", 19), cityscapes=data["type"] == "Cityscapes")
    config = {**recipe, "batch_size": 1, "train_dataset": {**data, **places, "mode": "train", "transforms": transforms}}
    (tmp_path / "run.yml").write_text(yaml.safe_dump(config))
    options = ppls.TrainingOptions(iters=2, save_dir=tmp_path / "run", seed=0, log_iters=1)
    done = ppls.train(tmp_path / "run.yml", options)
    assert done.iteration == 2
    assert all(math.isfinite(row["loss"]) for row in curve(tmp_path / "run"))


def test_the_page_has_every_recipe() -> None:
    text = PAGE.read_text()
    assert [name for name in RECIPES if f"| {name} |" not in text] == []
