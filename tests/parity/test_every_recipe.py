"""Every recipe's embedded default is a strong witness, and its rounding leaves room below the tolerance."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppls.converter.convert import convert
from ppls.parity.consistency import check_recording
from ppls.parity.inputs import default_inputs
from ppls.parity.process import ReferenceProcess, not_understood
from ppls.parity.reference_run import Recording
from ppls.parity.session import run_job
from ppls.parity.tolerance import TOLERANCE
from tests.architectures import CHECKOUT, recipes

from .conftest import Recorded, build_recipe
from .one_by_one import unseen

TIMEOUT = 1800.0  # seconds, of the largest on the largest input
SMALL = 64 * 128  # pixels


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "recipe"), recipes())
def test_a_change_of_any_one_tensor_is_seen_and_the_floor_is_a_fifth_of_the_tolerance(
    needs_reference: None, architecture: str, recipe: str, tmp_path: Path
) -> None:
    # layers are compared on the first, and changed one by one: that may be small
    inputs = sorted(default_inputs(), key=lambda given: (given.strong, abs(given.array[0, 0].size - SMALL)))
    with ReferenceProcess(tmp_path, paddleseg=CHECKOUT) as process:
        checkpoint = build_recipe(process, tmp_path, architecture, recipe, TIMEOUT)
        converted = tmp_path / "converted.safetensors"
        conversion = convert(checkpoint, converted)
        job = run_job(conversion, inputs, tmp_path)
        recording = Recording(tmp_path, job, process.run(job, TIMEOUT))
    check_recording(recording, not_understood)
    floors = {f"{output.name} of {output.input}": output.stored.floor for output in recording.outputs}
    assert {name: floor for name, floor in floors.items() if floor is None or not floor <= TOLERANCE / 5} == {}
    witness = recording.result.witness
    assert witness is not None
    assert (witness.why, witness.faint) == (None, ())
    assert unseen(Recorded(checkpoint, converted, conversion, recording)) == []
