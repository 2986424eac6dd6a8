"""Reads the table of a map: `layers:`, `blocks:`, `modules:` and `tensors:`, what becomes of which tensor."""

from __future__ import annotations

from collections.abc import Callable

from ppls.converter.maps import ModuleRow, TensorRule
from ppls.converter.operations import RENAME, Chain, Concat, FoldBias, Negate, Operation, Permute, Split, Transpose
from ppls.converter.patterns import Pattern
from ppls.converter.yaml_nodes import Node

NUMERICS = ("epsilon", "momentum")


class LayerTable:
    """Reads rows by the kinds of layers and blocks that the map declares.

    Args:
        source, target: where an including map puts the names of either side.
        layers, blocks: the entries of these sections.
    """

    def __init__(
        self, source: str, target: str, layers: list[tuple[str, Node]], blocks: list[tuple[str, Node]]
    ) -> None:
        self.source, self.target = source, target
        self.kinds = {name: self._kind(node) for name, node in layers}
        self.blocks = {name: self._block(node) for name, node in blocks}
        self.rules: list[TensorRule] = []
        self.rows: list[ModuleRow] = []

    def read(self, modules: list[Node], tensors: list[Node]) -> tuple[list[TensorRule], list[ModuleRow]]:
        """The rules for tensors and the rows of layers, in the order of the map. Raises `MapError`."""
        for node in tensors:
            self._tensor_rule(node)
        for node in modules:
            self._row(node)
        return self.rules, self.rows

    def _kind(self, node: Node) -> dict[str, tuple[str, Operation]]:
        kind = {}
        for source, target in node.mapping().items():
            if target.is_text():
                kind[source] = (target.text(), RENAME)
            else:
                parts = target.mapping("to", *_OPERATIONS, required=("to",))
                steps = [_OPERATIONS[key](value) for key, value in parts.items() if key != "to"]
                kind[source] = (parts["to"].text(), Chain(tuple(steps)))
        return kind

    def _block(self, node: Node) -> list[tuple[str, str, str]]:
        block = []
        for source, layer in node.mapping().items():
            target, kind = layer.items(length=(2,))
            self._known_kind(kind)
            block.append((source, target.text(), kind.text()))
        return block

    def _known_kind(self, node: Node) -> None:
        if node.text() not in self.kinds:
            node.fail(f"{node.text()!r} is no kind of layer; `layers:` has {', '.join(self.kinds) or 'none'}")

    def _row(self, node: Node) -> None:
        source_node, target_node, kind, *rest = node.items(length=(3, 4))
        source, target = source_node.pattern(self.source), target_node.pattern(self.target)
        if source.captures != target.captures:
            node.fail(f"{source} and {target} have different indices")
        options = rest[0].mapping() if rest else {}
        numerics = {key: options.pop(key).number() for key in NUMERICS if key in options}
        if kind.text() in self.blocks:
            if rest:
                rest[0].fail("options belong to a single layer; write the block's layers as rows of their own")
            for source_name, target_name, layer_kind in self.blocks[kind.text()]:
                layer = source.joined(source_name), target.joined(target_name)
                self._layer(*layer, layer_kind, {}, {}, node.line)
        else:
            if kind.text() not in self.kinds:
                kind.fail(
                    f"{kind.text()!r} is no kind of layer or block; known are {', '.join([*self.kinds, *self.blocks])}"
                )
            operations = {}
            for name, value in options.items():
                if name not in self.kinds[kind.text()]:
                    value.fail(f"a {kind.text()} has no {name!r}")
                operations[name] = _operation(value)
            self._layer(source, target, kind.text(), operations, numerics, node.line)

    def _layer(
        self,
        source: Pattern,
        target: Pattern,
        kind: str,
        operations: dict[str, Operation],
        numerics: dict[str, float],
        line: int,
    ) -> None:
        special = {pattern.text for rule in self.rules if len(rule.sources) > 1 for pattern in rule.sources}
        special |= {pattern.text for rule in self.rules if len(rule.targets) > 1 for pattern in rule.sources}
        for source_name, (target_name, layout) in self.kinds[kind].items():
            tensor = source.joined(source_name)
            if tensor.text in special:  # `tensors:` says what becomes of it
                continue
            operation = operations.get(source_name, RENAME)
            if layout is not RENAME:
                operation = Chain((layout, operation)) if operation is not RENAME else layout
            self.rules.append(TensorRule((tensor,), (target.joined(target_name),), operation, line))
        self.rows.append(ModuleRow(source, target, kind, operations, numerics, line))

    def _tensor_rule(self, node: Node) -> None:
        parts = node.mapping("from", "to", "split", "concat", "fold_bias", required=("to",))
        operation_name = next((name for name in ("split", "concat", "fold_bias") if name in parts), None)
        if operation_name == "fold_bias":
            fold = parts["fold_bias"].mapping("mean", "bias", required=("mean", "bias"))
            sources, targets = [fold["mean"], fold["bias"]], [parts["to"]]
            operation: Operation = FoldBias()
        else:
            if "from" not in parts:
                node.fail("'from' is missing")
            sources, targets = ([n] if n.is_text() else n.items() for n in (parts["from"], parts["to"]))
            dim = parts[operation_name].mapping("dim", required=("dim",))["dim"].integer() if operation_name else 0
            if operation_name == "split" and len(sources) == 1 and len(targets) > 1:
                operation = Split(dim, len(targets))
            elif operation_name == "concat" and len(targets) == 1 and len(sources) > 1:
                operation = Concat(dim, len(sources))
            elif operation_name is None and len(sources) == len(targets) == 1:
                operation = RENAME
            else:
                node.fail(f"{operation_name or 'a renaming'} does not take {len(sources)} to {len(targets)} tensors")
        source_patterns = tuple(source.pattern(self.source) for source in sources)
        target_patterns = tuple(target.pattern(self.target) for target in targets)
        if len({pattern.captures for pattern in (*source_patterns, *target_patterns)}) != 1:
            node.fail("the tensors of one rule must have the same indices")
        self.rules.append(TensorRule(source_patterns, target_patterns, operation, node.line))


def _operation(node: Node) -> Operation:
    """An operation, or a list of them, as a row gives it for one tensor."""
    if not node.is_text() and not node.is_mapping():
        return Chain(tuple(_operation(item) for item in node.items()))
    if node.is_text():
        if node.text() != "negate":
            node.fail(f"{node.text()!r} is no operation; known are negate, {', '.join(_OPERATIONS)}")
        return Negate()
    parts = node.mapping(*_OPERATIONS)
    steps = tuple(_OPERATIONS[name](value) for name, value in parts.items())
    return steps[0] if len(steps) == 1 else Chain(steps)


def _permute(node: Node) -> Operation:
    parts = node.mapping("dim", "order", required=("dim", "order"))
    order = parts["order"].integers()
    if sorted(order) != list(range(len(order))):
        parts["order"].fail(f"{list(order)} is no order of 0 to {len(order) - 1}")
    return Permute(parts["dim"].integer(), order)


def _transpose(node: Node) -> Operation:
    axes = node.integers()
    if sorted(axes) != list(range(len(axes))):
        node.fail(f"{list(axes)} is no order of the dimensions 0 to {len(axes) - 1}")
    return Transpose(axes)


_OPERATIONS: dict[str, Callable[[Node], Operation]] = {"transpose": _transpose, "permute": _permute}
