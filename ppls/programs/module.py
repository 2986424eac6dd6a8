"""A torch module made from a program, operation by operation."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.reader import read
from ppls.errors import CheckpointError, ConversionError, InputError, first_line
from ppls.images.usage import Usage
from ppls.models.stored import to_torch
from ppls.programs.calls import FAILURES, MOST_ROUNDS, OneCall, Rounds, as_tensors, values_in
from ppls.programs.operators import quantisation
from ppls.programs.plan import Planned, plan
from ppls.programs.program import Program, read_program
from ppls.programs.shorter import shorter
from ppls.programs.tree import put, put_module, set_weight
from ppls.shown import listed, shown


def load_program(path: str | Path, *, until: str | None = None) -> ProgramModule:
    """The network that an export is, in eval mode, made from its program and its weights alone.

    Args:
        path: what `ppls.read` takes of an export: a folder, a weights file with its program beside it, an archive.
        until: the part up to an operation, see `Program.until`.

    Raises:
        CheckpointError: it is no export, or it is damaged.
        ConversionError: operators that cannot be run in torch; the message names all of them.
        UsageError: there is no operation `until`.
    """
    checkpoint = read(path)
    program = read_program(checkpoint)
    return module_of(program if until is None else program.until(until), checkpoint)


def module_of(program: Program, checkpoint: Checkpoint) -> ProgramModule:
    """The module of a program, in eval mode; `checkpoint` has its weights, and perhaps others, which are left out."""
    names = set(program.weights.values())
    return ProgramModule(
        program, to_torch({name: checkpoint.stored(name) for name in checkpoint if name in names})
    ).eval()


def unused_by(program: Program, checkpoint: Checkpoint) -> tuple[str, ...]:
    """The tensors of a checkpoint that a program does not use."""
    used = set(program.weights.values())
    return tuple(name for name in checkpoint if name not in used)


def notes_on(program: Program, checkpoint: Checkpoint, *, part: bool) -> list[str]:
    """What must be said of a module that is made of a program, of a part of one or of the whole, in sentences."""
    notes = []
    if (unused := unused_by(program, checkpoint)) and not part:
        notes.append(
            f"{len(unused)} of {len(checkpoint)} tensors are not used by what the program returns, and left out: "
            f"{listed([shown(name, 80) for name in unused], 5)}"
        )
    if quantised := sum(step.kind in quantisation.KINDS for step in program.steps):
        notes.append(
            f"{quantised} operations quantise or bring back what was quantised, weights too: all is computed in "
            "floating point, rounded as the quantised network rounds"
        )
    return notes


class StoredIn(NamedTuple):
    """Where a weight is: the module that has it, and its name in there."""

    value: int
    owner: nn.Module
    name: str


class ProgramModule(nn.Module):
    """The network of a program.

    It takes the program's inputs in their order and returns its outputs as a list. Its weights have the names that the
    checkpoint has for them; batch norms and dropouts are modules, which training switches. What the program has in
    float32 is computed in whatever type the module is brought to.

    Attributes:
        program: what it computes.
        usage: what is known about its images.

    Args:
        program: as the attribute.
        tensors: the weights, by their names in the checkpoint.

    Raises:
        ConversionError: operators that cannot be run in torch.
        CheckpointError: a weight is missing.
    """

    _like: Tensor
    usage: Usage

    def __init__(self, program: Program, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.program = program
        self.usage = Usage()
        self._rounds = Rounds()
        planned = plan(program, self._rounds)
        if missing := sorted(set(program.weights.values()) - tensors.keys()):
            raise CheckpointError(f"{program.source}: {len(missing)} weights are missing: {shown(missing[0])}")
        self.register_buffer("_like", torch.zeros(()), persistent=False)
        self._gives_maps = False
        self._weights: list[StoredIn] = []
        self._calls: list[OneCall] = []
        self._runs: dict[int, nn.Module] = {}  # of each operation that is a layer, by its place
        layers = _Layers(self, program, tensors)
        put_already: set[int] = set()
        for each in planned:  # in the order in which they are used: the first is that of the first operation
            if each.operator.layer:
                self._runs[each.step.place] = layers.module(each)
            for value in values_in(each.arguments):
                self._put(value, tensors, put_already)
        for value in program.outputs:
            self._put(value, tensors, put_already)
        self._prepare(planned)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of its one input, -1 where a side may be any; of several inputs that of the first."""
        return self.program.inputs[0].shape if self.program.inputs else ()

    @property
    def only_size(self) -> tuple[int, int] | None:
        """The height and width of images, in pixels, where it was exported for no others."""
        height, width = self.input_shape[-2:] if len(self.input_shape) == 4 else (-1, -1)
        return None if -1 in (height, width) else (height, width)

    def logits(self) -> ProgramModule:
        """The same network, of the same weights, that returns the logits `(N, classes, H, W)` of its first output.

        Raises:
            ConversionError: it takes something else than an image, or its output is made of no such logits.
        """
        program = self.program
        if len(program.inputs) != 1 or program.inputs[0].dtype != "float32" or len(program.inputs[0].shape) != 4:
            given = ", ".join(f"{shown(each.name, 40)} ({each.dtype} {list(each.shape)})" for each in program.inputs)
            raise ConversionError(f"{program.source}: takes {given or 'nothing'}, where a network takes one image")
        part = self.returning(program.logits())
        part._gives_maps = True
        return part

    def returning(self, program: Program) -> ProgramModule:
        """The same weights in a part of the program."""
        part = copy.copy(self)
        part.program = program
        part._prepare(plan(program, self._rounds))
        return part

    def _put(self, value: int, tensors: Mapping[str, Tensor], already: set[int]) -> None:
        name = self.program.weights.get(value)
        if name is not None and value not in already:
            already.add(value)
            self._weights.append(StoredIn(value, *put(self, name, tensors[name])))

    def _prepare(self, planned: list[Planned]) -> None:
        self._calls = [each.call(self._runs.get(each.step.place)) for each in planned]
        weights = {weight.value: getattr(weight.owner, weight.name) for weight in self._weights}
        self._constants, self._left = shorter(planned, self._calls, self.program.outputs, weights)

    def __getstate__(self) -> dict[str, Any]:
        functions = ("_calls", "_left")  # are not pickled
        return {name: value for name, value in self.__dict__.items() if name not in functions}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._prepare(plan(self.program, self._rounds))

    def forward(self, *inputs: Tensor) -> list[Tensor]:
        self.check(inputs)
        like = self._like
        values: dict[int, Any] = {each.value: given for each, given in zip(self.program.inputs, inputs, strict=True)}
        for weight in self._weights:
            values[weight.value] = getattr(weight.owner, weight.name)
        values.update(self._constants)
        self._rounds.left = MOST_ROUNDS
        for call in self._left:
            try:
                call.into(values, like)
            except FAILURES as error:
                if torch.compiler.is_compiling() or torch.compiler.is_exporting():
                    raise
                raise self.failed(call, error) from error
        outputs = self.outputs(values, like)
        if self._gives_maps and outputs[0].dim() != 4:
            raise ConversionError(
                f"{self.program.source}: gives an array of shape {list(outputs[0].shape)}, where a network that tells "
                "the classes of pixels gives logits (N, classes, H, W)"
            )
        return outputs

    @property
    def like(self) -> Tensor:
        """A tensor of the type and on the device that it computes in."""
        return self._like

    def weights(self) -> list[StoredIn]:
        """Where the weights are that operations are given as arguments."""
        return self._weights

    def names(self) -> dict[int, str]:
        """The name of each weight in the module, by its value in the program."""
        layers = {id(layer): name for name, layer in self.named_modules()}
        found = {
            value: f"{layers[id(self._runs[each.step.place])]}.{name}"
            for each in plan(self.program)
            if each.operator.layer
            for name, value in each.weights.items()
        }
        return found | {
            weight.value: ".".join(filter(None, [layers[id(weight.owner)], weight.name])) for weight in self._weights
        }

    def calls(self) -> list[OneCall]:
        """What runs, in order, from the first: loops may run their rounds anew."""
        self._rounds.left = MOST_ROUNDS
        return self._calls

    def outputs(self, values: Mapping[int, Any], like: Tensor) -> list[Tensor]:
        """Of all values those that are returned."""
        return [as_tensors(values[value], like) for value in self.program.outputs]

    def check(self, inputs: Sequence[Tensor]) -> None:
        """Raises `InputError` for inputs that the program was not exported for."""
        if len(inputs) != len(self.program.inputs):
            raise InputError(f"the program takes {len(self.program.inputs)} inputs, not {len(inputs)}")
        for known, given in zip(self.program.inputs, inputs, strict=True):
            sides = zip(known.shape, given.shape, strict=False)
            if given.dim() != len(known.shape) or any(side not in (-1, found) for side, found in sides):
                raise InputError(
                    f"{self.program.source} was exported for an input '{shown(known.name, 80)}' of shape "
                    f"{list(known.shape)}, where -1 is any; this one is of {list(given.shape)}"
                )

    def failed(self, call: OneCall, error: Exception) -> ConversionError:
        """What to raise where an operation cannot be run."""
        step = next(step for step in self.program.steps if step.place == call.place)
        where = f" in {shown(step.layer, 100)}" if step.layer else ""
        return ConversionError(
            f"{self.program.source}: operation {step.place}{where}, {shown(step.kind, 80)}, cannot be run on this "
            f"input: {first_line(error)}"
        )


