"""What PaddleSeg computes with options that no published config uses, and ppls with its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ppls
from tests.conftest import run_upstream

SMALL = {"class": "paddleseg.models.ResNet18_vd", "kwargs": {"output_stride": 8}}


@dataclass(frozen=True)
class Computed:
    """A checkpoint that PaddleSeg built, what it computed with it, and what ppls makes of it."""

    checkpoint: Path
    conversion: ppls.Conversion
    record: Any

    @property
    def error(self) -> float:
        """The largest scaled error of the first output, in eval mode."""
        with torch.no_grad():
            found = self.model()(torch.from_numpy(self.record["input"]))[0].numpy()
        assert found.shape == self.record["eval"].shape
        return float(np.abs(found - self.record["eval"]).max() / np.abs(self.record["eval"]).max())

    def model(self) -> torch.nn.Module:
        assert self.conversion.destination is not None
        return ppls.load(self.conversion.destination)


def computed(
    architecture: str,
    cases: dict[str, dict[str, Any]],
    told: dict[str, dict[str, Any]],
    folder: Path,
    shape: tuple[int, ...] = (2, 3, 49, 65),
) -> dict[str, Computed]:
    """Each of the cases, by name.

    Args:
        cases: PaddleSeg's options but the backbone, a ResNet18_vd.
        told: of each case what no tensor shows, to be said to ppls.
        shape: of the input, odd.
    """
    jobs = [
        {
            "name": name,
            "model": {"class": f"paddleseg.models.{architecture}", "kwargs": {"backbone": SMALL, **options}},
            "seed": seed,
            "shape": shape,
        }
        for seed, (name, options) in enumerate(cases.items())
    ]
    run_upstream(jobs, folder)
    found = {}
    for name in cases:
        checkpoint = folder / f"{name}.pdparams"
        conversion = ppls.convert(checkpoint, folder / f"{name}.safetensors", overrides=told.get(name, {}))
        found[name] = Computed(checkpoint, conversion, np.load(checkpoint.with_suffix(".npz")))
    return found
