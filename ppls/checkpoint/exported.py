"""Exported models: a tensor stream without names, and the program beside it that has them.

The order of the tensors alone never decides a name. Each must agree in type and shape with the variable that it is
paired with, their number must agree, and the stream must end with the file: Paddle writes more tensors than the program
names when it exports with `combine_params`, and pairing by order would then swap weights silently.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from ppls.checkpoint import program, tensor_stream
from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.pickle_calls import text
from ppls.checkpoint.pickle_machine import read_pickle
from ppls.checkpoint.pickle_values import Pairs
from ppls.checkpoint.program import Program, Variable
from ppls.checkpoint.source import Source
from ppls.checkpoint.tensor_stream import StreamTensor
from ppls.checkpoint.tensors import StoredTensor, check_name, from_bytes
from ppls.shown import listed

if TYPE_CHECKING:
    from ppls.checkpoint.graph import Graph
    from ppls.checkpoint.pure_program import Place, PureProgram


def read(weights: Source, tensors: Sequence[StreamTensor], program_source: Source, info: Source | None) -> Checkpoint:
    """Weights in one file, with their program.

    Args:
        weights: `.pdiparams`, or 1.x's `__params__`.
        tensors: those of that file.
        program_source: `.pdmodel`, `.json`, or 1.x's `__model__`.
        info: `.pdiparams.info`, the table of structured names that Paddle 2 wrote.

    Raises:
        CheckpointError: one of the files is damaged, or they do not belong together.
    """
    described = program.read(program_source)
    variables = match(weights, tensors, program_source, described)
    stored = {variable.name: _stored(weights, tensor) for variable, tensor in zip(variables, tensors, strict=True)}
    return _named(weights.path, [weights], stored, described, info, program_source, files=[weights, program_source])


def read_separate(files: Mapping[str, Source], program_source: Source, info: Source | None, folder: Path) -> Checkpoint:
    """One file per variable, of the variable's name, with their program.

    Raises:
        CheckpointError: a file is missing, damaged, or holds another tensor than the program says.
    """
    described = program.read(program_source)
    variables = described.candidates[0]
    if missing := sorted({variable.name for variable in variables} - files.keys()):
        raise program_source.error(f"names {len(missing)} variables that have no file beside it: {listed(missing, 5)}")
    stored = {}
    for variable in variables:
        tensor = read_single(files[variable.name])
        if not _agree(tensor, variable):
            raise files[variable.name].error(
                f"holds {_described(tensor)}, but the program says {_described(variable)}; do they belong together?"
            )
        stored[variable.name] = _stored(files[variable.name], tensor)
    sources = [files[variable.name] for variable in variables]
    return _named(folder, sources, stored, described, info, program_source, files=[*sources, program_source])


def read_unnamed(source: Source, tensors: Sequence[StreamTensor]) -> Checkpoint:
    """A tensor stream without its program: one tensor (`use_binary_format=True`), or several that only have numbers."""
    nameless = (
        "the tensors have no names: the program (.pdmodel, .json or __model__) saved with this file is not beside it"
    )
    return Checkpoint(
        source.path,
        "Paddle tensor (binary)" if len(tensors) == 1 else "Paddle tensor stream without names",
        {str(index): _stored(source, tensor) for index, tensor in enumerate(tensors)},
        warnings=(nameless,) if len(tensors) > 1 else (),
        naming="numbers",
        stamps=[source.stamp],
    )


def read_files(files: Mapping[str, Source], folder: Path) -> Checkpoint:
    """One file per variable, without a program: the names of the files are the names of the variables."""
    stored = {check_name(source, name): _stored(source, read_single(source)) for name, source in files.items()}
    return Checkpoint(
        folder,
        "Paddle variables, one file each",
        stored,
        files=tuple(source.path for source in files.values()),
        naming="variables",
        stamps=[source.stamp for source in files.values()],
        weight_files=len(files),
    )


def read_single(source: Source) -> StreamTensor:
    """The tensor of a file that holds one."""
    tensors = tensor_stream.read_tensors(source)
    if len(tensors) != 1:
        raise source.error(f"holds {len(tensors)} tensors, where one was expected")
    return tensors[0]


def match(
    weights: Source, tensors: Sequence[StreamTensor], program_source: Source, described: Program
) -> Sequence[Variable]:
    """The variables that the tensors are, in their order.

    Raises:
        CheckpointError: they do not agree in number, type and shape.
    """
    for variables in described.candidates:
        if len(variables) == len(tensors) and all(map(_agree, tensors, variables)):
            return variables
    variables = described.candidates[0]
    if len(tensors) == 1 and weights.path.name in {variable.name for variable in variables}:
        raise weights.error(f"one of the {len(variables)} variables of an export, each in its file; give the folder")
    if len(variables) != len(tensors):
        raise weights.error(
            f"holds {len(tensors)} tensors, but its program {program_source.path.name} names {len(variables)}, and the "
            "file has no names of its own; to pair them by order would be a guess. Export again without combine_params"
        )
    tensor, variable = next(pair for pair in zip(tensors, variables, strict=True) if not _agree(*pair))
    raise weights.error(
        f"holds {_described(tensor)} where its program {program_source.path.name} has {variable.name} as "
        f"{_described(variable)}; do the two files come from the same export?"
    )


def _named(
    path: Path,
    sources: Sequence[Source],
    stored: dict[str, StoredTensor],
    described: Program,
    info: Source | None,
    program_source: Source,
    *,
    files: Sequence[Source],
) -> Checkpoint:
    if not stored:
        raise sources[0].error("holds no tensors") if sources else files[0].error("its program names no weights")
    table = _structured_names(info, stored) if info is not None else {}
    names = {variable: table.get(variable, variable) for variable in stored}
    if len(set(names.values())) != len(names):
        raise (info or files[0]).error("gives two variables the same structured name")
    files = [*files, info] if info is not None else files
    return Checkpoint(
        path,
        f"Paddle exported model ({described.kind}, {'structured' if table else 'variable'} names)",
        {names[variable]: tensor for variable, tensor in stored.items()},
        files=tuple(file.path for file in files),
        name_table={names[variable]: variable for variable in stored} if table else {},
        naming="structured" if table else "variables",
        stamps=[file.stamp for file in files],
        weight_files=len(sources),
        graph=cache(partial(_graph, program_source)),
        program=partial(_rewritten, program_source),
    )


def _graph(source: Source) -> Graph:
    from ppls.checkpoint.graph import read_graph  # who reads the weights alone needs none of it

    return read_graph(source)


def _rewritten(source: Source, *, double: bool, returning: Iterable[Place] | None = None) -> PureProgram:
    from ppls.checkpoint.pure_program import rewrite

    return rewrite(source, double=double, returning=returning)


def _structured_names(info: Source, stored: Mapping[str, StoredTensor]) -> dict[str, str]:
    """Variable name to structured name, for the variables of this export: a pickled dictionary of dictionaries."""
    pickled = read_pickle(info).value
    if not isinstance(pickled, Pairs) or not all(isinstance(entry, Pairs) for entry in pickled.values()):
        raise info.error(
            "not the name table of an exported model; rename or remove it, and the program's names are used"
        )
    info.budget.take_names(len(pickled))
    table = {}
    for name, entry in pickled.items():
        info.budget.take_nodes(len(entry))  # all of them may be the same
        variable, values = text(info, name), {text(info, key): item for key, item in entry.items()}
        structured = values.get("structured_name")
        if isinstance(structured, str) and variable in stored:
            table[variable] = check_name(info, structured)
    return table


def _stored(source: Source, tensor: StreamTensor) -> StoredTensor:
    return from_bytes(source, tensor.offset, tensor.dtype, tensor.shape)


def _agree(tensor: StreamTensor, variable: Variable) -> bool:
    return (tensor.dtype, tensor.shape) == (variable.dtype, variable.shape)


def _described(tensor: StreamTensor | Variable) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"
