"""A dump of a few kilobytes, valid and made without Paddle: of a toy job, with everything that a dump may have."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from ppls.parity.answers import (
    DropoutCall,
    Exported,
    ExportEnd,
    ExportOutput,
    Gradient,
    HeadOutput,
    KeptStep,
    LayerCall,
    Layers,
    NarrowStep,
    Numerics,
    Output,
    Ran,
    Resizes,
    StoredArray,
    Trained,
    Versions,
)
from ppls.parity.dump import CHECKPOINT, FOLDERS, _write
from ppls.parity.exported import RecordedExport
from ppls.parity.jobs import Batch, ExportJob, JobInput, RunJob
from ppls.parity.reference_run import RecordedTraining, Recording
from ppls.parity.source import Source
from ppls.parity.training_job import train_job
from tests.checkpoints import save

VERSIONS = Versions("3.11.2", "1.26.4", "3.3.1", "2.8.0")
NAME = "toy"


class NamedSource(Source):
    """The embedded default under a name that needs no map."""

    name = NAME  # type: ignore[assignment]


class _Store:
    """Writes arrays as the reference does."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._rng = folder, np.random.default_rng(0)

    def put(self, name: str, *shape: int, dtype: str = "float32", floor: float | None = None) -> StoredArray:
        if not (self._folder / name).exists():
            np.save(self._folder / name, self._rng.normal(size=shape).astype(dtype))
        return StoredArray(name, shape, dtype, floor)  # type: ignore[arg-type]


def write_small_dump(path: Path, folder: Path) -> Path:
    """Writes the dump to `path`; `folder` is an empty one for its parts."""
    for name in FOLDERS:
        (folder / name).mkdir()
    checkpoint = save(folder / CHECKPOINT, {"weight": np.arange(6, dtype=np.float32)})
    store = _Store(folder)
    job = RunJob(
        sha256=hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        rewritten=None,
        model={"class": "upstream.Toy", "kwargs": {"num_classes": 2}},
        may_be_missing=(),
        may_be_unexpected=("weight",),
        renamed={"old": "new"},
        inputs=(JobInput("photograph", "input0.npy", False, False), JobInput("strong", "input1.npy", True, True)),
        layers="photograph",
        gradient="photograph",
        left_out=("coffee 512x1024",),
        dtype="float32",
        upsample=None,
    )
    for given, shape in zip(job.inputs, [(1, 3, 4, 6), (2, 3, 2, 2)], strict=True):
        store.put(given.file, *shape)
    recording = Recording(folder, job, _ran(store))
    steps = (Batch("batch0.npy", "labels0.npy"), Batch("batch1.npy", "labels1.npy"))
    for batch in steps:
        store.put(batch.images, 2, 3, 4, 4)
        np.save(folder / batch.labels, np.arange(32).reshape(2, 4, 4) % 2)
    training = RecordedTraining(folder, train_job(job, steps), _trained(store))
    with open(path, "wb") as file:
        _write(recording, training, file, checkpoint, NamedSource(), _export(recording, store))
    return path


def _export(recording: Recording, store: _Store) -> RecordedExport:
    job = ExportJob(
        sha256=recording.sha256,
        shape=(1, 3, 4, 6),
        outputs=(ExportEnd(0, 1, "argmax"),),
        inputs=recording.job.inputs[:1],
        dtype="float32",
        memory=1 << 30,
    )
    classes = store.put("exported/00001.npy", 1, 4, 6, dtype="int32")
    output = ExportOutput("photograph", 0, store.put("exported/00000.npy", 1, 2, 4, 6), classes)
    return RecordedExport(recording.folder, job, Exported(versions=VERSIONS, peak_memory=1 << 20, outputs=(output,)))


def _ran(store: _Store) -> Ran:
    image = store.put("input0.npy", 1, 3, 4, 6)
    inner, normalised = (store.put(f"arrays/{number:05d}.npy", 1, 2, 4, 6, floor=1e-7) for number in (0, 1))
    first, strong = store.put("arrays/00002.npy", 1, 2, 4, 6), store.put("arrays/00003.npy", 2, 2, 2, 2)

    def output(kind: type, stored: StoredArray, name: str, index: int, floor: float, *more: object) -> HeadOutput:
        return kind(stored.file, stored.shape, stored.dtype, floor, name, index, f"[{index}]", *more)

    return Ran(
        versions=VERSIONS,
        peak_memory=1 << 20,
        kept=("anchors",),
        outputs=(
            output(Output, first, "photograph", 0, 1e-7, True),
            output(Output, strong, "strong", 0, float("nan"), False),
        ),
        heads=(
            output(HeadOutput, first, "photograph", 0, 1e-7),
            output(HeadOutput, inner, "photograph", 1, 1e-7),
            output(HeadOutput, strong, "strong", 0, float("nan")),
        ),
        layers=Layers(
            "photograph",
            (
                LayerCall("conv", 0, "Conv2D", False, Numerics(), image, inner),
                LayerCall("bn", 0, "BatchNorm2D", False, Numerics(1e-5, 0.9), inner, normalised),
                LayerCall("bn", 1, "BatchNorm2D", True, Numerics(1e-5, 0.9), inner, normalised),
            ),
            (DropoutCall("dropout", 0.1, True),),
        ),
        gradient=Gradient(store.put("arrays/gradient.npy", 1, 3, 4, 6, dtype="float64"), True, None),
        widened=(),
        resizes=Resizes(0, 0, 0.0),
    )


def _trained(store: _Store) -> Trained:
    gradient = store.put("training/00000.npy", 6, dtype="float64")
    state = store.put("training/00001.npy", 6, dtype="float64")
    return Trained(
        versions=VERSIONS,
        peak_memory=1 << 20,
        rate=1e-6,
        steps=tuple(
            KeptStep((0.7, 0.6), 0.5, ((2, 4),), {"weight": gradient}, {"weight": state}, {"mean": state})
            for _ in range(2)
        ),
        float32=tuple(NarrowStep((0.7, float("inf")), 0.5, (1e-7, float("nan")), 1e-4) for _ in range(2)),
        outputs=(state,),
        heads=(state, state),
    )
