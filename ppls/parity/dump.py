"""A recorded run of the reference as one file, for those who cannot have Paddle and torch on one machine.

A zip archive, not compressed: `reference.json` (the job and its result, those of the training steps, and what was run)
and the arrays they name. Of an embedded default it holds the checkpoint too.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from ppls.budget import Budget
from ppls.checkpoint.reader import read
from ppls.destination import check_destination, file_that_becomes
from ppls.documents import load_json
from ppls.errors import ParityError, UsageError
from ppls.files import why_no_file
from ppls.parity.answers import Exported, Name, Ran, Trained, is_array_file
from ppls.parity.array_file import ArrayHeader
from ppls.parity.consistency import check_export, check_recording, check_training, input_shapes, training_shapes
from ppls.parity.exported import RecordedExport
from ppls.parity.jobs import ExportJob, RunJob, TrainJob, Upsample
from ppls.parity.progress import Progress, not_shown
from ppls.parity.reference.documents import to_json
from ppls.parity.reference_run import RecordedTraining, Recording
from ppls.parity.session import session
from ppls.parity.source import Request, Say, Source
from ppls.parity.stored_zip import StoredZip, ZipError
from ppls.schema import Fail, Node, build
from ppls.shown import shown

FORMAT = "ppls reference 5"
MANIFEST = "reference.json"
CHECKPOINT = "embedded.pdparams"
FOLDERS = ("arrays", "training", "exported")
IMAGES, BYTES_PER_IMAGE = 64, 16 << 10  # in any dump, and one more for so many bytes: 32x32 pixels take more


@dataclass(frozen=True)
class TrainingManifest:
    """A training of the reference."""

    job: TrainJob
    result: Trained


@dataclass(frozen=True)
class ExportManifest:
    """A run of an export; or, without a job and a result, why there is none."""

    job: ExportJob | None
    result: Exported | None
    why: Name | None


@dataclass(frozen=True)
class Manifest:
    """What `reference.json` says; `embedded`: what the embedded default is called, where its checkpoint is here too."""

    format: str
    job: RunJob
    result: Ran
    training: TrainingManifest | None
    export: ExportManifest | None
    upsample: Upsample | None
    embedded: Name | None


@dataclass(frozen=True)
class Dump:
    """What a dump holds, unpacked.

    Attributes:
        path: the dump.
        checkpoint: what PaddleSeg ran.
        name: what reports call that.
    """

    path: Path
    recording: Recording
    training: RecordedTraining | None
    export: RecordedExport | None
    checkpoint: Path
    name: str

    def check_channels(self, channels: int) -> None:
        """Raises `ParityError` where its inputs are not of as many channels as the model takes."""
        shapes = [*input_shapes(self.recording), *(training_shapes(self.training) if self.training else ())]
        for found in {shape[1] for shape in shapes} - {channels}:
            raise ParityError(f"{self.path}: has inputs of {found} channels; the checkpoint's model takes {channels}")


def dump_reference(
    source: Source,
    request: Request,
    destination: Path,
    *,
    force: bool = False,
    say: Say,
    progress: Progress = not_shown,
) -> Recording:
    """Runs PaddleSeg and writes what it did to `destination`. Needs no torch.

    Raises `ConversionError` where the file exists (without `force`) or cannot be written, and what `ppls.verify` raises
    for the reference's part.
    """
    check_destination(destination, force=force, inputs={**source.files(), "image": request.images})
    with session(source, request, say, progress) as on:
        on.convert(None)
        on.start()
        recording, training = on.finish(), on.train()
        export = on.export(recording)
        say(f"writing {destination}")
        with file_that_becomes(destination, force=force) as file:
            _write(recording, training, file, on.checkpoint if source.checkpoint is None else None, source, export)
    return recording


def open_dump(path: Path, folder: Path, source: Source, train_steps: int = 0) -> Dump:
    """Unpacks a dump into `folder`, which takes no more bytes there than it has itself.

    Raises `ParityError` where the file is missing, is no dump, does not agree with itself, or was made from another
    checkpoint than the source's; `UsageError` where it was made with other options.
    """
    if reason := why_no_file(path):
        raise ParityError(f"{path}: {reason}")
    try:
        manifest, recording, training, export = _unpack(path, folder)
    except OSError as why:
        raise ParityError(f"{path}: cannot be unpacked into {folder}: {why.strerror or why}") from None
    except ValueError as why:
        raise _no_dump(path, str(why)) from None
    if manifest.upsample != source.upsample:
        raise UsageError(f"{path}: was made with --upsample {manifest.upsample or 'bilinear'}; give the same here")
    steps = len(training.job.steps) if training else 0
    if train_steps not in (0, steps):
        raise UsageError(f"{path}: was made with --train-steps {steps}; make it with --train-steps {train_steps}")
    checkpoint = _checkpoint(path, folder, recording, source, manifest.embedded)
    name = source.name if source.checkpoint is not None or manifest.embedded is None else manifest.embedded
    return Dump(path, recording, training, export, checkpoint, name)


def _unpack(path: Path, folder: Path) -> tuple[Manifest, Recording, RecordedTraining | None, RecordedExport | None]:
    def error(place: str, why: str) -> ParityError:
        return ParityError(f"{path}: {place}: {why}")

    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        budget = Budget(size, lambda why: _no_dump(path, why))
        archive = StoredZip(file, size, _is_member, budget)
        manifest = _read_manifest(path, archive.read(MANIFEST, budget), budget, error)
        recording = Recording(folder, manifest.job, manifest.result)
        trained = manifest.training
        training = None if trained is None else RecordedTraining(folder, trained.job, trained.result)
        given = manifest.export
        export = None if given is None else RecordedExport(folder, given.job, given.result, given.why)
        names = _members(recording, training, export)
        _check_members(archive, {MANIFEST, *names, *([] if manifest.embedded is None else [CHECKPOINT])})
        for name in FOLDERS:
            (folder / name).mkdir()
        for name in archive.sizes:
            archive.extract(name, folder / name)
    check_recording(recording, error)
    _check_amount("job.inputs", input_shapes(recording), size, error)
    if training is not None:
        check_training(training, lambda place, why: error(f"training.{place}", why))
        _check_amount("training.job.steps", training_shapes(training), size, error)
        if training.job.sha256 != recording.sha256:
            raise error("training.job.sha256", "is of another checkpoint than job.sha256")
    if export is not None:
        check_export(export, recording, lambda place, why: error(f"export.{place}", why))
        if export.job is not None and export.job.sha256 != recording.sha256:
            raise error("export.job.sha256", "is of another checkpoint than job.sha256")
    for _, stored in [*recording.arrays(), *(part for each in (training, export) if each for part in each.arrays())]:
        budget.take_bytes(ArrayHeader(stored.dtype, stored.shape).nbytes)  # one file may stand for many arrays
    return manifest, recording, training, export


def _no_dump(path: Path, why: str) -> ParityError:
    return ParityError(f"{path}: is not a file that ppls-verify --dump wrote: {why}")


def _is_member(name: str) -> bool:
    return name in (MANIFEST, CHECKPOINT) or is_array_file(name)


def _read_manifest(path: Path, text: bytes, budget: Budget, error: Fail) -> Manifest:
    node = Node.of(load_json(text, budget), error)
    found = node.value.get("format") if isinstance(node.value, dict) else None
    if found is None or not isinstance(found.value, str):
        raise _no_dump(path, f"{MANIFEST} states no format")
    if found.value != FORMAT:
        raise ParityError(f"{path}: is of the format '{shown(found.value)}'; this version reads {FORMAT!r}")
    manifest: Manifest = build(node, Manifest)
    if manifest.upsample != manifest.job.upsample:
        raise error("upsample", f"expected the job's, {manifest.job.upsample or 'bilinear'!r}")
    return manifest


def _check_amount(place: str, shapes: Iterable[tuple[int, ...]], size: int, error: Fail) -> None:
    """Each image is a run of the model, however small it is."""
    images, most = sum(shape[0] for shape in shapes), IMAGES + size // BYTES_PER_IMAGE
    if images > most:
        raise error(place, f"{images:,} images are more than a dump of {size:,} bytes has")


def _check_members(archive: StoredZip, expected: set[str]) -> None:
    found = archive.sizes.keys()
    for name in sorted(expected - found):
        raise ZipError(f"holds no {name}, which its {MANIFEST} names")
    for name in sorted(found - expected):
        raise ZipError(f"holds {name}, which its {MANIFEST} does not name")


def _checkpoint(path: Path, folder: Path, recording: Recording, source: Source, embedded: str | None) -> Path:
    """The checkpoint that the dump was made from: the source's, or the one that is in it."""
    if source.checkpoint is None and embedded is None:
        raise UsageError(f"{path}: give the CHECKPOINT that it was made from too (SHA-256 {recording.sha256})")
    checkpoint = folder / CHECKPOINT if source.checkpoint is None else Path(source.checkpoint)
    found = read(checkpoint).sha256
    if found == recording.sha256:
        return checkpoint
    if source.checkpoint is None:
        raise ParityError(f"{path}: {CHECKPOINT}: is not the checkpoint of job.sha256")
    raise ParityError(
        f"{path}: was made from {shown(embedded) if embedded else 'another checkpoint'}: "
        f"SHA-256 {recording.sha256[:16]}..., that of {source.checkpoint} is {found[:16]}..."
    )


