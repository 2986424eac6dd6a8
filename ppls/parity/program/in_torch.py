"""What a program computes, run in torch: a witness of its own where there is no Paddle, of the model alone."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ppls.parity.candidate import CandidateError, run
from ppls.parity.compare import Array
from ppls.parity.inputs import Input
from ppls.parity.program.ends import ends_of, values_of
from ppls.parity.program.recorded import Result
from ppls.parity.reference.figures import difference
from ppls.programs.module import ProgramModule


@dataclass
class TorchProgram:
    """A program in torch, as a witness: in float32, with what it is from itself in float64 as the floor.

    Args:
        module: in float32.
        given: what it is run on; inputs that it cannot be run on are left out.
        dtype: `float32` or `float64`.
    """

    module: ProgramModule
    given: Sequence[Input]
    dtype: str = "float32"

    def __post_init__(self) -> None:
        program = self.module.program
        self._values = values_of(ends_of(program))
        part = program._replace(outputs=tuple(self._values))
        self._double = copy.deepcopy(self.module).double().returning(part)
        self._single = self.module.returning(part)
        self._refused: dict[str, str] = {}
        self._arrays = {each.name: each for each in self.given}
        for name in self._arrays:
            try:
                run(self._single, self._arrays[name].array)
            except CandidateError as error:
                self._refused[name] = str(error)

    @property
    def inputs(self) -> list[str]:
        return [name for name in self._arrays if name not in self._refused]

    @property
    def scope(self) -> str | None:
        if not self._refused:
            return None
        return f"torch does not run it on {', '.join(self._refused)}: {next(iter(self._refused.values()))}"

    def input(self, name: str) -> Array:
        return self._arrays[name].array.astype(self.dtype)

    def is_strong(self, name: str) -> bool:
        return self._arrays[name].strong

    def on(self, name: str) -> Mapping[int, Result]:
        image = self._arrays[name].array
        exact = run(self._double, image.astype(np.float64))
        if self.dtype == "float64":
            return {value: Result(array, None, str(value)) for value, array in zip(self._values, exact, strict=True)}
        own = run(self._single, image)
        return {
            value: Result(array, difference(other, array).scaled, str(value))
            for value, array, other in zip(self._values, own, exact, strict=True)
        }
