"""DANet's gates start at 0: the embedded default opens them, and a checkpoint with closed gates is a weak witness."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from ppls.converter.convert import convert
from ppls.converter.reference import upstream_model
from ppls.parity.inputs import calibration_crops, photograph
from ppls.parity.jobs import BuildJob
from ppls.parity.judge import judge
from ppls.parity.process import ReferenceProcess
from ppls.parity.reference_run import Recording
from ppls.parity.report.data import Report
from ppls.parity.session import run_job
from ppls.parity.tolerance import TOLERANCE
from tests.architectures import map_of, small_config
from tests.checkpoints import arrays_of, save

from .conftest import Recorded
from .faults.witness import GATED_FAULTS


def recorded(process: ReferenceProcess, folder: Path, checkpoint: Path) -> Recorded:
    converted = folder / "danet.safetensors"
    conversion = convert(checkpoint, converted, force=True)
    job = run_job(conversion, [photograph("coffee", 64, 128)], folder)
    return Recorded(checkpoint, converted, conversion, Recording(folder, job, process.run(job, 120)))


@pytest.fixture(scope="module")
def danet(reference: ReferenceProcess, folder: Path) -> Recorded:
    map = map_of("DANet")
    np.save(folder / "crops.npy", calibration_crops(0, count=4, height=64, width=128))
    job = BuildJob(
        model=upstream_model(map, small_config(map)),
        seed=0,
        crops="crops.npy",
        classifiers=tuple(pattern.expression for pattern in map.classifiers),
        checkpoint=str(folder / "danet.pdparams"),
    )
    reference.run(job, 120)
    return recorded(reference, folder, Path(job.checkpoint))


def judged(of: Recorded, model: nn.Module) -> Report:
    return judge(of.recording, model, of.conversion, weights=False)


def test_the_right_model_passes_with_open_gates_and_its_floor_is_low(danet: Recorded) -> None:
    report = judged(danet, danet.candidate())
    assert report.verdict == "pass"
    assert max(output.comparison.floor or 0.0 for output in report.outputs) <= TOLERANCE / 5
    witness = report.stage("witness")
    assert witness is not None
    assert witness.gap is None


@pytest.mark.parametrize("fault", GATED_FAULTS)
def test_a_fault_behind_a_gate_is_found(danet: Recorded, fault: str) -> None:
    model = danet.candidate()
    GATED_FAULTS[fault](model)
    assert judged(danet, model).verdict == "fail"


def test_behind_closed_gates_no_fault_is_found_and_the_witness_is_called_weak(
    danet: Recorded, reference: ReferenceProcess, tmp_path: Path, folder: Path
) -> None:
    arrays = arrays_of(danet.checkpoint)
    for name in ("head.pam.gamma", "head.cam.gamma"):  # as upstream starts them
        arrays[name] = np.zeros_like(arrays[name])
    closed = recorded(reference, folder, save(tmp_path / "closed.pdparams", arrays))
    model = closed.candidate()
    for fault in ("attention over pixels not transposed", "attention over channels by likeness"):
        GATED_FAULTS[fault](model)
    report = judged(closed, model)
    assert report.verdict == "pass"
    (warning,) = (line for line in report.warnings if "weak witness" in line)
    assert "head.pam.query_conv, head.pam.key_conv, head.pam.value_conv" in warning
    assert dataclasses.replace(report, strict=True).verdict == "inconclusive"
