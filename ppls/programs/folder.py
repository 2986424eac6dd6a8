"""A network as a folder that a person can keep: weights, its program, and code that makes the same of torch.

The code is for people: `read_folder` makes the module of the description, and never runs what it finds.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.converted_file import write_converted_file
from ppls.checkpoint.source import Source
from ppls.destination import Inputs, check_destinations, file_that_becomes
from ppls.errors import CheckpointError, ConversionError
from ppls.images.usage import Usage
from ppls.models.stored import to_torch
from ppls.programs.code.network import code_of
from ppls.programs.description import parsed, written
from ppls.programs.module import ProgramModule, module_of, notes_on, unused_by
from ppls.programs.names import named_by_layers
from ppls.programs.program import Program
from ppls.shown import shown
from ppls.version import __version__

WEIGHTS, PROGRAM, CODE = FILES = ("model.safetensors", "program.json", "model.py")
_DIGEST = "program_sha256"


@dataclass(frozen=True)
class ProgramConversion:
    """What became of an export: the outcome of `ppls.convert_program`.

    Attributes:
        operators: how often each occurs.
        unused: tensors of the checkpoint that the program does not use.
        code: whether `model.py` was written.
        sha256: of the weights that were converted.
    """

    source: Path
    destination: Path
    operators: dict[str, int]
    tensors: int
    unused: tuple[str, ...]
    code: bool
    sha256: str
    until: str | None = None
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The object that `ppls convert --json` prints."""
        return {
            "source": str(self.source),
            "destination": str(self.destination),
            "architecture": None,
            "program": {"operators": self.operators, "until": self.until, "code": self.code},
            "tensors": {"read": self.tensors + len(self.unused), "written": self.tensors, "unused": list(self.unused)},
            "sha256": self.sha256,
            "warnings": self.warnings,
        }


def write_folder(
    checkpoint: Checkpoint,
    program: Program,
    destination: Path,
    *,
    usage: Usage | None = None,
    until: str | None = None,
    force: bool = False,
    inputs: Inputs | None = None,
) -> ProgramConversion:
    """Writes `model.safetensors`, `program.json` and `model.py`; each appears whole, and none if one fails.

    Raises:
        ConversionError: operators that cannot be run in torch; a file exists (without `force`), or cannot be written.
    """
    paths = [destination / name for name in FILES]
    check_destinations(paths, force=force, inputs=inputs, new_folders=True)
    unused = unused_by(program, checkpoint)
    warnings = notes_on(program, checkpoint, part=until is not None)
    names = named_by_layers(program) if checkpoint.naming == "variables" else {}
    origins = {names.get(name, name): name for name in program.weights.values()}
    program = program._replace(weights={value: names.get(name, name) for value, name in program.weights.items()})
    module = ProgramModule(program, to_torch({new: checkpoint.stored(old) for new, old in origins.items()})).eval()
    own = module.names()
    tensors = {own[value]: checkpoint.stored(origins[name]) for value, name in program.weights.items() if value in own}
    program = program._replace(weights={value: own[value] for value in program.weights if value in own})
    description = written(program)
    try:
        code = code_of(module)
    except ConversionError as error:
        code = None
        warnings.append(f"{error}; {CODE} is not written")
        if os.path.lexists(destination / CODE):
            raise ConversionError(f"{error}; {destination / CODE} is of another network: remove it first") from None
    metadata = {
        "format": "pt",
        _DIGEST: hashlib.sha256(description).hexdigest(),
        "source_format": checkpoint.format,
        "source_sha256": checkpoint.sha256,
        "ppls_version": __version__,
        **({} if usage is None else usage.metadata),
    }
    beside = {PROGRAM: description, **({} if code is None else {CODE: code.encode("ascii")})}
    is_new = not os.path.lexists(destination)
    try:
        destination.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            for name, content in beside.items():
                stack.enter_context(file_that_becomes(destination / name, force=force)).write(content)
            write_converted_file(
                destination / WEIGHTS, tensors, metadata, force=force, before_naming=checkpoint.check_unchanged
            )
    except BaseException:
        if is_new:
            with suppress(OSError):
                destination.rmdir()  # only where nothing is in it
        raise
    return ProgramConversion(
        checkpoint.path,
        destination,
        dict(program.counts().most_common()),
        len(tensors),
        unused,
        code is not None,
        checkpoint.sha256,
        until,
        warnings,
    )


def is_written(metadata: Mapping[str, str]) -> bool:
    """Whether weights are those of such a folder, by their metadata."""
    return _DIGEST in metadata


def read_folder(weights: Checkpoint) -> tuple[Program, ProgramModule]:
    """The program beside the weights of such a folder, and the module that it makes, in eval mode.

    Raises:
        CheckpointError: the description is missing, damaged, or that of other weights.
    """
    path = weights.path.with_name(PROGRAM)
    source = Source.open(path)
    source.budget.take_bytes(source.size)
    content = source.read(0, source.size)
    if hashlib.sha256(content).hexdigest() != weights.metadata[_DIGEST]:
        raise CheckpointError(f"{path}: is not the program that {weights.path.name} was written with")
    program = parsed(content, str(path))
    lacking = [name for name in program.weights.values() if name not in weights]
    if lacking:
        raise CheckpointError(f"{weights.path}: {len(lacking)} weights are missing: {shown(lacking[0], 80)}")
    return program, module_of(program, weights)


__all__: Sequence[str] = ("FILES", "ProgramConversion", "is_written", "read_folder", "write_folder")
