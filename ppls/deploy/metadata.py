"""What an export says of itself: what it takes and gives, how its images are prepared, and where it came from.

The same keys in every format; docs/deploying.md lists them. Each value is JSON: as text in ONNX's `metadata_props` and
in OpenVINO's `rt_info` (its section `ppls`), as an object in the extra file `ppls.json` of PyTorch's two formats.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import nn

from ppls.errors import ConversionError
from ppls.models.provenance import Described
from ppls.version import __version__

# Of the converted file's metadata: those that are words, and those that are JSON there already.
_WORDS = ("architecture", "era", "source_sha256", "trained_from", "ppls_version")
_JSON = ("config", "numerics", "preprocessing", "classes", "palette")


def metadata_of(model: nn.Module, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The `settings` of an export, and what the model's own provenance says."""
    recorded = _recorded(model)
    return {
        **settings,
        "exported_by": f"ppls {__version__}",
        **{key: recorded[key] for key in _WORDS if recorded.get(key)},
        **{key: json.loads(recorded[key]) for key in _JSON if recorded.get(key)},
    }


def _recorded(model: nn.Module) -> dict[str, str]:
    """What a file with the model's weights would say of it; of a model that no options build, its origin alone."""
    if not isinstance(model, Described):
        return {}
    try:
        return model.metadata()
    except ConversionError:
        return model.origin()


def as_texts(metadata: Mapping[str, Any]) -> dict[str, str]:
    """For formats that hold texts alone."""
    return {key: json.dumps(value) for key, value in metadata.items()}
