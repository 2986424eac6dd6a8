"""`ppls.export` of every architecture, in every format, beside PaddleSeg: each is judged as `ppls verify` does."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

import ppls
from ppls.converter.expected import expected_sides
from ppls.deploy.export import FORMATS
from ppls.errors import ParityError
from ppls.inference.loading import model_class
from ppls.mappings.map_file import architectures
from ppls.parity.files.candidate import open_candidate
from ppls.parity.files.judge import judge_file
from ppls.parity.inputs import batch, noise, photograph, strong_noise
from tests.architectures import map_of, small_config
from tests.parity.conftest import build, record

# No side is less than 128: MscaleOCRNet's exports, which look at half the image too, begin there
INPUTS = [
    *((partial(photograph, "coffee"), (128, 160)), (noise, (129, 161))),
    *((batch, (160, 128)), (strong_noise, (130, 128))),
]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", architectures())
def test_every_export_of_every_architecture_passes_beside_paddleseg(
    architecture: str, reference, folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    map = map_of(architecture)
    sides = expected_sides(map, small_config(map))
    inputs = [make(*sides.around(*size)) for make, size in INPUTS]
    try:
        checkpoint = build(reference, folder, map)
    except ParityError as error:
        if "names a checkout that has it" not in str(error):
            raise
        torch.manual_seed(0)
        model = model_class(architecture)(**small_config(map)).eval()
        for suffix in FORMATS.values():
            ppls.export(model, tmp_path / f"model{suffix}")
        pytest.skip(f"exported, but not judged: {error}")
    recorded = record(reference, checkpoint, folder, inputs, layers=False)
    for suffix in FORMATS.values():
        path = tmp_path / f"model{suffix}"
        ppls.export(recorded.converted, path)
        report = judge_file(recorded.recording, open_candidate(path), recorded.conversion)
        assert report.verdict == "pass", (path.name, report.failures, report.first_divergence)
