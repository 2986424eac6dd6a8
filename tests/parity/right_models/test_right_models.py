"""A right model passes however it is written, and its twin with a fault fails."""

import copy
import warnings
from dataclasses import replace

import pytest
import torch
import torch._dynamo

from ppls.models.layers import ConvBNAct
from ppls.parity.inputs import noise, photograph, strong_noise
from ppls.parity.judge import judge
from ppls.parity.stages.questions import QUESTIONS
from tests.parity.conftest import record
from tests.parity.faults.found import found_by, on

from . import arrangements, norms, randomness, wrappers
from .form import Form

FORMS = [*norms.FORMS, *randomness.FORMS, *wrappers.FORMS, *arrangements.FORMS]


INPUTS = [photograph("coffee", 64, 96), strong_noise(32, 64), noise(32, 32)]


@pytest.fixture(scope="module")
def recorded(embedded, reference, folder):
    """The embedded default on inputs that are just large enough to tell right from wrong."""
    return record(reference, embedded.checkpoint, folder, INPUTS)


@pytest.fixture(scope="module")
def right(recorded):
    return recorded.candidate()


@pytest.fixture(autouse=True)
def compiled_once():
    """What is compiled is so for the first shape; from then on torch runs it as it was written."""
    with torch._dynamo.config.patch(recompile_limit=1):
        yield
    torch._dynamo.reset()  # what reached that limit is not compiled again, by nobody


def written(form: Form, model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return form.write(model).eval()


def judged(recorded, form: Form, model):
    return judge(recorded.recording, written(form, model), recorded.conversion, own=False)


def test_there_are_many_and_their_names_are_distinct():
    assert len({form.name for form in FORMS}) == len(FORMS) >= 45


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.usefixtures("asked_of_form")
def test_it_passes_and_its_wrong_twin_fails(recorded, right, form: Form):
    report = judged(recorded, form, copy.deepcopy(right))
    assert report.verdict == "pass", (report.failures, report.first_divergence)
    layers, heads = report.stage("layers"), report.stage("heads")
    assert layers.compared >= form.layers, layers.why
    assert (layers.why is None) == (layers.compared >= layers.expected)
    assert bool(heads.compared) == form.heads, heads.why
    assert found_by(recorded, written(form, form.fault(copy.deepcopy(right))), own=False)


def test_a_model_written_otherwise_is_asked_all_questions(recorded, right):
    form = next(form for form in FORMS if form.name == "in a wrapper that returns a tuple")
    report = judged(recorded, form, copy.deepcopy(right))
    behaviour = report.stage("behaviour")
    assert (report.verdict, behaviour.compared, behaviour.why) == ("pass", len(QUESTIONS), None)


def test_what_torch_exported_passes_and_with_another_option_in_its_graph_it_fails(recorded, right):
    """Its program takes batches of any size, of images as large as the first input's."""
    batch = torch.export.Dim.AUTO
    program = torch.export.export(right, (torch.zeros(2, 3, 64, 96),), dynamic_shapes=({0: batch},))
    one = replace(recorded, recording=on(recorded.recording, "coffee 64x96"))
    report = judge(one.recording, program.module(), recorded.conversion, own=False)
    assert report.verdict == "pass", report.failures
    assert report.stage("behaviour").compared >= 8, report.stage("behaviour").why
    *_, resize = (node for node in program.graph.nodes if "upsample_bilinear2d" in str(node.target))
    resize.args = (*resize.args[:2], not resize.args[2], *resize.args[3:])
    assert found_by(one, program.module(), own=False) == "outputs"


def test_a_scale_that_epsilon_does_not_follow_is_a_fault(recorded, right):
    def write(model):
        for block in model.modules():
            if isinstance(block, ConvBNAct):
                block.conv.weight.data *= 2
                block.bn.running_mean *= 2
                block.bn.running_var *= 4
        return model

    assert judged(recorded, Form("", write), copy.deepcopy(right)).verdict == "fail"
