"""The table of a map: `layers:`, `blocks:`, `modules:` and `tensors:`, what becomes of which tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Annotated, TypeVar

from ppls.mappings.alternatives import expanded
from ppls.mappings.layers import ModuleRow
from ppls.mappings.names import Name
from ppls.mappings.operations import (
    RENAME,
    Chain,
    Concat,
    FoldBias,
    Negate,
    Operation,
    Permute,
    Split,
    Squeeze,
    Transpose,
    Unsqueeze,
)
from ppls.mappings.patterns import Pattern, bounded, plain_name, prefixed
from ppls.mappings.rules import TensorRule
from ppls.records import dataclass
from ppls.schema import Listed, Node, Placed, Word, at_most, between, build, made_of, not_empty

T = TypeVar("T")
R = TypeVar("R")

NUMERICS = ("epsilon", "momentum")
MOST_SLICES = 10_000
MOST_RULES = 20_000  # a model has some hundred tensors that differ in more than an index
MOST_LEVELS = 8  # of blocks in blocks
BACKBONE = "backbone"  # in place of a kind: where it sits


def _axes(axes: tuple[int, ...]) -> tuple[int, ...]:
    if len(axes) > 32 or sorted(axes) != list(range(len(axes))):
        raise ValueError(f"{list(axes[:32])} is no order of the dimensions 0 to {len(axes) - 1}")
    return axes


def _order(order: tuple[int, ...]) -> tuple[int, ...]:
    if len(order) > MOST_SLICES:
        raise ValueError(f"{len(order):,} slices, {MOST_SLICES:,} at most")
    if sorted(order) != list(range(len(order))):
        raise ValueError(f"{list(order[:32])} is no order of 0 to {len(order) - 1}")
    return order


def _dims(dims: tuple[int, ...]) -> tuple[int, ...]:
    if not dims or len(set(dims)) != len(dims) or not all(0 <= dim < 32 for dim in dims):
        raise ValueError(f"{list(dims[:32])} is no list of dimensions, each once, of 0 to 31")
    return dims


def _named_operation(text: str) -> Operation:
    if text != "negate":
        raise ValueError(f"{text!r} is no operation; known are negate, transpose, permute, squeeze, unsqueeze")
    return Negate()


def _chain(steps: Operation | list[Operation]) -> Operation:
    return Chain(tuple(steps)) if isinstance(steps, list) else steps


def _listed(names: Pattern | list[Pattern]) -> tuple[Pattern, ...]:
    return tuple(names) if isinstance(names, list) else (names,)


Dim = Annotated[int, between(0, 31)]
PlainName = Annotated[str, made_of(Word, plain_name)]
Names = Annotated[
    tuple[Pattern, ...], made_of(Name | Annotated[list[Name], at_most(64), not_empty], _listed)
]  # one, or several


@dataclass(eq=False, repr=False)
class PermuteEntry:
    dim: Dim
    order: Annotated[tuple[int, ...], _order]


@dataclass(eq=False, repr=False)
class Steps:
    """Operations by their names."""

    transpose: Annotated[tuple[int, ...], _axes] | None = None
    permute: PermuteEntry | None = None
    squeeze: Annotated[tuple[int, ...], _dims] | None = None
    unsqueeze: Annotated[tuple[int, ...], _dims] | None = None

    @property
    def operation(self) -> Operation:
        steps: list[Operation] = []
        if self.transpose is not None:
            steps.append(Transpose(self.transpose))
        if self.permute is not None:
            steps.append(Permute(self.permute.dim, self.permute.order))
        if self.squeeze is not None:
            steps.append(Squeeze(self.squeeze))
        if self.unsqueeze is not None:
            steps.append(Unsqueeze(self.unsqueeze))
        return Chain(tuple(steps)) if len(steps) > 1 else steps[0] if steps else RENAME


@dataclass(eq=False, repr=False)
class Layout(Steps):
    """A tensor of a kind of layer that is more than renamed."""

    to: PlainName = field(kw_only=True)


Step = Annotated[
    Operation,
    made_of(
        Annotated[Operation, made_of(Word, _named_operation)] | Steps, lambda step: getattr(step, "operation", step)
    ),
]
AnyOperation = Annotated[Operation, made_of(Step | Annotated[list[Step], at_most(16)], _chain)]

Kind = Annotated[dict[PlainName, PlainName | Layout], at_most(100)]


@dataclass(eq=False, repr=False)
class BlockLayer(Listed):
    """One layer of a block, or a block within it: its name in the target, its kind, and what a row may say."""

    target: Word
    kind: Placed[Word]
    options: dict[str, Node] = field(default_factory=dict)


Block = Annotated[dict[Word, BlockLayer], at_most(100), not_empty]


@dataclass(eq=False, repr=False)
class Row(Listed):
    """A module and its counterpart. `options`: numbers for `NUMERICS`, operations by the source's name of a tensor."""

    source: Word
    target: Word
    kind: Placed[Word]
    options: dict[str, Node] = field(default_factory=dict)


