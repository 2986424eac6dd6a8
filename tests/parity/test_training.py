"""Training steps, in both frameworks: what eval mode cannot show."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import ppls
from ppls.parity.figures import TrainingFigures
from ppls.parity.judge import judge
from ppls.parity.stages.training import compare_training
from ppls.parity.training_job import write_batches

from .faults import TRAINING_FAULTS, put_into

SHARED = Path(__file__).resolve().parents[3] / "shared"


@pytest.fixture(scope="module")
def right(embedded):
    return embedded.candidate()


def test_the_right_model_trains_as_paddles_does(embedded, right):
    trained = compare_training(embedded.training, right, embedded.conversion)
    figures = [found for found in trained.figures if isinstance(found, TrainingFigures)]
    assert trained.failures == trained.warnings == ()
    assert all(found.passed for found in figures)
    counts = Counter(found.what for found in figures)
    # three heads and two steps in two types; 151 trained parameters, three constants and 96 statistics in each step
    assert counts == {"loss": 12, "gradient": 302, "parameter": 308, "statistic": 192, "gradient norm": 2}
    assert max(found.scaled for found in figures if found.what == "statistic") < 1e-9


@pytest.mark.parametrize("fault", TRAINING_FAULTS, ids=lambda fault: fault.name)
def test_a_fault_that_eval_mode_does_not_show_is_found_in_training(embedded, right, fault):
    faulty = put_into(right, fault)
    assert judge(embedded.recording, faulty, embedded.conversion).verdict == "pass"
    trained = compare_training(embedded.training, faulty, embedded.conversion)
    if fault.failure:
        assert fault.failure in trained.failures[0]
        return
    first = next(found for found in trained.figures if isinstance(found, TrainingFigures) and not found.passed)
    assert (first.what, first.step, first.dtype) == (fault.what, fault.step, fault.dtype)
    assert first.name.startswith(fault.where)


@pytest.mark.parametrize("fails", [True, False])
def test_what_training_shows_decides_the_report(embedded, right, fails):
    fault = next(fault for fault in TRAINING_FAULTS if bool(fault.failure) == fails)
    report = judge(embedded.recording, put_into(right, fault), embedded.conversion, training=embedded.training)
    assert report.verdict == "fail"
    assert bool(report.failures) == fails
    assert all(found.passed for found in report.training) == fails


def test_the_candidate_keeps_its_weights_and_its_mode(embedded, right):
    before = {name: tensor.clone() for name, tensor in right.state_dict().items()}
    compare_training(embedded.training, right, embedded.conversion)
    assert all((tensor == before[name]).all() for name, tensor in right.state_dict().items())
    assert not any(module.training for module in right.modules())


def test_the_batches_hold_one_image_by_turns_and_every_class(tmp_path):
    files = write_batches(4, 0, 5, 3, tmp_path)
    labels = [np.load(tmp_path / batch.labels) for batch in files]
    assert [len(array) for array in labels] == [4, 1, 4, 1]
    assert set(np.unique(np.concatenate(labels))) == {0, 1, 2, 3, 4}


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared checkpoints")
def test_a_checkpoint_trained_by_paddleseg_trains_on_alike():
    report = ppls.verify(
        SHARED / "paddleseg_run/model.pdparams", sizes=[(32, 64)], only=True, layers=False, train_steps=4
    )
    assert report.verdict == "pass"
    found = report.to_json()["training"]
    assert found["steps"] == 4
    assert found["failed"] == []
