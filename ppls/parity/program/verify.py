"""Verifies an export by its program: torch beside Paddle, operation by operation, and a map's model beside both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.converted_file import file_in
from ppls.checkpoint.reader import read
from ppls.converter.by_program import is_for_its_program
from ppls.errors import UsageError
from ppls.inference.loading import load, load_from_program
from ppls.parity.program.judge import judge_program
from ppls.parity.progress import Progress, not_shown
from ppls.parity.report.data import Report
from ppls.parity.source import Request, Say
from ppls.parity.tolerance import TOLERANCE
from ppls.programs.folder import is_written, read_folder
from ppls.programs.module import ProgramModule
from ppls.programs.program import read_program
from ppls.shown import shown


def is_program(checkpoint: str | Path | None, converted: str | Path | None) -> bool:
    """Whether an export is to be verified by its program unasked: no map knows it, or it was converted so."""
    if checkpoint is None:
        return False
    if converted is not None:
        path = file_in(Path(converted))
        return path.suffix == ".safetensors" and path.exists() and is_written(read(path).metadata)
    return is_for_its_program(checkpoint)


def verify_program(
    checkpoint: str | Path,
    converted: str | Path | None = None,
    *,
    request: Request | None = None,
    tolerance: float | Mapping[str, float] = TOLERANCE,
    strict: bool = False,
    say: Say = lambda line: None,
    progress: Progress = not_shown,
) -> Report:
    """Runs an export's program in Paddle and in torch on the same inputs, and the model beside them if a map knows it.

    Without Paddle the model is held against the program in torch, which proves no operator.

    Args:
        checkpoint: the export.
        converted: the folder that `ppls.convert_program` wrote of it; by default the module is made anew.
        request: inputs, precision, and where Paddle is.
        tolerance, strict, say, progress: as for `ppls.verify`.

    Raises:
        UsageError: it is no export, or `converted` is not of it.
        MissingDependencyError: Paddle is missing, and no map knows the export.
        ParityError: Paddle cannot run the program.
        Error: any of `ppls.load`.
    """
    opened = read(checkpoint)
    if not opened.is_export:
        raise UsageError(f"{checkpoint}: --program needs an export, a program (.pdmodel or .json) with its weights")
    module = load_from_program(Path(checkpoint)) if converted is None else _in_folder(opened, Path(converted))
    known = not is_for_its_program(checkpoint)
    return judge_program(
        opened,
        module,
        model=load(checkpoint, program=False) if known else None,
        request=request or Request(),
        tolerance=tolerance,
        strict=strict,
        say=say,
        progress=progress,
        candidate_name="the program in torch" if converted is None else str(converted),
    )


def _in_folder(checkpoint: Checkpoint, converted: Path) -> ProgramModule:
    weights = read(file_in(converted))
    if not is_written(weights.metadata):
        raise UsageError(f"{converted}: was not converted by its program; leave out --program, or convert with it")
    program, module = read_folder(weights)
    own = {step.place: step.kind for step in read_program(checkpoint).steps}
    if any(own.get(step.place) != step.kind for step in program.steps):
        raise UsageError(f"{converted}: was made of another program than {shown(str(checkpoint.path), 200)} has")
    return module