def _write(
    recording: Recording,
    training: RecordedTraining | None,
    file: IO[bytes],
    checkpoint: Path | None,
    source: Source,
    export: RecordedExport | None = None,
) -> None:
    manifest = {
        "format": FORMAT,
        **_document(recording),
        "training": training and _document(training),
        "export": export and {**_document(export), "why": export.why},
        "upsample": source.upsample,
        "embedded": None if checkpoint is None else source.name,
    }
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        archive.writestr(MANIFEST, to_json(manifest))
        for name in _members(recording, training, export):
            archive.write(recording.folder / name, name)
        if checkpoint is not None:
            archive.write(checkpoint, CHECKPOINT)


def _document(recorded: Recording | RecordedTraining | RecordedExport) -> dict[str, Any]:
    if recorded.job is None or recorded.result is None:
        return {"job": None, "result": None}
    paths = ("checkpoint", "original", "program", "weights")  # of that machine
    job = {name: value for name, value in recorded.job.to_json().items() if name not in paths}
    return {"job": job, "result": asdict(recorded.result)}


def _members(recording: Recording, training: RecordedTraining | None, export: RecordedExport | None) -> list[str]:
    """The files of the arrays of a recording."""
    names = {*recording.inputs.values(), *(stored.file for _, stored in recording.arrays())}
    if training is not None:
        names.update(file for batch in training.job.steps for file in (batch.images, batch.labels))
        names.update(stored.file for _, stored in training.arrays())
    if export is not None:
        names.update(stored.file for _, stored in export.arrays())
    return sorted(names)
