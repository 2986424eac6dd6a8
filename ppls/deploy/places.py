"""Where the maxima stood that a runtime chose: of two that tie, either is right, and unpooling spreads the choice.

SegNet and ENet put maps back where the maxima of a pooling stood. At 224x352 a SegNet has some two million maxima that
are not zero, about twenty of which are within 1e-6 of the scale of the next: rounding decides, in each runtime anew.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils._python_dispatch import TorchDispatchMode

from ppls.parity.files.onnxruntime import start_session
from ppls.parity.files.openvino import compile_model
from ppls.parity.maxima import POOLING

Array = np.ndarray[Any, Any]


class Noted(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch types none of it
    """While active, notes the places of every pooling that says them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.places: list[Array] = []

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        result = function(*arguments, **(options or {}))
        if function.overloadpacket is POOLING:
            self.places.append(result[1].cpu().numpy())
        return result


def places_in_torch(run: Callable[[Array], Array], image: Array) -> list[Array]:
    """The places (N, C, h, w) of every pooling of a torch.export or TorchScript file that says them."""
    noted = Noted()
    with noted:
        run(image)
    return noted.places


def places_in_onnxruntime(path: Path, image: Array) -> list[Array]:
    """The same of an ONNX file, each counted over all pixels of all channels and images."""
    import onnx

    model = onnx.load(path)
    names = [node.output[1] for node in model.graph.node if node.op_type == "MaxPool" and len(node.output) > 1]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    session = start_session(model.SerializeToString())
    return [np.asarray(found) for found in session.run(names, {session.get_inputs()[0].name: image})]


def places_in_openvino(model: Any, image: Array) -> list[Array]:
    """The same of a model that OpenVINO has read; that gets more outputs by it."""
    pools = [op for op in model.get_ops() if op.get_type_name() == "MaxPool" and op.get_output_size() > 1]
    first = len(model.outputs)
    model.add_outputs([pool.output(1) for pool in pools])
    compiled = compile_model(model)
    results = compiled(image)
    return [np.asarray(results[place]) for place in range(first, len(compiled.outputs))]
