"""Options that no recipe uses: PaddleSeg builds a model of them, ppls reads them off the file and computes the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ppls
from ppls.converter.translate import translate_back
from ppls.parity.reference.structure import places
from tests.conftest import run_upstream

SMALLEST: Mapping[str, Any] = {"class": "paddleseg.models.ResNet18_vd", "kwargs": {"output_stride": 8}}
NO_BACKBONE: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Case:
    """What PaddleSeg is given beside a backbone, and what of it no tensor shows; images of this shape."""

    options: Mapping[str, Any]
    told: Mapping[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = (2, 3, 64, 96)
    backbone: Mapping[str, Any] = field(default_factory=lambda: SMALLEST)
    never_run: str = "none"  # the module that PaddleSeg builds all the same, and the way back does not write


def build(architecture: str, cases: Mapping[str, Case], folder: Path, paddleseg: str | None = None) -> Path:
    """Has PaddleSeg build the model of each case, and leave `<case>.pdparams` and what it computed beside it.

    `paddleseg` is the folder of another one than is installed.
    """
    jobs = [
        {
            "name": name,
            "model": {
                "class": f"paddleseg.models.{architecture}",
                "kwargs": {"num_classes": 5, **({"backbone": case.backbone} if case.backbone else {}), **case.options},
            },
            "seed": 0,
            "shape": case.shape,
            "paddleseg": paddleseg,
        }
        for name, case in cases.items()
    ]
    return run_upstream(jobs, folder)


def check(folder: Path, name: str, case: Case) -> None:
    """That ppls finds the options, computes what PaddleSeg did in both modes, and gives back what it writes."""
    checkpoint = folder / f"{name}.pdparams"
    record = np.load(checkpoint.with_suffix(".npz"))
    converted = folder / f"{name}.safetensors"
    conversion = ppls.convert(checkpoint, converted, overrides=case.told)
    assert conversion.config.items() >= case.options.items()
    back = translate_back(conversion.tensors, conversion.map, conversion.config)
    shapes = {name: tensor.shape for name, tensor in (back.tensors | back.unused).items()}
    assert shapes == {
        name: tensor.shape
        for name, tensor in conversion.checkpoint.items()
        if not name.startswith(f"{case.never_run}.")
    }
    model = ppls.load(converted)
    image = torch.from_numpy(record["input"])
    with torch.no_grad():
        (_, logits), *_ = places(model(image), torch.is_tensor)
        compare([logits], [record["eval"]])
        model.train()
        for layer in model.modules():
            if "Drop" in type(layer).__name__:
                layer.eval()
        outputs = [output for _, output in places(model(image), torch.is_tensor)]
        compare(outputs, [record[key] for key in record.files if key.startswith("train_")])


def compare(found: list[torch.Tensor], expected: list[Any]) -> None:
    assert [tuple(x.shape) for x in found] == [x.shape for x in expected]
    for x, y in zip(found, expected, strict=True):
        assert np.abs(x.numpy() - y).max() <= 2e-5 * np.abs(y).max()
