"""`torch.jit.trace` of a model."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn


def traced(model: nn.Module, image: Tensor) -> Any:
    """The model as TorchScript; it is not run again to be checked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that tracing is deprecated, and may not generalise: the tests say it does
        return torch.jit.trace(model, image, check_trace=False)  # type: ignore[no-untyped-call]
