"""An export is verified with the options of its program: a model of the usual ones, which its tensors fit, fails."""

from __future__ import annotations

import pytest

import ppls
from ppls.parity.inputs import noise, photograph
from ppls.parity.judge import judge
from tests.parity.conftest import Recorded, record
from tests.parity.faults import put_into
from tests.parity.faults.exported import EXPORT_FAULTS


@pytest.fixture(scope="module")
def recorded(exports, reference, folder) -> Recorded:
    export = exports["pir"] / "model.pdiparams"
    return record(reference, export, folder, [noise(64, 96), photograph("coffee", 65, 97)])


def test_the_model_of_an_export_passes(recorded):
    report = judge(recorded.recording, recorded.candidate(), recorded.conversion)
    assert report.verdict == "pass"
    assert recorded.conversion.assumed == {}


@pytest.mark.parametrize("fault", EXPORT_FAULTS, ids=lambda fault: fault.name)
def test_a_model_that_is_not_of_the_program_is_found(recorded, fault):
    report = judge(recorded.recording, put_into(recorded.candidate(), fault), recorded.conversion)
    assert not report.different_tensors  # nothing but what it computes tells
    assert report.verdict == "fail"


def test_a_file_that_was_converted_with_the_usual_options_is_an_error_that_shows_both(exports, tmp_path):
    """As any file of the export was before its program was read."""
    old = ppls.convert(exports["pir"])
    old.config["cm_bin_sizes"] = [1, 2, 4]
    old.write(tmp_path / "old.safetensors")
    with pytest.raises(ppls.Error, match=r"model\.json says \[1, 3, 6\], .*old\.safetensors says \[1, 2, 4\]"):
        ppls.verify(exports["pir"], tmp_path / "old.safetensors")
