"""Recordings of PaddleSeg from another machine: opened, and judged against, up to the page of the report."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

import ppls
from ppls.converter.convert import convert
from ppls.parity.answers import Output, Ran, Resizes
from ppls.parity.dump import _write, open_dump
from ppls.parity.inputs import noise
from ppls.parity.page import write_page
from ppls.parity.record import Source, run_job
from ppls.parity.recording import Recording
from ppls.parity.table import print_report
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
    import torch

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("arrays", "training"):
            (folder / part).mkdir()
        (folder / _CHECKPOINT).write_bytes(examples.model()[_CHECKPOINT])
        job = run_job(convert(folder / _CHECKPOINT), [noise(32, 64, 0)], folder, layers=False)
        given = np.load(folder / job.inputs[0].file)
        with torch.inference_mode():
            (logits,) = ppls.load(folder / _CHECKPOINT)(torch.from_numpy(given))
        np.save(folder / "arrays/00000.npy", logits.numpy())
        stored = ("arrays/00000.npy", tuple(logits.shape), "float32", 1e-7)
        ran = Ran(
            versions=VERSIONS,
            peak_memory=1 << 20,
            kept=(),
            outputs=(Output(*stored, job.inputs[0].name, 0, True),),  # type: ignore[arg-type]
            heads=(),
            layers=None,
            widened=(),
            resizes=Resizes(0, 0, 0.0),
        )
        with open(folder / _DUMP, "wb") as file:
            _write(Recording(folder, job, ran), None, file, None, Source(folder / _CHECKPOINT))
        files = {_DUMP: (folder / _DUMP).read_bytes(), _CHECKPOINT: examples.model()[_CHECKPOINT]}
    cases = [Case(files, _DUMP, {"page": page}, fixed=frozenset({_CHECKPOINT})) for page in (True, False)]
    return [*cases, *cases[1:] * 8]


def _verify(place: Place, case: Case) -> Iterable[str]:
    report = ppls.verify(place.given.parent / _CHECKPOINT, reference=place.given)
    print_report(report)
    yield printed_json(report.to_json())
    if case.options["page"]:
        write_page(report, place.out / "report.html")
        page = (place.out / "report.html").read_text()
        for sign in ("<script>alert", "<img src=x", '" onmouseover', "javascript:"):
            assert sign not in page, f"{sign!r} stands in the page as it is"


TARGETS = (
    Target("dump", 8, _toys, _open),
    Target("verify", 1, judged, _verify),
)
