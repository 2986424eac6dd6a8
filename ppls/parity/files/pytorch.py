"""PyTorch's own files, torch.export and TorchScript. Both are programs: whoever opens one runs what is in it."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ppls.errors import ParityError
from ppls.parity.candidate import Array, tensors_of
from ppls.parity.files.opened import METADATA_FILE, MOST_METADATA, Opened, cannot_open
from ppls.parity.files.shapes import shape_of
from ppls.parity.input_shape import Sides
from ppls.parity.maxima import Noted


def open_exported(path: Path) -> Opened:
    """A file of `torch.export.save`. Raises `ParityError` where it is damaged or takes no image."""
    extra = {METADATA_FILE: ""}
    try:
        with warnings.catch_warnings(), _without_logging("torch.export"):
            warnings.simplefilter("ignore")
            program = torch.export.load(path, extra_files=extra)
            module = program.module()
        images = [node.meta["val"] for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
    except Exception as error:
        raise cannot_open(path, _runtime(), error) from None
    if len(images) != 1 or not isinstance(images[0], Tensor) or not images[0].is_floating_point():
        raise ParityError(f"{path}: takes {len(images)} inputs; one image of floating point is expected")
    metadata = _metadata(extra)
    lengths = [_length(length, program.range_constraints) for length in images[0].shape]
    return Opened(
        "torch.export",
        _runtime(),
        shape_of(path, lengths, metadata),
        str(images[0].dtype).removeprefix("torch."),
        lambda image: tensors_of(module(image)),
        partial(places_in_torch, module),
        _dtypes([*program.state_dict.values(), *program.constants.values()]),
        metadata,
        in_torch=True,
    )


def open_torchscript(path: Path) -> Opened:
    """A file of `torch.jit.save`. Raises `ParityError` where it is damaged."""
    extra = {METADATA_FILE: ""}
    try:
        module = load_torchscript(path, extra)
    except Exception as error:
        raise cannot_open(path, _runtime(), error) from None
    metadata = _metadata(extra)
    dtypes = _dtypes([*module.parameters(), *module.buffers()])
    narrow = dtypes[0] if len(dtypes) == 1 else "float32"
    return Opened(
        "TorchScript",
        _runtime(),
        shape_of(path, None, metadata),
        narrow,
        lambda image: tensors_of(module(image)),
        partial(places_in_torch, module),
        dtypes,
        metadata,
        in_torch=True,
    )


def places_in_torch(module: Callable[[Tensor], Any], image: Array) -> list[Array]:
    """Where the maxima stood (N, C, h, w), of every pooling that says so: within their channel."""
    noted = Noted()
    with torch.no_grad(), noted:
        module(torch.from_numpy(image))
    return noted.places


def load_torchscript(path: Path, extra: dict[str, Any] | None = None) -> Any:
    """`torch.jit.load`, onto the CPU. Raises what it raises."""
    with warnings.catch_warnings():  # that it is deprecated is not news to who has such a file
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(str(path), map_location="cpu", _extra_files=extra)  # type: ignore[no-untyped-call]


@contextmanager
def _without_logging(name: str) -> Iterator[None]:
    """Of a file that it cannot read torch.export logs the traceback, and raises."""
    logger = logging.getLogger(name)
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


def _runtime() -> str:
    return f"PyTorch {torch.__version__}"


def _metadata(extra: Mapping[str, Any]) -> dict[str, Any]:
    text = extra[METADATA_FILE]
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    if len(text) > MOST_METADATA:
        return {}
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _dtypes(tensors: list[Any]) -> tuple[str, ...]:
    """Of those that are floating point."""
    found = {tensor.dtype for tensor in tensors if isinstance(tensor, Tensor) and tensor.is_floating_point()}
    return tuple(sorted(str(dtype).removeprefix("torch.") for dtype in found))


def _length(length: Any, constraints: Mapping[Any, Any]) -> Sides | int | None:
    """What torch.export says of a length: a number, or a symbol that has its bounds."""
    if isinstance(length, int):
        return length
    bounds = constraints.get(length.node.expr)
    if bounds is None:  # made of other symbols: what it refuses it says when it is run
        return None
    low, high = (int(bound) if bound.is_Integer else None for bound in (bounds.lower, bounds.upper))
    low = 1 if low in (None, 0, 2) else low  # torch.export takes any length for two and more: it runs on one as well
    return Sides(low, high if high is not None and high < _NO_END else None)


_NO_END = 1 << 31
