"""The checkpoints of a run: folders `iter_400` that are whole or not there, the last ones kept, and where a run is."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import nn

from ppls.budget import Budget
from ppls.checkpoint.converted_file import write_converted_file
from ppls.checkpoint.reader import read
from ppls.checkpoint.tensors import StoredTensor
from ppls.destination import check_destination, file_that_becomes
from ppls.documents import load_json
from ppls.errors import CheckpointError, ConversionError, Error, UsageError, first_line
from ppls.locks import LOCKS, abandoned
from ppls.models.base import SegmentationModel
from ppls.models.stored import to_torch
from ppls.schema import Node, between, build
from ppls.training.averages import Average
from ppls.training.folder import MODEL, OPTIMIZER, RUN, write_run
from ppls.training.sharded import stored
from ppls.training.training import Snapshot

LOOP = "loop.json"  # where the run was, beside the files of `Training.save`
AVERAGE = "average.safetensors"
BEST, BEST_AVERAGE = "best_model", "ema_best_model"
_LARGEST = 1 << 26  # bytes of loop.json: the states of generators, for each process
_MOST = 1 << 31
_NAME = re.compile(r"iter_(\d+)")
_HIDDEN = re.compile(rf"\.(iter_\d+|{BEST}|{BEST_AVERAGE})\.[0-9a-f]{{16}}\.part")


def checkpoints_in(folder: Path) -> list[tuple[int, Path]]:
    """The checkpoints of ppls in a run's folder, the oldest first."""
    return _numbered(folder, (RUN,))


def last_checkpoint(folder: Path) -> Path:
    """A checkpoint as it is; of a run's folder, ppls's or PaddleSeg's, its last one."""
    found = _numbered(folder, (RUN, OPTIMIZER))
    return found[-1][1] if found else folder


def _numbered(folder: Path, one_of: Sequence[str]) -> list[tuple[int, Path]]:
    if not folder.is_dir():
        return []
    named = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted((int(match[1]), path) for match, path in named if match and any((path / n).is_file() for n in one_of))


@contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """A run's folder for this run alone; what a killed one began in it is removed.

    It is made where it is not there, and goes again if nothing was written.

    Raises:
        ppls.UsageError: another run is writing there. ppls.ConversionError: it cannot be written.
    """
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConversionError(f"{folder}: cannot be written: {error.strerror}") from None
    try:
        with _locked(folder):
            for path in folder.iterdir():
                if _HIDDEN.fullmatch(path.name):
                    shutil.rmtree(path, ignore_errors=True)
            yield
    finally:
        if new:
            with suppress(OSError):  # something is in it
                folder.rmdir()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            if LOCKS:
                stack.enter_context(abandoned(str(folder), os.O_RDONLY))
        except BlockingIOError:
            raise UsageError(f"{folder}: another run is writing there; choose another --save-dir") from None
        except OSError:  # a file system without locks
            pass
        yield


