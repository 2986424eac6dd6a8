"""Every operator alone, from both forms of a program, against Paddle in float32 and float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ppls.programs.operators import activation
from ppls.programs.registry import every, operator
from tests.programs.conftest import Recorded
from tests.programs.operator_cases import CASES

assert activation


@pytest.mark.parametrize("form", ["pir", "pdmodel"])
@pytest.mark.parametrize("case", CASES)
def test_an_operator_computes_what_paddle_computes(case: str, form: str, recorded: Recorded) -> None:
    module = recorded.module(form, case)
    for dtype, tolerance in (("float32", 3e-6), ("float64", CASES[case].loose)):
        module = module.to(getattr(torch, dtype))
        with torch.no_grad():
            results = module(*recorded.inputs(form, case, getattr(torch, dtype)))
        wanted = recorded.of(f"{dtype}/{case}")
        assert len(results) == len(wanted)
        for result, expected in zip(results, wanted, strict=True):
            found = result.numpy()
            assert found.shape == expected.shape
            assert found.dtype.kind == expected.dtype.kind
            if expected.dtype.kind != "f":
                np.testing.assert_array_equal(found, expected)
                continue
            scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
            assert float(np.abs(found - expected).max(initial=0.0)) <= tolerance * scale
