"""PaddleSeg at work on one checkpoint: builds its jobs, writes their inputs, waits. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from ppls.checkpoint.pure_program import PureProgram
from ppls.converter.conversion import Conversion
from ppls.converter.expected import expected_sides
from ppls.converter.reference import upstream_model
from ppls.errors import UsageError
from ppls.parity.answers import Ran
from ppls.parity.consistency import check_export, check_recording, check_training
from ppls.parity.embedded import build_embedded_default
from ppls.parity.exported import RecordedExport, input_of, program_of, run_export
from ppls.parity.given_weights import weights_for_paddle
from ppls.parity.input_shape import InputShape, inputs_of_shape
from ppls.parity.inputs import Input, choose_inputs, for_gradient, names_left_out
from ppls.parity.jobs import JobInput, Precision, RunJob, Upsample
from ppls.parity.process import ReferenceProcess, not_understood
from ppls.parity.progress import Progress, not_shown
from ppls.parity.reference_run import RecordedTraining, Recording
from ppls.parity.source import Request, Say, Source
from ppls.parity.training_job import train_job, write_batches
from ppls.shown import shown
from ppls.temporary import temporary_folder


class Session:
    """A temporary folder with the reference process in it, and what has come of it so far. Gone when it is left.

    Attributes:
        folder: the temporary folder.
        checkpoint: the source's checkpoint, or the embedded default once it is built.
        conversion: of the checkpoint.
    """

    def __init__(self, folder: Path, source: Source, request: Request, process: ReferenceProcess, say: Say) -> None:
        self.folder = folder
        self._source, self._request, self._process, self._say = source, request, process, say
        if source.checkpoint is None:
            say("building the embedded default with PaddleSeg")
            self.checkpoint = build_embedded_default(
                process,
                folder,
                request.seed,
                architecture=source.architecture,
                overrides=source.overrides,
                timeout=request.timeout,
            )
        else:
            self.checkpoint = Path(source.checkpoint)

    def convert(self, destination: Path | None) -> Conversion:
        """Converts the checkpoint."""
        self.conversion = self._source.convert(self.checkpoint, destination)
        return self.conversion

    def start(self) -> None:
        """Starts PaddleSeg on the inputs; `finish` waits for it."""
        request = self._request
        channels = input_channels(self.conversion)
        shape, given = (
            _taken(self.conversion, request.shape),
            (request.sizes, request.images, request.seed, channels, request.max_pixels),
        )
        defaults = None if shape is None else inputs_of_shape(shape, request.seed, channels)
        inputs = choose_inputs(*given, only=request.only, defaults=defaults)
        for each in inputs:
            if shape is not None and not shape.takes(each.array.shape):
                size = "x".join(map(str, each.array.shape))
                raise UsageError(f"the candidate takes {shape}; {shown(each.name, 80)} is {size}")
        if not inputs:
            raise UsageError(f"the candidate takes {shape}, and no default input is like that; give --size")
        self._program = program_of(self.conversion, double=request.float64)
        if not request.only and isinstance(self._program, PureProgram):
            own = input_of(self._program, channels)
            taken = own is not None and (shape is None or shape.takes(own.array.shape))
            inputs += [own] if own is not None and taken and own.name not in [each.name for each in inputs] else []
        left_out = names_left_out(inputs, request.seed, channels, defaults) if request.only else []
        precision = "float64" if request.float64 else "float32 and float64"
        self._say(f"running PaddleSeg on {len(inputs)} inputs, in {precision}")
        self._job = run_job(
            self.conversion,
            inputs,
            self.folder,
            left_out=left_out,
            layers=request.layers,
            dtype="float64" if request.float64 else "float32",
            upsample=self._source.upsample,
        )
        self._process.start(self._job)

    def train(self) -> RecordedTraining | None:
        """What PaddleSeg does in the training steps that are asked for; after `finish`."""
        steps = self._request.train_steps
        if not steps:
            return None
        self._say(f"training with PaddleSeg for {steps} steps, in float32 and float64")
        kwargs = self.conversion.reference["kwargs"]
        channels = input_channels(self.conversion)
        batches = write_batches(steps, self._request.seed, int(kwargs["num_classes"]), channels, self.folder)
        job = train_job(self._job, batches)
        training = RecordedTraining(self.folder, job, self._process.run(job, self._request.timeout))
        check_training(training, not_understood)
        return training

    def export(self, recording: Recording) -> RecordedExport | None:
        """What Paddle computes of the export itself, on the inputs of `finish`; None where the checkpoint is none."""
        if self._program is None:
            return None
        self._say("running the export itself")
        memory = recording.result.peak_memory
        found = run_export(
            self._process,
            self.conversion,
            self._program,
            self._job,
            self.folder,
            memory=memory,
            timeout=self._request.timeout,
        )
        check_export(found, recording, not_understood)
        return found

    def finish(self) -> Recording:
        """What PaddleSeg did."""
        return self._recording(self._job, self._process.result(self._job, self._request.timeout))

    def run_layers_on(self, name: str) -> Recording:
        """A run on one of the inputs, with its layers. The arrays of the earlier recording are gone then."""
        self._say(f"running PaddleSeg's layers on {name}")
        inputs = tuple(given for given in self._job.inputs if given.name == name)
        job = replace(self._job, inputs=inputs, layers=name, gradient=None)
        return self._recording(job, self._process.run(job, self._request.timeout))

    def _recording(self, job: RunJob, answer: Ran) -> Recording:
        recording = Recording(self.folder, job, answer)
        check_recording(recording, not_understood)
        return recording


@contextmanager
def session(source: Source, request: Request, say: Say, progress: Progress = not_shown) -> Iterator[Session]:
    """Starts the reference process in a temporary folder, which tells `progress` how far it is; ends both."""
    with (
        temporary_folder() as folder,
        ReferenceProcess(folder, python=request.python, paddleseg=request.paddleseg, progress=progress) as process,
    ):
        yield Session(folder, source, request, process, say)


def run_job(
    conversion: Conversion,
    inputs: Sequence[Input],
    folder: Path,
    *,
    left_out: Sequence[str] = (),
    layers: bool = True,
    dtype: Precision = "float32",
    upsample: Upsample | None = None,
) -> RunJob:
    """The job that runs PaddleSeg's model on the inputs, which are written into the folder; layers on the first."""
    reference = conversion.reference
    checkpoint, original, rewritten = weights_for_paddle(conversion, folder)
    files = tuple(
        JobInput(given.name, f"input{number}.npy", given.strong, given.heads) for number, given in enumerate(inputs)
    )
    for file, given in zip(files, inputs, strict=True):
        np.save(folder / file.file, given.array)
    return RunJob(
        checkpoint=str(checkpoint.absolute()),
        original="" if original is None else str(original.absolute()),
        sha256=conversion.sha256,
        rewritten=rewritten,
        model=upstream_model(conversion.map, conversion.config),
        may_be_missing=tuple(reference["may_be_missing"]),
        may_be_unexpected=tuple(reference["may_be_unexpected"]),
        renamed=reference["renamed"],
        inputs=files,
        layers=files[0].name if layers else None,
        gradient=for_gradient(inputs),
        left_out=tuple(left_out),
        dtype=dtype,
        upsample=upsample,
    )


def _taken(conversion: Conversion, shape: InputShape | None) -> InputShape | None:
    """The shapes that the candidate takes, None for any: no other than the model does."""
    sides = expected_sides(conversion.map, conversion.config)
    return shape if max(sides) == 1 else (shape or InputShape()).in_multiples(*sides)


def input_channels(conversion: Conversion) -> int:
    """How many channels the model takes."""
    backbone = conversion.reference["kwargs"].get("backbone", {})
    return int(backbone.get("kwargs", {}).get("in_channels", 3))
