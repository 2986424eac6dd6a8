"""The structured names of an export that has none, found from the order in which PaddleSeg builds its layers.

An export under PIR names its tensors `conv2d_29.w_0`: the layer's type, and how many of that type the process built
before it. Had it built other models first, all counters of a type are higher by one number. So each way of
subtracting a number per type gives a candidate, and the one whose tensors fit the architecture is right. Several
that fit would make the names a guess, which is refused.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import combinations, islice
from pathlib import Path
from typing import NamedTuple

from ppls.checkpoint.checkpoint import Checkpoint
from ppls.converter.dropping import is_traced
from ppls.errors import CheckpointError, NamelessError
from ppls.mappings import map_file
from ppls.mappings.patterns import natural_key

TABLES = Path(__file__).parents[1] / "mappings" / "construction"
BUFFER = "eager_tmp"  # stands as the kind of a layer that is a buffer
_DROPPED = "dropped."  # begins the name of a layer that is built and not kept
_VARIABLE = re.compile(r"(\w+?)_(\d+)\.([wb]_\d+)")
_FIXED = re.compile(r"\w+_(?:weights|scale|offset|mean|variance)")  # as some backbones for mobile devices have them
_MAX_CANDIDATES = 10_000
_MAX_BUFFERINGS = 100  # ways to tell buffers from other tensors: each names all that operations gave
# An export lacks the heads for training and what else it does not use; with less than this share of the layers that
# PaddleSeg builds, or of any kind of them beside the backbone, it is something else.
_SHARE, _SHARE_BESIDE = 0.5, 0.2


class Layer(NamedTuple):
    """One layer that PaddleSeg builds.

    Attributes:
        name: its structured name, `backbone.features.0.conv`.
        kind: what Paddle's variable names call its type, `conv2d`.
        tensors: the end of each tensor's structured name, and its rank, by the end of its variable's name:
            `{"w_0": ("weight", 4)}`.
    """

    name: str
    kind: str
    tensors: Mapping[str, tuple[str, int]]

    @property
    def parent(self) -> str:
        """The module that holds the layer, and others that are used or unused together with it.

        What stands in the model itself may be used alone.
        """
        return self.name.rpartition(".")[0] or self.name


def split_variable(name: str) -> tuple[str, int, str] | None:
    """`conv2d_29.w_0` as `("conv2d", 29, "w_0")`; None for a name of another form.

    A name that upstream itself gave, `conv1_bn_scale`, is a type of which there is one: `("conv1_bn_scale", 0, "")`.
    """
    if _FIXED.fullmatch(name):
        return name, 0, ""
    found = _VARIABLE.fullmatch(name)
    return (found[1], int(found[2]), found[3]) if found else None


@lru_cache
def construction_orders() -> dict[str, list[list[Layer]]]:
    """By architecture: for every variant that builds other layers, its layers in the order of construction.

    `scripts/construction_order.py` writes the files from PaddleSeg itself. A layer is a line in them:
    `backbone.features.0.conv conv2d w_0=weight:4`. A backbone is built before the model that it is given to: one that
    stands in any of the files is tried in every architecture that may stand on it.
    """
    orders: dict[str, list[tuple[str, ...]]] = {}
    for path in sorted(TABLES.glob("*.json")):
        table = json.loads(path.read_bytes())
        orders[table["architecture"]] = [tuple(variant["layers"]) for variant in table["variants"]]
    maps = {name: map for name, map in map_file.architectures().items() if map.includes and name in orders}
    backbones: dict[str, dict[tuple[str, ...], None]] = defaultdict(dict)
    heads: dict[str, dict[tuple[str, ...], None]] = defaultdict(dict)
    for name, map in maps.items():
        prefix = f"{map.includes[0].source}."
        for lines in orders[name]:
            inside = _of_backbone(prefix, lines)
            backbones[map.includes[0].map.name][tuple(line.removeprefix(prefix) for line in inside)] = None
            heads[name][tuple(line for line in lines if line not in inside)] = None
    for name, map in maps.items():
        prefix = f"{map.includes[0].source}."
        there = [lines for backbone in map.backbones for lines in backbones[backbone]]
        orders[name] = [(*_behind(prefix, lines), *head) for head in heads[name] for lines in there]
    return {name: [[_layer(line) for line in lines] for lines in variants] for name, variants in orders.items()}


def _of_backbone(prefix: str, lines: Sequence[str]) -> dict[str, None]:
    """The backbone's layers, with those that it drops (PIDNet's does): of each kind all before its last."""
    last = {line.split(" ")[1]: at for at, line in enumerate(lines) if line.startswith(prefix)}
    return {
        line: None
        for at, line in enumerate(lines)
        if line.startswith(prefix) or (line.startswith(_DROPPED) and at < last.get(line.split(" ")[1], 0))
    }


def _behind(prefix: str, lines: Iterable[str]) -> list[str]:
    """A backbone's layers by their names in a model."""
    return [line if line.startswith(_DROPPED) else prefix + line for line in lines]


