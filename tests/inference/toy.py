"""A small checkpoint of PaddleSeg's form, made on the spot: tests that need no trained weights need no more."""

from __future__ import annotations

from pathlib import Path

import torch

import ppls


def toy_checkpoint(path: Path, num_classes: int) -> Path:
    """A narrow PP-LiteSeg of random weights, as `paddle.save` writes it."""
    torch.manual_seed(0)
    stdc = {"type": "STDCNet", "base": 8, "layers": [2, 2, 2]}
    model = ppls.models.PPLiteSeg(num_classes, stdc, cm_out_ch=8, arm_out_chs=[4, 4, 8], seg_head_inter_chs=[4, 4, 4])
    torch.save(model.state_dict(), path.with_suffix(".pt"))
    ppls.convert_back(path.with_suffix(".pt"), path, architecture="PPLiteSeg")
    return path
