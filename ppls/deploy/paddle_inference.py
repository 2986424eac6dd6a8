"""PaddleSeg, or an export, on Paddle Inference, each of its modes in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ppls.checkpoint.converted_file import file_in
from ppls.checkpoint.paddle_file import write_paddle_file
from ppls.checkpoint.reader import read
from ppls.converter.back import convert_back
from ppls.converter.conversion import Conversion
from ppls.converter.convert import convert
from ppls.converter.reference import upstream_model
from ppls.deploy.timing import TIMED
from ppls.errors import CheckpointError, Error, UsageError
from ppls.mappings.patterns import lookup
from ppls.parity.array_file import ArrayError, load_array
from ppls.parity.exported import lacking, write_export
from ppls.parity.jobs import OpenExportJob, OpenPredictorJob, TimePredictorJob, VersionsJob
from ppls.parity.process import ReferenceProcess, not_understood
from ppls.parity.program.recorded import places_of
from ppls.temporary import temporary_folder

Array = np.ndarray[Any, Any]
MakeJob = Callable[..., OpenPredictorJob | OpenExportJob]


@dataclass
class PaddleMode:
    """One mode of one Paddle, which opens the model for one input after another.

    Attributes:
        name: for a table: `Paddle 3.3.1, oneDNN`.
    """

    folder: Path
    process: ReferenceProcess
    job: OpenPredictorJob | OpenExportJob
    timeout: float
    name: str

    def open(self, image: Array) -> Array:
        """The logits of an image (N, 3, H, W); the runs from now on are of it. Raises `ParityError` if it fails."""
        np.save(self.folder / self.job.input, image)
        opened = self.process.run(self.job, self.timeout)
        try:
            return np.array(load_array(self.folder / opened.output))  # the next answer has a file of the same name
        except ArrayError as error:
            raise not_understood("output", str(error)) from None

    def turn(self) -> list[float]:
        """Seconds of some runs in a row."""
        seconds = self.process.run(TimePredictorJob(TIMED), self.timeout).seconds
        if len(seconds) != TIMED:
            raise not_understood("seconds", f"expected {TIMED} runs, found {len(seconds)}")
        return list(seconds)


@contextmanager
def paddle_modes(
    job: MakeJob, *, pythons: Sequence[str | Path], threads: int, cuda: bool, timeout: float
) -> Iterator[Callable[[str], list[PaddleMode]]]:
    """Starts Paddle's side of a model; yields a function from a precision to the modes that compute in it.

    Args:
        job: makes the job that opens the model, of the mode; see `job_of_model` and `job_of_export`.
        pythons: the interpreters that have Paddle; none for the running one.
        timeout: seconds that one answer of Paddle may take.
    """
    by_precision = {"float32": ["CUDA"]} if cuda else {"float32": ["plain", "oneDNN"], "bfloat16": ["oneDNN bfloat16"]}
    environment = {"OMP_NUM_THREADS": str(threads), **({} if cuda else {"CUDA_VISIBLE_DEVICES": ""})}
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        started: dict[tuple[str | Path, str], PaddleMode] = {}

        def start(python: str | Path, mode: str) -> PaddleMode:
            if (python, mode) not in started:
                place = folder / str(len(started))
                place.mkdir()
                process = stack.enter_context(ReferenceProcess(place, python=python, environment=environment))
                name = f"{_describe(process, python, timeout)}, {mode}"
                opening = job(mode=mode, threads=threads, input="image.npy")
                started[python, mode] = PaddleMode(place, process, opening, timeout, name)
            return started[python, mode]

        yield lambda precision: [
            start(python, mode) for python in pythons or [sys.executable] for mode in by_precision.get(precision, [])
        ]


def job_of_model(model: Path, config: str | Path | None, conversion: Mapping[str, Any], folder: Path) -> MakeJob:
    """The job that opens PaddleSeg's network of a converted file or a Paddle file, whose weights go into a folder.

    Raises `Error`: PaddleSeg cannot have this model.
    """
    checkpoint = folder / "model.pdparams"
    return partial(OpenPredictorJob, **model_fields(paddle_side(model, config, conversion, checkpoint), checkpoint))


def job_of_export(model: Path, value: int, folder: Path) -> MakeJob:
    """The job that opens an export's own program, up to a value of it; what Paddle loads goes into a folder.

    Raises:
        UsageError: it is no export, but what was converted of one.
        CheckpointError: Paddle is not given this program.
    """
    checkpoint = read(model)
    if not checkpoint.is_export:
        raise UsageError(f"{model}: Paddle runs the export that it was converted from, not this")
    program = checkpoint.program(returning=[places_of(checkpoint)[value]])
    if why := lacking(checkpoint, program):
        raise CheckpointError(why)
    if not program.returned:
        raise CheckpointError(f"{model}: another value stands in the place of its logits in the end")
    files = write_export(checkpoint, program, folder, "export", double=False)
    return partial(OpenExportJob, program=str(files[0]), weights=str(files[1]))


def _describe(process: ReferenceProcess, python: str | Path, timeout: float) -> str:
    try:
        return f"Paddle {process.run(VersionsJob(), timeout).versions.paddlepaddle}"
    except Error:  # there is none, or it does not run: opening the model says why
        return f"Paddle of {python}"


def paddle_side(model: Path, config: str | Path | None, options: Mapping[str, Any], destination: Path) -> Conversion:
    """Writes the model's tensors as PaddleSeg's to `destination`; returns the conversion that says what they are of."""
    if read(file_in(model)).metadata.get("map_sha256"):
        back = convert_back(model, destination)
        options = {rule.path: lookup(back.config, rule.path) for rule in back.map.options}
        return convert(destination, architecture=back.architecture, overrides=options)
    options = {name: value for name, value in options.items() if name != "program"}
    conversion = convert(model, config=config, **options)  # of any form: Paddle reads but one of them
    write_paddle_file(destination, conversion.source_tensors, {}, force=False)
    return conversion


def model_fields(conversion: Conversion, checkpoint: Path) -> dict[str, Any]:
    """The fields of a job that say which model: that of a conversion, whose weights `paddle_side` wrote."""
    reference = conversion.reference
    return {
        "checkpoint": str(checkpoint),
        "sha256": conversion.sha256,
        "rewritten": conversion.checkpoint.format,
        "renamed": {},
        "model": upstream_model(conversion.map, conversion.config),
        "may_be_missing": tuple(reference["may_be_missing"]),
        "may_be_unexpected": tuple(reference["may_be_unexpected"]),
    }
