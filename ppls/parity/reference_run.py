"""What the reference did: its outputs and layers, in files, to be judged against as many candidates as one likes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ppls.parity.answers import Answer, Ran, StoredArray, Trained
from ppls.parity.jobs import RunJob, TrainJob
from ppls.parity.reference.structure import is_plain
from ppls.shown import shown

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Stored:
    """An array of the reference, in a file, with its rounding floor: None in float64, NaN where nothing bounds it.

    `unordered`: rounding decides in which order the values along its last axis come.
    """

    path: Path
    floor: float | None
    unordered: bool = False

    def load(self) -> Array:
        """The array, mapped into memory; read-only."""
        array: Array = np.load(self.path, mmap_mode="r")
        return array


@dataclass(frozen=True)
class RecordedOutput:
    """One output: of which input, its place among the model's outputs, whether it stems from a run of all heads.

    `place` is that in what the model returned; see `ppls.parity.reference.structure.places`.
    `exact` tells whether every resize on the way was computed to the last bits of its type. `undecided` is how many
    pixels may be others, since a choice among them hangs on a tie.
    """

    input: str
    index: int
    all_heads: bool
    exact: bool
    stored: Stored
    place: str = ""
    undecided: int = 0

    @property
    def name(self) -> str:
        """`output 0` of an eval-mode run, `head 0` of a run in train mode, where every head gives one.

        Of what is no list of logits its place: `output ['masks']`.
        """
        which = self.index if is_plain([self.place]) else shown(self.place, 80)
        return f"{'head' if self.all_heads else 'output'} {which}"


@dataclass(frozen=True)
class RecordedCall:
    """One call of one layer; `position` counts calls in order of execution, `call` those of the same layer.

    `numerics` are what no tensor shows, in Paddle's terms: a normalisation's `epsilon` and `momentum`.
    """

    position: int
    module: str
    call: int
    type: str
    train_only: bool
    numerics: Mapping[str, float]
    input: Stored
    output: Stored


@dataclass(frozen=True)
class Recording:
    """A run of the reference on one checkpoint.

    Attributes:
        folder: where the arrays are.
        job: what the reference process was asked.
        result: what it said.
    """

    folder: Path
    job: RunJob
    result: Ran

    @property
    def sha256(self) -> str:
        """SHA-256 of the checkpoint's bytes."""
        return self.job.sha256

    @property
    def dtype(self) -> str:
        """`float32` or `float64`."""
        return self.job.dtype

    @property
    def inputs(self) -> dict[str, str]:
        """Names and files of the inputs, in order."""
        return {given.name: given.file for given in self.job.inputs}

    def arrays(self) -> Iterator[tuple[str, StoredArray]]:
        """Every array that the reference wrote, and its place in the result."""
        for index, output in enumerate(self.result.outputs):
            yield f"outputs[{index}]", output
        for index, head in enumerate(self.result.heads):
            yield f"heads[{index}]", head
        for index, call in enumerate(self.result.layers.calls if self.result.layers else ()):
            yield f"layers.calls[{index}].input", call.input
            yield f"layers.calls[{index}].output", call.output
        if self.result.gradient is not None and self.result.gradient.array is not None:
            yield "gradient.array", self.result.gradient.array
        for index, places in enumerate(self.result.maxima):
            yield f"maxima[{index}]", places

    def is_exact(self, name: str) -> bool:
        """Whether every resize of an input's run was computed to the last bits of its type."""
        return self._exact.get(name, True)

    def is_strong(self, name: str) -> bool:
        """Whether an input's values are beyond those of any image."""
        return any(given.strong for given in self.job.inputs if given.name == name)

    def input(self, name: str) -> Array:
        """One input: (N, C, H, W), in the run's dtype."""
        array: Array = np.load(self.folder / self.inputs[name])
        return array.astype(self.dtype)

    @cached_property
    def maxima(self) -> list[Array]:
        """Where the maxima stood, of each pooling that says so: indices among the pixels of a channel, (N, C, h, w)."""
        return [self._stored(entry).load() for entry in self.result.maxima]

    @cached_property
    def outputs(self) -> list[RecordedOutput]:
        """Every output of the eval-mode runs."""
        return [
            RecordedOutput(
                entry.input, entry.index, False, entry.exact, self._stored(entry), entry.place, entry.undecided
            )
            for entry in self.result.outputs
        ]

    @property
    def layers_input(self) -> str | None:
        """The input that the layers were recorded on; None where they were not."""
        return None if self.result.layers is None else self.result.layers.input

    @property
    def draws(self) -> bool:
        """Whether the model itself draws numbers in train mode: its layers were recorded in eval mode, and no heads."""
        return self.result.layers is not None and self.result.layers.draws

    @cached_property
    def head_outputs(self) -> list[RecordedOutput]:
        """The outputs of all heads: on the input of the layers, and on those that ask for them; none without layers."""
        return [
            RecordedOutput(entry.input, entry.index, True, self.is_exact(entry.input), self._stored(entry), entry.place)
            for entry in self.result.heads
        ]

    @cached_property
    def calls(self) -> list[RecordedCall]:
        """Every call of a layer, in order of execution."""
        return [
            RecordedCall(
                position,
                entry.module,
                entry.call,
                entry.type,
                entry.train_only,
                {name: value for name, value in asdict(entry.numerics).items() if value is not None},
                self._stored(entry.input),
                self._stored(entry.output),
            )
            for position, entry in enumerate(self.result.layers.calls if self.result.layers else ())
        ]

    def dropout_rates(self, *, all_heads: bool) -> list[float]:
        """The rate of each call of a dropout, in order of execution; without all heads, of those that eval mode has."""
        calls = self.result.layers.dropouts if self.result.layers else ()
        return [call.rate for call in calls if all_heads or not call.train_only]

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the reference's side."""
        return versions_of(self.result)

    @cached_property
    def _exact(self) -> dict[str, bool]:
        found: dict[str, bool] = {}
        for output in self.result.outputs:
            found[output.input] = found.get(output.input, True) and output.exact
        return found

    def _stored(self, entry: StoredArray) -> Stored:
        return Stored(self.folder / entry.file, entry.floor, entry.unordered)


def versions_of(answer: Answer) -> dict[str, str]:
    """Versions of the reference's side, of what it needed."""
    return {name: number for name, number in asdict(answer.versions).items() if number is not None}


@dataclass(frozen=True)
class RecordedTraining:
    """What the reference did in training: the job, its result, and the folder of their files."""

    folder: Path
    job: TrainJob
    result: Trained

    def arrays(self) -> Iterator[tuple[str, StoredArray]]:
        """Every array that the reference wrote, and its place in the result."""
        for index, step in enumerate(self.result.steps):
            for what in ("gradients", "parameters", "buffers"):
                for name, stored in getattr(step, what).items():
                    yield f"steps[{index}].{what}.{shown(name, 80)}", stored
        for what, outputs in (("outputs", self.result.outputs), ("heads", self.result.heads)):
            for index, output in enumerate(outputs):
                yield f"{what}[{index}]", output