@cache
def _layer(line: str) -> Layer:
    name, kind, *tensors = line.split(" ")
    named = (re.split("[=:]", tensor) for tensor in tensors)
    return Layer(name, kind, {end: (own, int(rank)) for end, own, rank in named})


def with_structured_names(
    checkpoint: Checkpoint, fits: Callable[[str, Checkpoint], bool], architectures: Iterable[str] | None = None
) -> Checkpoint:
    """The same tensors under their structured names.

    Args:
        checkpoint: one whose `naming` is `variables`.
        fits: whether the candidate is a model of the architecture: every name known, every shape as the others demand.
        architectures: those to try; all of `construction_orders` where not given.

    Raises:
        CheckpointError: no candidate fits, or several do.
    """
    fitting: list[tuple[str, dict[str, str]]] = []
    for architecture in architectures or construction_orders():
        tried: list[dict[str, str]] = []  # variants may agree in the layers that an export has
        for names in candidates(checkpoint.shapes, architecture):
            if names not in tried:
                tried.append(names)
                # architectures may agree in all their names, and the shapes then tell which it is
                if names not in (other for _, other in fitting) and fits(architecture, checkpoint.renamed(names)):
                    fitting.append((architecture, names))
            if len(fitting) > 1:
                which = " or ".join(sorted({architecture for architecture, _ in fitting}))
                raise _no_names(checkpoint, f"fit {which} in more than one order: to choose would be a guess")
    if not fitting:
        raise _no_names(
            checkpoint,
            "fit none whose layers ppls knows in the order in which PaddleSeg builds them: the heads and backbones of "
            "its published models",
        )
    return checkpoint.renamed(fitting[0][1])


def _no_names(checkpoint: Checkpoint, why: str) -> NamelessError:
    return NamelessError(
        f"{checkpoint.path}: has Paddle's variable names only (conv2d_0.w_0), and its tensors {why}. Give the "
        ".pdparams of the training run, or lay the .pdiparams.info beside it that Paddle 2 writes with an export"
    )


def candidates(shapes: Mapping[str, tuple[int, ...]], architecture: str) -> Iterator[dict[str, str]]:
    """Structured name by variable name, for every variant and every way to shift the counters that makes sense.

    Ranks must agree, and a module's layers of different types must be there together or not at all: an export leaves
    out what it does not use, such as the heads for training, by whole modules.

    Raises:
        CheckpointError: they are too many to try.
    """
    traced = {name: shape for name, shape in shapes.items() if is_traced(name)}
    present = _by_kind({name: shape for name, shape in shapes.items() if name not in traced})
    if present is None:
        return
    own = map_file.architectures().get(architecture)
    backbone = tuple(f"{included.source}." for included in own.includes) if own else ()
    found = 0
    count = sum(map(len, present.values()))
    for layers in construction_orders().get(architecture, []):
        if count < _SHARE * len(layers):
            continue
        buffers = [layer for layer in layers if layer.kind == BUFFER]
        choices = _choices(present, [layer for layer in layers if layer.kind != BUFFER], backbone)
        if not (ways := list(_buffers_among(traced, buffers))):
            continue
        for choice, named in ((choice, named) for choice in choices for named in ways):  # choices may have no end
            found += 1
            if found > _MAX_CANDIDATES:
                raise CheckpointError(f"its variable names fit {architecture} in more than {_MAX_CANDIDATES:,} ways")
            yield named | {
                f"{kind}_{counter}.{end}" if end else kind: f"{layer.name}.{layer.tensors[end][0]}"
                for kind, of_kind in choice.items()
                for counter, layer in of_kind.items()
                for end in present[kind][counter]
            }


