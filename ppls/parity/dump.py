"""A recorded run of the reference as one file, for those who cannot have Paddle and torch on one machine.

A zip archive, not compressed: `reference.json` (the job and its result, those of the training steps, and what was run)
and the arrays they name. Of an embedded default it holds the checkpoint too.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppls.converter.reader import read
from ppls.errors import ParityError, UsageError
from ppls.parity.record import Request, Say, Source, bench
from ppls.parity.recording import RecordedTraining, Recording

FORMAT = "ppls reference 3"
MANIFEST = "reference.json"
CHECKPOINT = "embedded.pdparams"
FOLDERS = ("arrays", "training")


@dataclass(frozen=True)
class Dump:
    """What a dump holds, unpacked.

    Attributes:
        checkpoint: what PaddleSeg ran.
        name: what reports call that.
    """

    recording: Recording
    training: RecordedTraining | None
    checkpoint: Path
    name: str


def dump_reference(source: Source, request: Request, destination: Path, *, force: bool = False, say: Say) -> Recording:
    """Runs PaddleSeg and writes what it did to `destination`. Needs no torch.

    Raises `ParityError` where the file exists (without `force`) or cannot be written, and what `ppls.verify` raises for
    the reference's part.
    """
    if destination.exists() and not force:
        raise ParityError(f"{destination}: exists; remove it or choose another name")
    if not destination.absolute().parent.is_dir():
        raise ParityError(f"{destination}: cannot be written: its folder does not exist")
    with bench(source, request, say) as on:
        on.convert(None)
        on.start()
        recording, training = on.finish(), on.train()
        say(f"writing {destination}")
        partial = destination.with_name(f"{destination.name}.partial")
        try:
            _write(recording, training, partial, on.checkpoint if source.checkpoint is None else None, source)
            partial.replace(destination)
        except OSError as error:
            raise ParityError(f"{destination}: cannot be written: {error.strerror or error}") from None
        finally:
            partial.unlink(missing_ok=True)
    return recording


def open_dump(path: Path, folder: Path, source: Source, train_steps: int = 0) -> Dump:
    """Unpacks a dump into `folder`.

    Raises `ParityError` where the file is missing, is no dump, or was made from another checkpoint than the source's;
    `UsageError` where it was made with other options.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            manifest: dict[str, Any] = json.loads(archive.read(MANIFEST))
            if manifest["format"] != FORMAT:
                raise ParityError(f"{path}: is of the format {manifest['format']!r}; this version reads {FORMAT!r}")
            recording = Recording(folder, manifest["job"], manifest["result"])
            trained = manifest["training"]
            training = trained and RecordedTraining(folder, trained["job"], trained["result"])
            for name in FOLDERS:
                (folder / name).mkdir()
            for name in _members(recording, training):
                with archive.open(name) as member, open(folder / name, "wb") as file:
                    shutil.copyfileobj(member, file)
            embedded = manifest["embedded"]
            if embedded:
                (folder / CHECKPOINT).write_bytes(archive.read(CHECKPOINT))
    except FileNotFoundError:
        raise ParityError(f"{path}: no such file") from None
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise ParityError(f"{path}: is not a file that ppls-verify --dump wrote: {error}") from None
    if manifest["upsample"] != source.upsample:
        raise UsageError(f"{path}: was made with --upsample {manifest['upsample'] or 'bilinear'}; give the same here")
    steps = len(training.job["steps"]) if training else 0
    if train_steps not in (0, steps):
        raise UsageError(f"{path}: was made with --train-steps {steps}; make it with --train-steps {train_steps}")
    checkpoint = _checkpoint(path, folder, recording, source, embedded)
    return Dump(recording, training, checkpoint, embedded if source.checkpoint is None else source.name)


def _checkpoint(path: Path, folder: Path, recording: Recording, source: Source, embedded: str | None) -> Path:
    if source.checkpoint is None:
        if not embedded:
            raise UsageError(f"{path}: give the CHECKPOINT that it was made from too (SHA-256 {recording.sha256})")
        return folder / CHECKPOINT
    found = read(source.checkpoint).sha256
    if found != recording.sha256:
        raise ParityError(
            f"{path}: was made from {embedded or 'another checkpoint'}: SHA-256 {recording.sha256[:16]}..., "
            f"that of {source.checkpoint} is {found[:16]}..."
        )
    return Path(source.checkpoint)


def _write(
    recording: Recording, training: RecordedTraining | None, path: Path, checkpoint: Path | None, source: Source
) -> None:
    manifest = {
        "format": FORMAT,
        **_document(recording),
        "training": training and _document(training),
        "upsample": source.upsample,
        "embedded": None if checkpoint is None else source.name,
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        archive.writestr(MANIFEST, json.dumps(manifest))
        for name in _members(recording, training):
            archive.write(recording.folder / name, name)
        if checkpoint is not None:
            archive.write(checkpoint, CHECKPOINT)


def _document(recorded: Recording | RecordedTraining) -> dict[str, Any]:
    job = {key: value for key, value in recorded.job.items() if key != "checkpoint"}  # a path of that machine
    return {"job": job, "result": recorded.result}


def _members(recording: Recording, training: RecordedTraining | None) -> list[str]:
    """The files of a recording, each in its folder or in one of `FOLDERS`: a name that leads elsewhere is refused."""
    names = {
        *recording.inputs.values(),
        *(str(stored.path.relative_to(recording.folder)) for stored in recording.arrays),
        *(() if training is None else training.files),
    }
    for name in names:
        parts = Path(name).parts
        if not (len(parts) == 1 or (len(parts) == 2 and parts[0] in FOLDERS)) or ".." in parts:
            raise ValueError(f"{name}: no name of an array")
    return sorted(names)
