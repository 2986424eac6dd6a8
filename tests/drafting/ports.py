"""Ports of ppls's own models, as strangers would write them: other names, another order, other trees, other arithmetic.

Each runs a model of ppls and holds its layers under names of its own. What a right map says is known: `truth`.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ppls.drafting.units import units_of
from ppls.mappings.map_file import architectures
from ppls.mappings.maps import Map
from ppls.mappings.targets import import_target

Rename = Callable[[list[str]], dict[str, str]]

SMALL: dict[str, dict[str, Any]] = {
    "PPLiteSeg": {
        "backbone": {"type": "STDCNet", "base": 16, "layers": [2, 2, 2]},
        "arm_out_chs": [8, 16, 16],
        "cm_out_ch": 16,
        "seg_head_inter_chs": [8, 8, 8],
    },
    "SegFormer": {
        "num_classes": 5,
        "embedding_dim": 32,
        "backbone": {"type": "MixVisionTransformer", "embed_dims": [8, 16, 40, 64], "depths": [2, 1, 1, 1]},
    },
    "CCNet": {"num_classes": 5, "backbone": {"type": "ResNet_vd", "layers": 18}},
    "UNet": {"num_classes": 5},
}


class Port(nn.Module):
    """A model whose layers are held under other names, in another order."""

    def __init__(self, model: nn.Module, names: Mapping[str, str]) -> None:
        super().__init__()
        object.__setattr__(self, "inner", model)
        modules = dict(model.named_modules())
        for old, new in names.items():
            place: nn.Module = self
            *parents, last = new.split(".")
            for parent in parents:
                if not hasattr(place, parent):
                    place.add_module(parent, nn.Module())
                place = getattr(place, parent)
            place.add_module(last, modules[old])

    def forward(self, image: Tensor) -> Any:
        return self.inner(image)

    def train(self, mode: bool = True) -> Port:
        self.inner.train(mode)
        return super().train(mode)


def model_of(name: str) -> nn.Module:
    """A small model of ppls's, with weights of its own."""
    torch.manual_seed(1)
    model: nn.Module = import_target(architectures()[name])(**SMALL[name])
    return model


def layers_of(model: nn.Module) -> list[str]:
    return [unit.name for unit in units_of(model) if unit.tensors]


def renamed(names: list[str]) -> dict[str, str]:
    """Other words, in the same tree."""
    words = {"backbone": "body", "blocks": "units", "conv": "filter", "bn": "affine", "decoder": "up", "heads": "outs"}
    return {name: ".".join(words.get(word, word) for word in name.split(".")) for name in names}


def reordered(names: list[str]) -> dict[str, str]:
    """The same names, registered in another order."""
    mixed = list(names)
    random.Random(3).shuffle(mixed)
    return {name: name for name in mixed}


def flattened(names: list[str]) -> dict[str, str]:
    """No names at all but numbers, in the order of registration."""
    return {name: f"m{number}" for number, name in enumerate(names)}


def scrambled(names: list[str]) -> dict[str, str]:
    """Numbers in no order."""
    numbers = list(range(len(names)))
    random.Random(5).shuffle(numbers)
    return {name: f"m{number}" for name, number in sorted(zip(names, numbers, strict=True), key=lambda each: each[1])}


def backwards(names: list[str]) -> dict[str, str]:
    """Each list the other way round: the first block is called the last."""

    def turned(name: str) -> str:
        return ".".join(str(20 - int(part)) if part.isdigit() else part for part in name.split("."))

    return {name: turned(name) for name in reversed(names)}


def misleading(names: list[str]) -> dict[str, str]:
    """Each layer has the name of the one of its kind before it."""
    model = [name.rpartition(".") for name in names]
    by_kind: dict[str, list[str]] = {}
    for (_, _, last), name in zip(model, names, strict=True):
        by_kind.setdefault(last, []).append(name)
    return {name: group[at - 1] for group in by_kind.values() for at, name in enumerate(group)}


def port_of(
    name: str, rename: Rename, change: Callable[[nn.Module], None] | None = None
) -> tuple[Port, dict[str, str]]:
    """A port, and by its names of layers those of ppls's."""
    model = copy.deepcopy(model_of(name))
    if change is not None:
        change(model)
    names = rename(layers_of(model))
    return Port(model, names), {new: old for old, new in names.items()}


def truth(map: Map, layers: Mapping[str, str], tensor: str) -> tuple[str, ...] | None:
    """What a tensor of the port is made of, by the map of ppls's own model; None where it is made of nothing."""
    module, _, local = tensor.rpartition(".")
    if module not in layers:
        return None
    own = f"{layers[module]}.{local}".replace("attention.attention", "attention")  # where it was put around ppls's
    for rule, _, indices in map.fills.matches(own):
        return tuple(pattern.fill(indices) for pattern in rule.targets)
    return None
