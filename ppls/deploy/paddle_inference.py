"""PaddleSeg on Paddle Inference, each of its modes in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
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
from ppls.errors import Error
from ppls.mappings.patterns import lookup
from ppls.parity.array_file import ArrayError, load_array
from ppls.parity.jobs import OpenPredictorJob, TimePredictorJob, VersionsJob
from ppls.parity.process import ReferenceProcess, not_understood
from ppls.temporary import temporary_folder

Array = np.ndarray[Any, Any]


@dataclass
class PaddleMode:
    """One mode of one Paddle, which opens the model for one input after another.

    Attributes:
        name: for a table: `Paddle 3.3.1, oneDNN`.
    """

    folder: Path
    process: ReferenceProcess
    job: OpenPredictorJob
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
    model: Path,
    *,
    config: str | Path | None,
    conversion: Mapping[str, Any],
    pythons: Sequence[str | Path],
    threads: int,
    cuda: bool,
    timeout: float,
) -> Iterator[Callable[[str], list[PaddleMode]]]:
    """Starts PaddleSeg's side of a model; yields a function from a precision to the modes that compute in it.

    Args:
        model: a converted file, or a Paddle file.
        config: PaddleSeg's config of the run, for a Paddle file.
        conversion: further options of its conversion.
        pythons: the interpreters that have Paddle; none for the running one.
        timeout: seconds that one answer of Paddle may take.

    Raises:
        Error: PaddleSeg cannot have this model.
    """
    by_precision = {"float32": ["CUDA"]} if cuda else {"float32": ["plain", "oneDNN"], "bfloat16": ["oneDNN bfloat16"]}
    environment = {"OMP_NUM_THREADS": str(threads), **({} if cuda else {"CUDA_VISIBLE_DEVICES": ""})}
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        checkpoint = folder / "model.pdparams"
        converted = paddle_side(model, config, conversion, checkpoint)
        started: dict[tuple[str | Path, str], PaddleMode] = {}

        def start(python: str | Path, mode: str) -> PaddleMode:
            if (python, mode) not in started:
                place = folder / str(len(started))
                place.mkdir()
                process = stack.enter_context(ReferenceProcess(place, python=python, environment=environment))
                name = f"{_describe(process, python, timeout)}, {mode}"
                started[python, mode] = PaddleMode(
                    place, process, _job(converted, checkpoint, threads, mode), timeout, name
                )
            return started[python, mode]

        yield lambda precision: [
            start(python, mode) for python in pythons or [sys.executable] for mode in by_precision.get(precision, [])
        ]


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


def _job(conversion: Conversion, checkpoint: Path, threads: int, mode: str) -> OpenPredictorJob:
    return OpenPredictorJob(**model_fields(conversion, checkpoint), threads=threads, mode=mode, input="image.npy")
