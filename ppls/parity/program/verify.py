"""Verifies an export by its program: torch beside Paddle, operation by operation, and a map's model beside both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.converted_file import file_in
from ppls.checkpoint.reader import read
from ppls.converter.by_program import is_for_its_program
from ppls.converter.convert import convert
from ppls.errors import UsageError
from ppls.inference.loading import load, load_from_program
from ppls.mappings.maps import Map
from ppls.parity.candidate import ModelCallable, make_candidate
from ppls.parity.program.judge import judge_program
from ppls.parity.progress import Progress, not_shown
from ppls.parity.report.data import Report
from ppls.parity.source import Request, Say
from ppls.parity.stages.stage import Stage
from ppls.parity.stages.weights import compare_weights
from ppls.parity.tolerance import TOLERANCE
from ppls.programs.folder import is_written, read_folder
from ppls.programs.module import ProgramModule
from ppls.programs.program import read_program
from ppls.shown import shown
from ppls.temporary import temporary_folder


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
    port: ModelCallable | None = None,
    port_name: str = "the port",
    map: Map | None = None,
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
        converted: the folder that `ppls.convert_program` wrote of it; by default the module is made anew. Of a port the
            `.safetensors` that it is filled from; by default the export is converted by the map.
        port: makes a module of the user's own, of the path of the converted file, to be held against the export in the
            place of ppls's model.
        map: from the export to the port; by default ppls's, where it knows the export.
        request: inputs, precision, and where Paddle is.
        tolerance, strict, say, progress: as for `ppls.verify`.

    Raises:
        UsageError: it is no export, `converted` is not of it, or nothing says what fills the port.
        MissingDependencyError: Paddle is missing, and no map knows the export.
        ParityError: Paddle cannot run the program.
        Error: any of `ppls.load`.
    """
    opened = read(checkpoint)
    if not opened.is_export:
        raise UsageError(f"{checkpoint}: --program needs an export, a program (.pdmodel or .json) with its weights")
    known = not is_for_its_program(checkpoint)
    folder = None if port is not None or converted is None else Path(converted)
    module = load_from_program(Path(checkpoint)) if folder is None else _in_folder(opened, folder)
    model: nn.Module | None = None
    weights: Stage | None = None
    if port is not None:
        model, weights = _filled(port, Path(checkpoint), converted, map, known=known)
    elif known:
        model = load(checkpoint, program=False)
    return judge_program(
        opened,
        module,
        model=model,
        model_name="ppls's model" if port is None else port_name,
        weights=weights,
        request=request or Request(),
        tolerance=tolerance,
        strict=strict,
        say=say,
        progress=progress,
        candidate_name="the program in torch" if folder is None else str(converted),
    )


def _filled(
    port: ModelCallable, checkpoint: Path, converted: str | Path | None, map: Map | None, *, known: bool
) -> tuple[nn.Module, Stage | None]:
    """A port with the weights of an export, and its tensors beside the export's where a map says which are which."""
    if map is None and not known:
        if converted is None:
            raise UsageError(
                "--model: give the --map that leads from the export to it (ppls map draft writes one), or CONVERTED"
            )
        return make_candidate(port, Path(converted)), None
    with temporary_folder() as folder:
        fresh = None if converted is not None else folder / "converted.safetensors"
        conversion = convert(checkpoint, fresh, map=map)
        module = make_candidate(port, Path(fresh or converted or ""))
        return module, compare_weights(conversion, module, own=False, mapped=map is not None)


def _in_folder(checkpoint: Checkpoint, converted: Path) -> ProgramModule:
    weights = read(file_in(converted))
    if not is_written(weights.metadata):
        raise UsageError(f"{converted}: was not converted by its program; leave out --program, or convert with it")
    program, module = read_folder(weights)
    own = {step.place: step.kind for step in read_program(checkpoint).steps}
    if any(own.get(step.place) != step.kind for step in program.steps):
        raise UsageError(f"{converted}: was made of another program than {shown(str(checkpoint.path), 200)} has")
    return module
