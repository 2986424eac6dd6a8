"""What training alone does inside a candidate, seen while it runs: numbers are drawn, statistics are updated.

Nothing is told by what a class or an attribute is called. A module draws where a generator is in another state after
its part of a run than before; it has statistics where the run changes its buffers.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from ppls.parity.candidate import run
from ppls.parity.compare import Array
from ppls.parity.operators import OperatorMode, named
from ppls.parity.reference_run import Recording
from ppls.parity.state import state_kept


@dataclass(frozen=True)
class Draw:
    """A draw of the module that made it, with the rate of the dropout that it is; None where that cannot be told."""

    module: nn.Module
    rate: float | None


@dataclass(frozen=True)
class Training:
    """What a module does in train mode.

    Attributes:
        draws: in order of execution.
        updated: the modules whose buffers change, and those that change another's.
        outputs: how many tensors the module returns; None where it raised.
    """

    draws: tuple[Draw, ...]
    updated: tuple[nn.Module, ...]
    outputs: int | None

    def restless(self, at_fault: Collection[nn.Module] = ()) -> list[nn.Module]:
        """The modules to be kept from drawing and updating; not from drawing those that should not, and are to show."""
        drawing = [draw.module for draw in self.draws if draw.module not in at_fault]
        return list(dict.fromkeys([*drawing, *self.updated]))


@dataclass(frozen=True)
class Quiet:
    """How to have a module run all of its heads while nothing is drawn and nothing normalised with the batch.

    Attributes:
        training: what it does where it is not kept from it.
        still: the modules whose own flag says eval while all others train.
        by_operator: dropouts and normalisations are replaced where they are called, since the module that calls them
            is the one that decides upon heads.
        problem: why there is no way; None where there is one.
    """

    training: Training
    still: tuple[nn.Module, ...]
    by_operator: bool = False
    problem: str | None = None


def small_inputs(recording: Recording) -> list[Array]:
    """Inputs of one shape after another that a candidate may take in training, cheap ones first.

    The first has two images, as torch's own BatchNorm wants of what is one pixel in the end.
    """
    smallest = min((recording.input(name) for name in recording.inputs), key=lambda array: array.size)
    corner = smallest[..., :64, :64]
    return [np.concatenate([corner, corner[..., ::-1]]), smallest]


def witness_input(recording: Recording) -> Array:
    """Of the layers' input as much as lets every layer speak and a backward pass stay cheap."""
    return recording.input(recording.layers_input or next(iter(recording.inputs)))[..., :128, :256]


def find_quiet(module: nn.Module, images: Iterable[Array], layers: Iterable[nn.Module] = ()) -> Quiet:
    """Finds out by running it what `module` does in training and how to keep it from that; its state is put back.

    Args:
        images: the first counts on which the module does not raise.
        layers: those that answer the reference's, none of which draws: what these draw is a fault, and not hidden.
    """
    at_fault = set(layers)
    for image in images:
        training = observe_training(module, image)
        if training.outputs is not None:
            break
    if training.outputs is None and not _has_train_mode(module):
        return Quiet(training, (), problem="the candidate has no train mode")
    if training.outputs is None:  # some normalisations cannot train here: synchronised ones, or on one value
        settled = observe_training(module, image, partial(all_heads, module, Quiet(training, with_statistics(module))))
        if settled.outputs is not None:
            training = replace(settled, updated=with_statistics(module))
    kinds = {type(part) for part in training.updated}  # one of a kind may see a single value, and learn nothing of it
    alike = [part for part in with_statistics(module) if type(part) in kinds]
    training = replace(training, updated=tuple(dict.fromkeys([*training.updated, *alike])))
    restless = training.restless(at_fault)
    scripted = [part for root in restless if isinstance(root, torch.jit.ScriptModule) for part in root.modules()]
    alone = [part for part in dict.fromkeys([*restless, *scripted]) if not list(part.children())]
    by_flags = Quiet(training, tuple(restless))
    if not restless or training.outputs is None:  # what raises is judged where its outputs are
        return by_flags
    seen_at_rest = False
    for way in (by_flags, Quiet(training, tuple(alone)), Quiet(training, tuple(alone), by_operator=True)):
        left = observe_training(module, image, partial(all_heads, module, way))
        if left.restless(at_fault) and not seen_at_rest:  # what is so in eval mode too is a fault
            at_fault |= set(observe_training(module, image, eager).restless())
            seen_at_rest = True
        if not left.restless(at_fault) and left.outputs == training.outputs:
            return way
    problem = "the candidate's train mode cannot be run without drawing numbers or normalising with the batch"
    return Quiet(training, (), problem=problem)


def _has_train_mode(module: nn.Module) -> bool:
    """What torch.export made has none: its `train` refuses."""
    try:
        with state_kept(module):
            module.train()
    except NotImplementedError:
        return False
    return True


def with_statistics(module: nn.Module) -> tuple[nn.Module, ...]:
    """The modules that hold two or more vectors of one length as buffers, as normalisations do."""
    found = []
    for part in module.modules():
        shapes = [tuple(buffer.shape) for _, buffer in part.named_buffers(recurse=False) if buffer.ndim == 1]
        if len(set(shapes)) < len(shapes):
            found.append(part)
    return tuple(found)


