"""Whether a model sees the other images of a batch, as an attention along it does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from .figures import difference
from .network import outputs_of
from .state import state_kept

MOST_SIDE = 128  # pixels of the image that is tried


def mixes(model: Any, job: Mapping[str, Any], folder: Path) -> float:
    """How far, scaled, the outputs for an image move with another beside it; 0 where that cannot be told."""
    image = min((np.load(folder / given["file"], mmap_mode="r") for given in job["inputs"]), key=lambda x: x[0].size)
    image = np.array(image[:1, :, :MOST_SIDE, :MOST_SIDE], dtype=job["dtype"])
    pair = np.concatenate([image, -image[..., ::-1]])
    try:
        with paddle.no_grad(), state_kept(model):
            model.eval()
            alone, beside = ([x.numpy() for x in outputs_of(model(paddle.to_tensor(given)))] for given in (image, pair))
        moves = max(difference(a, b[:1]).scaled for a, b in zip(alone, beside, strict=True))
    except Exception:  # a part of an image that the model does not take, or an output that is not one for each image
        return 0.0
    return moves if math.isfinite(moves) else 0.0
