"""OpenVINO's own files, on the CPU."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.parsers.expat import ExpatError, ParserCreate

import numpy as np
import torch
from torch import Tensor

from ppls.errors import ParityError
from ppls.parity.files.opened import Opened, cannot_open, parsed, require
from ppls.parity.files.shapes import shape_of
from ppls.parity.input_shape import Sides
from ppls.shown import shown
from ppls.version import versions

Array = np.ndarray[Any, Any]
_DTYPES = {"f32": "float32", "f16": "float16", "f64": "float64"}
SECTION = "ppls"  # of a model's rt_info, where `ppls.export` writes


def import_openvino() -> ModuleType:
    """OpenVINO without its telemetry, unless it is imported already.

    Unasked it would write to the user's home, fork this process, and tell its maker of every import and conversion.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it does without what is not there
    return importlib.import_module("openvino")


def compile_model(model: Any, threads: int = 0, precision: str = "f32") -> Any:
    """OpenVINO's compiled model, computing in `precision`, its name of a type; left to itself it takes bfloat16."""
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    return import_openvino().Core().compile_model(model, "CPU", settings)


def open_ir(path: Path) -> Opened:
    """An .xml with its .bin. Raises `ParityError` where it is damaged or is no segmentation model."""
    require("openvino", path)
    runtime = f"OpenVINO {versions('openvino').get('openvino', '')}".rstrip()
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise ParityError(f"{path}: its weights, {weights.name}, are missing beside it")
    _check_ir(path)
    try:
        model = import_openvino().Core().read_model(str(path))
        compiled = compile_model(model, torch.get_num_threads())
    except Exception as error:
        raise cannot_open(path, runtime, error) from None
    dtypes = [given.get_element_type().get_type_name() for given in model.inputs]
    if len(dtypes) != 1 or dtypes[0] not in _DTYPES:
        raise ParityError(
            f"{path}: takes {', '.join(dtypes) or 'nothing'}; one image of float32, float16 or float64 is expected"
        )
    metadata = parsed(_info(model))
    lengths = [_length(dimension) for dimension in model.inputs[0].get_partial_shape()]

    def run(image: Tensor) -> list[Tensor]:
        results = compiled(image.numpy())
        return [torch.from_numpy(np.array(results[place])) for place in range(len(compiled.outputs))]

    kept = {op.get_element_type().get_type_name() for op in model.get_ops() if op.get_type_name() == "Constant"}
    return Opened(
        "OpenVINO IR",
        f"{runtime}, computing in float32",
        shape_of(path, lengths, metadata),
        _DTYPES[dtypes[0]],
        run,
        lambda image: places_in_openvino(import_openvino().Core().read_model(str(path)), image),
        tuple(sorted({"f16": "float16", "bf16": "bfloat16", "i8": "int8"}[name] for name in kept & _NARROW)),
        metadata,
    )


def places_in_openvino(model: Any, image: Array) -> list[Array]:
    """Where the maxima stood, as in ONNX Runtime; of a model that OpenVINO has read, which gets more outputs by it."""
    pools = [op for op in model.get_ops() if op.get_type_name() == "MaxPool" and op.get_output_size() > 1]
    if not pools:
        return []
    first = len(model.outputs)
    model.add_outputs([pool.output(1) for pool in pools])
    compiled = compile_model(model)
    results = compiled(image)
    return [np.asarray(results[place]) for place in range(first, len(compiled.outputs))]


def _check_ir(path: Path) -> None:
    """Raises `ParityError` unless the file is XML of a network: of others OpenVINO tries each format that it knows."""
    names: list[str] = []

    def refuse(*_: object) -> None:
        raise ValueError("it declares a document type")

    parser = ParserCreate()
    parser.StartElementHandler = lambda name, _: names.append(name) if not names else None
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(path.read_bytes(), True)
        if names != ["net"]:
            raise ValueError("its first element is not <net>")
    except (ExpatError, ValueError) as error:
        raise ParityError(f"{path}: is no OpenVINO IR, or is damaged: {shown(str(error), 200)}") from None


_NARROW = {"f16", "bf16", "i8"}


def _info(model: Any) -> dict[str, str]:
    """What `ppls.export` wrote."""
    if not model.has_rt_info(SECTION):
        return {}
    section = model.get_rt_info(SECTION).astype(dict)
    return {str(key): str(getattr(value, "value", value)) for key, value in section.items()}


def _length(dimension: Any) -> Sides:
    low, high = dimension.get_min_length(), dimension.get_max_length()
    return Sides(max(low, 1), high if high > 0 else None)