@dataclass(eq=False, repr=False)
class Along:
    dim: Dim


@dataclass(eq=False, repr=False)
class Fold:
    mean: Name
    bias: Name


@dataclass(eq=False, repr=False)
class TensorEntry:
    """Tensors that are more than renamed, and not layer by layer."""

    to: Names
    source: Names | None = field(default=None, metadata={"key": "from"})
    transpose: Annotated[tuple[int, ...], _axes] | None = None
    split: Along | None = None
    concat: Along | None = None
    fold_bias: Fold | None = None


class LayerTable:
    """Expands rows by the kinds of layers and blocks that a map declares.

    Args:
        source, target: where an including map puts the names of either side.
        layers, blocks: the entries of these sections.

    Attributes:
        rules, rows: what it comes to, for tensors and for layers, in the order of the map.
        places: where each rule stands in the file.
        backbone: the row that says where the backbone sits, if there is one.
    """

    def __init__(self, source: str, target: str, layers: Mapping[str, Kind], blocks: Mapping[str, Block]) -> None:
        self.source, self.target = source, target
        self.kinds = {name: _layouts(kind) for name, kind in layers.items()}
        self.blocks = blocks
        self.rules: list[TensorRule] = []
        self.rows: list[ModuleRow] = []
        self.places: list[Node] = []
        self.backbone: Placed[Row] | None = None
        self._steps = 0
        for block in blocks.values():
            for layer in block.values():
                self._check_kind(layer.kind)

    def read(self, modules: list[Placed[Row]], tensors: list[Placed[TensorEntry]]) -> None:
        """Adds the rules and rows of these sections. Raises `MapError`."""
        for entry in tensors:
            self._tensor_rule(entry.value, entry.node)
        self._special = {
            pattern.text
            for rule in self.rules
            if len(rule.sources) > 1 or len(rule.targets) > 1
            for pattern in rule.sources
        }
        for placed in modules:
            row, node = placed.value, placed.node
            if row.kind.value == BACKBONE:
                if self.backbone is not None:
                    node.fail("a model has one backbone")
                if row.options:
                    node.fail("a backbone has no options here; its own map says what its layers are")
                self.backbone = placed
                continue
            self._check_kind(row.kind)
            for source, target in _checked(node, expanded, [row.source, row.target]):
                names = prefixed(source, self.source), prefixed(target, self.target)
                self._add_row(*names, row.kind.value, row.options, node, 0)

    def _check_kind(self, kind: Placed[Word]) -> None:
        if kind.value not in self.kinds and kind.value not in self.blocks:
            known = ", ".join([*self.kinds, *self.blocks])
            kind.node.fail(f"{kind.value!r} is no kind of layer or block; known are {known}")

    def _add_row(
        self, source: str, target: str, kind: str, options: Mapping[str, Node], node: Node, depth: int
    ) -> None:
        self._steps += 1
        if self._steps > MOST_RULES:
            node.fail(f"the table has more than {MOST_RULES:,} layers and blocks")
        if kind in self.kinds:
            self._add_layer(source, target, kind, options, node)
            return
        if options:
            node.fail("options belong to a single layer; write the block's layers as rows of their own")
        if depth == MOST_LEVELS:
            node.fail(f"blocks within blocks, more than {MOST_LEVELS} deep; does {kind!r} hold itself?")
        for name, layer in self.blocks[kind].items():
            inner = prefixed(name, source), prefixed(layer.target, target)
            self._add_row(*inner, layer.kind.value, layer.options, node, depth + 1)

    def _add_layer(
        self, source_name: str, target_name: str, kind: str, options: Mapping[str, Node], node: Node
    ) -> None:
        names = [_checked(node, Pattern.parse, name) for name in (source_name, target_name)]
        source, target = _checked(node, bounded, names)
        if source.captures != target.captures:
            node.fail(f"{source} and {target} have different indices")
        numerics = {key: build(value, float) for key, value in options.items() if key in NUMERICS}
        operations: dict[str, Operation] = {}
        for name, value in options.items():
            if name not in NUMERICS:
                if name not in self.kinds[kind]:
                    value.fail_key(f"a {kind} has no {name!r}")
                operations[name] = build(value, AnyOperation)
        for name, (target_tensor, layout) in self.kinds[kind].items():
            tensor = source.joined(name)
            if tensor.text in self._special:  # `tensors:` says what becomes of it
                continue
            operation = operations.get(name, RENAME)
            if layout is not RENAME:
                operation = Chain((layout, operation)) if operation is not RENAME else layout
            self._add(TensorRule((tensor,), (target.joined(target_tensor),), operation, node.line), node)
        self.rows.append(ModuleRow(source, target, kind, operations, numerics, node.line))

    def _tensor_rule(self, entry: TensorEntry, node: Node) -> None:
        ways = [name for name in ("split", "concat", "fold_bias") if getattr(entry, name) is not None]
        if len(ways) > 1:
            node.fail(f"{' and '.join(ways)} cannot stand together")
        way = ways[0] if ways else None
        sources, targets = entry.source or (), entry.to
        if entry.fold_bias is not None:
            for key, beside in (("from", sources), ("transpose", entry.transpose)):
                if beside:
                    node.fail(f"{key!r} has no meaning beside 'fold_bias'")
            sources = (entry.fold_bias.mean, entry.fold_bias.bias)
            operation: Operation = FoldBias()
        elif not sources:
            node.fail("'from' is missing")
        elif entry.split is not None and len(sources) == 1 < len(targets):
            operation = Split(entry.split.dim, len(targets))
            if entry.transpose is not None:
                operation = Chain((Transpose(entry.transpose), operation))
        elif entry.concat is not None and len(targets) == 1 < len(sources):
            operation = Concat(entry.concat.dim, len(sources))
            if entry.transpose is not None:  # `dim` is the target's
                if entry.concat.dim >= len(entry.transpose):
                    node.fail(f"concat dim {entry.concat.dim} is none of the {len(entry.transpose)} transposed ones")
                operation = Concat(entry.transpose[entry.concat.dim], len(sources))
                operation = Chain((operation, Transpose(entry.transpose)))
        elif way is None and len(sources) == len(targets) == 1:
            operation = RENAME if entry.transpose is None else Transpose(entry.transpose)
        else:
            node.fail(f"{way or 'a renaming'} does not take {len(sources)} to {len(targets)} tensors")
        if operation.targets != len(targets):
            node.fail(f"{way} does not take {len(sources)} to {len(targets)} tensors")
        if len({pattern.captures for pattern in (*sources, *targets)}) != 1:
            node.fail("the tensors of one rule must have the same indices")
        patterns = _checked(node, bounded, (*sources, *targets))
        taken = tuple(pattern.within(self.source) for pattern in patterns[: len(sources)])
        filled = tuple(pattern.within(self.target) for pattern in patterns[len(sources) :])
        self._add(TensorRule(taken, filled, operation, node.line), node)

    def _add(self, rule: TensorRule, node: Node) -> None:
        if len(self.rules) == MOST_RULES:
            node.fail(f"the table has more than {MOST_RULES:,} tensors")
        self.rules.append(rule)
        self.places.append(node)


def _checked(node: Node, make: Callable[[T], R], value: T) -> R:
    try:
        return make(value)
    except ValueError as error:
        node.fail(str(error))


def _layouts(kind: Mapping[str, str | Layout]) -> dict[str, tuple[str, Operation]]:
    return {
        source: (target.to, target.operation) if isinstance(target, Layout) else (target, RENAME)
        for source, target in kind.items()
    }
