"""Parts of a config as `load_run` gives them."""

from __future__ import annotations

from typing import Any

from ppls.errors import ConversionError
from ppls.schema import Node


def node_of(data: Any) -> Node:
    return Node.of(data, lambda place, why: ConversionError(f"{place}: {why}"), "run.yml")
