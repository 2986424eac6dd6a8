"""What the program of an exported model tells of it: some options, and the numerics of its normalisations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.graph import Graph
from ppls.mappings.maps import Map
from ppls.mappings.patterns import shape_of_name
from ppls.mappings.program_facts import Program
from ppls.shown import listed, shown


def program_of(graph: Graph, checkpoint: Checkpoint, renamed: Mapping[str, str]) -> Program:
    """The program that an export was saved with, asked by today's names of its tensors.

    Args:
        renamed: tensors that an earlier release called otherwise, by their names in the file, with today's.
    """
    return Program(graph, {renamed.get(name, name): checkpoint.name_table.get(name, name) for name in checkpoint})


def told_numerics(map: Map, names: Iterable[str], program: Program) -> tuple[set[str], list[str]]:
    """Which of the map's numerics the program has too, and where the two differ.

    Args:
        names: today's, of the checkpoint's tensors.

    Returns:
        What was found to be so in every layer, as the conversion lists it: `batch_norm.epsilon`; and the problems.
    """
    modules: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in names:
        module = name.rpartition(".")[0]
        modules[shape_of_name(module)][module].append(name)
    alike: dict[str, bool] = {}
    wrong: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for row in map.rows:
        for number, value in {**map.numerics.get(row.kind, {}), **row.numerics}.items():
            own = number in row.numerics
            key = f"{row.target.text if own else row.kind}.{number}"
            for module, tensors in modules[row.source.template].items():
                if row.source.match(module) is None:
                    continue
                found = _in_program(program, tensors, number)
                alike[key] = alike.get(key, True) and bool(found) and all(_close(one, value) for one in found)
                for one in found:
                    if not _close(one, value):
                        wrong[row.kind, f"{number} {value:g}", shown(repr(one), 80)].append(module)
    problems = [
        f"{listed(layers, 3)}: {program.name} has {ours.partition(' ')[0]} {theirs} in {kind}, ppls's model {ours}"
        for (kind, ours, theirs), layers in wrong.items()
    ]
    return {key for key, same in alike.items() if same}, problems


def _in_program(program: Program, tensors: Collection[str], number: str) -> list[Any]:
    """What the operations say that take a layer's tensors."""
    users = {id(operation): operation for tensor in tensors for operation in program.users(tensor)}
    return [operation.attributes[number] for operation in users.values() if number in operation.attributes]


def _close(found: Any, value: float) -> bool:
    """Whether a number is this one, as float32 holds it."""
    return type(found) in (int, float) and abs(found - value) <= 1e-6 * abs(value)
