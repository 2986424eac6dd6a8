"""What draws numbers and what normalises with the batch is told by what it does, and kept from it while heads run."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ppls.models.layers import DropPath
from ppls.models.norms import BatchNorm2d
from ppls.parity.candidate import run
from ppls.parity.randomness import all_heads, find_quiet, observe_training

IMAGE = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)


class Function(nn.Module):
    """A module that is a function of its input and of its mode, called something that tells nothing."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x, self.training)


class ByHand(nn.Module):
    """A batch normalisation whose statistics are buffers of other names."""

    a: torch.Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("a", torch.zeros(3))
        self.register_buffer("b", torch.ones(3))

    def forward(self, x):
        if self.training:
            a, b = x.mean((0, 2, 3)), x.var((0, 2, 3))
            self.a = self.a.lerp(a, 0.1)
            self.b.lerp_(b, 0.1)
        else:
            a, b = self.a, self.b
        return (x - a[:, None, None]) / torch.sqrt(b[:, None, None] + 1e-5)


def depth(x, training):
    if not training:
        return x
    return x * torch.floor(0.8 + torch.rand(x.shape[0], 1, 1, 1)) / 0.8


OWN = torch.Generator()

RESTLESS = {
    "dropout": (nn.Dropout(0.1), 0.1),
    "of channels": (nn.Dropout2d(0.3), 0.3),
    "stochastic depth": (DropPath(0.4), 0.4),
    "dropout as a function": (Function(lambda x, training: F.dropout2d(x, 0.25, training)), 0.25),
    "stochastic depth as a function": (Function(depth), None),
    "randomised slopes": (nn.RReLU(), None),
    "Python's": (Function(lambda x, training: x * random.random() if training else x), None),
    "numpy's": (Function(lambda x, training: x * np.random.rand() if training else x), None),
    "a generator of its own": (
        Function(lambda x, training: x * torch.rand((), generator=OWN) if training else x),
        None,
    ),
    "an attention": (
        Function(lambda x, training: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5 if training else 0.0)),
        None,
    ),
}
UPDATING = {
    "torch's": nn.BatchNorm2d(3),
    "a sum of all batches": nn.BatchNorm2d(3, momentum=None),
    "ppls's": BatchNorm2d(3),
    "by hand": ByHand(),
    "spectral": nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 3, 3, padding=1)),
}


class Heads(nn.Module):
    """Two maps in training, one else."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return [self.layer(x), x] if self.training else [self.layer(x)]


UPDATING["spectral"].parametrizations.weight[0]._u.add_(1)  # far from where its iteration ends


@pytest.mark.parametrize("kind", [*RESTLESS, *UPDATING])
def test_it_is_seen_and_with_all_heads_it_does_as_in_eval_mode(kind):
    layer, rate = RESTLESS.get(kind, (UPDATING.get(kind), None))
    model = Heads(layer).eval()
    (expected,) = run(model, IMAGE)
    seen = observe_training(model, IMAGE)
    assert seen.outputs == 2
    assert [draw.module for draw in seen.draws] == ([layer] if kind in RESTLESS else [])
    assert all(draw.rate == (None if rate is None else pytest.approx(rate)) for draw in seen.draws)
    assert bool(seen.updated) == (kind in UPDATING)
    quiet = find_quiet(model, [IMAGE])
    with all_heads(model, quiet):
        found, _ = run(model, IMAGE)
    assert np.array_equal(found, expected)
    assert not any(part.training for part in model.modules())
    assert np.array_equal(run(model, IMAGE)[0], expected)


@pytest.mark.parametrize(
    "layer", [nn.ReLU(), nn.LayerNorm(4), nn.Conv2d(3, 3, 1), nn.InstanceNorm2d(3), nn.Dropout(0.0)]
)
def test_what_does_in_training_as_else_is_left_alone(layer):
    assert observe_training(nn.Sequential(layer), IMAGE).restless() == []


class Decides(nn.Module):
    """Decides upon its heads and does everything itself, as functions."""

    def __init__(self, drop):
        super().__init__()
        self.inner = nn.Conv2d(3, 3, 1)
        self.drop = drop
        self.register_buffer("mean", torch.randn(3))
        self.register_buffer("variance", torch.rand(3) + 1)

    def forward(self, x):
        x = F.batch_norm(self.inner(x), self.mean, self.variance, training=self.training)
        y = self.drop(x, self.training)
        return [y, x] if self.training else [y]


@pytest.mark.parametrize(
    "drop",
    [
        lambda x, training: F.dropout(x, 0.3, training),
        lambda x, training: F.dropout2d(x, 0.3, training),
        lambda x, training: x * torch.bernoulli(torch.full_like(x[:, :1], 0.7)) / 0.7 if training else x,
        lambda x, training: x * torch.bernoulli(x[:, :1], 0.7) / 0.7 if training else x,
    ],
)
def test_functions_of_the_module_that_decides_upon_heads_are_stilled_one_by_one(drop):
    model = Decides(drop).eval()
    (expected,) = run(model, IMAGE)
    quiet = find_quiet(model, [IMAGE])
    assert quiet.by_operator
    with all_heads(model, quiet):
        found, _ = run(model, IMAGE)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_where_there_is_no_way_it_is_said():
    quiet = find_quiet(Decides(depth).eval(), [IMAGE])
    assert quiet.problem is not None


def test_a_module_that_raises_on_the_first_image_is_run_on_the_next():
    norm = nn.BatchNorm2d(3)
    one = IMAGE[:1, :, :1, :1]  # more than one value per channel is expected
    assert find_quiet(nn.Sequential(norm), [one, IMAGE]).training.updated == (norm,)
    alone = find_quiet(nn.Sequential(norm), [one])
    assert alone.still == (norm,)


def test_a_layer_that_answers_one_of_the_reference_draws_for_all_to_see():
    model = Heads(Function(lambda x, training: F.dropout(x, 0.5, training))).eval()
    with all_heads(model, find_quiet(model, [IMAGE], [model.layer])):
        assert not np.array_equal(run(model, IMAGE)[0], IMAGE)


def test_what_dropout_of_scripted_modules_does_is_kept_from_them():
    model = torch.jit.script(nn.Sequential(nn.Conv2d(3, 3, 1), nn.Dropout(0.5), nn.BatchNorm2d(3)).eval())
    (expected,) = run(model, IMAGE)
    with all_heads(model, find_quiet(model, [IMAGE])):
        np.testing.assert_allclose(run(model, IMAGE)[0], expected, rtol=1e-6)


def test_what_draws_in_eval_mode_too_is_at_fault_and_goes_on_drawing():
    drop = Function(lambda x, training: F.dropout(x, 0.5, True))
    model = Heads(drop).eval()
    quiet = find_quiet(model, [IMAGE])
    with all_heads(model, quiet):
        assert not np.array_equal(run(model, IMAGE)[0], run(model, IMAGE)[0])


def test_what_normalises_one_value_is_kept_from_it_as_its_like_are():
    """A module that takes its images one by one has one value per channel behind a pooling: it learns nothing of it."""
    pooled = BatchNorm2d(3)
    pooled.running_var.fill_(4.0)
    model = nn.Sequential(BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), pooled).eval()
    (expected,) = run(model, IMAGE[:1])
    with all_heads(model, find_quiet(model, [IMAGE[:1]])):
        (found,) = run(model, IMAGE[:1])
    assert np.array_equal(found, expected)
