"""ONNX files in ONNX Runtime."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppls.errors import Error, ParityError
from ppls.parity.files.onnx_data import check_external_data
from ppls.parity.files.opened import Opened, cannot_open, parsed, require
from ppls.parity.files.shapes import shape_of
from ppls.version import versions

Array = np.ndarray[Any, Any]
_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


def start_session(model: Path | bytes, threads: int = 0, device: str = "cpu") -> Any:
    """ONNX Runtime's session of a file or what it holds, on `cpu` or `cuda`; `threads` 0 leaves their number to it."""
    import onnxruntime

    provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}.get(device)
    if provider not in onnxruntime.get_available_providers():
        raise Error(f"this build of ONNX Runtime does not run on {device}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what it refuses it raises, too
    # falling back to another provider is said on stdout, and there is none to fall back to
    given = str(model) if isinstance(model, Path) else model
    return onnxruntime.InferenceSession(given, options, providers=[provider], enable_fallback=0)


def open_onnx(path: Path) -> Opened:
    """Raises `ParityError` where the file is damaged, is no segmentation model, or names files outside its folder."""
    require("onnxruntime", path)
    check_external_data(path)
    runtime = f"ONNX Runtime {versions('onnxruntime').get('onnxruntime', '')}".rstrip()
    try:
        session = start_session(path, torch.get_num_threads())
    except Exception as error:  # one class for each of its states
        raise cannot_open(path, runtime, error) from None
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in _DTYPES:
        found = ", ".join(f"{given.name}: {given.type}" for given in inputs)
        raise ParityError(f"{path}: takes {found or 'nothing'}; one image of float32, float16 or float64 is expected")
    name, dtype = inputs[0].name, _DTYPES[inputs[0].type]
    metadata = parsed(session.get_modelmeta().custom_metadata_map)

    def run(image: Tensor) -> list[Tensor]:
        return [torch.from_numpy(np.array(result)) for result in session.run(None, {name: image.numpy()})]

    places = partial(places_in_onnxruntime, path)
    return Opened("ONNX", runtime, shape_of(path, inputs[0].shape, metadata), dtype, run, places, (), metadata)


def places_in_onnxruntime(path: Path, image: Array) -> list[Array]:
    """Where the maxima stood (N, C, h, w), of every pooling that says so: counted over all channels and images."""
    import onnx

    model = onnx.load(path)
    names = [node.output[1] for node in model.graph.node if node.op_type == "MaxPool" and len(node.output) > 1]
    if not names:
        return []
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    session = start_session(model.SerializeToString())
    return [np.asarray(found) for found in session.run(names, {session.get_inputs()[0].name: image})]
