"""Applies a map to tensors, either way: each is used, or dropped for a reason that was checked, or is a problem."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

import numpy as np

from ppls.checkpoint.checkpoint import StoredTensor
from ppls.checkpoint.dtypes import FLOATS, float32_to_bfloat16
from ppls.completeness import differences
from ppls.converter.dropping import Fate, Tensors, fates_of, left_out
from ppls.errors import ConversionError
from ppls.mappings.maps import Duplicate, Map, applies
from ppls.mappings.operations import RENAME, OperationError
from ppls.mappings.rules import RuleIndex, TensorRule, matching
from ppls.records import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Dropped:
    """A source tensor that the target does not need, and why that is so."""

    name: str
    why: str


@dataclass
class Translation:
    """Tensors under their new names, still lazy, and what is wrong with them.

    Attributes:
        tensors: by new name.
        origins: the old names that each new one is made of.
        dropped: tensors left out, each for a reason that was checked.
        constants: the values of the constants that were dropped, by name; of a table, what it is called.
        unused: zeros in place of what no forward pass uses and today's PaddleSeg writes all the same; on the way back.
        problems: every tensor that fits nowhere, is taken twice, or contradicts the map.
    """

    tensors: dict[str, StoredTensor] = field(default_factory=dict)
    origins: dict[str, tuple[str, ...]] = field(default_factory=dict)
    dropped: list[Dropped] = field(default_factory=list)
    constants: dict[str, float | str] = field(default_factory=dict)
    unused: dict[str, StoredTensor] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def translate(tensors: Tensors, map: Map, config: Mapping[str, Any]) -> Translation:
    """Paddle's tensors under PyTorch's names.

    Args:
        tensors: the checkpoint's, by name.
        map: the map of its architecture.
        config: its options; rules may depend on them.
    """
    result = Translation()
    to_check: list[tuple[str, Fate]] = []
    to_rename: dict[str, StoredTensor] = {}
    for name, tensor in tensors.items():
        if left_out(name, map, config):
            result.dropped.append(Dropped(name, "left out: the model is built without it"))
            continue
        fates = fates_of(name, map, config)
        if not fates:
            to_rename[name] = tensor
            continue
        rules = [str(rule) for rule, _, _ in map.forward.matches(name)]
        if len(fates) + len(rules) > 1:
            claims = "; ".join([*rules, *(fate.why for fate in fates)])
            result.problems.append(f"{name}: taken more than once by the map {map.name}: {claims}")
        else:
            to_check.append((name, fates[0]))
    for name, fate in to_check:
        problem = fate.check(tensors) if fate.check else None
        if problem:
            result.problems.append(f"{name}: {problem}")
        else:
            result.dropped.append(Dropped(name, fate.why))
            if fate.constant is not None:
                result.constants[name] = fate.constant
    _apply_rules(to_rename, map.forward, map.name, result)
    return result


def translate_by_rules(tensors: Tensors, map: Map) -> Translation:
    """Paddle's tensors under PyTorch's names, without a look at those that are dropped."""
    result = Translation()
    _apply_rules(tensors, map.forward, map.name, result)
    return result


def translate_back(tensors: Tensors, map: Map, config: Mapping[str, Any]) -> Translation:
    """PyTorch's tensors under Paddle's names, in today's scheme: constants, aliases and what is unused as well.

    What a one-way rule made cannot go back: its targets are problems.
    """
    result = translate_back_by_rules(tensors, map)
    for constant in map.constants:
        if applies(constant.only, config):
            for indices, beside in matching(constant.beside, result.tensors):
                name = constant.pattern.fill(indices)
                try:
                    array = constant.array(result.tensors[beside].shape)
                except ConversionError as error:
                    result.problems.append(f"{beside}: {error}")
                else:
                    result.tensors[name] = _created(array, result.tensors)
                    result.constants[name] = constant.value
    for alias in (duplicate for duplicate in map.duplicates if duplicate.written):
        _write_alias(alias, result)
    shapes = {name: tensor.shape for name, tensor in result.tensors.items()}
    for dead in map.dead:
        try:
            again = dead.shapes(config, shapes)
        except ConversionError as reason:
            result.problems.append(str(reason))
        else:
            result.unused |= {
                name: _created(np.zeros(shape, np.float32), result.tensors) for name, shape in again.items()
            }
    return result


def translate_back_by_rules(tensors: Tensors, map: Map) -> Translation:
    """PyTorch's tensors under Paddle's names, without what depends on the config."""
    result = Translation()
    _apply_rules(tensors, map.backward, map.name, result)
    return result


def check_complete(
    translation: Translation, expected: Mapping[str, Shape], map: Map, *, shapes: bool = True
) -> list[str]:
    """What the target expects and does not get, gets and does not expect, or gets in another shape or type."""

    def filled_by(name: str) -> str:
        return ", ".join(translation.origins[name]) if name in translation.origins else _source_of(name, map)

    needed = {
        name: shape
        for name, shape in expected.items()
        if name in translation.tensors or not any(pattern.match_within(name) for pattern in map.keep)
    }
    found = {
        name: tensor.shape if shapes else needed.get(name, tensor.shape) for name, tensor in translation.tensors.items()
    }
    return [*differences(needed, found, filled_by), *wrong_types(translation.tensors, filled_by)]


def wrong_types(tensors: Tensors, filled_by: Callable[[str], str] = str) -> list[str]:
    """The tensors that a model cannot compute with; `filled_by` as for `differences`."""
    return [
        f"wrong type: {filled_by(name)} is {tensor.dtype}, and the model computes in floating point"
        for name, tensor in tensors.items()
        if tensor.dtype not in FLOATS
    ]


_Group = dict[int, str]  # position among a rule's sources: name


def _apply_rules(tensors: Tensors, index: RuleIndex, map_name: str, result: Translation) -> None:
    """Sorts the tensors into the rules that take them, and adds what comes out."""
    groups: dict[tuple[int, tuple[tuple[str, int], ...]], tuple[TensorRule, dict[str, int], _Group]] = {}
    for name, tensor in tensors.items():
        matches = list(index.matches(name))
        if not matches:
            result.problems.append(f"unknown: {name} {list(tensor.shape)} has no rule in the map {map_name}")
        elif len(matches) > 1:
            rules = "; ".join(str(rule) for rule, _, _ in matches)
            result.problems.append(f"{name}: taken more than once by the map {map_name}: {rules}")
        else:
            rule, position, indices = matches[0]
            key = (id(rule), tuple(sorted(indices.items())))
            groups.setdefault(key, (rule, indices, {}))[2][position] = name
    for rule, indices, group in groups.values():
        if len(group) < len(rule.sources):
            absent = [p.fill(indices) for i, p in enumerate(rule.sources) if i not in group]
            result.problems.append(
                f"missing: {', '.join(absent)}, which {rule} needs beside {', '.join(group.values())}"
            )
            continue
        sources = [group[position] for position in range(len(rule.sources))]
        _add(rule, indices, sources, [tensors[name] for name in sources], result)


def _add(
    rule: TensorRule, indices: dict[str, int], names: list[str], tensors: list[StoredTensor], result: Translation
) -> None:
    dtypes = {tensor.dtype for tensor in tensors}
    if len(dtypes) > 1:
        result.problems.append(f"{', '.join(names)}: of different types, {', '.join(sorted(dtypes))}")
        return
    try:
        shapes = rule.operation.shapes([tensor.shape for tensor in tensors])
    except OperationError as error:
        result.problems.append(f"{', '.join(names)}: {error}")
        return
    for position, (pattern, shape) in enumerate(zip(rule.targets, shapes, strict=True)):
        target = pattern.fill(indices)
        if target in result.tensors:
            both = f"{', '.join(result.origins[target])} and {', '.join(names)}"
            result.problems.append(f"{target}: filled twice, from {both}")
            continue
        result.tensors[target] = (
            tensors[0]
            if rule.operation is RENAME
            else StoredTensor(tensors[0].dtype, shape, _Load(rule, tensors, position))
        )
        result.origins[target] = tuple(names)


@dataclass(frozen=True)
class _Load:
    """Reads a rule's sources and runs its operation, when asked."""

    rule: TensorRule
    tensors: Sequence[StoredTensor]
    position: int

    def __call__(self) -> NDArray[Any]:
        arrays = [tensor.load() for tensor in self.tensors]
        return self.rule.operation.apply(arrays, self.tensors[0].dtype)[self.position]


def _created(whole: NDArray[Any], beside: Tensors) -> StoredTensor:
    """A tensor as PaddleSeg creates it: floats in the type of the weights, float32 unless those are narrower."""
    dtypes = {tensor.dtype for tensor in beside.values() if tensor.dtype in FLOATS}
    dtype = dtypes.pop() if len(dtypes) == 1 else "float32"
    if whole.dtype != np.float32:
        dtype, array = whole.dtype.name, whole
    else:
        array = float32_to_bfloat16(whole) if dtype == "bfloat16" else whole.astype(dtype)
    return StoredTensor(dtype, whole.shape, lambda: array)


def _write_alias(alias: Duplicate, result: Translation) -> None:
    """Writes again, under the alias's names, every tensor of the modules that the alias repeats."""
    for name in list(result.tensors):
        found = alias.original.match_within(name)
        if found is not None:
            indices, rest = found
            result.tensors[alias.pattern.joined(rest).fill(indices)] = result.tensors[name]


def _source_of(target: str, map: Map) -> str:
    """What the checkpoint would call the tensors that fill `target`."""
    names = [pattern.fill(indices) for rule, _, indices in map.fills.matches(target) for pattern in rule.targets]
    return ", ".join(names) or "a tensor that no rule gives"
