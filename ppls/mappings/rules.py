"""The rules of a map for tensors, and how the one for a name is found among many."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from ppls.mappings.operations import Operation
from ppls.mappings.patterns import Pattern, natural_key, numbers_of_name, shape_of_name
from ppls.records import dataclass


@dataclass(eq=False, repr=False)
class TensorRule:
    """Tensors that become other tensors by an operation; `line` is where the map says so."""

    sources: tuple[Pattern, ...]
    targets: tuple[Pattern, ...]
    operation: Operation
    line: int

    @property
    def invertible(self) -> bool:
        """Whether there is a way back."""
        return self.operation.invertible

    @property
    def inverse(self) -> TensorRule:
        """The rule for the way back. Raises `OperationError` where there is none."""
        return TensorRule(self.targets, self.sources, self.operation.inverse, self.line)

    def __str__(self) -> str:
        sources, targets = (", ".join(map(str, side)) for side in (self.sources, self.targets))
        return f"line {self.line} ({sources} -> {targets})"


class RuleIndex:
    """Finds the rules for a name among many without trying each."""

    def __init__(self, rules: Sequence[TensorRule]) -> None:
        self._by_name: dict[str, list[tuple[TensorRule, int]]] = defaultdict(list)
        self._by_shape: dict[str, list[tuple[TensorRule, int]]] = defaultdict(list)
        for rule in rules:
            for position, pattern in enumerate(rule.sources):
                index = self._by_shape[pattern.template] if pattern.captures else self._by_name[pattern.text]
                index.append((rule, position))

    @property
    def most_alike(self) -> int:
        """How many rules may have to be tried for one name."""
        return max(map(len, self._by_shape.values()), default=0)

    def matches(self, name: str) -> Iterator[tuple[TensorRule, int, dict[str, int]]]:
        """Every rule that takes `name`, with its position among the rule's sources and the indices."""
        for rule, position in self._by_name.get(name, ()):
            yield rule, position, {}
        candidates = self._by_shape.get(shape_of_name(name))
        if candidates:
            numbers = numbers_of_name(name)
            for rule, position in candidates:
                indices = rule.sources[position].match_numbers(numbers)
                if indices is not None:
                    yield rule, position, indices


def matching(pattern: Pattern, names: Iterable[str]) -> list[tuple[dict[str, int], str]]:
    """The names that match, in natural order, with their indices."""
    found = [(indices, name) for name in names if (indices := pattern.match(name)) is not None]
    return sorted(found, key=lambda item: natural_key(item[1]))
