"""JSON that every parser reads: what it has no number for, NaN and the infinities, stands there as a word."""

from __future__ import annotations

import json
import math
from typing import Any


def to_json(document: Any) -> str:
    """A document of dictionaries, lists and plain values, as JSON."""
    return json.dumps(_with_words(document), allow_nan=False)


def _with_words(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # nan, inf, -inf
    if isinstance(value, dict):
        return {key: _with_words(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_words(item) for item in value]
    return value
