"""Which calls belong together: the modules of a network, recovered from the names of its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch.nn.functional as F

from ppls.programs.code.trace import Call, Value, Weight

Path = tuple[str, ...]
_OF_ONE = ("relu", "sigmoid", "hardswish", "hardsigmoid", "gelu", "silu", "relu6", "leaky_relu", "tanh", "clamp")


@dataclass
class Block:
    """A module with a `forward` of its own: calls and blocks in order.

    Attributes:
        path: its name in the network, part by part.
    """

    path: Path
    items: list[Call | Block] = field(default_factory=list)


def blocks(calls: Sequence[Call], layers: Mapping[int, str]) -> Block:
    """The whole network as a block, with a block in it wherever a module's calls follow on each other.

    Args:
        layers: what the exporter says where each operation was made, by its place: `/Net/Block/Conv2D/`.
    """
    paths = _paths(calls, layers)
    return Block((), _split((), list(range(len(calls))), calls, paths))


def values_of(given: Any) -> Iterator[Value]:
    """The tensors that stand in arguments or results."""
    if isinstance(given, Value):
        yield given
    elif isinstance(given, slice):
        yield from values_of((given.start, given.stop, given.step))
    elif isinstance(given, (list, tuple)) and not isinstance(given, Weight):
        for each in given:
            yield from values_of(each)


def weights_of(given: Any) -> Iterator[Weight]:
    """The weights that stand in arguments."""
    if isinstance(given, Weight):
        yield given
    elif isinstance(given, (list, tuple)) and not isinstance(given, Value):
        for each in given:
            yield from weights_of(each)


def taken(call: Call) -> list[Value]:
    """The tensors that a call takes."""
    return [*values_of(call.given), *values_of(list(call.named.values()))]


def with_biases(calls: Sequence[Call]) -> list[Call]:
    """The calls with each convolution's bias in it, which a program reshapes and adds afterwards."""
    users: dict[Value, list[Call]] = {}
    for call in calls:
        for value in taken(call):
            users.setdefault(value, []).append(call)
    makers = {value: call for call in calls for value in values_of(call.gives)}
    gone: set[int] = set()
    changed: dict[int, Call] = {}
    for call in calls:
        if call.function is not F.conv2d or call.given[2] is not None or len(users.get(call.gives, ())) != 1:
            continue
        (add,) = users[call.gives]
        if getattr(add.function, "__name__", "") != "add" or len(add.given) != 2 or add.named:
            continue
        other = add.given[1] if add.given[0] == call.gives else add.given[0]
        reshape = makers.get(other) if isinstance(other, Value) else None
        if reshape is None or getattr(reshape.function, "__name__", "") != "reshape" or len(users[other]) != 1:
            continue
        weight, bias = call.given[1], reshape.given[0]
        if not isinstance(weight, Weight) or not isinstance(bias, Weight) or not _one_module(weight, bias):
            continue
        gone |= {id(reshape), id(call)}
        given = (*call.given[:2], bias, *call.given[3:])
        changed[id(add)] = Call(call.place, call.function, given, call.named, add.gives)
    return [changed.get(id(call), call) for call in calls if id(call) not in gone]


def _one_module(weight: Weight, bias: Weight) -> bool:
    return weight.name.endswith(".weight") and bias.name == f"{weight.name.removesuffix('.weight')}.bias"


def owner(call: Call) -> Path | None:
    """The module whose weights a call takes; None where it takes none."""
    if call.layer:
        return tuple(call.layer.split("."))
    owners = [tuple(weight.name.split("."))[:-1] for weight in weights_of([*call.given, *call.named.values()])]
    return _common(owners) if owners else None


def _common(paths: Sequence[Path]) -> Path:
    first, *others = paths
    length = next(
        (at for at, part in enumerate(first) if any(other[at : at + 1] != (part,) for other in others)), len(first)
    )
    return first[:length]


def _paths(calls: Sequence[Call], layers: Mapping[int, str]) -> list[Path]:
    """Of each call the module that it belongs to; of a layer or a convolution itself."""
    owners = [owner(call) for call in calls]
    known: dict[Path, Path | None] = {}
    for call, own in zip(calls, owners, strict=True):
        layer = tuple(part for part in layers.get(call.place, "").split("/") if part)
        for up in range(1, min(len(layer), len(own)) if own else 0):
            here, there = layer[:-up], own[:-up] if own else ()
            known[here] = there if known.get(here, there) == there else None
    makers: dict[Value, int] = {}
    found: list[Path] = []
    for at, (call, own) in enumerate(zip(calls, owners, strict=True)):
        makers.update(dict.fromkeys(values_of(call.gives), at))
        if own is not None:
            found.append(own)
            continue
        layer = tuple(part for part in layers.get(call.place, "").split("/") if part)
        told = next((path for end in range(len(layer), 0, -1) if (path := known.get(layer[:end])) is not None), None)
        sources = [makers[value] for value in taken(call) if value in makers]
        name = getattr(call.function, "__name__", "")
        if told is None and len(sources) == 1 and name in _OF_ONE:
            before = found[sources[0]]
            told = before[:-1] if owners[sources[0]] is not None else before
        found.append(told or ())
    return found


def _split(prefix: Path, indices: list[int], calls: Sequence[Call], paths: Sequence[Path]) -> list[Call | Block]:
    depth = len(prefix)
    groups: dict[str, list[int]] = {}
    placed: list[tuple[int, Call | Block]] = []
    for at in indices:
        if len(paths[at]) > depth:
            groups.setdefault(paths[at][depth], []).append(at)
        else:
            placed.append((at, calls[at]))
    for part, own in groups.items():
        path = (*prefix, part)
        inside = _split(path, own, calls, paths)
        if len(own) > 1 and own[-1] - own[0] + 1 == len(own) and any(len(paths[at]) > depth + 1 for at in own):
            placed.append((own[0], Block(path, inside)))
        else:
            firsts = sorted(own)
            at = 0
            for item in inside:
                placed.append((firsts[at], item))
                at += _count(item)
    return [item for _, item in sorted(placed, key=lambda each: each[0])]


def _count(item: Call | Block) -> int:
    return sum(map(_count, item.items)) if isinstance(item, Block) else 1


def calls_of(block: Block) -> Iterator[Call]:
    """All calls in a block, in order."""
    for item in block.items:
        if isinstance(item, Block):
            yield from calls_of(item)
        else:
            yield item


def blocks_in(block: Block) -> Iterator[Block]:
    """The blocks in a block, at any depth."""
    for item in block.items:
        if isinstance(item, Block):
            yield item
            yield from blocks_in(item)


def given_in(block: Block) -> list[Value]:
    """All tensors that calls in a block give."""
    return [value for call in calls_of(block) for value in values_of(call.gives)]