def _buffers_among(traced: Mapping[str, tuple[int, ...]], buffers: Sequence[Layer]) -> Iterator[dict[str, str]]:
    """Every way to take a model's buffers, in order, from what is called as any tensor that an operation gave."""
    unchanged = {name: name for name in traced}
    ranks = {layer.tensors[""][1] for layer in buffers}
    fitting = sorted((name for name, shape in traced.items() if len(shape) in ranks), key=natural_key)
    for chosen in islice(combinations(fitting, len(buffers)), _MAX_BUFFERINGS):
        pairs = [(name, layer.name, *layer.tensors[""]) for name, layer in zip(chosen, buffers, strict=True)]
        if all(len(traced[name]) == rank for name, _, _, rank in pairs):
            yield unchanged | {name: f"{layer}.{own}" for name, layer, own, _ in pairs}
    if len(fitting) < len(buffers):
        yield unchanged


Counted = dict[int, dict[str, tuple[int, ...]]]  # counter, end of the variable's name, shape
Choice = dict[str, dict[int, Layer]]  # type of layer, counter, the layer


def _by_kind(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Counted] | None:
    present: dict[str, Counted] = {}
    for name, shape in shapes.items():
        variable = split_variable(name)
        if variable is None:
            return None
        kind, counter, end = variable
        present.setdefault(kind, {}).setdefault(counter, {})[end] = shape
    return present


def _choices(present: Mapping[str, Counted], layers: Sequence[Layer], backbone: tuple[str, ...]) -> Iterator[Choice]:
    """One shift for each type of layer, such that the modules that are there agree."""
    built: dict[str, list[Layer]] = {}
    for layer in layers:
        built.setdefault(layer.kind, []).append(layer)
    bits = {parent: 1 << at for at, parent in enumerate(dict.fromkeys(layer.parent for layer in layers))}

    def modules(of: Iterable[Layer]) -> int:
        """The modules of these layers, a bit each."""
        return sum({bits[layer.parent] for layer in of})

    kinds = sorted(present, key=lambda kind: len(present[kind]), reverse=True)
    if not built.keys() >= set(kinds):
        return
    known = {kind: modules(built[kind]) for kind in kinds}
    shifts = {
        kind: [(shifted, modules(shifted.values())) for shifted in _shifts(present[kind], built[kind], backbone)]
        for kind in kinds
    }

    def extend(choice: Choice, chosen: Mapping[str, int]) -> Iterator[Choice]:
        if len(choice) == len(kinds):
            yield choice
            return
        kind = kinds[len(choice)]
        for shifted, own in shifts[kind]:
            if not any((own ^ there) & known[kind] & known[other] for other, there in chosen.items()):
                yield from extend({**choice, kind: shifted}, {**chosen, kind: own})

    yield from extend({}, {})


def _shifts(present: Counted, layers: Sequence[Layer], backbone: tuple[str, ...]) -> Iterator[dict[int, Layer]]:
    """The layers by counter, for every number that can be taken from the counters."""
    beside = [not layer.name.startswith(backbone) for layer in layers]
    first, last, least = min(present), max(present), _SHARE_BESIDE * sum(beside)
    for shift in range(last - len(layers) + 1, first + 1):
        enough = sum(beside[first - shift : last - shift + 1]) >= least
        if enough and all(_has(layers[counter - shift], tensors) for counter, tensors in present.items()):
            yield {counter: layers[counter - shift] for counter in present}


def _has(layer: Layer, tensors: Mapping[str, tuple[int, ...]]) -> bool:
    return all(end in layer.tensors and layer.tensors[end][1] == len(shape) for end, shape in tensors.items())
