"""Every operator alone, from both forms of a program, against Paddle in float32 and float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ppls.programs.registry import every, find, operator
from tests.programs.conftest import Recorded
from tests.programs.operator_cases import CASES

UNTESTED = {
    # what today's functions of Paddle do not write: other devices', other names, and Paddle 1's in PIR
    "pir": {"affine_channel", "assign_out", "memcpy", "norm", "share_data", "shuffle_channel", "sync_batch_norm"}
    | {"mean_all", "shape", "tensor_unfold"}
    | {"dequantize_linear"}  # as which Paddle 3.3 runs quantize_linear; see test_quantised.py
    | {"if"}  # see test_branches.py
    | {
        "while",
        "create_array",
        "array_length",
        "array_read",
        "slice_array_dense",
        "array_to_tensor",
        "array_write",
    },  # see test_loops.py
    # what Paddle 3.3 has no more
    "pdmodel": {"fill_zeros_like", "flatten", "hard_tanh", "pad2d", "squeeze", "unsqueeze"}
    | {"dequantize_linear", "memcpy", "share_data", "sync_batch_norm", "tensor_unfold", "top_k"},
}


@pytest.mark.parametrize("form", ["pir", "pdmodel"])
@pytest.mark.parametrize("case", CASES)
def test_an_operator_computes_what_paddle_computes(case: str, form: str, recorded: Recorded) -> None:
    module = recorded.module(form, case)
    for dtype, tolerance in (("float32", 3e-6), ("float64", CASES[case].loose)):
        if tolerance is None:
            continue
        module = module.to(getattr(torch, dtype))
        with torch.no_grad():
            results = module(*recorded.inputs(module, getattr(torch, dtype)))
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


def test_an_operator_is_registered_once() -> None:
    first = every()[0]
    for form, names in first.names.items():
        for name in names:
            with pytest.raises(ValueError, match=f"{name} of {form} is registered twice"):
                operator(**{form: name})(first.make)
            assert find(form, name) is first


@pytest.mark.parametrize("form", ["pir", "pdmodel"])
def test_every_operator_of_both_forms_is_run_beside_paddle(form: str, recorded: Recorded) -> None:
    """Those of which Paddle 3.3 writes no operation, or which are another's name, stand here."""
    run = {step.kind for step in recorded.programs[form].steps}
    names = {name for each in every() for name in each.names[form]}
    assert names - run == UNTESTED[form]
