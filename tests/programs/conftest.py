"""What the tests of programs share: one process of Paddle for all operators."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ppls.checkpoint.reader import read
from ppls.models.stored import to_torch
from ppls.programs.module import ProgramModule
from ppls.programs.program import read_program

ROOT = Path(__file__).resolve().parents[2]


class Recorded:
    """What Paddle made of every case, and the programs that it wrote."""

    def __init__(self, folder: Path) -> None:
        self.arrays: dict[str, NDArray[Any]] = dict(np.load(folder / "cases.npz"))
        self.told = json.loads((folder / "cases.json").read_text())
        self._checkpoints = {form: read(folder / form) for form in self.told}
        self._programs = {form: read_program(checkpoint) for form, checkpoint in self._checkpoints.items()}

    def of(self, prefix: str) -> list[NDArray[Any]]:
        """The arrays of a case, in order."""
        found = []
        while (name := f"{prefix}/{len(found)}") in self.arrays:
            found.append(self.arrays[name])
        return found

    def module(self, form: str, case: str) -> ProgramModule:
        """The part of the program that is a case."""
        if case in self.told[form]["failed"]:
            pytest.fail(f"Paddle cannot make it: {self.told[form]['failed'][case]}", pytrace=False)
        program = self._programs[form].returning(self.told[form]["places"][case])
        checkpoint = self._checkpoints[form]
        names = set(program.weights.values())
        return ProgramModule(program, to_torch({name: checkpoint.stored(name) for name in names})).eval()

    def inputs(self, form: str, case: str, dtype: torch.dtype) -> list[torch.Tensor]:
        """Those of the case, in the places that the whole program has for them."""
        seeds = list(dict.fromkeys(name.split("/")[1] for name in self.arrays if name.startswith("input/")))
        own = {f"input_{seeds.index(case)}_{at}": array for at, array in enumerate(self.of(f"input/{case}"))}
        given = (torch.from_numpy(own[each.name]) if each.name in own else torch.zeros(()) for each in self._programs[form].inputs)
        return [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in given]


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    pytest.importorskip("paddle")
    folder = tmp_path_factory.mktemp("operators")
    run = subprocess.run(
        [sys.executable, "-m", "tests.programs.paddle_side", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-4000:]
    return Recorded(folder)
