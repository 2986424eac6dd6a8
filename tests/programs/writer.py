"""Programs that a test writes down, operation by operation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ppls.programs.module import ProgramModule
from ppls.programs.program import Input, Program, Step


class Writer:
    """A program as it is written: operations of a `.pdmodel`, and the weights."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.tensors: dict[str, Tensor] = {}
        self.values = 1  # 0 is the image

    def weight(self, name: str, *shape: int) -> int:
        self.tensors[name] = torch.randn(shape)
        self.values += 1
        return self.values

    def add(self, kind: str, given: str = "Out", attributes: dict[str, Any] | None = None, **inputs: int) -> int:
        self.values += 1
        roles = {role: (value,) for role, value in inputs.items()}
        self.steps.append(Step(len(self.steps), kind, roles, {given: (self.values,)}, attributes or {}, "/Tiny/Part/"))
        return self.values

    def linear(self, name: str, x: int) -> int:
        y = self.add("matmul_v2", X=x, Y=self.weight(f"{name}.w_0", 4, 4))
        return self.add("elementwise_add", X=y, Y=self.weight(f"{name}.b_0", 4))

    def module(self, output: int, height: int = 16) -> ProgramModule:
        made = {value for step in self.steps for values in step.outputs.values() for value in values}
        taken = [value for step in self.steps for values in step.inputs.values() for value in values]
        free = [value for value in dict.fromkeys(taken) if value not in made and value]
        weights = dict(zip(sorted(free), self.tensors, strict=True))
        image = Input("x", 0, "float32", (-1, 3, height, 24))
        return ProgramModule(Program("tiny", "pdmodel", tuple(self.steps), (image,), (output,), weights), self.tensors)
