"""Losses against PaddleSeg's own classes, in float64: the value, and the gradient of every logit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ppls.errors import UsageError
from ppls.training import losses
from tests.training import cases

IN_FLOAT32 = ("RMILoss", "DualTaskLoss", "SemanticConnectivityLoss")  # in part, whatever they are given


def build(kind: str, options):
    options = dict(options)
    if kind == "MixedLoss":
        options["losses"] = [build(*inner) for inner in options["losses"]]
    if kind == "DetailAggregateLoss":
        options["fuse_kernel"] = cases.FUSE_KERNEL
    return losses.LOSSES[kind](**options)


def tensors(kind: str, dtype=torch.float64):
    arrays, labels = cases.given(kind)
    return [torch.tensor(array, dtype=dtype, requires_grad=True) for array in arrays], torch.from_numpy(labels)


def value_of(loss, kind: str, logits, labels) -> list[torch.Tensor]:
    if kind == "embedded":
        value = loss({"seg": logits[0], "embed": logits[1]}, labels)
    elif kind.startswith("two_logits"):
        value = loss(*logits, *([labels] if kind.endswith("labels") else []))
    else:
        value = loss(logits if kind in ("with_edges", "at_points") else logits[0], labels)
    return value if isinstance(value, list) else [value]


@pytest.fixture(autouse=True)
def draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides draw the same."""
    monkeypatch.setattr(torch, "rand", lambda shape, device: torch.from_numpy(cases.uniform(shape)))
    monkeypatch.setattr(torch, "randperm", lambda count: torch.arange(count - 1, -1, -1))


@pytest.mark.parametrize("case", cases.LOSSES)
def test_value_and_gradient_are_paddleseg_s(case: str, paddles) -> None:
    kind, options, given = cases.LOSSES[case]
    logits, labels = tensors(given)
    values = value_of(build(kind, options), given, logits, labels)
    value_off, gradient_off = (2e-6, 1e-4) if kind in IN_FLOAT32 or case == "distilled_top" else (1e-12, 1e-9)
    np.testing.assert_allclose(
        [value.item() for value in values], paddles[f"loss/{case}/value"], rtol=value_off, atol=0
    )
    sum(values).backward()
    compared = 0
    for place, tensor in enumerate(logits):
        expected = paddles.get(f"loss/{case}/gradient/{place}")
        if expected is None:
            assert tensor.grad is None or not tensor.grad.any()
        else:
            np.testing.assert_allclose(
                tensor.grad, expected, rtol=gradient_off, atol=gradient_off * 1e-3 * abs(expected).max() + 1e-14
            )
            compared += 1
    assert compared or kind == "SemanticConnectivityLoss"
    np.testing.assert_array_equal(labels, paddles[f"loss/{case}/labels"])


@pytest.mark.parametrize("case", [case for case in cases.LOSSES if case not in ("kl", "kl_labels")])
def test_a_loss_computes_in_float32_too(case: str) -> None:
    kind, options, given = cases.LOSSES[case]
    whole, narrow = (
        sum(value_of(build(kind, options), given, *tensors(given, dtype))) for dtype in (torch.float64, torch.float32)
    )
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), whole.double(), rtol=2e-5, atol=1e-6)


def test_dice_overwrites_the_labels_unless_told_otherwise() -> None:
    (logits,), labels = tensors("pixels")
    kept = labels.clone()
    first = losses.LOSSES["DiceLoss"](keep_labels=True)(logits, labels)
    torch.testing.assert_close(labels, kept, atol=0, rtol=0)
    second = losses.LOSSES["DiceLoss"]()(logits, labels)
    assert torch.equal(first, second)
    assert not torch.equal(labels, kept)


def test_a_batch_of_ignored_pixels_has_a_lovasz_loss_of_nothing() -> None:
    (logits,), labels = tensors("ignored")
    loss = losses.LOSSES["LovaszSoftmaxLoss"]()(logits, labels)
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_the_targets_of_details_are_drawn_as_paddleseg_draws_them() -> None:
    torch.manual_seed(0)
    drawn = torch.cat([losses.LOSSES["DetailAggregateLoss"]().fuse_kernel for _ in range(200)])
    bound = 1.5**0.5
    assert drawn.abs().max() <= bound
    assert abs(drawn.std().item() - bound / 3**0.5) < 0.05


@pytest.mark.parametrize(
    ("kind", "options", "given", "said"),
    [
        ("CrossEntropyLoss", {"weight": [1.0]}, "pixels", "1 class weights, but the logits have 4"),
        ("DiceLoss", {"weight": [1.0]}, "pixels", "1 class weights, but the logits have 4"),
        ("BootstrappedCrossEntropyLoss", {"min_K": 1000, "loss_th": 1.0}, "pixels", "an image has 192 pixels"),
        ("EdgeAttentionLoss", {}, "two_logits", "edges have the shape"),
        ("FocalLoss", {}, "pixels", "MultiClassFocalLoss"),
        ("L1Loss", {"reduction": "median"}, "pixels", "reduction is 'median'"),
    ],
)
def test_what_a_loss_cannot_take_is_said(kind: str, options, given: str, said: str) -> None:
    logits, labels = tensors(given)
    with pytest.raises(UsageError) as error:
        build(kind, options)(logits if kind == "EdgeAttentionLoss" else logits[0], labels)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("BCELoss", {"weight": "static"}, "'static'"),
        ("BCELoss", {"pos_weight": "static"}, "'static'"),
        ("MixedLoss", {"losses": [], "coef": [1]}, "0 losses, but 1"),
    ],
)
def test_options_that_a_loss_cannot_have_are_said(kind: str, options, said: str) -> None:
    with pytest.raises(UsageError) as error:
        losses.LOSSES[kind](**options)
    assert said in str(error.value)
