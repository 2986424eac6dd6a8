"""The ways to run a model that `ppls-bench` times beside each other, all in this process."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ppls.deploy.export import export
from ppls.deploy.optimize import logits_of, optimize_with
from ppls.deploy.runtimes import (
    openvino_precision,
    require_packages,
    run_in_onnxruntime,
    run_in_openvino,
)
from ppls.errors import Error
from ppls.parity.files.openvino import import_openvino
from ppls.temporary import temporary_folder

OnnxFile = Callable[[], Path]
Run = Callable[[], Tensor]  # from an image that is where and as the mode wants it, to logits


def _eager(model: nn.Module, image: Tensor, threads: int, onnx: OnnxFile) -> Run:
    cast = model.to(image.dtype)
    return lambda: logits_of(cast(image))


def _channels_last(model: nn.Module, image: Tensor, threads: int, onnx: OnnxFile) -> Run:
    moved, image = _in_channels_last(model, image)
    return lambda: logits_of(moved(image))


def _compiled(model: nn.Module, image: Tensor, threads: int, onnx: OnnxFile) -> Run:
    moved, image = _in_channels_last(model, image)
    torch.compiler.reset()  # else models of earlier points count against dynamo's limit of recompilations
    compiled = torch.compile(moved, dynamic=False)
    return lambda: logits_of(compiled(image))


def _optimized(model: nn.Module, image: Tensor, threads: int, onnx: OnnxFile) -> Run:
    fast = optimize_with(onnx, model.to(image.dtype), image)
    return lambda: logits_of(fast(image))


def _exported(model: nn.Module, image: Tensor, threads: int, onnx: OnnxFile) -> Run:
    if image.dtype != torch.float32:
        raise Error("the export is in float32")
    batch, _, height, width = image.shape
    with temporary_folder() as folder:
        path = folder / "model.pt2"
        export(model.cpu(), path, size=(height, width), batch=batch)
        program = torch.export.load(path)
    if image.device.type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, image.device)
    module = program.module()
    return lambda: module(image)  # type: ignore[no-any-return]


def _onnxruntime(model: nn.Module, image: Tensor, threads: int, onnx: OnnxFile) -> Run:
    require_packages("onnx", "onnxscript", "onnxruntime")
    return partial(run_in_onnxruntime(onnx(), image, threads), image)


def _openvino(model: nn.Module, image: Tensor, threads: int, onnx: OnnxFile) -> Run:
    require_packages("onnx", "onnxscript", "openvino")
    return partial(run_in_openvino(onnx(), image, threads), image)


def _compiled_by_openvino(model: nn.Module, image: Tensor, threads: int, onnx: OnnxFile) -> Run:
    require_packages("openvino")
    import_openvino()
    import openvino.torch  # noqa: F401  (it registers the backend)

    torch.compiler.reset()
    settings = {"INFERENCE_PRECISION_HINT": openvino_precision(image), "INFERENCE_NUM_THREADS": threads}
    # without aot_autograd it fails from 512x1024 on with torch 2.13
    options: Any = {"aot_autograd": True, "config": settings}
    compiled = torch.compile(model.to(image.dtype), backend="openvino", options=options)
    return lambda: logits_of(compiled(image))


# Each takes a model of its own, in float32, the image, whose precision is the one to compute in, how many threads, and
# an ONNX file of the model for such images.
MODES: dict[str, Callable[[nn.Module, Tensor, int, OnnxFile], Run]] = {
    "eager": _eager,
    "channels-last": _channels_last,
    "compiled": _compiled,
    "optimized": _optimized,
    "exported": _exported,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "openvino-compiled": _compiled_by_openvino,
}


def open_mode(mode: str, model: nn.Module, image: Tensor, threads: int, onnx: OnnxFile) -> Run:
    """A model, which stays as it is, made ready to run on `image` in the way that `MODES` calls `mode`.

    Args:
        onnx: gives its ONNX file for images of that shape: see `ppls.deploy.runtimes.onnx_file_on_demand`.

    Raises:
        Error: it cannot run so here, or not at that precision; and what the runtimes raise.
    """
    return MODES[mode](copy.deepcopy(model), image, threads, onnx)


def _in_channels_last(model: nn.Module, image: Tensor) -> tuple[nn.Module, Tensor]:
    layout = torch.channels_last
    return model.to(image.dtype, memory_format=layout), image.to(memory_format=layout)  # type: ignore[call-overload]
