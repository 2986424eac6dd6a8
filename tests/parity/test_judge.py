"""Judging: what a user should know is in the report, and the candidate is left as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from ppls.parity.judge import judge


def state(module: torch.nn.Module) -> list[object]:
    return [
        [(layer.training, len(layer._forward_hooks), len(layer._forward_pre_hooks)) for layer in module.modules()],
        [(name, tensor.sum().item(), tensor.dtype) for name, tensor in module.state_dict().items()],
        [(weight.requires_grad, weight.grad) for weight in module.parameters()],
        torch.is_grad_enabled(),
    ]


@pytest.mark.parametrize("fault", ["none", "raises in all heads", "in training"])
def test_the_candidate_is_left_as_it_was(fault: str, embedded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    candidate = embedded.candidate()
    if fault == "raises in all heads":

        def fail(x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("in training alone")

        monkeypatch.setattr(candidate.heads[1], "forward", fail)
    elif fault == "in training":
        candidate.train()
    before = state(candidate)
    report = judge(embedded.recording, candidate, embedded.conversion)
    assert report.passed == (fault == "none")
    assert state(candidate) == before


def test_what_the_conversion_warns_of_stands_in_the_report(embedded: Any) -> None:
    warned = replace(embedded.conversion, warnings=["the model of the map must resize like this itself"])
    assert warned.warnings[0] in judge(embedded.recording, embedded.candidate(), warned).warnings
