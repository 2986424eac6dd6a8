"""What Paddle computes of a program: what it returns on every input, and every operation's results on one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.pure_program import Place
from ppls.errors import CheckpointError, ParityError
from ppls.parity.answers import ProgramRan
from ppls.parity.array_file import ArrayError, load_array, read_header
from ppls.parity.exported import lacking, write_export
from ppls.parity.inputs import Input
from ppls.parity.jobs import JobInput, Precision, ProgramJob
from ppls.parity.process import ReferenceProcess, not_understood
from ppls.parity.reference_run import Array

MEMORY = 16 << 30  # bytes of address space that Paddle may take beyond what it has


@dataclass(frozen=True)
class Result:
    """One value that Paddle computed, its floor (see `StoredArray`), and what the program calls it."""

    array: Array
    floor: float | None
    name: str


class Witness(Protocol):
    """What a program computes, by whatever ran it."""

    @property
    def dtype(self) -> str:
        """What is computed in."""

    @property
    def inputs(self) -> list[str]:
        """Those that it was run on."""

    @property
    def scope(self) -> str | None:
        """Which others it was not run on, and why, in words."""

    def input(self, name: str) -> Array:
        """One input, in that type."""

    def is_strong(self, name: str) -> bool:
        """Whether an input's values are beyond those of any image."""

    def on(self, name: str) -> Mapping[int, Result]:
        """What was computed on an input, by the program's number for the value."""


@dataclass(frozen=True)
class RecordedProgram:
    """What Paddle computed.

    Attributes:
        folder: where the arrays are.
        names: what the file calls each value that was returned, by the program's number for it, in order.
    """

    folder: Path
    job: ProgramJob
    answer: ProgramRan
    names: Mapping[int, str]

    @property
    def dtype(self) -> str:
        return self.job.dtype

    @property
    def scope(self) -> str | None:
        refused = self.answer.refused
        if not refused:
            return None
        return f"Paddle does not run it on {', '.join(refused)}: {next(iter(refused.values()))}"

    @property
    def inputs(self) -> list[str]:
        """Those that Paddle ran it on."""
        return [given.name for given in self.job.inputs if given.name not in self.answer.refused]

    def input(self, name: str) -> Array:
        """One input, in the type of the run."""
        (file,) = (given.file for given in self.job.inputs if given.name == name)
        array: Array = np.load(self.folder / file)
        return array.astype(self.job.dtype)

    def is_strong(self, name: str) -> bool:
        """Whether an input's values are beyond those of any image."""
        return any(given.strong for given in self.job.inputs if given.name == name)

    def on(self, name: str) -> Mapping[int, Result]:
        """What was computed on an input, by the program's number for the value."""
        values = list(self.names)
        return {
            values[index]: Result(load_array(self.folder / file), floor, self.names[values[index]])
            for index, file, floor in self._files[name]
        }

    @cached_property
    def _files(self) -> dict[str, list[tuple[int, str, float | None]]]:
        found: dict[str, list[tuple[int, str, float | None]]] = {}
        for array in self.answer.arrays:
            found.setdefault(array.input, []).append((array.index, array.file, array.floor))
        return found


def places_of(checkpoint: Checkpoint) -> dict[int, Place]:
    """Where each value of an export's program is made."""
    graph = checkpoint.graph()
    found: dict[int, Place] = {}
    for number, operation in enumerate(graph.operations if graph is not None else ()):
        for at, value in enumerate(operation.outputs):
            found.setdefault(value, Place(number, at))
    return found


def write_inputs(inputs: Sequence[Input], folder: Path) -> list[JobInput]:
    """Writes the inputs into the folder of a process."""
    files = [
        JobInput(given.name, f"input{number}.npy", given.strong, given.heads) for number, given in enumerate(inputs)
    ]
    for file, given in zip(files, inputs, strict=True):
        np.save(folder / file.file, given.array)
    return files


def run_program(
    process: ReferenceProcess,
    checkpoint: Checkpoint,
    values: Sequence[int],
    inputs: Sequence[JobInput],
    folder: Path,
    store: str,
    *,
    dtype: Precision,
    timeout: float | None = None,
) -> RecordedProgram:
    """Has Paddle run the program of an export and return some of its values.

    Args:
        values: by the program's numbers; those that Paddle cannot return, since others are in their place in the end,
            are left out.
        inputs: files in the folder, which is the process's.
        store: the folder in there for what is returned: `exported` or `operators`.

    Raises:
        CheckpointError: the program is damaged, or holds what is not on the list of what may run.
        ParityError: Paddle cannot run it on any of the inputs.
    """
    places = places_of(checkpoint)
    wanted = {places[value]: value for value in values if value in places}
    precisions: tuple[Precision, ...] = ("float64",) if dtype == "float64" else ("float32", "float64")
    programs: dict[Precision, str] = {}
    weights: dict[Precision, str] = {}
    names: dict[int, str] = {}
    for precision in precisions:
        double = precision == "float64"
        program = checkpoint.program(double=double, returning=wanted)
        if why := lacking(checkpoint, program):
            raise CheckpointError(why)
        files = write_export(checkpoint, program, folder, f"{store}_{precision}", double=double)
        programs[precision], weights[precision] = (str(file.absolute()) for file in files)
        names = {wanted[place]: name for place, name in program.returned.items()}
    job = ProgramJob(
        programs=programs,
        weights=weights,
        returned=len(names),
        inputs=tuple(inputs),
        store="operators" if store == "operators" else "exported",
        dtype=dtype,
        memory=MEMORY,
    )
    recorded = RecordedProgram(folder, job, process.run(job, timeout), names)
    _check(recorded)
    if not recorded.inputs:
        raise ParityError(f"Paddle does not run {checkpoint.path}: {next(iter(recorded.answer.refused.values()))}")
    return recorded


def _check(recorded: RecordedProgram) -> None:
    """Raises `ParityError` where the answer is not one to the job, or a file is not what it says."""
    expected = [(name, index) for name in recorded.inputs for index in range(len(recorded.names))]
    if [(array.input, array.index) for array in recorded.answer.arrays] != expected:
        raise not_understood("arrays", "they are not what the job asks for")
    for array in recorded.answer.arrays:
        try:
            found = read_header(recorded.folder / array.file)
        except ArrayError as error:
            raise not_understood("arrays", str(error)) from None
        if (found.dtype, found.shape) != (array.dtype, array.shape):
            raise not_understood("arrays", f"{array.file} is {found}")
