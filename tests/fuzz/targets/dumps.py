"""Recordings of PaddleSeg from another machine: opened, and judged against, up to the page of the report."""

from __future__ import annotations

import io
import json
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import ppls
from ppls.converter.convert import convert
from ppls.parity.answers import (
    Exported,
    ExportEnd,
    ExportOutput,
    Gradient,
    HeadOutput,
    LayerCall,
    Layers,
    Numerics,
    Output,
    Ran,
    Resizes,
    StoredArray,
)
from ppls.parity.dump import FOLDERS, MANIFEST, _write, open_dump
from ppls.parity.exported import RecordedExport
from ppls.parity.inputs import noise
from ppls.parity.jobs import ExportJob, RunJob, TrainJob
from ppls.parity.process import ReferenceProcess
from ppls.parity.randomness import all_heads, find_quiet
from ppls.parity.reference_run import Recording
from ppls.parity.report.page import write_page
from ppls.parity.report.terminal import print_report
from ppls.parity.session import run_job
from ppls.parity.source import Source
from tests.fuzz import examples
from tests.fuzz.case import Case
from tests.fuzz.runner import Place, Target
from tests.fuzz.targets.checkpoints import printed_json
from tests.parity.small_dump import VERSIONS, write_small_dump

_CHECKPOINT, _DUMP = "model.pdparams", "reference.zip"


@lru_cache
def _toys() -> Sequence[Case]:
    with tempfile.TemporaryDirectory() as folder:
        path = write_small_dump(Path(folder) / _DUMP, Path(tempfile.mkdtemp(dir=folder)))
        return [Case({_DUMP: path.read_bytes()}, _DUMP)]


def _open(place: Place, case: Case) -> Iterable[str]:
    with tempfile.TemporaryDirectory() as folder:
        dump = open_dump(place.given, Path(folder), Source())
        recording = dump.recording
        for name in recording.inputs:
            recording.input(name)
        for recorded in [*recording.outputs, *recording.head_outputs]:
            recorded.stored.load()
        for call in recording.calls:
            call.input.load(), call.output.load()
    yield printed_json({"name": dump.name})


@lru_cache
def judged() -> Sequence[Case]:
    """A recording of the small model, made by our own in PaddleSeg's place; every tenth is shown as a page too."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in FOLDERS:
            (folder / part).mkdir()
        (folder / _CHECKPOINT).write_bytes(examples.model()[_CHECKPOINT])
        job = run_job(convert(folder / _CHECKPOINT), [noise(32, 64, 0)], folder)
        ran = _run_in_paddles_place(folder, job.inputs[0].name, np.load(folder / job.inputs[0].file))
        with open(folder / _DUMP, "wb") as file:
            export = _export_in_paddles_place(folder, job, ran)
            _write(Recording(folder, job, ran), None, file, None, Source(folder / _CHECKPOINT), export)
        files = {_DUMP: (folder / _DUMP).read_bytes(), _CHECKPOINT: examples.model()[_CHECKPOINT]}
    cases = [Case(files, _DUMP, {"page": page}, fixed=frozenset({_CHECKPOINT})) for page in (True, False)]
    return [*cases, *cases[1:] * 8]


def _export_in_paddles_place(folder: Path, job: RunJob, ran: Ran) -> RecordedExport:
    """The same logits as of an export, and their classes."""
    logits = ran.outputs[0]
    classes = np.load(folder / logits.file).argmax(axis=1).astype(np.int32)
    np.save(folder / "exported/00000.npy", classes)
    output = ExportOutput(
        logits.input,
        0,
        StoredArray(logits.file, logits.shape, logits.dtype, None),
        StoredArray("exported/00000.npy", classes.shape, "int32", None),
    )
    ends = (ExportEnd(0, 1, "argmax"),)
    exported = ExportJob(
        sha256=job.sha256, shape=(-1, 3, -1, -1), outputs=ends, inputs=job.inputs, dtype=job.dtype, memory=0
    )
    return RecordedExport(folder, exported, Exported(versions=VERSIONS, peak_memory=1 << 20, outputs=(output,)))


def _run_in_paddles_place(folder: Path, name: str, given: np.ndarray) -> Ran:
    """What PaddleSeg's model would say: its outputs, its heads, and two of its layers."""
    import torch

    model = ppls.load(folder / _CHECKPOINT)
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for layer in ("conv", "bn"):
        module = model.get_submodule(f"backbone.blocks.0.{layer}")
        module.register_forward_hook(lambda _, inputs, output, key=layer: seen.update({key: (inputs[0], output)}))
    with torch.inference_mode():
        (logits,) = model(torch.from_numpy(given))
        with all_heads(model, find_quiet(model, [given])):
            heads = model(torch.from_numpy(given))

    def stored(kind: type, value: torch.Tensor, *more: object) -> HeadOutput:
        file = f"arrays/{len(list((folder / 'arrays').iterdir())):05d}.npy"
        np.save(folder / file, value.numpy())
        return kind(file, tuple(value.shape), "float32", 1e-7, *more)

    calls = tuple(
        LayerCall(
            f"backbone.features.0.{layer}", 0, kind, False, numerics, *(stored(StoredArray, v) for v in seen[layer])
        )
        for layer, kind, numerics in (("conv", "Conv2D", Numerics()), ("bn", "BatchNorm2D", Numerics(1e-5, 0.9)))
    )
    return Ran(
        versions=VERSIONS,
        peak_memory=1 << 20,
        kept=(),
        outputs=(stored(Output, logits, name, 0, "[0]", True),),
        heads=tuple(stored(HeadOutput, head, name, index, f"[{index}]") for index, head in enumerate(heads)),
        layers=Layers(name, calls, ()),
        gradient=Gradient(None, True, "none was recorded"),
        widened=(),
        resizes=Resizes(0, 0, 0.0),
    )


def _verify(place: Place, case: Case) -> Iterable[str]:
    report = ppls.verify(place.given.parent / _CHECKPOINT, reference=place.given)
    print_report(report)
    yield printed_json(report.to_json())
    if case.options["page"]:
        write_page(report, place.out / "report.html")
        page = (place.out / "report.html").read_text()
        for sign in ("<script>alert", "<img src=x", '" onmouseover', "javascript:"):
            assert sign not in page, f"{sign!r} stands in the page as it is"


@lru_cache
def _answers() -> Sequence[Case]:
    """What the reference process leaves for ppls to read: answers, and why it could not."""
    with zipfile.ZipFile(io.BytesIO(_toys()[0].files[_DUMP])) as archive:
        manifest = json.loads(archive.read(MANIFEST))
    failed = {"error": {"kind": "job", "message": "cannot load", "problems": ["conv.weight is missing"]}}
    answers = {"run": manifest["result"], "train": manifest["training"]["result"], "failed": failed}
    return [Case({"result0.json": json.dumps(answer).encode()}, "", {"of": name}) for name, answer in answers.items()]


def _answer(place: Place, case: Case) -> Iterable[str]:
    process = object.__new__(ReferenceProcess)  # one that has answered
    process._folder, process._log, process._jobs = place.given, place.given / "log.txt", 0
    process._python, process._process = sys.executable, _Done()
    job = TrainJob if case.options["of"] == "train" else RunJob
    yield str(process.result(SimpleNamespace(answer=job.answer), timeout=0.0))


class _Done:
    def poll(self) -> int:
        return 0


TARGETS = (
    Target("dump", 8, _toys, _open),
    Target("verify", 1, judged, _verify),
    Target("answer", 3, _answers, _answer),
)