class _Layers:
    """The modules of layers: one for all operations that share its weights and are otherwise alike."""

    def __init__(self, root: nn.Module, program: Program, tensors: Mapping[str, Tensor]) -> None:
        self._root = root
        self._program = program
        self._tensors = tensors
        self._made: dict[Any, nn.Module] = {}
        self._count = 0

    def module(self, planned: Planned) -> nn.Module:
        module = planned.run
        assert isinstance(module, nn.Module)
        key = (tuple(planned.weights.values()), repr(module)) if planned.weights else planned.step.place
        if key in self._made:
            return self._made[key]
        self._made[key] = module
        names = {name: self._program.weights.get(value, "") for name, value in planned.weights.items()}
        for name, tensor in names.items():
            if not tensor:
                raise ConversionError(
                    f"{self._program.source}: operation {planned.step.place}, {shown(planned.step.kind, 80)}, has "
                    f"{name} computed, not as a weight"
                )
            set_weight(module, name, self._tensors[tensor])
        put_module(self._root, self._prefix(names, planned), module)
        return module

    def _prefix(self, names: Mapping[str, str], planned: Planned) -> str:
        """What the names of its weights have in common, `backbone.bn1`; else the operator and a number."""
        prefixes = {name.rpartition(".")[0] for name in names.values()}
        if len(prefixes) == 1 and (prefix := prefixes.pop()):
            return prefix
        self._count += 1
        return f"{planned.operator.name}_{self._count - 1}"
