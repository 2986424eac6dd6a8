"""The export itself as a reference beside PaddleSeg's network: its program, as ppls writes it anew, run by Paddle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.pure_program import PureProgram
from ppls.checkpoint.tensor_stream import written
from ppls.checkpoint.tensors import StoredTensor, from_memory
from ppls.converter.conversion import Conversion
from ppls.errors import CheckpointError, ParityError, first_line
from ppls.parity.answers import Exported, ExportEnd, StoredArray
from ppls.parity.array_file import read_header
from ppls.parity.inputs import Input, photograph
from ppls.parity.jobs import ExportJob, RunJob
from ppls.parity.process import ReferenceProcess

# Of address space, beyond what the process has: the network's own peak twice over, and at least this
LEAST_MEMORY = 4 << 30


@dataclass(frozen=True)
class RecordedExport:
    """What an export computes; or, without a job and a result, why it was not run.

    Attributes:
        folder: where the arrays are.
    """

    folder: Path
    job: ExportJob | None = None
    result: Exported | None = None
    why: str | None = None

    def arrays(self) -> Iterator[tuple[str, StoredArray]]:
        """Every array that Paddle wrote, and its place in the result."""
        for index, output in enumerate(self.result.outputs if self.result else ()):
            yield f"outputs[{index}].logits", output.logits
            if output.itself is not None:
                yield f"outputs[{index}].itself", output.itself


def program_of(conversion: Conversion, *, double: bool = False) -> PureProgram | str | None:
    """The program of an export, written anew, or why Paddle is not given it; None where the checkpoint is no export.

    `double` as for `ppls.checkpoint.pure_program.rewrite`.
    """
    checkpoint = conversion.checkpoint
    if not checkpoint.is_export:
        return None
    try:
        program = checkpoint.program(double=double)
    except CheckpointError as error:
        return first_line(error)
    return lacking(checkpoint, program) or program


def input_of(program: PureProgram, channels: int) -> Input | None:
    """A photograph of the size that a program takes, where it takes one size alone."""
    height, width = program.input_shape[2:]
    fits = height > 0 and width > 0 and program.takes((1, channels, height, width))
    return photograph("coffee", height, width, channels) if fits else None


def run_export(
    process: ReferenceProcess,
    conversion: Conversion,
    program: PureProgram | str,
    ran: RunJob,
    folder: Path,
    *,
    memory: int,
    timeout: float | None = None,
) -> RecordedExport:
    """Has Paddle run an export on those inputs of a run of the network that it takes.

    Whatever goes wrong is the reason why there is nothing: a process that died is started anew.

    Args:
        folder: the process's, with the files of those inputs.
        memory: what the run of the network took at its peak, in bytes.
    """
    if isinstance(program, str):
        return RecordedExport(folder, why=program)
    if ran.upsample is not None:
        return RecordedExport(folder, why="the export resizes as it does; it is run without --upsample")
    inputs = tuple(given for given in ran.inputs if program.takes(read_header(folder / given.file).shape))
    if not inputs:
        return RecordedExport(folder, why=f"the export takes {shape_in_words(program.input_shape)} alone, and no input")
    path, weights = write_export(conversion.checkpoint, program, folder, "export", double=ran.dtype == "float64")
    job = ExportJob(
        program=str(path.absolute()),
        weights=str(weights.absolute()),
        sha256=conversion.sha256,
        shape=program.input_shape,
        outputs=tuple(ExportEnd(*output) for output in program.outputs),
        inputs=inputs,
        dtype=ran.dtype,
        memory=max(LEAST_MEMORY, 2 * memory),
    )
    try:
        return RecordedExport(folder, job, process.run(job, timeout))
    except ParityError as error:
        process.renew()
        return RecordedExport(folder, why=f"Paddle does not run it: {first_line(error)}")


def write_export(
    checkpoint: Checkpoint, program: PureProgram, folder: Path, name: str, *, double: bool
) -> tuple[Path, Path]:
    """Writes a program and its weights for Paddle to load; returns the two files."""
    path, weights = folder / f"{name}{program.suffix}", folder / f"{name}.pdiparams"
    variables = checkpoint.variables()
    path.write_bytes(program.content)
    with open(weights, "wb") as file:
        stored = (variables[name] for name in program.parameters)
        for piece in written(map(_in_double, stored) if double else stored):
            file.write(piece)
    checkpoint.check_unchanged()
    return path, weights


def lacking(checkpoint: Checkpoint, program: PureProgram) -> str | None:
    """What is wrong where a weight of a program is not there."""
    there = checkpoint.variables()
    missing = next((name for name in program.parameters if name not in there), None)
    return None if missing is None else f"{checkpoint.path}: lacks {missing}, which its program uses"


def _in_double(tensor: StoredTensor) -> StoredTensor:
    if tensor.dtype != "float32":
        return tensor
    return from_memory(tensor.load().astype("<f8").tobytes(), "float64", tensor.shape)


def shape_in_words(shape: Sequence[int]) -> str:
    """`1x3x128x256`, `Nx3xHxW`."""
    return "x".join(name if side == -1 else str(side) for side, name in zip(shape, "NCHW", strict=True))
