"""`ppls.convert_program`: an export to a folder, by its program."""

from __future__ import annotations

from pathlib import Path

from ppls.checkpoint.reader import read
from ppls.converter.inputs import weight_files
from ppls.converter.usage import usage_of
from ppls.programs.folder import ProgramConversion, write_folder
from ppls.programs.program import read_program


def convert_program(
    source: str | Path, destination: str | Path, *, until: str | None = None, force: bool = False
) -> ProgramConversion:
    """Converts an export to a folder by its program, operator by operator, whether a map knows it or not.

    The folder holds `model.safetensors`; `program.json`, of which `ppls.load` makes the module; and `model.py`, which
    makes the same module of torch alone, for people to read and change.

    Args:
        source: what `ppls.read` takes of an export.
        destination: the folder.
        until: the part up to an operation or a layer, see `ppls.programs.program.Program.until`.
        force: replace the files of an existing folder.

    Raises:
        CheckpointError: no export, or a damaged one.
        ConversionError: operators that cannot be run in torch, all of them; a file exists or cannot be written.
        UsageError: there is no operation `until`.
    """
    checkpoint = read(source)
    program = read_program(checkpoint)
    usage, notes = usage_of(checkpoint, None, None, None)
    done = write_folder(
        checkpoint,
        program if until is None else program.until(until),
        Path(destination),
        usage=usage,
        until=until,
        force=force,
        inputs={"source": weight_files(source)},
    )
    done.warnings.extend(notes)
    return done
