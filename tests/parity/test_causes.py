"""The suspected cause is named where a known one fits, and nothing is where none does."""

import pytest

from ppls.parity.judge import judge

from .faults import FAULTS, TRAINING_FAULTS, put_into

CAUSES = {
    "BatchNorm epsilon 1e-6 for 1e-5": "its epsilon is 1e-06, the reference's 1e-05",
    "BatchNorm epsilon 1e-3 for 1e-5": "its epsilon is 0.001, the reference's 1e-05",
    "AvgPool counts its padding": "it counts its padding in the mean (count_include_pad=True)",
    "nearest for bilinear, inside": "its resize is nearest, the reference's is bilinear",
    "align_corners, inside": "its resize has align_corners=True, the reference's has False",
    "convolution weight, middle: transposed": "its weight is transposed",
    "mean and variance exchanged": "its running mean and variance are exchanged",
    "standard deviation in place of variance": "its running variance holds the standard deviation",
    "a dilated convolution": "its dilation is 2, the reference's 1",
    "ReLU6 for ReLU": "it applies ReLU6, the reference ReLU",
    "concatenated in another order": "its channels stand in another order",
    "dropout in training alone": "it drops values at random",
    "nearest for bilinear, logits": "its resize is nearest, the reference's is bilinear",
    "bins averaged, not summed": "a constant factor: the reference's is 3 times as large",
}
NO_CAUSE = [
    "convolution weight, early: swapped with a like one",
    "running mean, late: zeroed",
    "pooled where a convolution strides",
    "attention weighs the other map",
    "blurred bilinear, inside",
    "attention left out",
]


@pytest.fixture(scope="module")
def right(embedded):
    return embedded.candidate()


def cause_of(name, embedded, right):
    fault = next(fault for fault in FAULTS if fault.name == name)
    report = judge(embedded.recording, put_into(right, fault), embedded.conversion, weights=False)
    return report.first_divergence.cause


@pytest.mark.parametrize(("name", "cause"), CAUSES.items())
def test_a_known_cause_is_named(name, cause, embedded, right):
    found = cause_of(name, embedded, right)
    assert found is not None
    assert found.startswith(cause)


@pytest.mark.parametrize("name", NO_CAUSE)
def test_no_cause_is_made_up(name, embedded, right):
    assert cause_of(name, embedded, right) is None


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("Paddle's momentum, 0.9, in torch", "BatchNorm's momentum"),
        ("unbiased running variance", "the running variance takes the unbiased variance"),
        ("BatchNorm momentum 0.01", "BatchNorm's momentum"),
        ("autocast to bfloat16 in training", "in training it computes in a narrower type"),
        ("gradient of an auxiliary head stopped", None),
        ("BatchNorm in eval mode in training", None),
    ],
)
def test_the_cause_of_another_training_is_named(name, cause, embedded, right):
    fault = next(fault for fault in TRAINING_FAULTS if fault.name == name)
    report = judge(embedded.recording, put_into(right, fault), embedded.conversion, training=embedded.training)
    assert (report.training_cause or "").startswith(cause or "")
    assert (report.training_cause is None) == (cause is None)
