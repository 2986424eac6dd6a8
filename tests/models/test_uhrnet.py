"""U-HRNet, small, under the architecture that PaddleSeg has it in: at a size that nothing divides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ppls
from ppls.checkpoint.reader import read
from ppls.converter.translate import translate_back
from ppls.models.stored import stored_from_torch
from tests.conftest import run_upstream

UHRNET = "paddleseg.models.backbones.uhrnet.UHRNet"
NARROW = {
    f"stage{stage}_num_{what}": value
    for stage, widths in enumerate(([8, 12], [12, 16], [16, 20], [20, 24], [16, 20], [12, 16], [8, 12], [8]), start=2)
    for what, value in (("modules", 1), ("blocks", [1] * len(widths)), ("channels", widths))
}
STAGE1 = {"stage1_num_blocks": [1], "stage1_num_channels": [8]}
CASES: dict[str, dict[str, Any]] = {"plain": {"align_corners": False}, "corners": {"align_corners": True}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    jobs = []
    for name, options in CASES.items():
        backbone = {"class": UHRNET, "kwargs": {**STAGE1, **NARROW, **options}}
        model = {"class": "paddleseg.models.FCN", "kwargs": {"num_classes": 5, "backbone": backbone}}
        jobs.append({"name": name, "model": model, "seed": 0, "shape": (1, 3, 75, 102)})
    return run_upstream(jobs, tmp_path_factory.mktemp("uhrnet"))


@pytest.mark.parametrize("name", CASES)
def test_it_computes_what_paddleseg_computes_and_goes_back_bit_for_bit(folder: Path, name: str) -> None:
    told = {f"backbone.{option}": value for option, value in CASES[name].items()}
    checkpoint = folder / f"{name}.pdparams"
    record = np.load(checkpoint.with_suffix(".npz"))
    conversion = ppls.convert(checkpoint, overrides=told)
    assert conversion.config["backbone"].items() >= {**STAGE1, **NARROW, **CASES[name]}.items()
    model = ppls.load(checkpoint, **told)
    with torch.no_grad():
        (logits,) = model(torch.from_numpy(record["input"]))
    assert np.abs(logits.numpy() - record["eval"]).max() <= 2e-5 * np.abs(record["eval"]).max()
    tensors = {name: stored_from_torch(tensor) for name, tensor in model.state_dict().items()}
    back = translate_back(tensors, conversion.map, conversion.config)
    assert back.problems == []
    written = {name: tensor.shape for name, tensor in (back.tensors | back.unused).items()}
    assert written == {name: tensor.shape for name, tensor in read(checkpoint).tensors.items()}
    for name, tensor in back.tensors.items():
        assert np.array_equal(tensor.load(), ppls.read(checkpoint)[name]), name
