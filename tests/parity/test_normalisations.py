"""A normalisation's epsilon and momentum are found out by what it does, however it is written."""

import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ppls.models.norms import BatchNorm2d
from ppls.parity.normalisations import (
    Running,
    epsilon_of_layer,
    epsilons_of_operators,
    find_running,
    momenta,
    without_variance,
)
from ppls.parity.stages.arrangement import Experiment
from ppls.parity.stages.numerics import compare_numerics
from ppls.parity.tolerance import Tolerances

from .faults.architectures.resnet_vd import ByHand
from .faults.architectures.segformer import NormByHand, StdNorm
from .right_models.norms import as_function

IMAGE = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)
RUNNING = {"layer": Running("0.running_mean", "0.running_var", "0.weight")}


def drawn(norm):
    for tensor in (norm.weight, norm.running_mean, norm.running_var):
        tensor.data.uniform_(0.5, 2, generator=torch.Generator().manual_seed(0))
    return nn.Sequential(norm).eval()


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        (nn.BatchNorm2d(3, momentum=0.3), 0.3),
        (nn.BatchNorm2d(3, momentum=None), 1.0),  # its first call
        (BatchNorm2d(3, momentum=0.01), 0.01),
        (ByHand(BatchNorm2d(3), 1e-5, 0.9), 0.9),
        (nn.BatchNorm2d(3, momentum=0.0), 0.0),
    ],
)
def test_momentum_is_how_far_a_statistic_moves(norm, expected):
    model = drawn(norm)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert momenta(model, RUNNING, IMAGE)["layer"] == pytest.approx((expected, expected), abs=1e-6)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not norm.training


def test_of_what_cannot_train_no_momentum_is_told():
    model = drawn(nn.BatchNorm2d(3))
    assert momenta(model, RUNNING, IMAGE[:1, :, :1, :1]) == {}  # one value per channel


@pytest.mark.parametrize(
    ("norm", "is_right"),
    [
        (BatchNorm2d(3), True),
        (ByHand(BatchNorm2d(3), 1e-5), True),
        (BatchNorm2d(3, eps=1.1e-5), False),
        (ByHand(BatchNorm2d(3), 1.1e-5), False),
        (ByHand(BatchNorm2d(3), 1e-5, beside=True), False),
        (ByHand(BatchNorm2d(3), 0.0), False),
    ],
)
def test_without_variance_and_with_less_weight_a_norm_of_this_epsilon_gives_the_same(norm, is_right):
    model = drawn(norm)
    values = without_variance(RUNNING, {"layer": 1e-5}, model.state_dict())
    moved = Experiment(model, IMAGE, nullcontext).of_values(values)
    assert (moved < 1e-5) == is_right
    assert is_right or moved > 1e-2


@pytest.mark.parametrize("epsilon", [1e-3, 1e-5, 1e-6, 1e-12])
@pytest.mark.parametrize("make", [lambda norm: norm, lambda norm: NormByHand(norm, norm.eps)])
def test_a_layer_without_statistics_tells_its_epsilon_by_what_is_small(epsilon, make):
    norm = nn.LayerNorm(8, eps=epsilon)
    norm.weight.data.uniform_(0.5, 2)
    norm.bias.data.normal_()
    assert epsilon_of_layer(make(norm), (2, 5, 8), epsilon) == pytest.approx(epsilon, rel=1e-4)
    assert epsilon_of_layer(make(norm), (2, 5, 8), 1e-6) == pytest.approx(epsilon, rel=1e-3, abs=1e-9)


def test_an_epsilon_beside_the_deviation_is_another():
    assert not math.isclose(epsilon_of_layer(StdNorm(nn.LayerNorm(8, eps=1e-6)), (2, 5, 8), 1e-6), 1e-6, rel_tol=0.1)


@pytest.mark.parametrize("layer", [nn.Linear(8, 8), nn.Identity(), nn.Linear(4, 4), nn.ReLU()])
def test_what_does_not_normalise_has_no_epsilon(layer):
    assert epsilon_of_layer(layer, (2, 5, 8), 1e-6) is None


def test_an_operator_is_told_its_epsilon():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.tokens = nn.BatchNorm2d(3), nn.LayerNorm(4)

        def forward(self, x):
            norm, tokens = self.norm, self.tokens
            x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=0.1)
            return F.layer_norm(x, (4,), tokens.weight, tokens.bias, 0.2)

    model = Model().eval()
    found = epsilons_of_operators(model, IMAGE, nullcontext)
    assert found == {model.norm.weight.data_ptr(): 0.1, model.tokens.weight.data_ptr(): 0.2}


@pytest.fixture(scope="module")
def right(embedded):
    return embedded.candidate()


def test_tensors_are_found_by_name_and_else_by_value(embedded, right):
    layers = {call.module for call in embedded.recording.calls if "momentum" in call.numerics}
    state = right.state_dict()
    found = find_running(embedded.conversion, layers, state)
    assert len(found) == len(layers) == 48
    renamed = {f"other.{i}": state[name] for i, name in enumerate(state)}
    by_value = find_running(embedded.conversion, layers, renamed)
    assert {name: renamed[norm.variance].data_ptr() for name, norm in by_value.items()} == {
        name: state[norm.variance].data_ptr() for name, norm in found.items()
    }


class Renamed(nn.Module):
    """Of which no layer and no tensor has a name that anybody knows, and whose norms are functions."""

    def __init__(self, model, epsilon=1e-5, momentum=0.1):
        super().__init__()
        as_function(model)
        norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
        self.running = nn.ParameterList([norm.weight for norm in norms])
        norms[7].eps = epsilon
        self.inner = [model]
        for index, norm in enumerate(norms):
            for name in ("running_mean", "running_var"):
                self.register_buffer(f"{name}{index}", getattr(norm, name))

    def forward(self, x):
        return self.inner[0](x)

    def train(self, mode=True):
        self.inner[0].train(mode)
        return super().train(mode)


@pytest.mark.parametrize(("epsilon", "failures"), [(1e-5, 0), (1.2e-5, 1)])
def test_functions_of_a_model_without_names_are_compared_too(embedded, epsilon, failures):
    model = Renamed(embedded.candidate(), epsilon).eval()
    recording, conversion = embedded.recording, embedded.conversion
    found = compare_numerics(recording, conversion, model, [], Tolerances(), nullcontext, trained=True)
    assert len(found.failures) == failures
    assert found.compared >= 90
    attributes = compare_numerics(recording, conversion, model, [], Tolerances(), None, trained=True)
    assert (attributes.compared, attributes.failures) == (0, ())


@pytest.mark.parametrize("trained", [True, False])
def test_another_momentum_is_a_failure_where_training_was_asked_for(embedded, right, trained):
    norm = right.decoder[0].conv_out.bn
    norm.momentum = 0.2
    try:
        found = compare_numerics(
            embedded.recording, embedded.conversion, right, [], Tolerances(), nullcontext, trained=trained
        )
    finally:
        norm.momentum = 0.1
    said = ("decoder.0.conv_out.bn has momentum 0.2, not 0.1 as the reference's",)
    assert (found.failures, found.warnings) == ((said, ()) if trained else ((), said))
