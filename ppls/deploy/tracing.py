"""`torch.jit.trace` of a model that was changed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ppls.models.provenance import Described


def traced(model: nn.Module, image: Tensor) -> Any:
    """The model as TorchScript; it is not run again to be checked."""
    with undescribed(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that tracing is deprecated, and may not generalise: the tests say it does
        return torch.jit.trace(model, image, check_trace=False)  # type: ignore[no-untyped-call]


@contextmanager
def undescribed(model: nn.Module) -> Iterator[None]:
    """Within, what describes a model is not computed: torch.jit looks at every attribute, and of a model with folded
    BatchNorms there are no options to tell, which is an error."""
    hidden = {name: None for name, value in vars(Described).items() if isinstance(value, property)}
    classes = {module: type(module) for module in model.modules() if isinstance(module, Described)}
    try:
        for module, kind in classes.items():
            module.__class__ = type(kind.__name__, (kind,), hidden)
        yield
    finally:
        for module, kind in classes.items():
            module.__class__ = kind
