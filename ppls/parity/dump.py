"""A recorded run of the reference as one file, for those who cannot have Paddle and torch on one machine.

A zip archive, not compressed: `reference.json` (the job and its result) and the arrays they name. Of the embedded
default it holds the checkpoint too.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

from ppls.converter.reader import read
from ppls.errors import ParityError, UsageError
from ppls.parity.embedded import EMBEDDED_DEFAULT
from ppls.parity.record import Request, Say, Source, bench
from ppls.parity.recording import Recording

FORMAT = "ppls reference 1"
MANIFEST = "reference.json"
CHECKPOINT = "embedded.pdparams"


def dump_reference(source: Source, request: Request, destination: Path, *, force: bool = False, say: Say) -> Recording:
    """Runs PaddleSeg and writes what it did to `destination`. Needs no torch.

    Raises `ParityError` where the file exists (without `force`) or cannot be written, and what `ppls.verify` raises for
    the reference's part.
    """
    if request.train_steps:
        raise UsageError("--train-steps needs Paddle and torch on one machine; it does not go with --dump")
    if destination.exists() and not force:
        raise ParityError(f"{destination}: exists; remove it or choose another name")
    with bench(source, request, say) as on:
        on.convert(None)
        on.start()
        recording = on.finish()
        say(f"writing {destination}")
        partial = destination.with_name(f"{destination.name}.partial")
        try:
            _write(recording, partial, on.checkpoint if source.checkpoint is None else None, source.upsample)
            partial.replace(destination)
        except OSError as error:
            raise ParityError(f"{destination}: cannot be written: {error.strerror or error}") from None
        finally:
            partial.unlink(missing_ok=True)
    return recording


def open_dump(path: Path, folder: Path, source: Source) -> tuple[Recording, Path]:
    """Unpacks a dump into `folder`; returns the recording and the checkpoint that it was made from.

    Raises `ParityError` where the file is missing, is no dump, or was made from another checkpoint than the source's.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            manifest: dict[str, Any] = json.loads(archive.read(MANIFEST))
            if manifest["format"] != FORMAT:
                raise ParityError(f"{path}: is of the format {manifest['format']!r}; this version reads {FORMAT!r}")
            recording = Recording(folder, manifest["job"], manifest["result"])
            (folder / "arrays").mkdir()
            for name in _members(recording):
                with archive.open(name) as member, open(folder / name, "wb") as file:
                    shutil.copyfileobj(member, file)
            embedded = CHECKPOINT in archive.namelist()
            if embedded:
                (folder / CHECKPOINT).write_bytes(archive.read(CHECKPOINT))
    except FileNotFoundError:
        raise ParityError(f"{path}: no such file") from None
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise ParityError(f"{path}: is not a file that ppls-verify --dump wrote: {error}") from None
    if manifest["upsample"] != source.upsample:
        raise UsageError(f"{path}: was made with --upsample {manifest['upsample'] or 'bilinear'}; give the same here")
    return recording, _checkpoint(path, folder, recording, source, embedded)


def _checkpoint(path: Path, folder: Path, recording: Recording, source: Source, embedded: bool) -> Path:
    if source.checkpoint is None:
        if not embedded:
            raise UsageError(f"{path}: give the CHECKPOINT that it was made from too (SHA-256 {recording.sha256})")
        return folder / CHECKPOINT
    found = read(source.checkpoint).sha256
    if found != recording.sha256:
        made_from = EMBEDDED_DEFAULT if embedded else "another checkpoint"
        raise ParityError(
            f"{path}: was made from {made_from}: SHA-256 {recording.sha256[:16]}..., "
            f"that of {source.checkpoint} is {found[:16]}..."
        )
    return Path(source.checkpoint)


def _write(recording: Recording, path: Path, checkpoint: Path | None, upsample: str | None) -> None:
    job = {key: value for key, value in recording.job.items() if key != "checkpoint"}  # a path of that machine
    manifest = {"format": FORMAT, "job": job, "result": recording.result, "upsample": upsample}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        archive.writestr(MANIFEST, json.dumps(manifest))
        for name in _members(recording):
            archive.write(recording.folder / name, name)
        if checkpoint is not None:
            archive.write(checkpoint, CHECKPOINT)


def _members(recording: Recording) -> list[str]:
    """The files of a recording, each directly in its folder or in `arrays`: a name that leads elsewhere is refused."""
    names = {
        *recording.inputs.values(),
        *(str(stored.path.relative_to(recording.folder)) for stored in recording.arrays),
    }
    for name in names:
        parts = Path(name).parts
        if not (len(parts) == 1 or (len(parts) == 2 and parts[0] == "arrays")) or ".." in parts:
            raise ValueError(f"{name}: no name of an array")
    return sorted(names)
