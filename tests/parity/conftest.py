"""One run of the reference on the embedded default, shared by every test that judges a candidate against it."""

from __future__ import annotations

import importlib.util
import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import ppls
from ppls.cli.verify import verify
from ppls.converter.convert import Conversion, convert
from ppls.converter.reference import upstream_model
from ppls.errors import ParityError
from ppls.mappings.maps import Map
from ppls.parity.embedded import build_embedded_default
from ppls.parity.inputs import Input, batch, calibration_crops, noise, photograph, strong_noise
from ppls.parity.jobs import BuildJob
from ppls.parity.process import ReferenceProcess
from ppls.parity.reference.operators import adapt_paddle, adapted, ties
from ppls.parity.reference_run import RecordedTraining, Recording
from ppls.parity.session import run_job
from ppls.parity.stages.questions import QUESTIONS
from ppls.parity.training_job import train_job, write_batches
from tests.architectures import small_config
from tests.conftest import made_once


@dataclass(frozen=True)
class Recorded:
    """A checkpoint, what ppls makes of it, and what PaddleSeg does with it."""

    checkpoint: Path
    converted: Path
    conversion: Conversion
    recording: Recording
    training: RecordedTraining | None = None

    def candidate(self) -> nn.Module:
        """A fresh copy of ppls's model."""
        return ppls.load(self.converted)


def record(process: ReferenceProcess, checkpoint: Path, folder: Path, inputs: list[Input], **options) -> Recorded:
    """Converts a checkpoint and runs PaddleSeg on it; `folder` is the process's."""
    converted = folder / "converted.safetensors"
    conversion = convert(checkpoint, converted, force=True)  # that of an earlier run
    job = run_job(conversion, inputs, folder, **options)
    return Recorded(checkpoint, converted, conversion, Recording(folder, job, process.run(job, 120)))


def build(process: ReferenceProcess, folder: Path, map: Map) -> Path:
    """Has PaddleSeg build and save a small model, with weights as the embedded default's."""
    times = 2 if map.architecture == "LPSNet" else 1  # one of its paths comes to a 64th: a pixel or two have no spread
    np.save(folder / "crops.npy", calibration_crops(0, height=64 * times, width=128 * times))
    job = BuildJob(
        model=upstream_model(map, small_config(map)),
        seed=0,
        crops="crops.npy",
        classifiers=tuple(pattern.expression for pattern in map.classifiers),
        exponents=tuple(pattern.expression for pattern in map.exponents),
        checkpoint=str(folder / "embedded.pdparams"),
        constants=tuple(constant.pattern.expression for constant in map.constants),
    )
    process.run(job, 300)
    return Path(job.checkpoint)


def build_recipe(process: ReferenceProcess, folder: Path, architecture: str, recipe: str, timeout: float = 600) -> Path:
    """Has PaddleSeg build the embedded default of a recipe; skips the test where upstream does not have it."""
    try:
        return build_embedded_default(process, folder, architecture=architecture, recipe=recipe, timeout=timeout)
    except ParityError as error:
        if "names a checkout that has it" not in str(error):
            raise
        return pytest.skip(f"upstream has no {architecture}, and PPLS_PADDLESEG names no checkout that has it")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Small inputs run no slower on one thread, and many times faster beside other processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def needs_reference():
    """Skips where PaddleSeg is not installed; it is imported by its own process alone."""
    for name in ("paddle", "paddleseg"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")


@pytest.fixture(scope="session")
def embedded_checkpoint(embedded) -> Path:
    """The checkpoint that `ppls-verify` builds when it is given none."""
    return embedded.checkpoint


@pytest.fixture(scope="session")
def dump(embedded_checkpoint) -> Path:
    """What PaddleSeg does with the embedded default, to be given in its place."""

    def make(folder: Path) -> None:
        given = ["--size", "32x64", "--only", "--dump", str(folder / "reference.zip"), "--json"]
        result = CliRunner().invoke(verify, [str(embedded_checkpoint), *given])
        assert result.exit_code == 0, result.stderr
        assert json.loads(result.stdout)["layers"] == 105

    return made_once("dump", make) / "reference.zip"


SMALL_INPUTS = [
    photograph("coffee", 64, 128),
    noise(64, 128),
    photograph("chelsea", 65, 129),
    photograph("rocket", 32, 32),
    batch(96, 64),
    strong_noise(64, 96),
]


@pytest.fixture(scope="session")
def embedded(needs_reference) -> Recorded:
    """The embedded default, run on inputs that are small enough to judge many candidates."""

    def make(folder: Path) -> None:
        with ReferenceProcess(folder) as process:
            checkpoint = build_embedded_default(process, folder, timeout=120)
            recording = record(process, checkpoint, folder, SMALL_INPUTS).recording
            job = train_job(recording.job, write_batches(2, 0, 19, 3, folder, size=(64, 64)))
            job = replace(job, rates=job.rates[2:])  # at those before it is chaotic
            did = recording.job, recording.result, job, process.run(job, 120)
        (folder / "did.pickle").write_bytes(pickle.dumps(did))

    folder = made_once("embedded", make)
    checkpoint, converted = folder / "embedded.pdparams", folder / "converted.safetensors"
    *ran, job, trained = pickle.loads((folder / "did.pickle").read_bytes())
    training = RecordedTraining(folder, job, trained)
    return Recorded(checkpoint, converted, convert(checkpoint), Recording(folder, *ran), training)


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """That of the reference process, in which each test writes what its jobs read."""
    return tmp_path_factory.mktemp("reference")


@pytest.fixture(scope="session")
def reference(needs_reference, folder) -> Iterator[ReferenceProcess]:
    """One process for the jobs of all tests: what one job does, or fails to do, is nothing to the next."""
    with ReferenceProcess(folder) as process:
        yield process


@pytest.fixture
def no_causes(monkeypatch):
    """What is judged is not asked why it fails: test_causes.py asks."""
    monkeypatch.setattr("ppls.parity.judge.cause_of", lambda *given: None)


# how often and on how many threads a model is run is nothing to how it is written; test_behaviour.py asks
NOT_OF_FORM = ("one call after another", "the number of threads", "the order of calls")


@pytest.fixture
def asked_of_form(monkeypatch):
    """Of a right model written otherwise, what its form may touch is asked."""
    questions = {name: ask for name, ask in QUESTIONS.items() if name not in NOT_OF_FORM}
    assert len(questions) == len(QUESTIONS) - len(NOT_OF_FORM)
    monkeypatch.setattr("ppls.parity.stages.behaviour.QUESTIONS", questions)


@pytest.fixture
def adapted_paddle(needs_reference, monkeypatch):
    """Paddle as the reference process has it, and its own `topk`."""
    import paddle

    functional = paddle.nn.functional
    for of, names in (
        (paddle.Tensor, ("__truediv__", "__div__")),
        (functional, ("grid_sample", "max_pool2d")),
        (paddle, ("concat", "topk")),
    ):
        for name in names:
            monkeypatch.setattr(of, name, getattr(of, name))
    own = paddle.topk
    adapt_paddle()
    yield paddle, own
    adapted()
    ties()
