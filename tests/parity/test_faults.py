"""The verifier verified: each fault is found at the default tolerance, and its layer is named."""

import dataclasses
from pathlib import Path

import pytest

from ppls.parity.figures import Divergence
from ppls.parity.judge import judge
from ppls.parity.pairing import pair_layers
from ppls.parity.randomness import find_quiet, small_inputs
from ppls.parity.stages.layers import compare_layers, find_first_divergence
from ppls.parity.stages.weights import compare_weights
from ppls.parity.tolerance import Tolerances
from tests.architectures import readable

from .faults import FAULTS, TRAINING_FAULTS, put_into
from .faults.any_model import FAULTS as ANY_MODEL
from .faults.architectures import ARCHITECTURE_FAULTS
from .faults.arrangement import ARRANGEMENT_FAULTS
from .faults.dependence import DEPENDENCES
from .faults.dropouts import DROPOUT_FAULTS
from .faults.exported import EXPORT_FAULTS
from .faults.fault import Fault
from .faults.witness import GATED_FAULTS

DOCS = Path(__file__).resolve().parents[2] / "docs" / "faults.md"


@pytest.fixture(scope="module")
def right(embedded):
    return embedded.candidate()


def test_the_right_model_is_passed_with_room_to_spare(embedded, right):
    report = judge(embedded.recording, right, embedded.conversion)
    assert report.verdict == "pass"
    assert max(output.comparison.scaled for output in report.outputs) < report.tolerance / 5
    assert max(layer.comparison.scaled for layer in report.layers) < report.tolerance / 4


def test_the_faults_are_distinct_and_many():
    """Those that any architecture can have are counted once, however many they are put into."""
    named = [fault.name for fault in FAULTS] + [fault.name for fault in TRAINING_FAULTS]
    named += [fault.name for fault in DEPENDENCES] + [fault.name for fault in EXPORT_FAULTS]
    named += [*ANY_MODEL, *DROPOUT_FAULTS, *ARRANGEMENT_FAULTS, *GATED_FAULTS]
    named += [f"{fault.name} ({name})" for name, faults in ARCHITECTURE_FAULTS.items() for fault in faults]
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert len(set(named)) >= 450
    assert ARCHITECTURE_FAULTS.keys() <= set(readable())


def test_the_table_of_the_docs_speaks_of_faults_that_there_are_and_each_is_found():
    rows = [line.split(" | ") for line in DOCS.read_text().splitlines() if line.startswith("| ")]
    found = {row[0].removeprefix("| "): row[1] for row in rows if row[1].startswith(("found", "passes", "**"))}
    assert found.pop("none") == "passes"
    assert len(found) > 100
    assert set(found.values()) == {"found"}
    known = {fault.name for fault in FAULTS} | {fault.name for fault in TRAINING_FAULTS}
    assert found.keys() <= known


def is_named(first: Divergence, fault: Fault) -> bool:
    if fault.layer is None:
        return first.kind == "output"
    if fault.layer.endswith("*"):
        return first.source.startswith(fault.layer[:-1])
    return (first.source, first.at) == (fault.layer, fault.at)


@pytest.fixture(scope="module")
def quiet(embedded, right):
    return find_quiet(right, small_inputs(embedded.recording))


@pytest.mark.parametrize("fault", [f for f in FAULTS if f.by_weights], ids=lambda fault: fault.name)
def test_another_tensor_is_found_and_without_the_weights_its_layer_named(embedded, right, quiet, fault):
    """It is put into the one model and taken out again: what is drawn and updated is as before."""
    recording, conversion = embedded.recording, embedded.conversion
    tensors = {name: tensor.clone() for name, tensor in right.state_dict().items()}
    try:
        assert fault.put(right) is right
        assert compare_weights(conversion, right).figures
        paired = pair_layers(recording, conversion, right, own=True)
        layers, heads = compare_layers(recording, right, paired, Tolerances(), quiet, [], own=True)
    finally:
        right.load_state_dict(tensors)
    assert layers.verdict == "fail"
    first = find_first_divergence(layers.figures, heads.figures)
    assert is_named(first, fault)
    assert first.comparison.problem or first.comparison.scaled > 4 * first.comparison.floor


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("fault", [f for f in FAULTS if not f.by_weights], ids=lambda fault: fault.name)
def test_a_fault_is_found_and_its_layer_named(embedded, right, fault):
    report = judge(embedded.recording, put_into(right, fault), embedded.conversion)
    assert not report.different_tensors
    without_weights = dataclasses.replace(report, stages=report.stages[1:])
    assert without_weights.verdict == "fail"
    first = report.first_divergence
    if fault.failure:
        assert fault.failure in report.failures[0]
        return
    assert is_named(first, fault)
    if fault.layer is not None:
        assert first.comparison.problem or first.comparison.scaled > 4 * first.comparison.floor
