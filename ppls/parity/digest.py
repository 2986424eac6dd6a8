"""What a model is, as one number: a report of one model says nothing about another."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ppls.models.base import SegmentationModel
from ppls.models.stored import stored_from_torch

# What decides, beside the tensors, which function `ppls.load` makes of a saved model.
_RECORDED = ("architecture", "config", "numerics")


def model_options(model: SegmentationModel) -> dict[str, Any]:
    """The constructor's options that the model was built with, as `config.json` has them."""
    options: dict[str, Any] = json.loads(json.dumps(model._hub_mixin_config or {}))
    return options


def model_sha256(model: SegmentationModel) -> str:
    """SHA-256 of a model as it is saved: class, options, numerics, and name, type, shape and bytes of each tensor.

    The same checkpoint converted and loaded anew has the same; a model that was trained, edited, put into another type
    or given another option has another.
    """
    recorded = {name: model.provenance.get(name) for name in _RECORDED}
    document = {"class": type(model).__name__, "options": model_options(model), **recorded}
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        stored = stored_from_torch(tensor)
        digest.update(json.dumps([name, stored.dtype, stored.shape]).encode() + b"\n")
        for block in stored.blocks():
            digest.update(block.data)
    return digest.hexdigest()
