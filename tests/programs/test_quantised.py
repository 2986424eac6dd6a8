"""Networks of few bits: what Paddle quantised computes the same numbers here, in floating point."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import ppls
from ppls.errors import ConversionError
from ppls.programs.attributes import Attributes
from ppls.programs.module import ProgramModule, load_program
from ppls.programs.operators.quantisation import dequantize_linear

QUANTISED = Path(__file__).parents[1] / "data" / "quantised"
RAN = np.load(QUANTISED / "ran.npz")


def result(module: torch.nn.Module) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = module(torch.from_numpy(RAN["x"]))[0].numpy()
    return found


def test_it_computes_what_paddle_computed_and_says_that_it_was_quantised(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="9 operations quantise or bring back what was quantised, weights too"):
        loaded = ppls.load(QUANTISED)
    conversion = ppls.convert_program(QUANTISED, tmp_path / "out")
    assert any(note.startswith("9 operations quantise") for note in conversion.warnings)
    written = runpy.run_path(str(tmp_path / "out" / "model.py"))["Network"]()
    written.load_state_dict(load_file(tmp_path / "out" / "model.safetensors"))
    for module in (loaded, ppls.load(tmp_path / "out"), written):
        assert np.abs(result(module) - RAN["y"]).max() <= 1e-6
    assert np.abs(RAN["plain"] - RAN["y"]).max() > 1e-3  # which another rounding would not be


def test_what_whole_numbers_are_worth() -> None:
    """Not beside Paddle 3.3, which quantises where a program of its new form says to bring back."""
    run = dequantize_linear(Attributes({"quant_axis": 1, "bit_length": 8, "is_test": True}))
    x = torch.tensor([[-128.0, 127.0], [1.0, -2.0]])
    found = run(x, torch.tensor([2.0, 0.5]), like=x)
    assert torch.allclose(found, x * torch.tensor([2.0, 0.5]) / 127)
    assert torch.allclose(run(x.to(torch.int8), torch.tensor([2.0, 0.5]), like=x), found)


def test_numbers_of_floating_point_are_refused() -> None:
    program = load_program(QUANTISED).program
    steps = tuple(step._replace(attributes={**step.attributes, "qmax": 448}) for step in program.steps)
    with pytest.raises(ConversionError, match="quantize_linear with qmax 448"):
        ProgramModule(program._replace(steps=steps), {})
