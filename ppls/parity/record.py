"""Has PaddleSeg run a checkpoint: builds the job, writes its inputs, waits. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ppls.checkpoint.archive import is_gzip, is_tar
from ppls.checkpoint.paddle_file import write_paddle_file
from ppls.checkpoint.plain_form import NotPlainError, check_plain_form
from ppls.converter.conversion import Conversion
from ppls.converter.convert import convert
from ppls.converter.given import Recorded
from ppls.converter.inputs import config_files, weight_files
from ppls.converter.reference import upstream_model
from ppls.errors import CheckpointError, ParityError
from ppls.mappings.maps import Map
from ppls.parity.answers import Ran
from ppls.parity.consistency import check_recording, check_training
from ppls.parity.embedded import build_embedded_default, embedded_name
from ppls.parity.inputs import Input, choose_inputs, for_gradient, names_left_out
from ppls.parity.jobs import JobInput, Precision, RunJob, Upsample
from ppls.parity.process import ReferenceProcess, not_understood
from ppls.parity.recording import RecordedTraining, Recording
from ppls.parity.training_job import train_job, write_batches
from ppls.temporary import temporary_folder

TIMEOUT = 600.0  # seconds

Say = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """What is to be verified: a checkpoint (None: the embedded default), and how to convert it.

    Attributes:
        recorded: what the converted file that is verified says of its conversion.
    """

    checkpoint: str | Path | None = None
    architecture: str | None = None
    map: Map | None = None
    config: str | Path | None = None
    overrides: Mapping[str, Any] | None = None
    upsample: Upsample | None = None
    recorded: Recorded | None = None

    @property
    def name(self) -> str:
        """What reports call it."""
        return embedded_name(self.architecture, self.overrides) if self.checkpoint is None else str(self.checkpoint)

    def files(self) -> dict[str, Iterable[str | Path | None]]:
        """What is read, as `ppls.destination` takes it."""
        return {
            "checkpoint": weight_files(self.checkpoint),
            "map": [self.map.path if self.map else None],
            "config": config_files(self.config),
        }

    def convert(self, checkpoint: Path, destination: Path | None) -> Conversion:
        """Converts `checkpoint`, which is this source's once it exists."""
        return convert(
            checkpoint,
            destination,
            architecture=self.architecture,
            map=self.map,
            config=self.config,
            overrides=self.overrides,
            upsample=self.upsample,
            recorded=self.recorded,
        )


@dataclass(frozen=True)
class Request:
    """What PaddleSeg is to run the checkpoint on, and how."""

    sizes: Sequence[tuple[int, int]] = ()
    images: Sequence[str | Path] = ()
    seed: int = 0
    layers: bool = True
    float64: bool = False
    train_steps: int = 0
    timeout: float = TIMEOUT
    python: str | Path | None = None
    paddleseg: str | Path | None = None
    max_pixels: int | None = None  # of an image
    only: bool = False  # without the default inputs


class Bench:
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
        inputs = choose_inputs(
            request.sizes, request.images, request.seed, channels, request.max_pixels, only=request.only
        )
        left_out = names_left_out(inputs, request.seed, channels) if request.only else []
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
def bench(source: Source, request: Request, say: Say) -> Iterator[Bench]:
    """Starts the reference process in a temporary folder; ends both."""
    with (
        temporary_folder() as folder,
        ReferenceProcess(folder, python=request.python, paddleseg=request.paddleseg) as process,
    ):
        yield Bench(folder, source, request, process, say)


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
    checkpoint, original, rewritten = _for_paddle(conversion, folder)
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


def _for_paddle(conversion: Conversion, folder: Path) -> tuple[Path, Path | None, str | None]:
    """The weights as ppls read them, in a file of the one form that it writes; the user's own, if Paddle may load it.

    The last is what the user's is, if Paddle may not: all but state dicts of the plain form, which mean one thing to
    every reader.

    Raises:
        CheckpointError: the user's file has changed. ParityError: there is no such file of its weights.
    """
    written = folder / "as_read.pdparams"
    write_paddle_file(written, conversion.source_tensors, {}, force=True)
    try:
        check_plain_form(written)
    except NotPlainError as error:  # by a name that means more to Paddle than to ppls
        raise ParityError(f"{conversion.source}: Paddle cannot be given its weights: {error}") from None
    checkpoint = conversion.checkpoint
    original = checkpoint.files[0]
    with open(original, "rb") as file:
        head = file.read(512)
    if is_gzip(head) or is_tar(head):
        return written, None, f"{checkpoint.format} in an archive"
    if not checkpoint.format.startswith("Paddle state dict ("):
        return written, None, checkpoint.format
    try:
        checked = check_plain_form(original)
    except NotPlainError as error:
        return written, None, f"{checkpoint.format}, not of the plain form that paddle.save writes: {error}"
    if checked != conversion.sha256:
        raise CheckpointError(f"{original}: changed while it was being verified; try again when it is complete")
    return written, original, None


def input_channels(conversion: Conversion) -> int:
    """How many channels the model takes."""
    backbone = conversion.reference["kwargs"].get("backbone", {})
    return int(backbone.get("kwargs", {}).get("in_channels", 3))
