"""A candidate that is asked again: a small image, what it said of that, and how two answers differ."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from ppls.parity.candidate import CandidateError, tensors_by_place
from ppls.parity.compare import Array, Compare, compare
from ppls.parity.reference.figures import difference
from ppls.parity.reference_run import Recording
from ppls.parity.tolerance import Tolerances, verdict_on

CROP = 96  # pixels of a side, where no input is small
MOST_OTHER_CLASSES = 1e-3  # of the pixels, of an output of classes: a tie falls as rounding has it


class NotAskedError(Exception):
    """A question that cannot be asked of this candidate; the message says why."""


class Candidate:
    """The candidate, a small image to ask it about, and what it said of that when it was first asked.

    Attributes:
        image: (1, C, H, W): the smallest input, or a part of it.
        other: another image of that shape.
        own_image: whether it was chosen for this candidate, which may not take what is smaller.
    """

    def __init__(
        self,
        recording: Recording,
        module: nn.Module,
        fresh: nn.Module | None,
        tolerances: Tolerances,
        image: Tensor | None = None,
        by: Compare = compare,
    ) -> None:
        self.recording, self.module, self.fresh, self.tolerances, self.by = recording, module, fresh, tolerances, by
        self.own_image = image is not None
        floors = [output.stored.floor for output in recording.outputs]
        self._floor = max((floor for floor in floors if floor is not None and np.isfinite(floor)), default=None)
        name = min(recording.inputs, key=lambda name: recording.input(name)[:, 0].size)
        given = recording.input(name)[:1]
        self.image = self._small_part(given) if image is None else image
        self.other = self.image.flip(-1).roll(1, dims=-2) * 0.75
        self._tolerance = tolerances.on(name)

    def _small_part(self, image: Array) -> Tensor:
        """Of an image; all of it where the candidate takes no other size."""
        part = torch.from_numpy(image[..., :CROP, :CROP].copy())
        if part.shape == image.shape:
            return part
        try:
            self.ask(part)
        except CandidateError:
            self.own_image = True
            return torch.from_numpy(image.copy())
        return part

    @cached_property
    def answer(self) -> list[Tensor]:
        """Of the image."""
        return [tensor.clone() for tensor in self.ask(self.image)]

    @cached_property
    def other_answer(self) -> list[Tensor]:
        """Of the other image."""
        return [tensor.clone() for tensor in self.ask(self.other)]

    def ask(self, image: Tensor, module: nn.Module | None = None) -> list[Tensor]:
        """What the candidate, or a copy of it, makes of an image, as it returns it. Raises `CandidateError`."""
        with torch.no_grad():
            return call(self.module if module is None else module, image)  # which may have no length

    def is_wrong(self, error: float) -> bool:
        """Whether a scaled error is beyond rounding."""
        return verdict_on(error, self._tolerance, self._floor) == "fail"

    def apart(self, expected: list[Tensor], found: list[Tensor]) -> str | None:
        """How two answers differ beyond rounding, in words; None where they do not."""
        if len(expected) != len(found):
            return f"{len(found)} outputs, not {len(expected)}"
        for index, (a, b) in enumerate(zip(expected, found, strict=True)):
            if (a.shape, a.dtype, a.device) != (b.shape, b.dtype, b.device):
                return f"output {index} is {b.dtype} {list(b.shape)} on {b.device}, not {a.dtype} {list(a.shape)}"
            if not a.is_floating_point():
                share = float((a != b).double().mean())
                if share > MOST_OTHER_CLASSES:
                    return f"output {index} differs in {share:.1%} of its values"
                continue
            error = difference(a.detach().double().numpy(), b.detach().double().numpy()).scaled
            if self.is_wrong(error):
                return f"output {index} differs by {error:.1e}"
        return None


def call(module: nn.Module, image: Tensor) -> list[Tensor]:
    """The tensors that a module makes of an image, in order. Raises `CandidateError` where it raises."""
    return list(call_by_place(module, image).values())


def call_by_place(module: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """The same, each by its place in what the module returns."""
    try:
        return tensors_by_place(module(image))
    except CandidateError:
        raise
    except (Exception, SystemExit) as error:
        raise CandidateError(f"raised {type(error).__name__}: {error}") from error
