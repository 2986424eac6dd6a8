"""An exported file as a candidate: opened in its own runtime, and run as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ppls.errors import ParityError, UsageError
from ppls.parity.files.onnxruntime import open_onnx
from ppls.parity.files.opened import Opened
from ppls.parity.files.openvino import open_ir
from ppls.parity.files.pytorch import open_exported, open_torchscript
from ppls.parity.files.tensorrt import open_engine
from ppls.parity.input_shape import InputShape
from ppls.shown import shown

_OPENERS: dict[str, Callable[[Path], Opened]] = {
    ".onnx": open_onnx,
    ".xml": open_ir,
    ".pt2": open_exported,
    ".pt": open_torchscript,
    ".torchscript": open_torchscript,
    ".engine": open_engine,
    ".plan": open_engine,
}
KINDS = ("logits", "softmax", "argmax")  # what a file may give


class FileCandidate(nn.Module):
    """A file as a module, in eval mode: float32 images (N, C, H, W) to a list of what the file gives.

    What it gives in a narrower or wider floating type is float32 then, so that the figures alone tell; its own type is
    in `output_dtypes`.

    Attributes:
        path: of the file.
        opened: the file in its runtime.
        output_dtypes: of what it gave when it was run last, in torch's words.
    """

    def __init__(self, path: Path, opened: Opened) -> None:
        super().__init__()
        self.path, self.opened = path, opened
        self.output_dtypes: tuple[str, ...] = ()
        self.eval()

    @property
    def shape(self) -> InputShape:
        return self.opened.shape

    def forward(self, image: Tensor) -> list[Tensor]:
        given = image.to(getattr(torch, self.opened.input_dtype))
        if not self.opened.in_torch:
            given = given.contiguous()
        found = self.opened.run(given)
        self.output_dtypes = tuple(str(tensor.dtype).removeprefix("torch.") for tensor in found)
        return [tensor.float() if tensor.is_floating_point() else tensor for tensor in found]

    def again(self) -> FileCandidate:
        """The file, opened anew."""
        return FileCandidate(self.path, _opened(self.path))

    def __deepcopy__(self, memo: dict[int, Any]) -> FileCandidate:
        raise TypeError("a file in its runtime is not copied")

    def described(self) -> dict[str, Any]:
        """What a report says of the file: `candidate_file` of its JSON."""
        return {
            "format": self.opened.format,
            "runtime": self.opened.runtime,
            "sha256": _sha256(self.path),
            "takes": str(self.shape),
            "input_dtype": self.opened.input_dtype,
            "output_dtypes": list(self.output_dtypes),
            "weight_dtypes": list(self.opened.weights),
        }


def open_candidate(path: str | Path) -> FileCandidate:
    """Opens an exported file in the runtime of its format, which its suffix tells.

    Raises:
        UsageError: the suffix tells no format.
        MissingDependencyError: the runtime is not installed.
        ParityError: the file is missing, damaged, or takes no images.
    """
    path = Path(path)
    if path.suffix.lower() not in _OPENERS:
        raise UsageError(f"--candidate {path}: its suffix tells no format; known are {', '.join(_OPENERS)}")
    if not path.is_file():
        raise ParityError(f"{path}: {'is not a file' if path.exists() else 'no such file'}")
    return FileCandidate(path, _opened(path))


def kind_of(candidate: FileCandidate, image: Tensor) -> str:
    """One of `KINDS`: what the file says that it gives, else what it gives for an image shows. May raise anything."""
    first = candidate(image)[0]
    if not first.is_floating_point():
        return "argmax"
    said = candidate.opened.metadata.get("output")
    if said in ("logits", "softmax"):
        return str(said)
    if first.ndim < 2 or first.shape[1] < 2 or float(first.min()) < 0:
        return "logits"
    return "softmax" if float((first.sum(1) - 1).abs().max()) < 1e-2 else "logits"


def _opened(path: Path) -> Opened:
    opened = _OPENERS[path.suffix.lower()](path)
    channels = opened.shape.channels.fixed
    if channels is not None and opened.shape.width.fixed == 3 and channels != 3:
        raise ParityError(f"{path}: takes {shown(str(opened.shape), 80)}, channels last; (N, 3, H, W) is expected")
    return opened


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
