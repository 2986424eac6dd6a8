"""What a verification measures: one small record for each thing that it holds against the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from ppls.parity.compare import Comparison
from ppls.parity.distribution import Heatmap
from ppls.parity.tolerance import Verdict, worst


class Figures(Protocol):
    """What was measured of one thing, and the verdict on it."""

    @property
    def verdict(self) -> Verdict: ...


@dataclass(frozen=True)
class DifferentTensor:
    """A tensor of the candidate that is not the checkpoint's, bit for bit, by the checkpoint's name.

    `scaled` is how far apart they are; None where type or shape differ.
    """

    name: str
    scaled: float | None = None
    verdict: Verdict = "fail"


@dataclass(frozen=True)
class OutputFigures:
    """One output of one input."""

    input: str
    name: str
    comparison: Comparison
    argmax_agreement: float | None

    @property
    def verdict(self) -> Verdict:
        return self.comparison.verdict


@dataclass(frozen=True)
class ExportFigures:
    """One output of the export, of one input, beside what it should be.

    `against` is `network`, PaddleSeg's with the options that the program tells; `candidate`; or `logits`, the export's
    own, of which it makes its classes or probabilities.
    """

    input: str
    name: str
    against: Literal["network", "candidate", "logits"]
    comparison: Comparison
    argmax_agreement: float | None = None

    @property
    def verdict(self) -> Verdict:
        return self.comparison.verdict


@dataclass(frozen=True)
class Picture:
    """What both sides make of one input: the image (H, W, 3) in uint8, each side's classes (H, W), and its error."""

    input: str
    image: np.ndarray[Any, Any]
    reference: np.ndarray[Any, Any]
    candidate: np.ndarray[Any, Any]
    heat: Heatmap | None = None


@dataclass(frozen=True)
class LayerFigures:
    """One call of one layer, on both sides; `output` is None where a folded bias makes it incomparable."""

    input: str
    source: str
    target: str
    kind: str
    at_input: Comparison | None
    at_output: Comparison | None
    call: int = 0  # of the layer's, from 0

    @property
    def comparison(self) -> Comparison:
        """The figures to show: those of the output; those of the input where that alone diverges or can be compared."""
        if self.at_output is None or (self.at_output.verdict == "pass" and self.verdict != "pass"):
            assert self.at_input is not None
            return self.at_input
        return self.at_output

    @property
    def verdict(self) -> Verdict:
        """Whether both what goes in and what comes out agree."""
        return worst([part.verdict for part in (self.at_input, self.at_output) if part is not None])

    def more(self) -> dict[str, Any]:
        """What else there is to tell of it, as JSON."""
        return {}


@dataclass(frozen=True)
class TrainingFigures:
    """One figure of a training step: a loss, the gradient's norm, a gradient, parameter, statistic or output after it.

    Attributes:
        scaled: None where there is nothing to compare: a gradient that is missing, a value that is not finite.
        floor: in float32, how far the reference parts from itself up to this step; None in float64.
        undecided: this type cannot tell here: in float32, float64 decides; in float64, the steps before.
    """

    step: int
    what: str
    name: str
    scaled: float | None
    passed: bool
    dtype: str = "float64"
    floor: float | None = None
    undecided: bool = False

    @property
    def verdict(self) -> Verdict:
        return "pass" if self.passed else "fail"


@dataclass(frozen=True)
class Divergence:
    """Where the two sides part first, in order of execution.

    Attributes:
        source: the reference's name of the layer (or output).
        target: the candidate's.
        at: `output` of the layer; or its `input`, where what stands between it and the layers before is at fault.
        cause: what is suspected, in words; None where nothing known fits.
        call: which of the layer's calls, from 0.
    """

    input: str
    source: str
    target: str
    kind: str
    at: str
    comparison: Comparison
    cause: str | None = None
    call: int = 0
