"""Faults of a model that fits an export's tensors and is not of its program: it has the usual options instead.

They are put into the export that tests/conftest.py has, where no tensor shows any of them.
"""

from __future__ import annotations

from torch import nn

from .fault import Fault


def _usual_bins(model: nn.Module) -> nn.Module:
    for branch, size in zip(model.context.branches, (1, 2, 4), strict=True):
        branch.pool = nn.AdaptiveAvgPool2d(size)
    return model


def _bilinear_decoder(model: nn.Module) -> nn.Module:
    for fusion in model.decoder:
        fusion.resize_mode = "bilinear"
    return model


def _nearest_context(model: nn.Module) -> nn.Module:
    model.context.resize_mode = "nearest"
    return model


EXPORT_FAULTS = [
    Fault("an export's pyramid bins [1, 3, 6] taken for the usual [1, 2, 4]", _usual_bins),
    Fault("an export's nearest resizes of the decoder taken for the usual bilinear ones", _bilinear_decoder),
    Fault("an export's bilinear resizes of the context taken for nearest ones", _nearest_context),
]
