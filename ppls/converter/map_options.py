"""Reads the `config:` section of a map: every constructor option, and how the tensors reveal it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ppls.converter import readings
from ppls.converter.config_rules import OptionRule
from ppls.converter.patterns import Pattern, prefixed
from ppls.converter.readings import Reading
from ppls.converter.yaml_nodes import Node

_KEYS = (
    "size", "root", "sizes", "dim", "index_in", "over", "among", "absent", "count", "per", "starts", "choose",
    "default", "one_of", "target_only", "unless",
)  # fmt: skip

# The ways to read an option, each with the keys that may stand beside it.
_BESIDE = {
    "size": ("dim",),
    "root": ("dim",),
    "sizes": ("dim", "index_in", "over", "among", "absent"),
    "count": ("per",),
    "starts": ("among",),
    "choose": (),
}


class OptionReader:
    """Reads options. `option` and `source` are where an including map puts them."""

    def __init__(self, option: str, source: str) -> None:
        self.option, self.source = option, source

    def read(self, section: Node) -> Iterator[OptionRule]:
        """One rule for each option, in the order of the map. Raises `MapError`."""
        for name, node in section.mapping().items():
            parts = node.mapping(*_KEYS)
            yield OptionRule(
                prefixed(name, self.option),
                self._reading(node, parts),
                parts["default"].value() if "default" in parts else None,
                tuple(parts["one_of"].value()) if "one_of" in parts else (),
                bool(parts["target_only"].value()) if "target_only" in parts else False,
                parts["unless"].value() if "unless" in parts else None,
            )

    def _reading(self, node: Node, parts: dict[str, Node]) -> Reading:
        found = [key for key in _BESIDE if key in parts]
        if len(found) > 1:
            node.fail(f"{' and '.join(found)} cannot stand together")
        if not found:
            if "default" not in parts:
                node.fail("says neither how to read the option nor its `default:`")
            return Reading()
        way = found[0]
        for key in ("dim", "index_in", "over", "among", "absent", "per"):
            if key in parts and key not in _BESIDE[way]:
                parts[key].fail(f"{key!r} has no meaning beside {way!r}")
        if "dim" in _BESIDE[way] and "dim" not in parts:
            node.fail("'dim' is missing")
        match way:
            case "size":
                return readings.Size(prefixed(parts["size"].text(), self.source), parts["dim"].integer())
            case "root":
                return readings.Root(prefixed(parts["root"].text(), self.source), parts["dim"].integer())
            case "sizes":
                return self._sizes(node, parts)
            case "count":
                return self._count(node, parts)
            case "starts":
                if "among" not in parts:
                    node.fail("'among', all the blocks, is missing")
                return readings.Stages(self._indexed(parts["starts"]), self._indexed(parts["among"]))
        return readings.Choose(tuple(self._case(case) for case in parts["choose"].items()))

    def _sizes(self, node: Node, parts: dict[str, Node]) -> Reading:
        unit: str = ""
        factors: tuple[float, ...] = ()
        if "index_in" in parts:
            known = parts["index_in"].mapping("multiples_of", "by", required=("multiples_of", "by"))
            unit = prefixed(known["multiples_of"].text(), self.option)
            factors = tuple(item.number() for item in known["by"].items())
        if ("among" in parts) != ("absent" in parts):
            node.fail("'among', where a tensor may be missing, and 'absent', its size then, need one another")
        return readings.Sizes(
            self._indexed(parts["sizes"]),
            parts["dim"].integer(),
            unit,
            factors,
            prefixed(parts["over"].text(), self.option) if "over" in parts else "",
            self._indexed(parts["among"]) if "among" in parts else None,
            parts["absent"].integer() if "absent" in parts else 0,
        )

    def _count(self, node: Node, parts: dict[str, Node]) -> Reading:
        if "per" in parts:
            pattern = parts["count"].pattern(self.source)
            per = parts["per"].text()
            if len(pattern.captures) != 2 or per not in pattern.captures:
                parts["per"].fail(f"{pattern} must have two indices, {per!r} among them")
            return readings.Counts(pattern, per)
        listed = [parts["count"]] if parts["count"].is_text() else parts["count"].items()
        patterns = tuple(self._indexed(pattern) for pattern in listed)
        if "default" in parts:
            return readings.Length(patterns, tuple(item.value() for item in parts["default"].items()))
        if len(patterns) > 1:
            node.fail("only the values of a `default:` are counted by several patterns")
        return readings.Count(patterns[0])

    def _indexed(self, node: Node) -> Pattern:
        pattern = node.pattern(self.source)
        if len(pattern.captures) != 1:
            node.fail(f"{pattern} must have one index, <i>, to count by")
        return pattern

    def _case(self, node: Node) -> readings.Case:
        parts = node.mapping("value", "refuse", "where", required=("where",))
        where: dict[str, tuple[str, ...] | str] = {}
        for name, shape in parts["where"].mapping().items():
            if shape.is_text():
                if shape.text() not in ("any", "none"):
                    shape.fail("a shape is a list of sizes, `any` (the tensor is there) or `none` (it is not)")
                where[prefixed(name, self.source)] = shape.text()
            else:
                where[prefixed(name, self.source)] = tuple(size.text() for size in shape.items())
        if ("value" in parts) == ("refuse" in parts):
            node.fail("a case has either a `value:` or a `refuse:`")
        value: Any = parts["value"].value() if "value" in parts else None
        return readings.Case(value, parts["refuse"].text() if "refuse" in parts else "", where)
