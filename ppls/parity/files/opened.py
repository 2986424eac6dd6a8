"""An exported file that is ready to run, whatever its format: what it takes, how it is called, what it tells."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy import ndarray
from torch import Tensor

from ppls.errors import MissingDependencyError, ParityError, first_line
from ppls.parity.input_shape import InputShape
from ppls.shown import shown

Array = ndarray[Any, Any]
MOST_METADATA = 1 << 20  # characters of one entry
METADATA_FILE = "ppls.json"  # the extra file of PyTorch's formats that holds what ONNX has as metadata_props


@dataclass(frozen=True)
class Opened:
    """An exported file in its runtime.

    Attributes:
        format: `ONNX`, `OpenVINO IR`, `torch.export`, `TorchScript`, `TensorRT`.
        runtime: with its version.
        shape: of the images that it takes.
        input_dtype: their type, in torch's word: `float32`.
        run: from images (N, C, H, W) in that type to what it returns. May raise anything.
        places: from such images to where the maxima stood, (N, C, h, w), of every pooling of the file that says so:
            within their channel, or counted on over all channels and images; None where the runtime does not tell.
        weights: the types of its weights, in torch's words, where they can be told.
        metadata: what `ppls.export` wrote into it.
        in_torch: whether it runs in this process's PyTorch, on the tensors that it is given.
    """

    format: str
    runtime: str
    shape: InputShape
    input_dtype: str
    run: Callable[[Tensor], list[Tensor]]
    places: Callable[[Array], list[Array]] | None
    weights: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    in_torch: bool = False


def require(package: str, path: Path, install: str = "") -> None:
    """Raises `MissingDependencyError` unless the package that runs a file is installed."""
    if importlib.util.find_spec(package) is None:
        command = install or f"pip install {package}"
        raise MissingDependencyError(f"{package} is not installed; {path} is run in it: {command}")


def cannot_open(path: Path, runtime: str, why: BaseException | str) -> ParityError:
    """The error for a file that its runtime refuses."""
    said = first_line(why) if isinstance(why, BaseException) else why
    return ParityError(f"{path}: {runtime} cannot open it: {shown(said, 300)}")


def parsed(entries: Mapping[str, str]) -> dict[str, Any]:
    """What `ppls.export` wrote: each value is JSON. What is not is another tool's, and is left out."""
    found: dict[str, Any] = {}
    for key, text in entries.items():
        if len(text) <= MOST_METADATA:
            try:
                found[key] = json.loads(text)
            except (ValueError, RecursionError):
                continue
    return found
