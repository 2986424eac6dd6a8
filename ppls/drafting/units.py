"""The layers of a torch module that hold tensors, each known for what it is, whatever its class is called."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from ppls.drafting.multihead import FUSED, projections_of

COUNTER = "num_batches_tracked"  # torch's own, which no other framework has
OTHER = "tensors"  # what a module holds itself that is no layer: tables, gates, positions
PARAMETRIZED = "parametrized"  # its weight is made of others at each call (weight_norm): no file fills it

_KINDS: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("transposed_conv", (_ConvTransposeNd,)),
    ("conv", (_ConvNd,)),
    ("linear", (nn.Linear,)),
    ("batch_norm", (_BatchNorm,)),
    ("layer_norm", (nn.LayerNorm,)),
    ("group_norm", (nn.GroupNorm,)),
    ("pool", (nn.modules.pooling._AvgPoolNd, nn.modules.pooling._MaxPoolNd)),
    ("pool", (nn.modules.pooling._AdaptiveAvgPoolNd, nn.modules.pooling._AdaptiveMaxPoolNd)),
)


@dataclass(eq=False)
class Unit:
    """A module with the tensors that are its own.

    Attributes:
        name: of the module; where it has several, `aliases` are the others.
        kind: what the way of its weights depends on.
        tensors: those of the state dict, by their names in the module, in the order of registration.
        part: of a layer that is run as so many: which, and of how many; the `whole` is that layer. One of one is the
            layer as another kind, a Linear as a convolution of one pixel.
        pieces: layers of the source that are run as this one, one behind the other.
        stored: what the module calls tensors that have another name here.
        kept: tensors of a source that keep their values, as single numbers that others may have built in.
    """

    name: str
    module: nn.Module
    kind: str
    tensors: dict[str, Tensor]
    order: int
    aliases: tuple[str, ...] = ()
    part: tuple[int, int] = (0, 1)
    whole: Unit | None = None
    pieces: tuple[Unit, ...] = ()
    stored: Mapping[str, str] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shapes = {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}

    def tensor_name(self, name: str) -> str:
        """What the state dict calls one of its tensors."""
        return self.tensor_in(self.name, name)

    def tensor_in(self, module: str, name: str) -> str:
        """The same, where the module has this name."""
        stored = self.stored.get(name, name)
        return f"{module}.{stored}" if module else stored

    @property
    def is_part(self) -> bool:
        """Whether it is one of several parts of a layer."""
        return self.part[1] > 1

    @property
    def is_recast(self) -> bool:
        """Whether it is a layer as another kind."""
        return self.whole is not None and not self.is_part

    @property
    def covered(self) -> tuple[tuple[Unit, tuple[int, int]], ...]:
        """The layers that it is made of, and which part of each."""
        if self.pieces:
            return tuple((piece, piece.part) for piece in self.pieces)
        return ((self.whole or self, self.part),)


def units_of(model: nn.Module) -> list[Unit]:
    """Every module that holds tensors itself, and every pooling, in the order of registration."""
    names: dict[nn.Module, list[str]] = defaultdict(list)
    for name, module in model.named_modules(remove_duplicate=False):
        names[module].append(name)
    found: list[Unit] = []
    for module, known_as in names.items():
        kind = _kind(module)
        tensors = _own_tensors(module)
        if any("parametrizations" in name.split(".") for name in known_as):
            continue
        if projections := projections_of(module):
            fused = {name: tensors.pop(stored) for name, stored in FUSED.items() if stored in tensors}
            aliases = tuple(known_as[1:])
            whole = Unit(known_as[0], module, "linear", fused, len(found), aliases, stored=FUSED)
            for at, layer in enumerate(projections):
                own = {
                    name: tensor
                    for name, tensor in (("weight", layer.weight), ("bias", layer.bias))
                    if tensor is not None
                }
                found.append(Unit(known_as[0], layer, "linear", own, len(found), aliases, (at, 3), whole, stored=FUSED))
        if tensors or kind == "pool":
            found.append(Unit(known_as[0], module, kind, tensors, len(found), tuple(known_as[1:])))
    return found


def _own_tensors(module: nn.Module) -> dict[str, Tensor]:
    buffers = {n: b for n, b in module._buffers.items() if n not in module._non_persistent_buffers_set}
    own = {**module._parameters, **buffers}
    return {name: tensor for name, tensor in own.items() if tensor is not None and name != COUNTER}


def _kind(module: nn.Module) -> str:
    if hasattr(module, "parametrizations"):
        return PARAMETRIZED
    for kind, classes in _KINDS:
        if isinstance(module, classes):
            return kind
    if {"running_mean", "running_var"} <= module._buffers.keys():
        return "batch_norm"
    own = {name for name, tensor in module._parameters.items() if tensor is not None}
    if own == {"weight", "bias"} and "norm" in type(module).__name__.lower():
        return "layer_norm"
    return OTHER


def parts_of(unit: Unit, most: int = 3) -> list[Unit]:
    """A Linear as two or three that stand in one: fused key and value, fused query, key and value."""
    if unit.kind != "linear":
        return []
    outputs = unit.shapes["weight"][0]
    return [
        Unit(unit.name, unit.module, unit.kind, _chunk(unit, at, count), unit.order, (), (at, count), unit)
        for count in range(2, most + 1)
        if outputs % count == 0
        for at in range(count)
    ]


def _chunk(unit: Unit, at: int, count: int) -> dict[str, Tensor]:
    return {name: tensor.chunk(count, 0)[at] for name, tensor in unit.tensors.items()}


def joined(pieces: Sequence[Unit]) -> Unit:
    """Layers of one input and shape as one that gives what they give, one behind the other: query, key and value."""
    first = pieces[0]
    tensors = {name: torch.cat([piece.tensors[name] for piece in pieces]) for name in first.tensors}
    name = " + ".join(piece.name for piece in pieces)
    return Unit(name, first.module, first.kind, tensors, first.order, pieces=tuple(pieces))


def recast(unit: Unit) -> list[Unit]:
    """A Linear as convolutions of one pixel, on maps and on rows; such a convolution as a Linear."""
    weight = unit.tensors.get("weight")
    if weight is None or not can_be_joined(unit):
        return []
    if unit.kind == "conv":
        sides = weight.dim() - 2
        stride, dilation, padding = (getattr(unit.module, name, None) for name in ("stride", "dilation", "padding"))
        if stride != (1,) * sides or dilation != stride or padding not in ("valid", (0,) * sides):
            return []
        return [_recast(unit, "linear", weight.flatten(1))]
    return [_recast(unit, "conv", weight.reshape(*weight.shape, *sides)) for sides in ((1, 1), (1,))]


def _recast(unit: Unit, kind: str, weight: Tensor) -> Unit:
    tensors = {**unit.tensors, "weight": weight}
    return Unit(unit.name, unit.module, kind, tensors, unit.order, part=(0, 1), whole=unit)


def can_be_joined(unit: Unit) -> bool:
    """Whether it is a Linear, or a convolution of one pixel, which is one."""
    if unit.kind == "conv":
        return getattr(unit.module, "groups", 0) == 1 and set(unit.shapes["weight"][2:]) == {1}
    return unit.kind == "linear"
