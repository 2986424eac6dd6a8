"""The source's network: ppls's own model of the architecture, each tensor known by the name that Paddle's has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from ppls.mappings.maps import Map
from ppls.mappings.operations import Operation
from ppls.mappings.targets import import_target


@dataclass(frozen=True)
class Origin:
    """The tensors of the checkpoint that one of the model's is made of, and how; `at` is which it is of several."""

    sources: tuple[str, ...]
    operation: Operation
    at: int


@dataclass(eq=False)
class Source:
    """A network of the source that can be run, and what its tensors are made of.

    Attributes:
        model: ppls's, with any weights.
        origins: by the model's name of a tensor.
    """

    map: Map
    config: Mapping[str, Any]
    model: nn.Module
    origins: dict[str, Origin]


def source_of(map: Map, config: Mapping[str, Any]) -> Source:
    """The model that a config describes, whose layers the map names. It is to be of an architecture that ppls has."""
    model = import_target(map)(**config)
    origins = {}
    for name in model.state_dict():
        for rule, position, indices in map.fills.matches(name):
            sources = tuple(pattern.fill(indices) for pattern in rule.targets)
            origins[name] = Origin(sources, rule.operation, position)
    return Source(map, config, model, origins)
