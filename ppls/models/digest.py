"""What a model is, as one number: a report of one model says nothing about another."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from torch import nn

from ppls.errors import ConversionError
from ppls.models.config import own_names
from ppls.models.provenance import Described
from ppls.models.stored import stored_from_torch

# What decides, beside the tensors, which function `ppls.load` makes of a saved model.
_RECORDED = ("architecture", "config", "numerics")


def model_options(model: Described) -> dict[str, Any]:
    """The constructor's options, as `config.json` has them: found from the model as it is."""
    return {key: value for key, value in model.config.items() if not isinstance(value, nn.Module)}


def model_sha256(model: Described) -> str:
    """SHA-256 of a model as it is saved: class, options, numerics, and name, type, shape and bytes of each tensor.

    The same checkpoint converted and loaded anew has the same; a model that was trained, edited, put into another type
    or given another option has another.
    """
    try:
        metadata, options = model.metadata(), model_options(model)
    except ConversionError:  # of parts that no options build: the tensors tell it from any other
        metadata, options = model.provenance, {}
    recorded = {name: metadata.get(name) for name in _RECORDED}
    document = {"class": type(model).__name__, "options": options, **recorded}
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for name, tensor in sorted(own_names(model.state_dict()).items()):
        stored = stored_from_torch(tensor)
        digest.update(json.dumps([name, stored.dtype, stored.shape]).encode() + b"\n")
        for block in stored.blocks():
            digest.update(block.data)
    return digest.hexdigest()
