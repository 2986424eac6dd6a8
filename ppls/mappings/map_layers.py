"""The table of a map: `layers:`, `blocks:`, `modules:` and `tensors:`, what becomes of which tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from ppls.mappings.map_options import Dim, Name
from ppls.mappings.maps import ModuleRow, TensorRule
from ppls.mappings.operations import RENAME, Chain, Concat, FoldBias, Negate, Operation, Permute, Split, Transpose
from ppls.mappings.patterns import Pattern, plain_name
from ppls.schema import Listed, Node, Placed, Word, at_most, build, made_of, not_empty

NUMERICS = ("epsilon", "momentum")
MOST_SLICES = 10_000
MOST_RULES = 20_000  # a model has some hundred tensors that differ in more than an index


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


def _named_operation(text: str) -> Operation:
    if text != "negate":
        raise ValueError(f"{text!r} is no operation; known are negate, transpose, permute")
    return Negate()


def _chain(steps: Operation | list[Operation]) -> Operation:
    return Chain(tuple(steps)) if isinstance(steps, list) else steps


def _listed(names: Pattern | list[Pattern]) -> tuple[Pattern, ...]:
    return tuple(names) if isinstance(names, list) else (names,)


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

    @property
    def operation(self) -> Operation:
        steps: list[Operation] = []
        if self.transpose is not None:
            steps.append(Transpose(self.transpose))
        if self.permute is not None:
            steps.append(Permute(self.permute.dim, self.permute.order))
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
    """One layer of a block: its name in the target, and its kind."""

    target: PlainName
    kind: Placed[Word]


Block = Annotated[dict[PlainName, BlockLayer], at_most(100)]


@dataclass(eq=False, repr=False)
class Row(Listed):
    """A module and its counterpart. `options`: numbers for `NUMERICS`, operations by the source's name of a tensor."""

    source: Name
    target: Name
    kind: Word
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
    split: Along | None = None
    concat: Along | None = None
    fold_bias: Fold | None = None


class LayerTable:
    """Expands rows by the kinds of layers and blocks that the map declares.

    Args:
        source, target: where an including map puts the names of either side.
        layers, blocks: the entries of these sections.
    """

    def __init__(self, source: str, target: str, layers: Mapping[str, Kind], blocks: Mapping[str, Block]) -> None:
        self.source, self.target = source, target
        self.kinds = {name: _layouts(kind) for name, kind in layers.items()}
        self.blocks = blocks
        self.rules: list[TensorRule] = []
        self.rows: list[ModuleRow] = []
        for block in blocks.values():
            for layer in block.values():
                if layer.kind.value not in layers:
                    layer.kind.node.fail(
                        f"{layer.kind.value!r} is no kind of layer; `layers:` has {', '.join(layers) or 'none'}"
                    )

    def read(
        self, modules: list[Placed[Row]], tensors: list[Placed[TensorEntry]]
    ) -> tuple[list[TensorRule], list[ModuleRow]]:
        """The rules for tensors and the rows of layers, in the order of the map. Raises `MapError`."""
        for entry in tensors:
            self._tensor_rule(entry.value, entry.node)
        self._special = {
            pattern.text
            for rule in self.rules
            if len(rule.sources) > 1 or len(rule.targets) > 1
            for pattern in rule.sources
        }
        for row in modules:
            self._row(row.value, row.node)
        return self.rules, self.rows

    def _row(self, row: Row, node: Node) -> None:
        source, target = row.source.within(self.source), row.target.within(self.target)
        if source.captures != target.captures:
            node.fail(f"{source} and {target} have different indices")
        if row.kind in self.blocks:
            if row.options:
                node.fail("options belong to a single layer; write the block's layers as rows of their own")
            for source_name, layer in self.blocks[row.kind].items():
                inner = source.joined(source_name), target.joined(layer.target)
                self._layer(*inner, layer.kind.value, {}, {}, node)
            return
        if row.kind not in self.kinds:
            known = ", ".join([*self.kinds, *self.blocks])
            node.fail(f"{row.kind!r} is no kind of layer or block; known are {known}")
        numerics = {key: build(value, float) for key, value in row.options.items() if key in NUMERICS}
        operations = {}
        for name, value in row.options.items():
            if name in NUMERICS:
                continue
            if name not in self.kinds[row.kind]:
                value.fail_key(f"a {row.kind} has no {name!r}")
            operations[name] = build(value, AnyOperation)
        self._layer(source, target, row.kind, operations, numerics, node)

    def _layer(
        self,
        source: Pattern,
        target: Pattern,
        kind: str,
        operations: Mapping[str, Operation],
        numerics: Mapping[str, float],
        node: Node,
    ) -> None:
        for source_name, (target_name, layout) in self.kinds[kind].items():
            tensor = source.joined(source_name)
            if tensor.text in self._special:  # `tensors:` says what becomes of it
                continue
            operation = operations.get(source_name, RENAME)
            if layout is not RENAME:
                operation = Chain((layout, operation)) if operation is not RENAME else layout
            self._add(TensorRule((tensor,), (target.joined(target_name),), operation, node.line), node)
        if len(self.rows) == MOST_RULES:
            node.fail(f"the table has more than {MOST_RULES:,} layers")
        self.rows.append(ModuleRow(source, target, kind, operations, numerics, node.line))

    def _tensor_rule(self, entry: TensorEntry, node: Node) -> None:
        ways = [name for name in ("split", "concat", "fold_bias") if getattr(entry, name) is not None]
        if len(ways) > 1:
            node.fail(f"{' and '.join(ways)} cannot stand together")
        way = ways[0] if ways else None
        sources, targets = entry.source or (), entry.to
        if entry.fold_bias is not None:
            if sources:
                node.fail("'from' has no meaning beside 'fold_bias'")
            sources = (entry.fold_bias.mean, entry.fold_bias.bias)
            operation: Operation = FoldBias()
        elif not sources:
            node.fail("'from' is missing")
        elif entry.split is not None and len(sources) == 1 < len(targets):
            operation = Split(entry.split.dim, len(targets))
        elif entry.concat is not None and len(targets) == 1 < len(sources):
            operation = Concat(entry.concat.dim, len(sources))
        elif way is None and len(sources) == len(targets) == 1:
            operation = RENAME
        else:
            node.fail(f"{way or 'a renaming'} does not take {len(sources)} to {len(targets)} tensors")
        if operation.targets != len(targets):
            node.fail(f"{way} does not take {len(sources)} to {len(targets)} tensors")
        if len({pattern.captures for pattern in (*sources, *targets)}) != 1:
            node.fail("the tensors of one rule must have the same indices")
        rule = TensorRule(
            tuple(pattern.within(self.source) for pattern in sources),
            tuple(pattern.within(self.target) for pattern in targets),
            operation,
            node.line,
        )
        self._add(rule, node)

    def _add(self, rule: TensorRule, node: Node) -> None:
        if len(self.rules) == MOST_RULES:
            node.fail(f"the table has more than {MOST_RULES:,} tensors")
        self.rules.append(rule)


def _layouts(kind: Mapping[str, str | Layout]) -> dict[str, tuple[str, Operation]]:
    return {
        source: (target.to, target.operation) if isinstance(target, Layout) else (target, RENAME)
        for source, target in kind.items()
    }
