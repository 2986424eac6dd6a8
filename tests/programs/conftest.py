"""What the tests of programs share: one process of Paddle for all operators."""

from __future__ import annotations

import importlib.util
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
from ppls.programs.program import Program, read_program
from tests.conftest import HERE, made_once
from tests.programs.operator_cases import CASES


class Recorded:
    """What Paddle made of every case, and the programs that it wrote."""

    def __init__(self, folder: Path) -> None:
        self.arrays: dict[str, NDArray[Any]] = dict(np.load(folder / "cases.npz"))
        self.told = json.loads((folder / "cases.json").read_text())
        self._checkpoints = {form: read(folder / form) for form in self.told}
        self.programs = {form: read_program(checkpoint) for form, checkpoint in self._checkpoints.items()}

    def of(self, prefix: str) -> list[NDArray[Any]]:
        """The arrays of a case, in order."""
        found: list[NDArray[Any]] = []
        while (name := f"{prefix}/{len(found)}") in self.arrays:
            found.append(self.arrays[name])
        return found

    def module(self, form: str, case: str) -> ProgramModule:
        """The part of the program that is a case, of its own inputs."""
        if case in self.told[form]["failed"]:
            pytest.fail(f"Paddle cannot make it: {self.told[form]['failed'][case]}", pytrace=False)
        part = self.programs[form].returning(self.told[form]["places"][case])
        taken = {value for step in part.steps for values in step.inputs.values() for value in values}
        own = tuple(each for each in part.inputs if each.value in taken or each.value in part.outputs)
        return self.module_of(form, part._replace(inputs=own))

    def module_of(self, form: str, program: Program) -> ProgramModule:
        """A part of the program, perhaps changed."""
        checkpoint = self._checkpoints[form]
        names = set(program.weights.values())
        return ProgramModule(program, to_torch({name: checkpoint.stored(name) for name in names})).eval()

    def inputs(self, module: ProgramModule, dtype: torch.dtype) -> list[torch.Tensor]:
        """What goes into a case."""
        names = {f"input_{seed}_{at}": (name, at) for seed, name in enumerate(CASES) for at in range(9)}
        given = [
            torch.from_numpy(self.of(f"input/{name}")[at])
            for name, at in (names[each.name] for each in module.program.inputs)
        ]
        return [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in given]


@pytest.fixture(scope="session")
def recorded() -> Recorded:
    if importlib.util.find_spec("paddle") is None:
        pytest.skip("paddle is not installed")

    def make(folder: Path) -> None:
        command = [sys.executable, "-m", "tests.programs.paddle_side", str(folder)]
        done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-4000:]

    return Recorded(made_once("operators", make))