@contextmanager
def all_heads(module: nn.Module, quiet: Quiet) -> Iterator[None]:
    """Train mode, so that heads of training run, while nothing is drawn and nothing normalised with the batch."""
    with state_kept(module), eager():
        module.train()
        for part in quiet.still:
            part.training = False  # the flag alone: what it contains may have heads
        with _Stilled() if quiet.by_operator else nullcontext():
            yield


def eager() -> AbstractContextManager[Any]:
    """What torch.compile made is run as it was written: its modules are then seen one by one."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and the import takes seconds
        return nullcontext()
    set_stance = getattr(torch.compiler, "set_stance", None)  # since torch 2.6
    return nullcontext() if set_stance is None else set_stance("force_eager")


def observe_training(
    module: nn.Module, image: Array, mode: Callable[[], AbstractContextManager[Any]] | None = None
) -> Training:
    """Runs a module in train mode, or in the given one, and sees what it does; its state is put back.

    What raises is seen up to there.
    """
    watch = _Watch()
    outputs: int | None = None
    with state_kept(module), ExitStack() as stack:
        before = {part: _buffers(part) for part in module.modules()}
        stack.enter_context(watch)
        if not any(
            isinstance(part, torch.jit.ScriptModule) for part in before
        ):  # some of its calls are none of Python's
            stack.enter_context(_WatchedOperators(watch))
        try:
            stack.enter_context(mode() if mode else eager())
            if mode is None:
                module.train()
            outputs = len(run(module, image))
        except Exception:  # what torch.export made has no train mode
            outputs = None
        updated = [part for part, buffers in before.items() if _buffers(part) != buffers]
    return Training(tuple(watch.draws), tuple(dict.fromkeys([*updated, *watch.updating])), outputs)


def _buffers(part: nn.Module) -> list[bytes]:
    return [
        hashlib.sha1(_bytes(tensor), usedforsecurity=False).digest() for _, tensor in part.named_buffers(recurse=False)
    ]


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


class _Watch:
    """Notes which module is at work when a generator changes, torch's, numpy's, or Python's, or a buffer."""

    def __init__(self) -> None:
        self.draws: list[Draw] = []
        self.updating: dict[nn.Module, None] = {}
        self._running: list[nn.Module] = []
        self._held: list[dict[nn.Module, list[bytes]]] = []
        self._explained: set[nn.Module] = set()
        self._handles: list[Any] = []
        self._generators = _generators()

    def __enter__(self) -> _Watch:
        self._handles = [
            register_module_forward_pre_hook(self._enter_module),
            register_module_forward_hook(self._leave_module, always_call=True),
        ]
        return self

    def __exit__(self, *error: Any) -> None:
        for handle in self._handles:
            handle.remove()

    def note(self, rate: float | None) -> None:
        """Notes a draw of the module that is at work."""
        if self._running:
            self.draws.append(Draw(self._running[-1], rate))
        self._generators = _generators()

    def _enter_module(self, module: nn.Module, inputs: Any) -> None:
        self._look()
        self._running.append(module)
        self._held.append({part: _buffers(part) for part in (module, *module.children())})

    def _leave_module(self, module: nn.Module, inputs: Any, result: Any) -> None:
        self._look()
        self._running.pop()
        for part, before in self._held.pop().items():  # a child's, unless the child did it itself
            if part not in self._explained and _buffers(part) != before:
                self._explained.add(part)
                self.updating[module] = None

    def _look(self) -> None:
        if _generators() != self._generators:
            self.note(None)


def _generators() -> Any:
    _, words, *rest = np.random.get_state()
    return torch.get_rng_state().numpy().tobytes(), np.asarray(words).tobytes(), rest, random.getstate()


class _WatchedOperators(OperatorMode):
    """Notes each draw as it is made, of whatever generator, with the rate of a dropout."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self._watch = watch

    def call(self, operator: Any, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        if torch.Tag.nondeterministic_seeded not in operator.tags:
            return operator(*args, **options)
        generator = options.get("generator") or torch.default_generator
        before = generator.get_state()
        result = operator(*args, **options)
        if not torch.equal(before, generator.get_state()):  # an attention without dropout draws nothing
            self._watch.note(_rate(operator, named(operator, args, options)))
        return result


def _rate(operator: Any, given: Mapping[str, Any]) -> float | None:
    """The probability that what is drawn drops a value, where the operator is told one."""
    p = given.get("p")
    if not isinstance(p, float):
        return None
    return 1.0 - p if "bernoulli" in operator.name() else p  # a mask of Bernoulli's is drawn of what is kept


class _Stilled(OperatorMode):
    """Puts the mean in place of a Bernoulli mask, so that a dropout keeps all, and statistics in place of batches."""

    def call(self, operator: Any, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        given, name = named(operator, args, options), operator.name()
        if name.startswith("aten::bernoulli"):
            mean = torch.as_tensor(given.get("p", given["self"]))
            return given["self"].copy_(mean) if name.startswith("aten::bernoulli_") else mean.expand_as(given["self"])
        if name == "aten::native_dropout":
            return given["input"].clone(), torch.ones_like(given["input"], dtype=torch.bool)
        if "batch_norm" in name and given.get("running_mean") is not None:
            at = [argument.name for argument in operator._schema.arguments].index("training")
            args = (*args[:at], False, *args[at + 1 :])
        return operator(*args, **options)
