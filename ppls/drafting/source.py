"""The source's network: ppls's own model of the architecture or an export's program, each tensor known by the name that
the checkpoint has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ppls.converter.expected import SidesOfImages, expected_sides
from ppls.drafting.comparing import EXACT
from ppls.drafting.networks import ModelNetwork, Network
from ppls.drafting.program_network import ProgramNetwork
from ppls.errors import ConversionError
from ppls.mappings.map_file import architectures
from ppls.mappings.maps import Map
from ppls.mappings.operations import RENAME, Operation, Transpose
from ppls.mappings.targets import import_target
from ppls.programs.module import ProgramModule

Shape = tuple[int, ...]
Kinds = Mapping[str, tuple[str, Mapping[str, float]]]

_SIZES = ((128, 192), (256, 384), (512, 1024), (224, 224), (512, 512))  # the first that the port takes
_LARGE = (320, 448)  # beyond every dilation
_USUAL = {"epsilon": 1e-5, "momentum": 0.9}  # what every map has for normalisations


@dataclass(frozen=True)
class Origin:
    """The tensors of the checkpoint that one of the network's is made of, and how; `at` is which it is of several."""

    sources: tuple[str, ...]
    operation: Operation
    at: int


@dataclass(eq=False)
class Source:
    """A network of the source that can be run, and what its tensors are made of.

    Attributes:
        title: what upstream calls its class.
        network: with any weights.
        origins: by the network's name of a tensor.
        shapes: of the checkpoint's tensors, by the network's names.
        kinds: by the checkpoint's name of a module what kind of layer it is, and the numerics that a map says of it.
        map: that has the facts of the source; None where ppls has none.
        constants: single numbers among the checkpoint's tensors, which a port may have built in.
        channels: of its image.
        sizes: of images, height and width, of which the first is taken that the port takes too.
        large: another, for a second look.
        exact: how far apart what is the same may lie: numbers of a program are in float32.
    """

    title: str
    network: Network
    origins: dict[str, Origin]
    shapes: Mapping[str, Shape]
    kinds: Kinds = field(default_factory=dict)
    map: Map | None = None
    constants: Mapping[str, float] = field(default_factory=dict)
    channels: int = 3
    sizes: tuple[tuple[int, int], ...] = _SIZES
    large: tuple[int, int] | None = None
    exact: float = EXACT


def source_of(map: Map, config: Mapping[str, Any]) -> Source:
    """The model that a config describes, whose layers the map names. It is to be of an architecture that ppls has."""
    return source_of_model(map, config, ModelNetwork(import_target(map)(**config)), expected_sides(map, config))


def source_of_model(map: Map, config: Mapping[str, Any], network: ModelNetwork, sides: SidesOfImages) -> Source:
    """The same of a model that there is already; `sides` is what its images may be."""
    shapes = {name: tuple(tensor.shape) for name, tensor in network.model.state_dict().items()}
    origins = {}
    for name in shapes:
        for rule, position, indices in map.fills.matches(name):
            sources = tuple(pattern.fill(indices) for pattern in rule.targets)
            origins[name] = Origin(sources, rule.operation, position)
    sizes = tuple(sides.around(*size) for size in _SIZES)
    large = sides.around(*_LARGE)
    return Source(
        map.title,
        network,
        origins,
        shapes,
        _kinds(map, origins.values()),
        map,
        channels=_channels(config),
        sizes=sizes,
        large=large,
    )


def _kinds(map: Map, origins: Iterable[Origin]) -> Kinds:
    """By the source's module: what kind of layer the map has it for, and numerics of its own."""
    modules = {name.rpartition(".")[0] for origin in origins for name in origin.sources}
    numerics = {row.target.text: row for row in map.rows if row.numerics}
    found: dict[str, tuple[str, Mapping[str, float]]] = {}
    for pair in map.pair_modules(sorted(modules)):
        own = next((row.numerics for row in numerics.values() if row.source.match(pair.source) is not None), {})
        found[pair.source] = pair.kind, own
    return found


def _channels(config: Mapping[str, Any]) -> int:
    value = config.get("backbone", {})
    channels = value.get("in_channels") if isinstance(value, Mapping) else None
    return channels if isinstance(channels, int) else int(config.get("in_channels", 3) or 3)


def source_of_program(module: ProgramModule, stored: Mapping[str, Shape]) -> Source:
    """An export by its program alone, under the checkpoint's own names; `stored` has the shapes of its tensors.

    Raises:
        ConversionError: it takes something else than one image, or several at once.
    """
    program = module.logits().program
    batch, channels, *sides = program.inputs[0].shape
    if batch not in (-1, 1) or channels < 1:
        raise ConversionError(f"{program.source}: takes {list(program.inputs[0].shape)}, and a draft runs one image")
    network = ProgramNetwork(module.returning(program))
    origins: dict[str, Origin] = {}
    shapes: dict[str, Shape] = {}
    kinds: dict[str, tuple[str, Mapping[str, float]]] = {}
    for layer in network.layers:
        for name, known_as in layer.weights.items():
            turned = name in layer.turned
            origins[layer.unit.tensor_name(name)] = Origin((known_as,), Transpose((1, 0)) if turned else RENAME, 0)
            shapes[layer.unit.tensor_name(name)] = layer.unit.shapes[name]
            eps = getattr(layer.unit.module, "eps", _USUAL["epsilon"])
            own = {} if abs(eps - _USUAL["epsilon"]) < 1e-9 else {"epsilon": eps}
            if layer.unit.kind != "tensors":
                kinds[known_as.rpartition(".")[0]] = layer.unit.kind, own
    taken = {name for origin in origins.values() for name in origin.sources}
    for name in (each for each in stored if each not in taken):  # what no layer has
        origins[name], shapes[name] = Origin((name,), RENAME, 0), tuple(stored[name])
    (height, width) = sides
    sizes = tuple((height if height > 0 else high, width if width > 0 else wide) for high, wide in _SIZES)
    large = None if height > 0 or width > 0 else _LARGE
    title = _class_of(step.layer for step in program.steps)
    constants = {
        layer.weights[name]: float(value)
        for layer in network.layers
        for name, value in layer.unit.tensors.items()
        if name in layer.unit.kept
    }
    return Source(
        title,
        network,
        origins,
        shapes,
        kinds,
        constants=constants,
        channels=channels,
        sizes=tuple(dict.fromkeys(sizes)),
        large=large,
        exact=1e-6,
    )


def _class_of(layers: Iterable[str]) -> str:
    """The class that all layers are in, as the exporter tells it; not one whose own map knows other names."""
    names = {layer.strip("/").partition("/")[0] for layer in layers if layer.strip("/")}
    name = names.pop() if len(names) == 1 else ""
    name = name if name.isidentifier() and name.isascii() else "Network"
    return f"{name}Export" if name in architectures() else name
