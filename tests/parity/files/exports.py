"""Exports of a model as other tools make them, fast: traced, and ONNX by PyTorch's older exporter."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ppls.deploy.folding import fold_batch_norms, replace_adaptive_pooling


class Wrapped(nn.Module):
    """The first output of a model, or what is made of it."""

    def __init__(self, model: nn.Module, output: str = "logits", dim: int = 1) -> None:
        super().__init__()
        self.model, self.output, self.dim = model, output, dim

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.model(image)[0]
        if self.output == "argmax":
            return logits.argmax(self.dim).to(torch.int32)
        return logits.softmax(self.dim) if self.output == "softmax" else logits


def write(
    model: nn.Module,
    path: Path,
    *,
    output: str = "logits",
    dim: int = 1,
    size: tuple[int, int] | None = None,
    batch: int = 1,
    dtype: torch.dtype = torch.float32,
    told: dict[str, Any] | None = None,
) -> Path:
    """Exports a model of ppls to a file, by its suffix; `told` is its metadata where the format is PyTorch's."""
    prepared = copy.deepcopy(model)
    fold_batch_norms(prepared)
    replace_adaptive_pooling(prepared)
    wrapped = Wrapped(prepared, output, dim).eval().to(dtype)
    image = torch.zeros(batch, 3, *(size or (64, 96)), dtype=dtype)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if path.suffix == ".pt":
            traced = torch.jit.trace(wrapped, image, check_trace=False)
            torch.jit.save(traced, str(path), _extra_files={"ppls.json": json.dumps(told)} if told else {})
        else:
            free = None if size else {"image": {0: "batch", 2: "height", 3: "width"}}
            torch.onnx.export(
                wrapped,
                (image,),
                str(path),
                dynamo=False,
                input_names=["image"],
                output_names=["found"],
                dynamic_axes=free,
                opset_version=18,
            )
    return path
