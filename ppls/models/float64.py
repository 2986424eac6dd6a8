"""Double precision as Paddle has it, which keeps some constants in float32 all the same."""

from __future__ import annotations

import numpy as np
from torch import nn


def to_float64(module: nn.Module) -> nn.Module:
    """Puts a module into double precision, each BatchNorm's epsilon and momentum rounded as Paddle keeps them: float32.

    What has statistics is told by its buffers: two or more of one length. Paddle's momentum is the weight of the old
    value, one minus torch's.
    """
    module = module.double()
    for layer in module.modules():
        shapes = [buffer.shape for _, buffer in layer.named_buffers(recurse=False) if buffer.ndim == 1]
        if len(set(shapes)) == len(shapes):
            continue
        for name, value in vars(layer).items():
            if isinstance(value, float):
                kept = 1.0 - float(np.float32(1.0 - value)) if name == "momentum" else float(np.float32(value))
                setattr(layer, name, kept)
    return module
