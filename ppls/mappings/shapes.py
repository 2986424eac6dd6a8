"""The shapes of a checkpoint's tensors, by which its options are told; and what is raised where they do not tell."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import cached_property

from ppls.mappings.patterns import Pattern, shape_of_name

Shape = tuple[int, ...]


class NotRevealed(Exception):  # noqa: N818 - not an error yet: a default or the user may know
    """The tensors do not say what the option is; the message says why."""


class Absent(NotRevealed):
    """The tensors that would say what the option is are not there."""


class Refused(Exception):  # noqa: N818 - reported by the caller
    """The tensors say what the option is, and ppls does not support it; the message says so."""


class Shapes:
    """The shapes of a checkpoint's tensors, searchable by pattern."""

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self._shapes = shapes
        self._names: dict[str, list[str]] = defaultdict(list)
        for name in shapes:
            self._names[shape_of_name(name)].append(name)

    def get(self, name: str) -> Shape | None:
        return self._shapes.get(name)

    def has(self, pattern: Pattern) -> bool:
        """Whether there is a tensor of this name, or one within a module of it."""
        if pattern.captures:
            return any(pattern.match_within(name) is not None for name in self._shapes)
        return pattern.text in self._shapes or pattern.text in self._modules

    @cached_property
    def _modules(self) -> set[str]:
        """The names of all modules that hold tensors."""
        modules: set[str] = set()
        for name in self._shapes:
            while (name := name.rpartition(".")[0]) and name not in modules:
                modules.add(name)
        return modules

    def named(self, pattern: Pattern) -> list[tuple[dict[str, int], str]]:
        """Indices and name of every tensor that matches a pattern."""
        found = [(pattern.match(name), name) for name in self._names.get(pattern.template, ())]
        return [(indices, name) for indices, name in found if indices is not None]

    def matches(self, pattern: Pattern) -> list[tuple[int, Shape]]:
        """Index and shape of every tensor that matches a pattern of one index, in the order of the index."""
        (index,) = pattern.captures
        return sorted((indices[index], self._shapes[name]) for indices, name in self.named(pattern))

    def consecutive(self, *patterns: Pattern) -> list[Shape]:
        """The shapes of the tensors that match any of the patterns, which must be numbered from 0 without a gap."""
        found = sorted(match for pattern in patterns for match in self.matches(pattern))
        named = " or ".join(map(str, patterns))
        if not found:
            raise Absent(f"no tensor {named}")
        if [index for index, _ in found] != list(range(len(found))):
            raise NotRevealed(f"the tensors {named} are not numbered 0 to {len(found) - 1}")
        return [shape for _, shape in found]

    def counts(self, pattern: Pattern, per: str) -> list[int]:
        """How many tensors match for each value of the index `per`, which must be numbered from 0 without a gap."""
        names = self._names.get(pattern.template, ())
        found = Counter(indices[per] for name in names if (indices := pattern.match(name)) is not None)
        if not found:
            raise Absent(f"no tensor {pattern}")
        if sorted(found) != list(range(len(found))):
            raise NotRevealed(f"the tensors {pattern} are not numbered 0 to {len(found) - 1} by {per}")
        return [found[index] for index in range(len(found))]

    def side(self, name: str, shape: Shape | None, dim: int) -> int:
        if shape is None:
            raise Absent(f"no tensor {name}")
        if dim >= len(shape):
            raise NotRevealed(f"{name} has the shape {list(shape)}, no dimension {dim}")
        return shape[dim]
