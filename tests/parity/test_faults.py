"""The verifier verified: each fault is found at the default tolerance, and its layer is named."""

import dataclasses
from pathlib import Path

import pytest

from ppls.parity.judge import judge

from .faults import FAULTS, TRAINING_FAULTS, put_into

DOCS = Path(__file__).resolve().parents[2] / "docs" / "faults.md"


@pytest.fixture(scope="module")
def right(embedded):
    return embedded.candidate()


def test_the_right_model_is_passed_with_room_to_spare(embedded, right):
    report = judge(embedded.recording, right, embedded.conversion)
    assert report.verdict == "pass"
    assert max(output.comparison.scaled for output in report.outputs) < report.tolerance / 5
    assert max(layer.comparison.scaled for layer in report.layers) < report.tolerance / 4


def test_the_names_of_the_faults_are_distinct_and_many():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 30


def test_the_table_of_the_docs_speaks_of_faults_that_there_are_and_each_is_found():
    rows = [line.split(" | ") for line in DOCS.read_text().splitlines() if line.startswith("| ")]
    found = {row[0].removeprefix("| "): row[1] for row in rows if row[1].startswith(("found", "passes", "**"))}
    assert found.pop("none") == "passes"
    assert len(found) > 100
    assert set(found.values()) == {"found"}
    known = {fault.name for fault in FAULTS} | {fault.name for fault in TRAINING_FAULTS}
    assert found.keys() <= known


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_found_and_its_layer_named(embedded, right, fault):
    report = judge(embedded.recording, put_into(right, fault), embedded.conversion)
    assert bool(report.different_tensors) == fault.by_weights
    without_weights = dataclasses.replace(report, stages=report.stages[1:])
    assert without_weights.verdict == "fail"
    first = report.first_divergence
    if fault.failure:
        assert fault.failure in report.failures[0]
    elif fault.layer is None:
        assert first.kind == "output"
    else:
        assert (first.source, first.at) == (fault.layer, fault.at) or (
            fault.layer.endswith("*") and first.source.startswith(fault.layer[:-1])
        )
        assert first.comparison.problem or first.comparison.scaled > 4 * first.comparison.floor
