"""The formats that a model is exported to: how a file of each is written."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental import _config as size_settings
from torch.utils._sympy.value_ranges import bound_sympy

from ppls.deploy.metadata import as_texts
from ppls.deploy.tracing import traced
from ppls.errors import Error
from ppls.models.images import channels_of
from ppls.models.sizes import least_size, padded_size, size_multiple
from ppls.parity.files.opened import METADATA_FILE
from ppls.parity.files.openvino import SECTION, import_openvino

FORMATS = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2", "torchscript": ".pt"}
OUTPUTS = {"logits": "logits", "softmax": "probabilities", "argmax": "labels"}  # and what the output is called
INPUT = "image"
OPSET = 18  # TensorRT 8.6 and later, OpenVINO 2023 and later and ONNX Runtime 1.14 and later read it
MOST_REWRITTEN = 4_000  # nodes of a graph

Shape = tuple[int, int, int]  # batch, height, width
Metadata = Mapping[str, Any]


class Exported(nn.Module):
    """What is exported of a model: one tensor in, one out.

    Args:
        output: one of `OUTPUTS`.
    """

    def __init__(self, model: nn.Module, output: str) -> None:
        super().__init__()
        self.model = model
        self.output = output

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.model(image)[0]
        if self.output == "argmax":
            return logits.argmax(1).to(torch.int32)
        return logits.softmax(1) if self.output == "softmax" else logits


def write_export(
    format: str, model: Exported, path: Path, shape: Shape | None, metadata: Metadata, *, oblivious: bool = False
) -> None:
    """Writes a file of one of `FORMATS`; `shape` None for any. Raises what the exporters raise.

    Args:
        oblivious: see `can_be_oblivious`.
    """
    sizes = _oblivious() if oblivious else nullcontext()
    with _quiet(), torch.inference_mode(format == "torchscript"), sizes:
        _WRITERS[format](model, path, shape, metadata)


def can_be_oblivious(format: str, shape: Shape | None) -> bool:
    """Whether a file for any size can be written without asking of a size whether it is one.

    torch.export asks, and takes a map that is pooled to one row at the example's size to be so at any, as DDRNet's and
    ESPNetV2's are; not asking, it takes a batch of two as never one where it chooses how to convolve (SegFormer).
    """
    return shape is None and format != "torchscript" and hasattr(size_settings, "backed_size_oblivious")


def _example(model: nn.Module, shape: Shape | None) -> Tensor:
    batch, height, width = shape or (2, *padded_size(model, (96, 160)))
    return torch.zeros(batch, channels_of(model), height, width)


def _side(name: str, model: nn.Module) -> Any:
    """A side of any length that the model takes."""
    multiple, least = size_multiple(model), least_size(model)
    if multiple == 1:
        return torch.export.Dim(name, min=max(32, least), max=16384)
    return multiple * torch.export.Dim(f"{name}_by_{multiple}", min=-(-least // multiple), max=16384 // multiple)


def _write_onnx(model: Exported, path: Path, shape: Shape | None, metadata: Metadata) -> None:
    dimension = torch.export.Dim
    sides = {2: _side("height", model), 3: _side("width", model)}
    program = torch.onnx.export(
        model,
        (_example(model, shape),),
        dynamo=True,
        dynamic_shapes=None if shape else {INPUT: {0: dimension("batch", min=1, max=1024), **sides}},
        input_names=[INPUT],
        output_names=[OUTPUTS[model.output]],
        opset_version=OPSET,
        optimize=False,
        verbose=False,
    )
    assert program is not None
    _simplify(program)
    program.model.metadata_props.update(as_texts(metadata))
    program.save(str(path))
    beside = path.with_name(f"{path.name}.data")  # where torch puts the weights of a model of more than 1.5 GB
    if beside.exists():
        beside.unlink()
        raise Error("the model's weights are too large for one ONNX file; export it with --format torch-export")


def _simplify(program: torch.onnx.ONNXProgram) -> None:
    """Folds constants and rewrites what is longer than it need be.

    The time of rewriting grows with the square of the nodes, so the runtimes, which do much the same, are left to it
    where they are very many.
    """
    import onnxscript

    if len(program.model.graph) <= MOST_REWRITTEN:
        program.optimize()
        return
    onnxscript.optimizer.inline(program.model)
    onnxscript.optimizer.fold_constants(program.model)
    onnxscript.optimizer.remove_unused_nodes(program.model)


def _program(model: Exported, shape: Shape | None) -> torch.export.ExportedProgram:
    with torch.no_grad():
        # names with bounds would have to be exactly those that the network's strides lead to; of sides that are
        # multiples, the exporter does not solve what halving them leads to
        auto = torch.export.Dim.AUTO
        sides = (auto, auto) if size_multiple(model) == 1 else (_side("height", model), _side("width", model))
        free = None if shape is not None else {INPUT: {0: auto, 2: sides[0], 3: sides[1]}}
        return torch.export.export(model, (_example(model, shape),), dynamic_shapes=free)


def least_side_of(path: Path) -> int:
    """From how many pixels a side on a torch.export file takes images; below, it says itself that it does not.

    Where a map comes to one row or column, torch.export may take the network for another one: ISANet's below 65.
    """
    program = torch.export.load(path)
    (image,) = (node.meta["val"] for node in program.graph.nodes if node.target == INPUT)
    sides = [side.node.expr for side in image.shape[-2:] if isinstance(side, torch.SymInt)]
    known = {str(symbol): range for symbol, range in program.range_constraints.items()}  # read anew, no longer the same
    ranges = {symbol: known[str(symbol)] for side in sides for symbol in side.free_symbols}
    return max((int(bound_sympy(side, ranges).lower) for side in sides), default=1)


def _write_torch_export(model: Exported, path: Path, shape: Shape | None, metadata: Metadata) -> None:
    torch.export.save(_program(model, shape), path, extra_files={METADATA_FILE: json.dumps(metadata)})


def _write_torchscript(model: Exported, path: Path, shape: Shape | None, metadata: Metadata) -> None:
    torch.jit.save(traced(model, _example(model, shape)), str(path), _extra_files={METADATA_FILE: json.dumps(metadata)})


def _write_openvino(model: Exported, path: Path, shape: Shape | None, metadata: Metadata) -> None:
    """An .xml, and a .bin beside it."""
    openvino = import_openvino()
    converted = openvino.convert_model(_program(model, shape))
    if shape is not None:  # which the converter leaves open
        converted.reshape(list(_example(model, shape).shape))
    converted.inputs[0].get_tensor().set_names({INPUT})
    converted.outputs[0].get_tensor().set_names({OUTPUTS[model.output]})
    for key, text in as_texts(metadata).items():
        converted.set_rt_info(text, [SECTION, key])
    openvino.save_model(converted, str(path), compress_to_fp16=False)  # as it would, unasked


_WRITERS: dict[str, Callable[[Exported, Path, Shape | None, Metadata], None]] = {
    "onnx": _write_onnx,
    "openvino": _write_openvino,
    "torch-export": _write_torch_export,
    "torchscript": _write_torchscript,
}


@contextmanager
def _oblivious() -> Iterator[None]:
    before = size_settings.backed_size_oblivious
    size_settings.backed_size_oblivious = True
    try:
        yield
    finally:
        size_settings.backed_size_oblivious = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters say about themselves, and about inequalities of sizes that they cannot solve."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.fx.experimental.symbolic_shapes")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
