"""What an output may depend on beside its image: each wrong model is found by what is there to find it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from ppls.parity.candidate import CandidateError
from ppls.parity.figures import OutputFigures
from ppls.parity.global_state import global_state_kept
from ppls.parity.inputs import SMALL, default_inputs
from ppls.parity.judge import judge
from ppls.parity.reference_run import Recording
from ppls.parity.session import run_job
from ppls.parity.stages.asked import Candidate, NotAskedError
from ppls.parity.stages.outputs import compare_outputs
from ppls.parity.stages.questions import QUESTIONS
from ppls.parity.state import copied
from ppls.parity.tolerance import TOLERANCE, Tolerances
from tests.parity.conftest import Recorded

from .faults.dependence import DEPENDENCES, OF_BEHAVIOUR, OF_HEADS, OF_INPUTS, Dependence

DOCS = Path(__file__).resolve().parents[2] / "docs" / "verifying.md"


@pytest.fixture(scope="module")
def defaults(embedded: Recorded, reference, folder: Path) -> Recorded:
    """The embedded default on the default inputs, but for the large one; layers on a small one."""
    job = replace(run_job(embedded.conversion, default_inputs()[1:], folder), layers="rocket 32x32")
    return replace(embedded, recording=Recording(folder, job, reference.run(job, 300)))


def without(recording: Recording, *, but: str) -> Recording:
    """The recording without its larger inputs, but for one."""
    kept = [name for name in recording.inputs if name == but or recording.input(name)[:, 0].size <= SMALL]
    inputs = tuple(given for given in recording.job.inputs if given.name in kept)
    outputs = tuple(output for output in recording.result.outputs if output.input in kept)
    return replace(
        recording, job=replace(recording.job, inputs=inputs), result=replace(recording.result, outputs=outputs)
    )


def answers(recorded: Recorded, module: nn.Module, question: str) -> list[str]:
    candidate = Candidate(recorded.recording, module, copied(module), Tolerances())
    try:
        with global_state_kept():
            return list(QUESTIONS[question](candidate))
    except CandidateError as error:
        return [str(error)]


def test_the_right_model_answers_every_question_and_the_floor_leaves_room(defaults):
    report = judge(defaults.recording, defaults.candidate(), defaults.conversion)
    assert report.verdict == "pass"
    assert report.failures == ()
    stage = report.stage("behaviour")
    assert (stage.compared, stage.expected, stage.why) == (len(QUESTIONS), len(QUESTIONS), None)
    assert max(output.comparison.floor for output in report.outputs) <= TOLERANCE / 5


@pytest.mark.parametrize("fault", OF_INPUTS, ids=lambda fault: fault.name)
def test_what_depends_on_its_input_otherwise_differs_on_the_default_input_for_it(defaults, fault: Dependence):
    recording = without(defaults.recording, but=fault.by)
    stage, _ = compare_outputs(recording, fault.put(defaults.candidate()), Tolerances())
    wrong = [figures for figures in stage.figures if figures.verdict == "fail"]
    assert fault.by in [figures.input for figures in wrong if isinstance(figures, OutputFigures)]


@pytest.mark.parametrize("fault", OF_HEADS, ids=lambda fault: fault.name)
def test_heads_of_training_are_compared_at_odd_sizes_and_on_batches(defaults, fault: Dependence):
    report = judge(defaults.recording, fault.put(defaults.candidate()), defaults.conversion, weights=False)
    wrong = {(figures.input, figures.name) for figures in report.outputs if figures.verdict == "fail"}
    assert {(fault.by, "head 1"), (fault.by, "head 2")} <= wrong
    stage = report.stage("behaviour")
    assert (stage.ran, stage.why) == (False, "the candidate differs as it is")


@pytest.mark.parametrize("fault", OF_BEHAVIOUR, ids=lambda fault: fault.name)
def test_what_depends_on_more_than_its_image_is_found_by_asking(defaults, fault: Dependence):
    right, wrong = defaults.candidate(), fault.put(defaults.candidate())
    assert answers(defaults, right, fault.by) == []
    found = answers(defaults, wrong, fault.by)
    assert any(fault.said in line for line in found)
    assert found


def test_what_sees_the_other_images_is_not_asked_where_paddlesegs_model_sees_them_too(defaults):
    (fault,) = (fault for fault in OF_BEHAVIOUR if fault.by == "an image's place in its batch")
    sees = replace(defaults.recording, result=replace(defaults.recording.result, mixes=0.1))
    with pytest.raises(NotAskedError, match="sees the other images too"):
        answers(replace(defaults, recording=sees), fault.put(defaults.candidate()), fault.by)


def test_what_a_candidate_sets_in_torch_is_set_back_and_said(defaults):
    before = torch.get_default_dtype(), torch.get_num_threads(), torch.get_rng_state()
    (fault,) = (fault for fault in OF_BEHAVIOUR if fault.name == "float64 left as the default")
    report = judge(defaults.recording, fault.put(defaults.candidate()), defaults.conversion, weights=False, own=False)
    assert "leaves the default dtype (torch.float32 before, torch.float64 after) changed" in report.failures[0]
    assert (torch.get_default_dtype(), torch.get_num_threads()) == before[:2]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_the_docs_name_every_such_model_and_every_question():
    text = DOCS.read_text()
    assert [fault.name for fault in DEPENDENCES if fault.name not in text] == []
    assert [question for question in QUESTIONS if question not in text] == []
