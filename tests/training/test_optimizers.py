"""Optimizers against Paddle's own, from the same gradients."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from ppls.errors import UsageError
from ppls.training import clipping, optimizers
from tests.training import cases


def run(case: str, dtype: str):
    """As `paddle_side.run_optimizer`: parameters by name, and the optimizer."""
    kind, options, in_groups = cases.OPTIMIZERS[case]
    parameters = {name: torch.from_numpy(array).requires_grad_() for name, array in cases.start(dtype).items()}
    given = list(parameters.values())
    if in_groups:
        groups = cases.grouped(parameters, options.get("weight_decay"))
        given = [{"params": [parameters[name] for name in names], **more} for names, more in groups]
    clip = cases.clip_of(case)
    if clip:
        options = {**options, "clip": getattr(clipping, clip[0])(**clip[1])}
    optimizer = getattr(optimizers, kind)(given, **options)
    for step in range(cases.STEPS):
        for group in optimizer.param_groups:
            group["lr"] = cases.rate(step)
        for name, gradient in cases.gradients(step, dtype).items():
            (parameters[name] * torch.from_numpy(gradient)).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)  # as Paddle's: what had a gradient once has one of zeros
    return parameters, optimizer


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", cases.EXACT)
def test_two_hundred_steps_are_bit_for_bit_paddles(case: str, dtype: str, paddles) -> None:
    parameters, optimizer = run(case, dtype)
    for name, parameter in parameters.items():
        expected = paddles[f"optimizer/{case}/{dtype}/{name}"]
        np.testing.assert_array_equal(parameter.detach().numpy(), expected, err_msg=name)
        for slot, tensor in optimizer.state[parameter].items():
            kind = slot + "_acc" if slot.endswith("pow") else slot  # as Paddle calls it
            expected = paddles[f"optimizer/{case}/{dtype}/{name}/{kind}"]
            np.testing.assert_array_equal(tensor.numpy(), expected, err_msg=f"{name} {slot}")


@pytest.mark.parametrize("case", ["clip_all", "clip_each", "clip_groups"])
def test_gradients_shortened_by_norms_agree_to_rounding(case: str, paddles) -> None:
    dtype, tolerance = ("float32", 3e-6) if case == "clip_each" else ("float64", 1e-13)
    for name, parameter in run(case, dtype)[0].items():
        expected = paddles[f"optimizer/{case}/{dtype}/{name}"]
        np.testing.assert_allclose(parameter.detach().numpy(), expected, atol=tolerance, rtol=0, err_msg=name)


def test_clipping_matters_in_every_case() -> None:
    plain = run("momentum_l2", "float64")[0]
    for case in (*cases.CLIPS, "clip_groups"):
        assert (run(case, "float64")[0]["a.w"] - plain["a.w"]).abs().max() > 1e-3


@pytest.mark.parametrize("case", ["momentum_groups", "adamw_groups"])
def test_a_saved_state_goes_on_to_the_same_bits(case: str) -> None:
    parameters, optimizer = run(case, "float32")
    others = {name: parameter.detach().clone().requires_grad_() for name, parameter in parameters.items()}
    kind, options, _ = cases.OPTIMIZERS[case]
    groups = cases.grouped(others, options["weight_decay"])
    given = [{"params": [others[name] for name in names], **more} for names, more in groups]
    other = getattr(optimizers, kind)(given, **options)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for mine, run_on in ((parameters, optimizer), (others, other)):
        for name, gradient in cases.gradients(0, "float32").items():
            mine[name].grad = torch.from_numpy(gradient)
        run_on.step()
    for name, parameter in parameters.items():
        torch.testing.assert_close(others[name], parameter, atol=0, rtol=0)


def test_parameters_of_several_types_are_updated_together() -> None:
    single, double, half = (
        torch.ones(5, dtype=t, requires_grad=True) for t in (torch.float32, torch.float64, torch.bfloat16)
    )
    optimizer = optimizers.AdamW([single, double, half], 0.1)
    for parameter in (single, double, half):
        parameter.grad = torch.full_like(parameter, 0.3)
    optimizer.step()
    for parameter in (single, double, half):
        torch.testing.assert_close(parameter.float(), torch.full((5,), 0.899), atol=3e-3, rtol=0)


def test_a_closure_computes_the_loss_anew() -> None:
    parameter = torch.ones(3, requires_grad=True)
    optimizer = optimizers.Momentum([parameter], 0.1)

    def closure():
        optimizer.zero_grad()
        loss = (parameter**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 3.0
    torch.testing.assert_close(parameter.detach(), torch.full((3,), 0.8))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lr": -1.0}, "lr is -1.0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"momentum": 1.0}, "momentum is 1.0, but it must be below 1"),
        ({"weight_decay": "5e-4"}, "weight_decay is '5e-4'"),
    ],
)
def test_what_an_optimizer_cannot_be_is_said(options, said: str) -> None:
    with pytest.raises(UsageError) as error:
        optimizers.Momentum([torch.ones(1, requires_grad=True)], **options)
    assert said in str(error.value)
    with pytest.raises(UsageError) as error:
        optimizers.Momentum([{"params": [torch.ones(1, requires_grad=True)], **options}])
    assert said in str(error.value)


@pytest.mark.parametrize("clip", [clipping.ClipGradByGlobalNorm, clipping.ClipGradByNorm, clipping.ClipGradByValue])
def test_what_gradients_cannot_be_shortened_to_is_said(clip) -> None:
    with pytest.raises(UsageError, match="must be above zero"):
        clip(0.0)
