"""A right model passes however it is written, and its twin with a fault fails."""

import copy
import warnings
from dataclasses import replace

import pytest

from ppls.parity.judge import judge

from . import arrangements, norms, randomness, wrappers
from .form import Form

FORMS = [*norms.FORMS, *randomness.FORMS, *wrappers.FORMS, *arrangements.FORMS]


@pytest.fixture(scope="module")
def recording(embedded):
    """The layers' input, the smallest, and the strong one: enough to tell right from wrong."""
    whole = embedded.recording
    names = {whole.layers_input, "rocket 32x32", *(given.name for given in whole.job.inputs if given.strong)}
    inputs = tuple(given for given in whole.job.inputs if given.name in names)
    outputs = tuple(output for output in whole.result.outputs if output.input in names)
    return replace(whole, job=replace(whole.job, inputs=inputs), result=replace(whole.result, outputs=outputs))


@pytest.fixture(scope="module")
def right(embedded):
    return embedded.candidate()


def judged(recording, embedded, form: Form, model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return judge(recording, form.write(model).eval(), embedded.conversion, own=False)


def test_there_are_many_and_their_names_are_distinct():
    assert len({form.name for form in FORMS}) == len(FORMS) >= 45


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_it_passes_and_its_wrong_twin_fails(embedded, recording, right, form: Form):
    report = judged(recording, embedded, form, copy.deepcopy(right))
    assert report.verdict == "pass", (report.failures, report.first_divergence)
    layers, heads = report.stage("layers"), report.stage("heads")
    assert layers.compared >= form.layers, layers.why
    assert (layers.why is None) == (layers.compared >= layers.expected)
    assert bool(heads.compared) == form.heads, heads.why
    assert judged(recording, embedded, form, form.fault(copy.deepcopy(right))).verdict == "fail"
