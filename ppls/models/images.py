"""From an image to a model's input, and to the class of each pixel: what a model's own file says is done."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ppls.errors import UsageError
from ppls.images import as_rgb
from ppls.images.transforms import Prepared, restore
from ppls.images.usage import ASSUMED, Usage
from ppls.models.modes import modes_kept
from ppls.models.sizes import run_padded

_RGB = 3


def channels_of(model: nn.Module) -> int:
    """How many channels the images of a model have: by its `input_shape`, else its first convolution; 3 without one."""
    shape: tuple[int, ...] = getattr(model, "input_shape", ())  # of the module of a program
    if len(shape) == 4 and shape[1] > 0:
        return int(shape[1])
    return next((weight.shape[1] for weight in model.parameters() if weight.dim() == 4), _RGB)


def check_rgb(model: nn.Module) -> None:
    """Raises `UsageError` for a model whose images are not of three channels: no file says how they are prepared."""
    if (channels := channels_of(model)) != _RGB:
        raise UsageError(
            f"this model takes images of {channels} channels; ppls reads and prepares RGB alone: "
            "prepare yours, and call the model with them"
        )


def prepare(model: nn.Module, usage: Usage, image: Any) -> Prepared:
    """The image as the model takes it; what nobody said how to do is warned of, where the model's method was called."""
    check_rgb(model)
    if usage.preprocessing is None:
        warnings.warn(ASSUMED, stacklevel=3)
    return usage.steps(as_rgb(image))


def as_input(model: nn.Module, prepared: Prepared) -> torch.Tensor:
    """The input (1, 3, H, W), where the model is and in its type."""
    own = next(model.parameters())
    return prepared.tensor.to(own.device, own.dtype)


@torch.inference_mode()
def labels(model: nn.Module, prepared: Prepared) -> NDArray[Any]:
    """The class of each pixel (H, W), at the size before it was prepared."""
    with modes_kept(model):
        logits = run_padded(model.eval(), as_input(model, prepared))
    found = restore(logits.float(), prepared.undo).argmax(1)[0].cpu().numpy()
    return found.astype(np.uint8 if logits.shape[1] <= 256 else np.uint16)
