"""TensorRT engines, on the GPU that they were built for. An engine is machine code: whoever opens one runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ppls.errors import MissingDependencyError, ParityError
from ppls.parity.files.opened import Opened, cannot_open, require
from ppls.parity.files.shapes import shape_of
from ppls.parity.input_shape import Sides


def open_engine(path: Path) -> Opened:
    """A serialised engine (TensorRT 10's interface). Raises `ParityError` where it cannot be loaded here."""
    require("tensorrt", path)
    if not torch.cuda.is_available():
        raise MissingDependencyError(
            f"{path}: a TensorRT engine runs on the GPU that it was built for, and this PyTorch finds none; there: "
            "pip install torch tensorrt"
        )
    import tensorrt

    name = f"TensorRT {tensorrt.__version__}"
    try:
        runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
        engine = runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            raise ValueError("it is damaged, or was built for another GPU or version")
        context = engine.create_execution_context()
    except Exception as error:
        raise cannot_open(path, name, error) from None
    names = [engine.get_tensor_name(place) for place in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT]
    if len(inputs) != 1:
        raise ParityError(f"{path}: takes {len(inputs)} inputs; one image is expected")
    outputs = [name for name in names if name not in inputs]
    types = {name: _dtype(tensorrt, engine.get_tensor_dtype(name)) for name in names}

    def run(image: Tensor) -> list[Tensor]:
        given = image.cuda()
        context.set_input_shape(inputs[0], tuple(given.shape))
        context.set_tensor_address(inputs[0], given.data_ptr())
        results = []
        for output in outputs:
            shape = tuple(context.get_tensor_shape(output))
            results.append(torch.empty(shape, dtype=types[output], device="cuda"))
            context.set_tensor_address(output, results[-1].data_ptr())
        stream = torch.cuda.current_stream()
        if not context.execute_async_v3(stream.cuda_stream):
            raise RuntimeError("TensorRT could not run the engine")
        stream.synchronize()
        return [result.cpu() for result in results]

    return Opened(
        "TensorRT",
        f"{name} on {torch.cuda.get_device_name()}",
        shape_of(path, _lengths(engine, inputs[0]), {}),
        str(types[inputs[0]]).removeprefix("torch."),
        run,
        None,
    )


def _lengths(engine: Any, name: str) -> list[Sides]:
    """What the first optimisation profile takes."""
    if -1 not in tuple(engine.get_tensor_shape(name)):
        return [Sides(length, length) for length in engine.get_tensor_shape(name)]
    low, _, high = engine.get_tensor_profile_shape(name, 0)
    return [Sides(a, b) for a, b in zip(low, high, strict=True)]


def _dtype(tensorrt: Any, dtype: Any) -> torch.dtype:
    known = {
        tensorrt.float32: torch.float32,
        tensorrt.float16: torch.float16,
        tensorrt.bfloat16: torch.bfloat16,
        tensorrt.int32: torch.int32,
        tensorrt.int64: torch.int64,
    }
    if dtype not in known:
        raise ParityError(f"a TensorRT engine with {dtype}: float32, float16, bfloat16 and integers are known")
    return known[dtype]