def write_checkpoint(
    path: Path, snapshot: Snapshot, loop: Mapping[str, Any], average: Mapping[str, StoredTensor] | None
) -> None:
    """Writes `iter_N` in a run's folder: under its name whole, or not at all; the ones before it stay.

    Args:
        path: of the checkpoint.
        snapshot: what `Training.snapshot` gives.
        loop: where the run is, as JSON has it.
        average: the tensors of the average of the model.

    Raises:
        ppls.ConversionError: it cannot be written.
    """
    part = _hidden(path)
    _, metadata, _ = snapshot
    try:
        write_run(part, *snapshot)
        if average is not None:
            write_converted_file(part / AVERAGE, average, metadata)
        with file_that_becomes(part / LOOP, force=False) as file:
            file.write(json.dumps(loop).encode() + b"\n")
        _name(part, path)
    except (ConversionError, OSError) as error:
        before = [each for _, each in checkpoints_in(path.parent) if each != path]
        stays = f"; {before[-1]} is there still" if before else ""
        why = first_line(error).replace(f"{part}{os.sep}", "")
        raise ConversionError(f"{path}: was not written{stays}: {why}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_model(folder: Path, model: nn.Module, described: SegmentationModel) -> None:
    """Writes a model to a folder, `model.safetensors`, in place of the one before it; `described` says what it is.

    Raises:
        ppls.ConversionError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    check_destination(folder / MODEL, force=True)  # and what a killed run left of it goes
    write_converted_file(folder / MODEL, stored(model), described.metadata(), force=True)


def remove(path: Path) -> None:
    """Removes a checkpoint: at once under its name."""
    part = _hidden(path)
    os.rename(path, part)
    shutil.rmtree(part, ignore_errors=True)


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")


def _name(part: Path, path: Path) -> None:
    if path.exists():
        remove(path)
    os.rename(part, path)
    with suppress(OSError):  # the name, too, outlives a failure of power
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@dataclass
class Log:
    """See `Averages`."""

    losses: list[float]
    summed: Annotated[int, between(0, _MOST)]


@dataclass
class Best:
    """The best evaluation."""

    miou: float
    iteration: int


@dataclass
class Place:
    """Where the data are, see `Batches`."""

    epoch: Annotated[int, between(0, _MOST)]
    position: Annotated[int, between(0, _MOST)]
    base: int
    draws: dict[str, Any]
    steps: list[dict[str, int]]


@dataclass
class Process:
    """Where a process was: its data, and torch's generators."""

    data: Place
    torch: dict[str, str]


@dataclass
class Loop:
    """Where a run was: what `loop.json` has."""

    schema: Literal[1]
    config: dict[str, Any]
    options: dict[str, Any]
    processes: list[Process]
    log: Log
    best: dict[str, Best]
    skipped: Annotated[int, between(0, _MOST)]
    scaler: dict[str, Any] | None


def read_loop(folder: Path) -> Loop | None:
    """Where the run was that wrote a checkpoint; None for a folder of PaddleSeg's, or of `ppls convert`.

    Raises:
        ppls.CheckpointError: it is damaged.
    """
    path = folder / LOOP
    if not path.exists():
        return None

    def error(place: str, why: str) -> CheckpointError:
        return CheckpointError(f"{path}: is not what ppls train writes: {place} {why}")

    try:
        with open(path, "rb") as file:
            text = file.read(_LARGEST + 1)
        found = load_json(text, Budget(len(text), lambda why: error("", why)))
    except OSError as problem:
        raise CheckpointError(f"{path}: cannot be read: {problem.strerror}") from None
    except ValueError as why:
        raise CheckpointError(f"{path}: is damaged: {first_line(why)}") from None
    loop: Loop = build(Node.of(found, error), Loop)
    return loop


def read_average(folder: Path, average: Average) -> None:
    """Fills an average as it was; without a file it begins anew, as PaddleSeg's does.

    Raises:
        ppls.CheckpointError: it is of another model.
    """
    if not (folder / AVERAGE).is_file():
        return
    tensors = to_torch(read(folder / AVERAGE).tensors)
    try:
        average.model.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{folder / AVERAGE}: does not fit the model: {first_line(error)}") from None


def generators() -> dict[str, str]:
    """torch's generators of this process, as text."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return {name: base64.b64encode(state.numpy().tobytes()).decode() for name, state in states.items()}


def restore_generators(states: Mapping[str, str]) -> None:
    """Has torch draw next what it would have. Raises `ppls.Error` where it is no state."""
    set_state = {"cpu": torch.set_rng_state, "cuda": torch.cuda.set_rng_state}
    for name, text in states.items():
        if name == "cuda" and not torch.cuda.is_available():
            continue
        try:
            set_state[name](torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8))
        except (KeyError, ValueError, RuntimeError, TypeError) as error:
            raise Error(f"{name}: no state of a generator: {first_line(error)}") from None
